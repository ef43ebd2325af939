"""Scans by their content: validation scans that were trained on, whose scores say nothing of scans that are new."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only

from finetune.notices import of_seen_scans
from swin_unetr.checkpoints.model_folder import DESCRIPTION, read_description
from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.errors import DataError
from swin_unetr.machine import cores
from swin_unetr.store.filling import in_parallel, quiet
from swin_unetr.store.folder import Sources, source_key
from swin_unetr.training.first_process import tell
from swin_unetr.words import count
from transforms.content import channel_hashes, content_hash
from transforms.io import read_image

#: In the folder of a store: hashes of the content of files, by their stamps.
_CONTENTS = "contents.jsonl"


def contents_of(cases: Sequence[Case], store: Path | None) -> list[tuple[str, ...]]:
    """Hashes of the voxels of each scan, and of each of its channels if there are several.

    Args:
        cases: the scans.
        store: a folder in which hashes are remembered as long as files do not change. If None, all files are read.

    Raises:
        DataError: a file cannot be read.
    """
    known = None if store is None else Sources(store / _CONTENTS)

    def of(case: Case) -> tuple[str, ...]:
        key = source_key(case.images)
        if known is not None and (noted := known.get(key)) is not None:
            return tuple(noted["hashes"])
        volume = read_image(case.images, case.channels)
        hashes = (content_hash(volume), *channel_hashes(volume))
        if known is not None:
            known.note(key, case.images, {"hashes": hashes})
        return hashes

    return in_parallel(of, cases, min(4, cores()), tell, "comparing scans")


def refuse_held_back(
    unlabelled: Sequence[tuple[Case, tuple[str, ...]]], held_back: Sequence[Case], store: Path | None, purpose: str
) -> None:
    """Refuse scans without labels that have the voxels of scans that are held back, under any name and in any format.

    Args:
        unlabelled: scans with their hashes (`contents_of`).
        held_back: scans that must not be among them.
        store: see `contents_of`.
        purpose: what they are held back for.

    Raises:
        DataError: names the first file, and the case that it is.
    """
    cases = {name: case for case, names in zip(held_back, contents_of(held_back, store), strict=True) for name in names}
    found = [(scan, cases[name]) for scan, names in unlabelled for name in names if name in cases]
    if found:
        scan, case = found[0]
        others = {each.images for each, _ in found} - {scan.images}
        more = f" ({count(len(others), 'other scan')} likewise)" if others else ""
        raise DataError(
            f"{scan.images[0]}: has the same voxels as {case.id}, which is held back for {purpose}{more}; take it out "
            "of the unlabelled scans"
        )


def seen_cases(
    provenance: Mapping[str, Any], cases: Sequence[Case], data: Path | Collection[Path]
) -> tuple[str, ...] | None:
    """Ids of the cases that were among the training scans of a model.

    A copy of a scan, or of one of its channels, under another name is recognised by its voxels.

    Args:
        provenance: what the model's folder records.
        cases: that should be new to it.
        data: folder of their data set; several if they were joined.

    Returns:
        The ids; None if the model does not record what it has seen.
    """
    paths = {str(Path(scan).resolve()) for scan in provenance.get("scans") or ()}
    hashes = {name for key in ("scan_hashes", "channel_hashes") for name in provenance.get(key) or ()}
    names = _names_in(provenance, data)
    if not paths and not hashes and "training" not in provenance:
        return None

    def seen(case: Case) -> bool:
        if case.id in names or not paths.isdisjoint(str(image.resolve()) for image in case.images):
            return True
        try:
            if not hashes:
                return False
            volume = read_image(case.images, case.channels)
            return not hashes.isdisjoint((content_hash(volume), *channel_hashes(volume)))
        except DataError:
            return False  # what is wrong with scans is said when they are prepared

    found = in_parallel(seen, cases, min(4, cores()), quiet)
    return tuple(case.id for case, is_seen in zip(cases, found, strict=True) if is_seen)


def _names_in(provenance: Mapping[str, Any], data: Path | Collection[Path]) -> set[str]:
    """Ids, in these data, of the cases that a model was trained on, with and without the prefix of joined data sets."""
    known = provenance.get("data") or ()
    trained_on = {known} if isinstance(known, str) else set(known)
    here = {str(folder.resolve()) for folder in ((data,) if isinstance(data, Path) else data)}
    if trained_on.isdisjoint(here):
        return set()
    names = set(provenance.get("training") or ())
    if trained_on == here:
        return names
    prefixes = [f"{Path(folder).name}_" for folder in trained_on | here]
    bare = {name.removeprefix(prefix) for name in names for prefix in prefixes}
    return names | bare | {f"{prefix}{name}" for name in bare for prefix in prefixes}


def seen_by_weights(init: Path | str, cases: Sequence[Case], data: Path | Collection[Path]) -> tuple[str, ...] | None:
    """The same for the weights that a training starts from; None also for published weights, which record nothing."""
    folder = Path(init)
    folder = folder if (folder / DESCRIPTION).is_file() else folder / "best"
    if not (folder / DESCRIPTION).is_file():
        return None
    return seen_cases(read_description(folder).provenance, cases, data)


def seen_by_init(
    init: Path | str | None, before: Mapping[str, Any], dataset: Dataset, validation: Collection[str]
) -> tuple[Sequence[str] | None, list[str]]:
    """The validation scans that the weights to start from have seen, and a notice; in the first process only.

    Args:
        init: the weights.
        before: record of the run that is resumed, which has the answer; else empty.
        dataset: holds the cases.
        validation: their ids; empty if nothing is held back.
    """
    if init is None or before or not validation or rank_zero_only.rank != 0:
        return before.get("seen_by_init", []), []
    held_back = [case for case in dataset.cases if case.id in set(validation)]
    seen = seen_by_weights(init, held_back, dataset.folders)
    return seen, [of_seen_scans(init, seen)]
