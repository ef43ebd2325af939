"""Scans without labels beside the labelled ones: which they are, and that none of them is held back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune.config import FinetuneConfig
from finetune.leaks import contents_of, refuse_held_back
from finetune.split import FoldCases
from swin_unetr.config import AugmentConfig
from swin_unetr.datasets.case import Case
from swin_unetr.datasets.exports import with_own_ids
from swin_unetr.datasets.found_scans import list_scans, without_repeats
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.words import count

#: Key of the record of a run.
RECORDED = "unlabelled"
#: Decay of the average that is the teacher, if the recipe keeps no average (1703.01780, section 3.4).
DECAY = 0.99
#: Files that a line names.
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Unlabelled:
    """Scans without labels that a run learns from.

    Attributes:
        cases: the scans; none if the run has labelled ones alone.
        hashes: of the content of each (`leaks.contents_of`).
        trained: ids of labelled training cases that are among them.
        lines: what is to be said of them.
    """

    cases: tuple[Case, ...] = ()
    hashes: tuple[tuple[str, ...], ...] = ()
    trained: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()

    def facts(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """For the record, and for those who ask later what a model has seen; empty if there are none.

        Args:
            before: record of the run that is resumed; else empty.

        Raises:
            ConfigError: the run began with other scans.
        """
        if not self.cases:
            return {}
        hashes = [names[0] for names in self.hashes]
        if before and before.get("scan_hashes") != hashes:
            raise ConfigError(
                "unlabelled.paths: the run began with other scans there; restore them, or choose another --output"
            )
        return {
            RECORDED: {"scans": len(self.cases), "also_labelled": list(self.trained)},
            "scans": [str(image.resolve()) for case in self.cases for image in case.images],
            "scan_hashes": hashes,
            "channel_hashes": [name for names in self.hashes for name in names[1:]],
        }


def with_teacher(config: FinetuneConfig) -> FinetuneConfig:
    """The configuration, with an average of the weights if scans without labels need a teacher."""
    if not config.unlabelled.paths or config.trainer.ema_decay is not None:
        return config
    return replace(config, trainer=replace(config.trainer, ema_decay=DECAY))


def find_unlabelled(config: FinetuneConfig, labelled: FoldCases, store: Path | None) -> Unlabelled:
    """The scans without labels of a configuration.

    Args:
        config: names their paths.
        labelled: cases that are trained on, and those that are held back.
        store: where hashes of files are remembered. If None, nowhere.

    Raises:
        DataError: no scans there, scans that cannot be read, or scans that are held back.
    """
    paths = config.unlabelled.paths
    if not paths:
        return Unlabelled()
    found = list_scans(paths)
    cases = with_own_ids(tuple(without_repeats(found.cases)))
    if not cases:
        raise DataError(f"{', '.join(paths)}: no scans there; check unlabelled.paths")
    hashes = contents_of(cases, store)
    held_back = labelled.cases(labelled.held_back)
    refuse_held_back(list(zip(cases, hashes, strict=True)), held_back, store, "validation")
    theirs = {name for names in hashes for name in names}
    training = contents_of(labelled.cases(labelled.training), store)
    trained = tuple(
        case for case, names in zip(labelled.training, training, strict=True) if not theirs.isdisjoint(names)
    )
    lines = [f"{count(len(cases), 'scan')} without labels"]
    if trained:
        lines[0] += f", {len(trained)} of them labelled training cases, whose labels are not used there"
    if found.skipped:
        named = "; ".join(failure.message for failure in found.skipped[:_NAMED])
        lines.append(f"warning: {len(found.skipped)} of unlabelled.paths are not used: {named}")
    if not _changes_intensities(config.augment):
        lines.append(
            "warning: augment changes no intensities, so that the network sees the same crops without labels as its "
            "teacher; set some of them, such as augment.noise_probability"
        )
    return Unlabelled(cases=cases, hashes=tuple(hashes), trained=trained, lines=tuple(lines))


def _changes_intensities(augment: AugmentConfig) -> bool:
    kinds = ("noise", "blur", "low_resolution", "contrast", "inverted_gamma", "gamma", "intensity_scale")
    return any(getattr(augment, f"{kind}_probability") for kind in (*kinds, "intensity_shift"))
