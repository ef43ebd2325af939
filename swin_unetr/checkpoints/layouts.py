"""Layouts of published weights, as data: how a file is recognised, which merging it has, how its scans were prepared.

Names in a file show its layout, and sometimes who wrote it; otherwise a person has to say so (`import-weights
--source`). Intensities and voxel sizes are the defaults of the publications' own pre-training scripts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from swin_unetr.config import IntensityConfig, MergingForm, PreprocessConfig, Triple
from swin_unetr.errors import ConfigError

#: Which network of a teacher and a student a file is read for.
Side = Literal["teacher", "student"]

#: Order of the neighbours in SMIT's patch merging: all eight, the sixth and seventh exchanged against MONAI from 1.5.
SMIT_NEIGHBOURS: tuple[Triple, ...] = (
    (0, 0, 0),
    (1, 0, 0),
    (0, 1, 0),
    (0, 0, 1),
    (1, 1, 0),
    (0, 1, 1),
    (1, 0, 1),
    (1, 1, 1),
)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One publication's way to write its weights."""

    #: For `--source`.
    name: str
    #: The files, for people.
    files: str
    #: What the weights lie under, and how their names begin.
    keys: str
    #: What a file holds that a network of this package has no place for.
    left: str
    #: Patterns of names in a file; a file in which each is found has this layout, whoever trained it. If empty, its
    #: names are like those of other layouts.
    marks: tuple[str, ...] = ()
    #: Whether such a file says also how its scans were prepared: nobody else writes files like it.
    tells_source: bool = True
    #: Form of patch merging of the network that takes the weights.
    merging: MergingForm = "legacy"
    #: Order in which the file has the neighbours. If empty, that of `merging`.
    neighbours: tuple[Triple, ...] = ()
    #: Whether only the encoder is of the kind that this package has.
    encoder_only: bool = False
    #: How the scans of the pre-training were prepared. If None, its script does not say.
    preprocess: PreprocessConfig | None = None
    #: What `preprocess` does not say.
    remark: str = ""

    @property
    def shown(self) -> bool:
        """Whether the names in a file show whose weights it holds."""
        return bool(self.marks) and self.tells_source

    def matches(self, names: Iterable[str]) -> bool:
        """Whether a file with these names has this layout."""
        names = list(names)
        return bool(self.marks) and all(any(re.search(mark, name) for name in names) for mark in self.marks)


def _ct(low: float, high: float, spacing_mm: float | None, *, crop: bool) -> PreprocessConfig:
    return PreprocessConfig(
        spacing_mm=None if spacing_mm is None else (spacing_mm, spacing_mm, spacing_mm),
        intensity=IntensityConfig(scheme="hu_window", window=(low, high)),
        crop_foreground=crop,
    )


#: By name. The first that matches a file counts.
LAYOUTS: dict[str, Layout] = {
    of.name: of
    for of in (
        Layout(
            name="smit",
            files="SMIT (2205.10342)",
            keys="flat or `student`: `layers.0.blocks…`, `fc1`",
            left="`norm0`–`norm3`, `mask_token`, the heads and a decoder",
            marks=(r"(^|\.)layers\.\d+\.blocks\.",),
            merging="merging",
            neighbours=SMIT_NEIGHBOURS,
            encoder_only=True,
            preprocess=_ct(-175, 250, 2.0, crop=True),
        ),
        Layout(
            name="suprem",
            files="SuPreM `supervised_suprem_swinunetr_2100.pth`, Universal Model",
            keys="`net`: `module.backbone.swinViT…`",
            left="`GAP`, `precls_conv`, `controller`, `organ_embedding`, `text_to_vision`",
            marks=(r"(^|\.)backbone\.swinViT\.", r"(^|\.)controller\."),
            preprocess=_ct(-175, 250, 1.5, crop=True),
        ),
        Layout(
            name="dae",
            files="disruptive autoencoders (2307.16896)",
            keys="`model`: `encoder.layers1.0.0…`",
            left="`encoder.mask_token`, `encoder.norm`, the decoder",
            marks=(r"(^|\.)encoder\.layers\d\.0\.0\.",),
            encoder_only=True,
            preprocess=_ct(-1000, 1000, None, crop=False),
            remark="its CT; its MR was z-scored over the voxels that are not 0",
        ),
        Layout(
            name="tang",
            files="`model_swinvit.pt` (2111.14791)",
            keys="`state_dict`: `module.layers1.0…`, `fc1`",
            left="`norm`, `rotation_head`, `contrastive_head`, `convTrans3d`",
            marks=(r"^(module\.)?patch_embed\.", r"^(module\.)?layers1\.0\.", r"^(module\.)?rotation_head\."),
            preprocess=_ct(-1000, 1000, None, crop=True),
        ),
        Layout(
            name="voco",
            files="VoCo, VoComni (2402.17300, 2410.09890): feature size 48, 96, 192, `use_v2`",
            keys="plain, or `state_dict`: `module.backbone…`, `module.student…` and `module.teacher…`",
            left="`proj_head`, and the network of the other side",
            marks=(r"(^|\.)student\.swinViT\.", r"(^|\.)teacher\.swinViT\.", r"(^|\.)proj_head\."),
            tells_source=False,
            preprocess=_ct(-175, 250, 1.5, crop=True),
        ),
        Layout(
            name="brainsegfounder",
            files="BrainSegFounder (2406.10395): 1, 2 or 4 channels",
            keys="`state_dict`: `module.swinViT…`",
            left="`rotation_head`, `contrastive_head`, `conv`",
            preprocess=PreprocessConfig(intensity=IntensityConfig(scheme="zscore_nonzero")),
            remark="as its networks were fine-tuned on BraTS; its pre-training script maps a given range onto 0..1",
        ),
        Layout(
            name="swin_unetr",
            files="BTCV base, small and tiny, BraTS 2021, MONAI's bundle",
            keys="plain or `state_dict`: `swinViT…`, `encoder1…`, `decoder1…`, `out`",
            left="nothing",
        ),
    )
}


def layout_of(names: Iterable[str]) -> Layout | None:
    """The layout that a file's names show; None if they are those of several."""
    names = list(names)
    return next((of for of in LAYOUTS.values() if of.matches(names)), None)


def sources() -> tuple[str, ...]:
    """Names of the publications whose preprocessing is known."""
    return tuple(name for name, of in LAYOUTS.items() if of.preprocess is not None)


def preprocess_of(layout: Layout | None, source: str | None, *, path: str) -> tuple[PreprocessConfig | None, str]:
    """How the scans of a file's pre-training were prepared, and how that is known.

    Args:
        layout: of the file.
        source: as a person named it. If None, the file's names have to show it.
        path: for errors.

    Raises:
        ConfigError: the file shows that it is from elsewhere.
    """
    shown = layout.name if layout is not None and layout.shown else None
    if source is not None and shown is not None and source != shown:
        raise ConfigError(f"--source {source}: the names in {path} are those of {shown}; leave out --source")
    name = source or shown
    if name is None:
        return None, f"not known; name where the weights are from: --source {', '.join(sources())}"
    of = LAYOUTS[name]
    words = f"as published for {name} ({'as given' if source else 'by the names in the file'})"
    return of.preprocess, f"{words}; {of.remark}" if of.remark else words
