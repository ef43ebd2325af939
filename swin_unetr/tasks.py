"""What a segmentation task is, as data: its channels, what its label values mean, and how they are written.

One `Task` serves training (label values to targets), prediction (activations to label values) and evaluation
(label values to masks). Facts of the published tasks are here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Activation = Literal["softmax", "sigmoid"]
Modality = Literal["CT", "MR"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """One structure: a class (softmax) or a region (sigmoid)."""

    #: Name, as in tables and reports.
    name: str
    #: Values in a label file that belong to it.
    labels: tuple[int, ...]
    #: Value that a prediction writes for it.
    write_as: int

    def __post_init__(self) -> None:
        if not self.labels or min(*self.labels, self.write_as) < 1:
            raise ValueError(f"labels: target {self.name!r} needs label values of at least 1, got {self.labels}")
        if self.write_as not in self.labels:
            raise ValueError(f"write_as: {self.write_as} is not among the labels {self.labels} of {self.name!r}")


@dataclass(frozen=True, kw_only=True)
class Term:
    """How DICOM names a structure. Codes are text: scheme, value and meaning, such as "SCT 78961009 Spleen"."""

    #: Name of the structure, as the task has it.
    name: str
    #: What the structure is.
    type: str
    #: What kind of thing that is.
    category: str = "SCT 91723000 Anatomical Structure"
    #: What narrows the type, or the region if there is one: the side of the body.
    modifier: str = ""
    #: Where in the body a finding lies.
    region: str = ""
    #: Colour for display, #rrggbb.
    colour: str = "#ffcc00"
    #: Other names of it. `task/name` counts only in tasks whose name contains that of `task`.
    synonyms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in ("type", "category", "modifier", "region"):
            text = getattr(self, field)
            parts = text.split(maxsplit=2)
            optional = field in ("modifier", "region") and not text
            if not optional and (len(parts) != 3 or max(map(len, parts[:2])) > 16):
                raise ValueError(f"{field}: a code is a scheme, a value and its meaning ('SCT 78961009 Spleen')")
        if not re.fullmatch("#[0-9a-fA-F]{6}", self.colour):
            raise ValueError(f"colour: {self.colour!r} is no colour such as '#ffcc00'")


@dataclass(frozen=True, kw_only=True)
class Task:
    """A segmentation task. Label value 0 is background and is not listed."""

    name: str
    modality: Modality
    #: Names of the input channels, in their order.
    channels: tuple[str, ...]
    #: Structures in the order of the network's output channels (after background, for softmax).
    targets: tuple[Target, ...]
    #: "softmax" for exclusive classes, "sigmoid" for nested regions.
    activation: Activation = "softmax"
    #: Further values of label files, which belong to no target: trained on and evaluated as background.
    other_labels: tuple[int, ...] = ()
    #: Value of voxels that nobody has labelled: they count neither in training nor in an evaluation.
    ignore_label: int | None = None
    #: Structures that are mirror images of each other, two names each: left and right kidney. Those that are not given
    #: follow from the names. A structure that is paired with itself stays what it is.
    pairs: tuple[tuple[str, str], ...] = ()
    #: Codes of structures for DICOM, and their other names, where the table of this program lacks or differs from them.
    terms: tuple[Term, ...] = ()

    def __post_init__(self) -> None:
        if not self.channels:
            raise ValueError("channels: a task needs at least one input channel")
        if not self.targets:
            raise ValueError("targets: a task needs at least one structure")
        names = [target.name for target in self.targets]
        if len(set(names)) != len(names):
            raise ValueError(f"targets: names must differ, got {names}")
        values = [value for target in self.targets for value in target.labels]
        if self.activation == "softmax" and len(set(values)) != len(values):
            raise ValueError("targets: exclusive classes may not share a label value; use activation sigmoid")
        if self.ignore_label is not None and (self.ignore_label < 1 or self.ignore_label in values):
            raise ValueError(f"ignore_label: {self.ignore_label} is the background or the label value of a target")
        self._check_pairs(names)

    def _check_pairs(self, names: Sequence[str]) -> None:
        seen: set[str] = set()
        for pair in self.pairs:
            for name in set(pair):
                if name not in names:
                    raise ValueError(f"pairs: {name!r} is no structure of {', '.join(names)}")
                if name in seen:
                    raise ValueError(f"pairs: {name!r} is in two pairs")
                seen.add(name)

    @property
    def num_classes(self) -> int:
        """Output channels of the network: targets, and background for softmax."""
        return len(self.targets) + (1 if self.activation == "softmax" else 0)

    @property
    def known_labels(self) -> frozenset[int]:
        """Every value that a label file of this task may hold, 0 included."""
        ignored = () if self.ignore_label is None else (self.ignore_label,)
        values = (value for target in self.targets for value in target.labels)
        return frozenset({0, *self.other_labels, *ignored, *values})

    @property
    def painting_order(self) -> tuple[int, ...]:
        """Indices of the targets, largest region first, so that inner regions are painted over outer ones."""
        return tuple(sorted(range(len(self.targets)), key=lambda index: -len(self.targets[index].labels)))


def exclusive(names: Iterable[str], first: int = 1) -> tuple[Target, ...]:
    """Exclusive classes numbered from `first` in the order of `names`."""
    return tuple(Target(name=name, labels=(value,), write_as=value) for value, name in enumerate(names, first))


#: BTCV, "Beyond the cranial vault": 13 abdominal organs in portal venous CT (2111.14791, section 4.2).
BTCV = Task(
    name="btcv",
    modality="CT",
    channels=("CT",),
    targets=exclusive(
        (
            "spleen",
            "right kidney",
            "left kidney",
            "gallbladder",
            "oesophagus",
            "liver",
            "stomach",
            "aorta",
            "inferior vena cava",
            "portal and splenic veins",
            "pancreas",
            "right adrenal gland",
            "left adrenal gland",
        )
    ),
)

#: Label values of enhancing, core and whole tumour by BraTS convention. The necrotic core is 1 and oedema 2 in all
#: of them; BraTS 2013-2016 gave non-enhancing core a value of its own (3), from 2023 on enhancing is 3, not 4.
BRATS_CONVENTIONS: dict[str, dict[str, tuple[int, ...]]] = {
    "brats2013": {"TC": (1, 3, 4), "WT": (1, 2, 3, 4), "ET": (4,)},
    "brats2021": {"TC": (1, 4), "WT": (1, 2, 4), "ET": (4,)},
    "brats2023": {"TC": (1, 3), "WT": (1, 2, 3), "ET": (3,)},
}

#: Convention of the challenge of 2024 on glioma after treatment; to be evaluated, not to be trained on.
BRATS_AFTER_TREATMENT = "brats2024"

#: What the names of channels say: CT, or positron emission and magnetic resonance beside it.
_CT = re.compile(r"(?<![a-z])ct(?![a-z])", re.IGNORECASE)
_NO_CT = re.compile(
    r"(?<![a-z])(pet|pt|suv|fdg|psma|spect|nm|mri?|t1|t2|flair|dwi|adc)(?![a-z])|^(suv|pet|t1|t2)", re.IGNORECASE
)

#: What each region is painted with: oedema, necrotic core; enhancing depends on the year.
_BRATS_WRITE = {"TC": 1, "WT": 2}

#: Channel order of the published BraTS 2021 lists (reference.md, BraTS 2021).
BRATS_CHANNELS = ("FLAIR", "T1ce", "T1", "T2")


def brats(convention: str = "brats2021", channels: tuple[str, ...] = BRATS_CHANNELS) -> Task:
    """The BraTS task with regions TC, WT, ET (in this order) for the label values of a given year.

    "brats2024", after treatment, is 2023's with the resection cavity (4), which is in none of the three.
    """
    cavity = (4,) if convention == BRATS_AFTER_TREATMENT else ()
    regions = BRATS_CONVENTIONS["brats2023" if cavity else convention]
    return Task(
        name=convention,
        modality="MR",
        channels=channels,
        targets=tuple(
            Target(name=name, labels=labels, write_as=_BRATS_WRITE.get(name, labels[-1]))
            for name, labels in regions.items()
        ),
        activation="sigmoid",
        other_labels=cavity,
    )


def brats_convention(values: Iterable[int], fallback: str = "brats2021") -> str:
    """Recognise the BraTS convention by the label values of a data set.

    Args:
        values: label values seen, from as many cases as it takes.
        fallback: the result if neither 3 nor 4 was seen (no enhancing tumour): the convention that the names of the
            files suggest.

    Raises:
        ValueError: a value that no BraTS convention knows.
    """
    seen = set(values) - {0}
    if unknown := seen - {1, 2, 3, 4}:
        raise ValueError(f"label values {sorted(unknown)} belong to no BraTS convention (1, 2, 3, 4)")
    if {3, 4} <= seen:
        return "brats2013"
    if 4 in seen:
        return fallback if fallback == "brats2013" else "brats2021"
    if 3 in seen:
        return "brats2023"
    return fallback


def modality_of(channels: Sequence[str]) -> Modality:
    """CT where the first channel is named so, as nnU-Net has it; otherwise MR."""
    return "CT" if channels and channels[0].upper().startswith("CT") else "MR"


def named_ct(channel: str) -> bool | None:
    """Whether the name of a channel says that it is CT ("CT", "CTres", "low-dose CT"), or that it is something else.

    Returns:
        None where the name says neither.
    """
    if _NO_CT.search(channel):
        return False
    return True if channel.upper().startswith("CT") or _CT.search(channel) else None


def is_ct(task: Task, channel: str) -> bool:
    """Whether a channel of a task holds Hounsfield units: its name says so, or the task is CT and no name says more."""
    named = named_ct(channel)
    if named is not None:
        return named
    return task.modality == "CT" and not any(named_ct(other) for other in task.channels)


def with_channels(task: Task, channels: tuple[str, ...]) -> Task:
    """The same task with other input channels."""
    return replace(task, channels=channels)
