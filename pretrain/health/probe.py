"""A probe: how well the encoder's features predict the classes of labelled voxels, without training the encoder."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from monai.utils import convert_to_tensor
from torch import Tensor
from torch.nn import functional as F

from pretrain.health.config import HealthConfig
from pretrain.health.vectors import balanced_accuracy, classify, distinct
from swin_unetr.config import PreprocessConfig, Triple
from swin_unetr.datasets import read_dataset
from swin_unetr.datasets.case import Case
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.networks import SwinEncoder
from swin_unetr.tasks import Task
from swin_unetr.words import count
from transforms.infer_task import settle_task
from transforms.preprocess import preprocessing

#: Seed of the choice of scans and voxels: the same in every run, so that runs can be compared.
SEED = 2026
#: Background is taken within this many voxels of a structure: farther away, the place alone shows the class.
NEAR = 4


@dataclass(frozen=True)
class Labelled:
    """A crop of a labelled scan and some of its voxels."""

    #: C x X x Y x Z, preprocessed.
    image: Tensor
    #: N x 3, places of the voxels.
    voxels: Tensor
    #: N, their classes.
    classes: Tensor


@dataclass(frozen=True, kw_only=True)
class ProbeScore:
    """What a probe found."""

    #: Share of voxels of the held-back scans whose class was predicted correctly, mean over the classes.
    accuracy: float
    #: The same if classes were guessed.
    chance: float
    #: The same from the voxel's place in the crop, its value and the mean around it, without any encoder.
    plain: float
    #: Share for each class by its name.
    by_class: dict[str, float]


class Probe:
    """Labelled voxels of some scans, read once; it learns from half of the scans and is scored on the other half.

    The vector of a voxel consists of the values of all the encoder's maps at its place. Classes are the labels, and for
    overlapping regions the sets of regions that occur.

    Compare a score with that of the same encoder before training, and with `plain`. It does not measure transfer: if
    scans are cut to the organ, the place shows the class, and untrained encoders keep the place. On Hippocampus they
    score higher than encoders of networks that segment it at a Dice of 0.88.

    Args:
        folder: labelled data set of any layout.
        config: which probe, how many scans and voxels.
        preprocess: as in the pre-training.
        window: largest size of the crop of each scan, X, Y, Z; its middle is a voxel of a structure that is drawn.
        divisor: a crop's size is a multiple of this. If possible, no crop reaches beyond its scan: the padding would
            show the encoder where it is.
        in_channels: channels that the encoder takes.

    Raises:
        DataError: scans that cannot be used.
        ConfigError: fewer than two labelled scans, or other channels than the encoder's.
    """

    def __init__(
        self,
        folder: Path,
        config: HealthConfig,
        *,
        preprocess: PreprocessConfig,
        window: Triple,
        divisor: Triple,
        in_channels: int,
    ) -> None:
        self._method = config.probe_method
        dataset = read_dataset(folder, require_labels=True)
        task = settle_task(dataset, modality="CT" if preprocess.intensity.is_hounsfield else "MR")
        if len(task.channels) != in_channels:
            held = count(len(task.channels), "channel")
            raise ConfigError(f"--probe {folder}: its scans have {held}, the encoder takes {in_channels}")
        cases = random.Random(SEED).sample(dataset.cases, min(config.probe_scans, len(dataset.cases)))
        if len(cases) < 2:
            raise ConfigError(f"--probe {folder}: holds one labelled scan; a probe needs at least two")
        self._names = _class_names(task)
        steps = preprocessing(preprocess, task, with_label=True)
        scans = [_labelled(steps({"case": case}), case, config.probe_voxels, window, divisor) for case in cases]
        self._known, self._asked = scans[: len(scans) // 2], scans[len(scans) // 2 :]
        classes = {value for scan in scans for value in distinct(scan.classes)}
        if len(classes) < 2:
            raise DataError(f"--probe {folder}: its labels show only one class in the crops; give scans with more")
        vectors, queries = (torch.cat([plain_vectors(scan) for scan in half]) for half in (self._known, self._asked))
        self._plain = balanced_accuracy(classify(vectors, _classes(self._known), queries, self._method), self._truth)[0]

    def score(self, encoder: SwinEncoder) -> ProbeScore:
        """Probe an encoder, on the device where it is; its mode and the random state stay as they are."""
        vectors, queries = self._vectors(encoder, self._known), self._vectors(encoder, self._asked)
        found = classify(vectors, _classes(self._known), queries, self._method)
        accuracy, recalls = balanced_accuracy(found, self._truth)
        names = {self._names.get(value, str(value)): recall for value, recall in recalls.items()}
        return ProbeScore(accuracy=accuracy, chance=1 / len(recalls), plain=self._plain, by_class=names)

    @property
    def _truth(self) -> Tensor:
        return _classes(self._asked)

    @torch.no_grad()
    def _vectors(self, encoder: SwinEncoder, scans: list[Labelled]) -> Tensor:
        device = next(encoder.parameters()).device
        was_training = encoder.training
        encoder.eval()
        try:
            vectors = [
                torch.cat([at_voxels(level[0], scan) for level in encoder(scan.image[None].to(device))], dim=1)
                for scan in scans
            ]
        finally:
            encoder.train(was_training)
        return torch.cat(vectors).float().cpu()


def at_voxels(level: Tensor, scan: Labelled) -> Tensor:
    """The values of a feature map at the voxels of a scan.

    Args:
        level: C x x x y x z, on a grid that divides the scan's.
        scan: its image and voxels.

    Returns:
        N x C.
    """
    strides = [extent // tokens for extent, tokens in zip(scan.image.shape[1:], level.shape[1:], strict=True)]
    x, y, z = (scan.voxels // torch.tensor(strides)).T.to(level.device)
    return level[:, x, y, z].T


def plain_vectors(scan: Labelled) -> Tensor:
    """Features of the voxels without an encoder: place (to the third power), value, and mean of 5 x 5 x 5 voxels.

    Args:
        scan: its image and voxels.

    Returns:
        N x (12 + 2 for each channel).
    """
    place = scan.voxels / torch.tensor(scan.image.shape[1:]) - 0.5
    x, y, z = scan.voxels.T
    products = place * place.roll(1, dims=1)
    values = torch.cat([scan.image, F.avg_pool3d(scan.image[None], 5, stride=1, padding=2)[0]])[:, x, y, z].T
    return torch.cat([place, place**2, place**3, products, values], dim=1)


def _labelled(values: dict[str, Tensor], case: Case, number: int, window: Triple, divisor: Triple) -> Labelled:
    """A crop of a preprocessed scan with up to `number` voxels of each class."""
    generator = torch.Generator().manual_seed(int.from_bytes(case.id.encode(), "big") % 2**31 + SEED)
    image, target = (convert_to_tensor(values[key], track_meta=False) for key in ("image", "label"))
    codes = target.long()[0] if len(target) == 1 else _codes(target)
    size = [
        max(min(extent, most) // step, 1) * step
        for extent, most, step in zip(codes.shape, window, divisor, strict=True)
    ]
    image, codes = _crop(image, codes, size, generator)
    structures = (codes > 0).float()[None, None]
    near = F.max_pool3d(structures, 2 * NEAR + 1, stride=1, padding=NEAR)[0, 0] > 0
    voxels = torch.cat(
        [
            found[torch.randperm(len(found), generator=generator)[:number]]
            for value in distinct(codes[codes >= 0])
            for found in (((codes == value) & near).nonzero(),)
        ]
    )
    return Labelled(image, voxels, codes[tuple(voxels.T)])


def _classes(scans: list[Labelled]) -> Tensor:
    return torch.cat([scan.classes for scan in scans])


def _codes(regions: Tensor) -> Tensor:
    """Regions R x X x Y x Z of 0 and 1 as one class for each set of regions, X x Y x Z."""
    powers = 2 ** torch.arange(len(regions))
    return (regions.long() * powers[:, None, None, None]).sum(0)


def _class_names(task: Task) -> dict[int, str]:
    names = [target.name for target in task.targets]
    if task.activation == "softmax":
        return dict(enumerate(["background", *names]))
    sets = [[name for bit, name in enumerate(names) if code >> bit & 1] for code in range(2 ** len(names))]
    return dict(enumerate("+".join(inside) or "background" for inside in sets))


def _crop(image: Tensor, codes: Tensor, window: list[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A window around a random voxel of a structure; outside the scan, zeros without a class (-1)."""
    present = distinct(codes)
    present = present[present[0] == 0 :] or present  # a structure rather than background
    wanted = present[int(torch.randint(len(present), (), generator=generator))]
    places = (codes == wanted).nonzero()
    middle = places[int(torch.randint(len(places), (), generator=generator))].tolist()
    pads: list[int] = []
    bounds: list[slice] = []
    for extent, size, centre in zip(codes.shape, window, middle, strict=True):
        start = min(max(centre - size // 2, 0), max(extent - size, 0))
        bounds.append(slice(start, start + size))
        pads = [0, max(size - extent, 0), *pads]  # torch wants the last axis first
    x, y, z = bounds
    return F.pad(image[:, x, y, z], pads), F.pad(codes[x, y, z], pads, value=-1)
