"""The facts of a survey that a plan depends on: a page of numbers that a person can read, axes in RAS order."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from swin_unetr.config import Triple
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.files import write_json
from swin_unetr.provenance import command
from swin_unetr.survey.facts import CaseFacts, FileFacts, Survey
from swin_unetr.survey.run import look_like_ct
from swin_unetr.tasks import Target, Task
from transforms.geometry import Geometry
from transforms.grids import Turn
from transforms.labels import check_labels
from transforms.unknown_labels import problem_lines

FloatTriple = tuple[float, float, float]
#: From this share of zeros on, they are a background, not measured values (nnU-Net).
BACKGROUND_OF_ZEROS = 0.25


@dataclass(frozen=True, kw_only=True)
class ChannelPrint:
    """Intensities of one input channel."""

    name: str
    #: Of the voxels of any structure, pooled over the cases: percentiles 0.5 and 99.5, mean, standard deviation.
    low: float
    high: float
    mean: float
    std: float
    #: Median over the cases of the share of voxels that are exactly 0.
    zero_share: float
    #: Whether most scans have the air of a CT in it.
    like_ct: bool = False


@dataclass(frozen=True, kw_only=True)
class TargetPrint:
    """One structure."""

    name: str
    #: Cases that have it.
    cases: int
    #: Medians over these cases.
    volume_mm3: float
    share: float
    #: Cases in which it was looked for. If None, in all.
    looked_for: int | None = None


@dataclass(frozen=True, kw_only=True)
class ScanPrint:
    """Summary of the scans of a data set."""

    root: Path
    layout: str
    #: Cases that can be trained on.
    cases: int
    #: Voxels of every case along RAS.
    shapes: tuple[Triple, ...]
    #: Voxel size of every case in mm along RAS.
    spacings_mm: tuple[FloatTriple, ...]
    channels: tuple[ChannelPrint, ...]
    #: Structures; none if labels are not used.
    targets: tuple[TargetPrint, ...] = ()
    #: Cases that were left out, since a file of theirs cannot be read.
    left_out: tuple[str, ...] = ()
    #: Ids of the cases, in the order of their shapes.
    ids: tuple[str, ...] = ()
    #: Hash of the text of the plan that was made from it, by which a change of the plan is noticed.
    plan_hash: str = field(default="", compare=False)

    @property
    def median_shape(self) -> FloatTriple:
        """Median over the cases, for each axis apart."""
        return medians(self.shapes)

    @property
    def median_spacing_mm(self) -> FloatTriple:
        """Median over the cases, for each axis apart."""
        return medians(self.spacings_mm)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, dataclasses.asdict(self))


@dataclass(frozen=True, kw_only=True)
class Fingerprint(ScanPrint):
    """Summary of a labelled data set."""

    task: Task
    #: Patients of the cases that can be trained on.
    patients: int


def medians(rows: Sequence[Sequence[float]]) -> FloatTriple:
    """Median of each of three columns."""
    x, y, z = np.median(np.array(rows, float), axis=0).tolist()
    return x, y, z


def fingerprint(survey: Survey) -> Fingerprint:
    """Sum up a survey.

    Raises:
        ConfigError: nothing says what the scans and labels mean.
        DataError: no case can be trained on, or label files hold values that the task does not know; names them all.
    """
    task = survey.task
    if task is None:
        raise ConfigError(f"{survey.root}: nothing says what the labels mean; describe them in a task.yaml")
    usable = [case for case in survey.cases if case.usable and case.label is not None]
    if not usable:
        raise DataError(
            f"{survey.root}: no case has a readable scan and label; see: {command(['doctor', survey.root])}"
        )
    _refuse_unknown_labels(usable, task)
    turned = [_turned(case.images[0]) for case in usable]
    return Fingerprint(
        root=survey.root,
        layout=survey.layout,
        task=task,
        cases=len(usable),
        patients=len({case.group for case in usable}),
        shapes=tuple(shape for shape, _ in turned),
        spacings_mm=tuple(spacing for _, spacing in turned),
        channels=tuple(_channel(usable, index, name) for index, name in enumerate(task.channels)),
        targets=tuple(_target(usable, target, survey.labelled) for target in task.targets),
        ids=tuple(case.id for case in usable),
        left_out=tuple(case.id for case in survey.cases if case not in usable),
    )


def scan_print(survey: Survey) -> ScanPrint:
    """Sum up the scans of a survey, whatever is known of labels.

    Raises:
        DataError: no scan can be read, or scans have unlike numbers of channels.
    """
    usable = [case for case in survey.cases if case.usable]
    if not usable:
        raise DataError(f"{survey.root}: no scan can be read; see: {command(['doctor', survey.root])}")
    first = usable[0]
    for case in usable:
        if len(case.channels) != len(first.channels):
            raise DataError(
                f"{survey.root}: {first.id} has {len(first.channels)} channels and {case.id} {len(case.channels)}; "
                "pre-train on scans of one kind"
            )
    turned = [_turned(case.images[0]) for case in usable]
    return ScanPrint(
        root=survey.root,
        layout=survey.layout,
        cases=len(usable),
        shapes=tuple(shape for shape, _ in turned),
        spacings_mm=tuple(spacing for _, spacing in turned),
        channels=tuple(_channel(usable, index, str(index)) for index in range(len(first.channels))),
        ids=tuple(case.id for case in usable),
        left_out=tuple(case.id for case in survey.cases if case not in usable),
    )


def _refuse_unknown_labels(cases: Sequence[CaseFacts], task: Task) -> None:
    """Refuse the label values that a training would refuse, with a description of the task that allows them."""
    problems: list[DataError] = []
    for case in cases:
        assert case.label is not None  # `fingerprint` has chosen cases with one
        try:
            check_labels((of.value for of in case.label.values), task, case.label.path)
        except DataError as error:
            problems.append(error)
    if problems:
        first = f"{len(problems)} of {len(cases)} label files cannot be trained on:"
        raise DataError("\n".join([first, *problem_lines(problems, task)]))


def _turned(image: FileFacts) -> tuple[Triple, FloatTriple]:
    """Shape and spacing of a stored grid along RAS."""
    turn = Turn.to_ras(Geometry(image.shape, np.array(image.affine)))
    x, y, z = (round(image.spacing_mm[axis], 6) for axis in turn.axes)
    return turn.shape, (x, y, z)


def _channel(cases: Sequence[CaseFacts], index: int, name: str) -> ChannelPrint:
    """One channel: of the structures' voxels, or of all voxels if no voxel of a structure was seen."""
    values = np.array([value for case in cases if len(case.sample) > index for value in case.sample[index]])
    if not values.size:
        everywhere = (case.channels[index].all for case in cases if len(case.channels) > index)
        values = np.array([value for of in everywhere if of is not None for value in of.percentiles] or [0.0])
    low, high = np.percentile(values, (0.5, 99.5)).tolist()
    zero = [case.channels[index].zero_share for case in cases if len(case.channels) > index]
    return ChannelPrint(
        name=name,
        low=low,
        high=high,
        mean=float(values.mean()),
        std=float(values.std()),
        zero_share=float(np.median(zero)) if zero else 0.0,
        like_ct=look_like_ct(cases, index),
    )


def _target(cases: Sequence[CaseFacts], target: Target, labelled: Mapping[str, Collection[str]]) -> TargetPrint:
    """A structure over the cases in which it was looked for and found."""
    name, labels = target.name, frozenset(target.labels)
    volumes, shares = [], []
    known = [case for case in cases if name in labelled.get(case.id, (name,))]
    for case in known:
        assert case.label is not None  # `fingerprint` has chosen cases with one
        parts = [value for value in case.label.values if value.value in labels]
        if parts:
            x, y, z = case.label.shape
            volumes.append(sum(part.volume_mm3 for part in parts))
            shares.append(sum(part.voxels for part in parts) / (x * y * z))
    return TargetPrint(
        name=name,
        cases=len(volumes),
        looked_for=None if len(known) == len(cases) else len(known),
        volume_mm3=float(np.median(volumes)) if volumes else 0.0,
        share=float(np.median(shares)) if shares else 0.0,
    )
