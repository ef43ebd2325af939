"""Random crops of preprocessed scans, in memory or on disk: where they lie, and how they are turned.

Drawn as MONAI's `RandSpatialCropSamplesd`, `RandCropByPosNegLabeld` and `RandCropByLabelClassesd` draw, with MONAI's
own functions; those classes need a whole scan in memory, and look for its structures at every visit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from monai.data.utils import get_random_patch
from monai.transforms import Randomizable, Transform
from monai.transforms.utils import generate_label_classes_crop_centers, generate_pos_neg_label_crop_centers
from monai.utils import MAX_SEED
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from swin_unetr.config import AugmentConfig, SamplingConfig, Triple
from swin_unetr.tasks import Task
from transforms.augment import Wide
from transforms.exchange import ExchangeSides, exchanged_pairs, mirrored_as_possible
from transforms.labels import ignored_value
from transforms.random_parameters import Changes, changes_of, draw, margins, orientation, sides_exchanged

#: "image": C x X x Y x Z, float32; "label": encoded targets (`transforms.labels`). A training crop also has
#: "draws": its random numbers, and, if it will be rotated, `WIDE`: image and label with a margin around them.
Sample = dict[str, Tensor]
WIDE = ("wide_image", "wide_label")
#: C x X x Y x Z.
Voxels = NDArray[Any] | Tensor
#: Indices into lists of places by class: background comes first, then each target; any target comes last.
BACKGROUND, ANY = 0, -1


class Scan(Protocol):
    """A preprocessed scan with its targets, wherever it is."""

    @property
    def shape(self) -> Triple:
        """Voxels along X, Y, Z."""

    def crop(self, start: Sequence[int], size: Sequence[int]) -> tuple[Voxels, Voxels]:
        """Image and label of a part of it, C x X x Y x Z each, 0 beyond the scan."""

    def places(self, which: int) -> NDArray[np.int64]:
        """Flat indices of voxels of background (0), of the n-th target, or of any (-1): all, or an even sample."""


class ScanInMemory:
    """A scan whose voxels are in the memory of the host or of a device.

    Args:
        image: C x X x Y x Z, float32.
        label: encoded targets.
        places: of background, of each target, and of any target if there are several (`transforms.class_places`). If
            None, each call searches the label.
    """

    def __init__(self, image: Tensor, label: Tensor, places: Sequence[NDArray[np.int64]] | None = None) -> None:
        self.image, self.label, self._places = image, label, places

    @property
    def shape(self) -> Triple:
        """Voxels along X, Y, Z."""
        x, y, z = self.image.shape[1:]
        return x, y, z

    def crop(self, start: Sequence[int], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """A part that overlaps the scan. It is not copied if it lies within the scan."""
        here: list[slice] = []
        around: list[int] = []
        for first, length, there in zip(start, size, self.shape, strict=True):
            here.append(slice(max(first, 0), first + length))
            around = [max(-first, 0), max(first + length - there, 0), *around]
        part = (slice(None), *here)
        image, label = self.image[part], self.label[part]
        return (functional.pad(image, around), functional.pad(label, around)) if any(around) else (image, label)

    def places(self, which: int) -> NDArray[np.int64]:
        """Voxels of a class."""
        if self._places is not None:
            return self._places[which]
        return np.flatnonzero(class_mask(self.label.numpy(), which))


class Shifted:
    """A scan somewhere inside a larger grid, with 0 around it.

    Args:
        scan: the scan.
        before: empty voxels before it, along X, Y, Z.
        shape: of the grid.
    """

    def __init__(self, scan: Scan, before: Sequence[int], shape: Triple) -> None:
        self._scan, self._before, self.shape = scan, before, shape

    def crop(self, start: Sequence[int], size: Sequence[int]) -> tuple[Voxels, Voxels]:
        """A part of the grid."""
        return self._scan.crop([first - before for first, before in zip(start, self._before, strict=True)], size)

    def places(self, which: int) -> NDArray[np.int64]:
        """Voxels of a class as indices of the grid; voxels around the scan do not count as background."""
        along = np.unravel_index(self._scan.places(which), self._scan.shape)
        shifted = tuple(indices + before for indices, before in zip(along, self._before, strict=True))
        return np.asarray(np.ravel_multi_index(shifted, self.shape), np.int64)


class LabelledScan:
    """A scan in which some structures were not looked for: crops are never centred on them.

    Args:
        scan: the scan.
        looked_for: of each target.
    """

    def __init__(self, scan: Scan, looked_for: Sequence[bool]) -> None:
        self._scan, self._looked_for, self.shape = scan, looked_for, scan.shape

    def crop(self, start: Sequence[int], size: Sequence[int]) -> tuple[Voxels, Voxels]:
        """A part of it."""
        return self._scan.crop(start, size)

    def places(self, which: int) -> NDArray[np.int64]:
        """Voxels of a class; a structure that was not looked for has none, nor has "any" those of such structures."""
        if which == BACKGROUND:
            return self._scan.places(which)
        nothing = np.empty(0, np.int64)
        if which != ANY:
            return self._scan.places(which) if self._looked_for[which - 1] else nothing
        targets = list(enumerate(self._looked_for, 1))
        if not any(len(self._scan.places(target)) for target, is_so in targets if not is_so):
            return self._scan.places(ANY)
        return np.unique(np.concatenate([nothing, *(self._scan.places(target) for target, is_so in targets if is_so)]))


class PlaceAtRandom(Randomizable, Transform):  # type: ignore[misc]  # MONAI has no types
    """Pad a scan that is smaller than the crop with 0, the scan at a random place inside.

    MONAI's pad puts it in the middle, where the network would learn to expect it: the windows of a prediction hold
    scans cut off on any side.

    Args:
        size: of the crop, X, Y, Z.
    """

    def __init__(self, size: Triple) -> None:
        self.size = size

    def __call__(self, scan: Scan) -> Scan:
        """Draw a place, and pad."""
        lacks = [max(0, wanted - there) for wanted, there in zip(self.size, scan.shape, strict=True)]
        if not any(lacks):
            return scan
        before = [int(self.R.randint(lack + 1)) for lack in lacks]
        x, y, z = (lack + there for lack, there in zip(lacks, scan.shape, strict=True))
        return Shifted(scan, before, (x, y, z))


class TakeCrops(Randomizable, Transform):  # type: ignore[misc]
    """Crops of a scan that is no smaller than they are.

    Args:
        sampling: size, number and place of the crops.
        task: how many targets there are.
        rarity: of each target for the scheme "classes", how often it is cropped at, against the others. If None, all
            that a scan has are equally often.
    """

    def __init__(self, sampling: SamplingConfig, task: Task, rarity: Sequence[float] | None = None) -> None:
        self._sampling = sampling
        self._targets = len(task.targets)
        self._rarity = (1.0,) * self._targets if rarity is None else tuple(rarity)

    def __call__(self, scan: Scan) -> list[Sample]:
        """Draw the places, and read."""
        return [_sample(scan, start, self._sampling.crop_size) for start in self.starts(scan)]

    def starts(self, scan: Scan) -> list[Triple]:
        """Draw the places: the first voxel of each crop."""
        sampling = self._sampling
        if sampling.scheme == "random":
            return self._anywhere(scan)
        background = scan.places(BACKGROUND)
        share = sampling.positive / (sampling.positive + sampling.negative)
        drawn = (sampling.crop_size, sampling.crops_per_scan)
        if sampling.scheme == "positive_negative":
            anything = scan.places(ANY)
            if not len(background) and not len(anything):  # every voxel is ignored
                return self._anywhere(scan)
            centers = generate_pos_neg_label_crop_centers(*drawn, share, scan.shape, anything, background, self.R)
        else:
            places = [background, *(scan.places(target) for target in range(1, self._targets + 1))]
            shown = [len(indices) > 0 for indices in places]
            if not any(shown):
                return self._anywhere(scan)
            there = [of * is_there for of, is_there in zip(self._rarity, shown[1:], strict=True)]
            structures = sum(there)
            if not structures or not shown[0]:  # one of the two is missing: crop at the other
                share = float(structures > 0)
            ratios = [1 - share, *(share * of / (structures or 1) for of in there)]
            centers = generate_label_classes_crop_centers(*drawn, scan.shape, places, ratios, self.R, warn=False)
        return [
            tuple(max(int(at) - length // 2, 0) for at, length in zip(center, sampling.crop_size, strict=True))  # type: ignore[misc]
            for center in centers
        ]

    def _anywhere(self, scan: Scan) -> list[Triple]:
        seed = int(self.R.randint(MAX_SEED, dtype="uint32"))  # as in MONAI's crop of several images
        generator = np.random.RandomState(seed)
        patches = (
            get_random_patch(scan.shape, self._sampling.crop_size, generator)
            for _ in range(self._sampling.crops_per_scan)
        )
        return [(x.start, y.start, z.start) for x, y, z in patches]


class RandomCrops:
    """Random crops, mirrored and turned by quarters, with the random numbers for the other changes of a batch.

    Args:
        sampling: size, number and place of the crops.
        augment: how often they are mirrored and turned, and whether paired structures are exchanged then.
        task: how many targets there are, and which of them are pairs.
        rarity: of each target (`TakeCrops`).
    """

    def __init__(
        self, sampling: SamplingConfig, augment: AugmentConfig, task: Task, rarity: Sequence[float] | None = None
    ) -> None:
        self._place, self._take = PlaceAtRandom(sampling.crop_size), TakeCrops(sampling, task, rarity)
        self._size = sampling.crop_size
        self._augment = mirrored_as_possible(augment, task)
        self._exchange = ExchangeSides(task, exchanged_pairs(augment, task))

    def __call__(self, scan: Scan, generator: torch.Generator) -> list[Sample]:
        """`crops_per_scan` samples of the crop's size, which share no memory with the scan.

        Args:
            scan: the source of the crops.
            generator: on the host; the only source of randomness.
        """
        for step in (self._place, self._take):
            step.set_random_state(seed=int(torch.randint(MAX_SEED, (), generator=generator)))
        placed = self._place(scan)
        starts = self._take.starts(placed)
        return [self.read(placed, *each) for each in zip(starts, draw(len(starts), generator), strict=True)]

    def channels(self, values: Tensor, crop: Sample) -> Tensor:
        """Values of the output channels of the network, such as whether each is labelled, exchanged as a crop's label.

        Args:
            values: one for each channel.
            crop: from here.
        """
        return self._exchange.channels(values) if sides_exchanged(crop["draws"], self._augment) else values

    def read(self, scan: Scan, start: Triple, draws: Tensor) -> Sample:
        """The sample of one place.

        Args:
            scan: the source of the crop.
            start: its first voxel.
            draws: `NUMBERS` of the crop.
        """
        size = self._size
        swapped, mirrored = orientation(draws, self._augment, size)
        around = margins(draws, self._augment, size)
        more = x, y, z = around or (0, 0, 0)
        if swapped:  # the margins are those of the crop as it is turned
            more = y, x, z
        crop = _sample(
            scan,
            [first - margin for first, margin in zip(start, more, strict=True)],
            [length + 2 * margin for length, margin in zip(size, more, strict=True)],
        )
        # A copy in any case, so that a crop shares no memory with the scan.
        turned = {key: (each.transpose(1, 2) if swapped else each).flip(mirrored) for key, each in crop.items()}
        if sides_exchanged(draws, self._augment):
            turned["label"] = self._exchange(turned["label"])
        if around is None:
            return {"draws": draws, **turned}
        along = (slice(margin, margin + length) for margin, length in zip(around, size, strict=True))
        middle = (slice(None), *along)
        wide = dict(zip(WIDE, turned.values(), strict=True))
        return {"draws": draws, **{key: each[middle] for key, each in turned.items()}, **wide}


def joined(samples: Sequence[Sample], augment: AugmentConfig) -> tuple[Tensor, Tensor, Changes, list[Wide]]:
    """Training crops as a batch: images, labels, and the changes that are still to be made to them.

    Args:
        samples: at least one.
        augment: what is changed.

    Returns:
        B x C x X x Y x Z each; the changes, on the host; and the crops that are rotated, with their margins.
    """
    image, label, draws = (torch.stack([crop[key] for crop in samples]) for key in ("image", "label", "draws"))
    wide = [(crop[WIDE[0]], crop[WIDE[1]]) for crop in samples if WIDE[0] in crop]
    return image, label, changes_of(draws, augment, image.shape[1]), wide


def _sample(scan: Scan, start: Sequence[int], size: Sequence[int]) -> Sample:
    image, label = scan.crop(start, size)
    return {"image": torch.as_tensor(image), "label": torch.as_tensor(label)}


def class_mask(label: NDArray[Any], which: int) -> NDArray[np.bool_]:
    """Where a class is.

    Args:
        label: encoded targets, C x ...; ignored voxels are of no class.
        which: background (0), the n-th target, or any target (-1).

    Returns:
        The shape of a channel.
    """
    mask: NDArray[np.bool_]
    if which == BACKGROUND:
        mask = (label == 0).all(axis=0)
    elif which == ANY:
        mask = ((label != 0) & (label != ignored_value(label))).any(axis=0)
    elif len(label) == 1:
        mask = label[0] == which
    else:
        mask = label[which - 1] == 1
    return mask


def class_voxels(label: NDArray[Any], targets: int) -> tuple[int, ...]:
    """Voxels that are background, and those of each target.

    Args:
        label: encoded targets, C x X x Y x Z.
        targets: how many there are.
    """
    return tuple(int(np.count_nonzero(class_mask(label, which))) for which in range(targets + 1))
