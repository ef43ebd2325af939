"""A probe: how well classes of labelled voxels can be told by the encoder's features, without training it."""

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
from transforms.preprocess import preprocessing
from transforms.told_by_labels import settle_task

#: Of the scans and voxels: the same in every run, whatever its own seed, so that runs can be compared.
SEED = 2026


@dataclass(frozen=True)
class Labelled:
    """A crop of a labelled scan and voxels of it."""

    #: C x X x Y x Z, preprocessed.
    image: Tensor
    #: N x 3, places of the voxels.
    voxels: Tensor
    #: N, their classes.
    classes: Tensor


@dataclass(frozen=True, kw_only=True)
class ProbeScore:
    """What a probe found."""

    #: Share of voxels of the scans held back whose class was told, mean over the classes.
    accuracy: float
    #: The same if classes were guessed.
    chance: float
    #: Share for each class by its name.
    by_class: dict[str, float]


class Probe:
    """Labelled voxels of some scans, read once; half of the scans to learn from, the other half to be scored on.

    The vector of a voxel is what the encoder's maps of all levels have at its place. Classes are the labels, and for
    overlapping regions the sets of regions that occur.

    Args:
        folder: labelled data set of any layout.
        config: which probe, how many scans and voxels.
        preprocess: as in the pre-training.
        window: size of the crop of each scan, X, Y, Z; its middle is a voxel of a structure that is drawn.
        in_channels: channels that the encoder takes.

    Raises:
        DataError: scans that cannot be used.
        ConfigError: fewer than two labelled scans, or other channels than the encoder's.
    """

    def __init__(
        self, folder: Path, config: HealthConfig, *, preprocess: PreprocessConfig, window: Triple, in_channels: int
    ) -> None:
        self._method = config.probe_method
        dataset = read_dataset(folder, require_labels=True)
        task = settle_task(dataset, modality="CT" if preprocess.intensity.scheme == "hu_window" else "MR")
        if len(task.channels) != in_channels:
            raise ConfigError(
                f"--probe {folder}: its scans have {len(task.channels)} channels, the encoder takes {in_channels}"
            )
        cases = random.Random(SEED).sample(dataset.cases, min(config.probe_scans, len(dataset.cases)))
        if len(cases) < 2:
            raise ConfigError(f"--probe {folder}: holds one labelled scan; a probe needs at least two")
        self._names = _class_names(task)
        steps = preprocessing(preprocess, task, with_label=True)
        scans = [self._labelled(steps({"case": case}), case, config, window) for case in cases]
        self._known, self._asked = scans[: len(scans) // 2], scans[len(scans) // 2 :]
        classes = {value for scan in scans for value in distinct(scan.classes)}
        if len(classes) < 2:
            raise DataError(f"--probe {folder}: its labels show one class only in the crops; give scans with more")

    def score(self, encoder: SwinEncoder) -> ProbeScore:
        """Probe an encoder, on the device where it is; its mode and the random state stay as they are."""
        vectors, classes = self._vectors(encoder, self._known)
        queries, truth = self._vectors(encoder, self._asked)
        accuracy, recalls = balanced_accuracy(classify(vectors, classes, queries, self._method), truth)
        names = {self._names.get(value, str(value)): recall for value, recall in recalls.items()}
        return ProbeScore(accuracy=accuracy, chance=1 / len(recalls), by_class=names)

    def _labelled(self, values: dict[str, Tensor], case: Case, config: HealthConfig, window: Triple) -> Labelled:
        generator = torch.Generator().manual_seed(int.from_bytes(case.id.encode(), "big") % 2**31 + SEED)
        image, target = (convert_to_tensor(values[key], track_meta=False) for key in ("image", "label"))
        codes = target.long()[0] if len(target) == 1 else _codes(target)
        image, codes = _crop(image, codes, window, generator)
        places = [
            found[torch.randperm(len(found), generator=generator)[: config.probe_voxels]]
            for value in distinct(codes[codes >= 0])
            for found in ((codes == value).nonzero(),)
        ]
        voxels = torch.cat(places)
        return Labelled(image, voxels, codes[tuple(voxels.T)])

    @torch.no_grad()
    def _vectors(self, encoder: SwinEncoder, scans: list[Labelled]) -> tuple[Tensor, Tensor]:
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
        return torch.cat(vectors).float().cpu(), torch.cat([scan.classes for scan in scans])


def at_voxels(level: Tensor, scan: Labelled) -> Tensor:
    """What a feature map has at the voxels of a scan.

    Args:
        level: C x x x y x z, on a grid that divides the scan's.
        scan: its image and voxels.

    Returns:
        N x C.
    """
    strides = [extent // tokens for extent, tokens in zip(scan.image.shape[1:], level.shape[1:], strict=True)]
    x, y, z = (scan.voxels // torch.tensor(strides)).T.to(level.device)
    return level[:, x, y, z].T


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


def _crop(image: Tensor, codes: Tensor, window: Triple, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A window around a voxel of a structure that is drawn; beyond the scan, zeros of no class (-1)."""
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
