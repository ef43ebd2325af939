"""What a survey says of a data set, as data. Lengths in mm, axes X, Y, Z as stored, positions in RAS mm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from swin_unetr.config import Triple
from swin_unetr.tasks import Task

#: Percentiles of intensities, in this order.
PERCENTILES = (0.5, 5.0, 50.0, 95.0, 99.5)
#: Foreground voxels that are kept of a case, at most.
SAMPLE_SIZE = 2000

FloatTriple = tuple[float, float, float]
Row = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class NoteFacts:
    """Something odd about a file that does not stop its use (`transforms.note`)."""

    #: As a `doctor` code: "units", "forms-disagree", ...
    code: str
    path: Path
    words: str


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """An image file or a folder with a DICOM series."""

    path: Path
    #: "nifti-1", "nifti-2", "nifti-1 pair", "analyze", "nrrd", "mha", "dicom", ...
    kind: str
    bytes: int
    #: Changes when the file is written again: sizes and times of all its files.
    stamp: str
    #: Of the bytes, 32 hexadecimal digits.
    hash: str
    #: Of the voxels in RAS order: the same for the same voxels in any format.
    voxels_hash: str
    shape: Triple
    #: Length of the fourth axis.
    channels: int
    spacing_mm: FloatTriple
    #: Voxel to RAS mm.
    affine: tuple[Row, Row, Row, Row]
    #: Such as RAS.
    orientation: str
    #: Largest angle by which two axes miss the right angle.
    shear_degrees: float
    #: Type of the stored numbers, such as int16.
    dtype: str
    #: What its reading found odd, and how it was decided.
    notes: tuple[NoteFacts, ...] = ()

    @property
    def volume_mm3(self) -> float:
        """Of the whole grid, for axes at right angles."""
        x, y, z = (count * size for count, size in zip(self.shape, self.spacing_mm, strict=True))
        return x * y * z


@dataclass(frozen=True, kw_only=True)
class Intensities:
    """Finite values of some voxels. Percentiles are of a seeded sample where there are many voxels."""

    voxels: int
    low: float
    high: float
    mean: float
    std: float
    #: In the order of `PERCENTILES`.
    percentiles: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ChannelFacts:
    """One channel of an image."""

    #: NaN or infinite voxels.
    not_finite: int
    #: None where no voxel is finite.
    all: Intensities | None
    #: Of the voxels with any label but 0; None without a label on the same grid, or with an empty one.
    foreground: Intensities | None
    #: Mean by label value, 0 included.
    mean_of_label: dict[int, float]
    #: Share of the voxels that equal 0, and the lowest value.
    zero_share: float
    lowest_share: float
    #: Different values other than 0, of a channel that looks like a label map; None for a scan.
    label_values: int | None = None


@dataclass(frozen=True, kw_only=True)
class ImageFacts(FileFacts):
    """An image file with one or more channels."""

    of_channels: tuple[ChannelFacts, ...]


@dataclass(frozen=True, kw_only=True)
class ValueFacts:
    """A label value other than 0 in a label file."""

    value: int
    voxels: int
    volume_mm3: float
    #: First voxel and one past the last along the stored axes.
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    #: Mean position, RAS.
    centre_mm: FloatTriple


@dataclass(frozen=True, kw_only=True)
class LabelFacts(FileFacts):
    """A label file."""

    #: By value; values that are no whole numbers are not among them.
    values: tuple[ValueFacts, ...]
    #: Voxels that are NaN or infinite, that are no whole numbers, and that are below 0.
    not_finite: int
    not_integer: int
    negative: int
    #: The first few values that are no whole numbers, below 0, or too large.
    odd_values: tuple[float, ...]
    #: Whether its values are labels at all: few different ones, most of them whole numbers.
    is_label_map: bool = True

    @property
    def background_voxels(self) -> int:
        """Of value 0."""
        x, y, z = self.shape
        odd = self.not_finite + self.not_integer + self.negative
        return x * y * z - odd - sum(of.voxels for of in self.values)


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """How well a label map sits on its image, and how well its mirror images would."""

    #: How well the labels go with the first channel (`survey.fit`); only differences mean something.
    belonging: float
    #: The same for the labels mirrored along R-L, A-P and I-S about the middle of the grid.
    mirrored: FloatTriple
    #: Share of the labelled voxels outside the body; None if the picture shows no air around it.
    outside_body: float | None
    #: Middle of the body, or else of the grid, in RAS mm.
    body_centre_mm: FloatTriple


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A file that could not be read, or not wholly."""

    #: As a `doctor` code: "missing", "unreadable", "impossible-size", "wrong-dimensions", "picture", ...
    code: str
    path: Path
    words: str


@dataclass(frozen=True, kw_only=True)
class CaseFacts:
    """A case: what its files say."""

    id: str
    #: Cases of one patient have one group; the id where the layout says nothing.
    group: str
    #: Files that could be read, one per channel or one with all.
    images: tuple[ImageFacts, ...]
    label: LabelFacts | None
    problems: tuple[Problem, ...]
    fit: Alignment | None = None
    #: Channels x up to SAMPLE_SIZE values of foreground voxels, the same voxels in every channel.
    sample: tuple[tuple[float, ...], ...] = ()

    @property
    def channels(self) -> tuple[ChannelFacts, ...]:
        """Of all images, in order."""
        return tuple(channel for image in self.images for channel in image.of_channels)

    @property
    def usable(self) -> bool:
        """Whether all its files could be read and hold something."""
        return bool(self.images) and not self.problems

    def files(self) -> Iterator[FileFacts]:
        """Images, then the label."""
        yield from self.images
        if self.label is not None:
            yield self.label


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A data set: what was listed, and the facts of its cases, sorted by id."""

    root: Path
    layout: str
    #: What the layout or the label values say of it; None if nothing does.
    task: Task | None
    cases: tuple[CaseFacts, ...]
    #: Structures that were looked for by case, of cases in which that is not all of them.
    labelled: dict[str, tuple[str, ...]] = field(default_factory=dict)
    #: Seconds that reading took.
    seconds: float = 0.0

    def looked_for(self, structure: str) -> int:
        """In how many cases a structure was looked for."""
        return sum(structure in self.labelled.get(case.id, (structure,)) for case in self.cases)
