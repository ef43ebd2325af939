"""Collects the signals of a case while it is segmented: block by block from probabilities, window by window from the
network. The result does not depend on how the scan was cut into blocks and tiles: all sums are of whole numbers, and a
window that is computed for two tiles counts once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swin_unetr.config import Triple
from swin_unetr.tasks import Task
from swin_unetr.trust.signals import LEVELS, CaseSignals, Labels, pairwise_dice, structure_signals
from swin_unetr.trust.temperature import tempered
from transforms.linear import Box

#: Probabilities are summed as whole numbers of this part.
_PARTS = 1 << 16
#: Bytes that a voxel of the native grid takes at most: an entropy, another at a temperature, a margin, and at the end
#: the uncertainty on the grid of the file.
BYTES_PER_VOXEL = 4


class Recorder:
    """The signals of one case, on its native grid.

    Args:
        task: what the classes mean.
        shape: voxels of the native grid.
        members: models whose probabilities are averaged.
        temperature: of `uncertainty`; signals are of the probabilities as they are.
    """

    def __init__(self, task: Task, shape: Triple, members: int, temperature: float = 1.0) -> None:
        self._task, self._temperature = task, temperature
        # X x Y x Z, in parts of `LEVELS`; sure background where nothing is computed.
        self._entropy = np.zeros(shape, np.uint8)
        #: The entropy at the temperature, X x Y x Z.
        self.uncertainty = self._entropy if temperature == 1 else np.zeros(shape, np.uint8)
        self._margin = np.full(shape, LEVELS, np.uint8)
        structures = len(task.targets)
        #: By structure: voxels predicted, and sums of its probability there and everywhere, in `_PARTS`.
        self._sums = np.zeros((structures, 3), np.int64)
        self._members = np.zeros((structures, members, members), np.int64)
        self._views: NDArray[np.int64] | None = None
        self._windows = [WindowFeatures() for _ in range(members)]
        self._seen: list[set[Triple]] = [set() for _ in range(members)]

    def block(self, probabilities: Tensor, members: Sequence[Tensor], box: Box) -> None:
        """Take a block.

        Args:
            probabilities: classes x box, the mean of the members.
            members: of each member classes x box, probabilities or scores; empty of a single member.
            box: of the native grid.
        """
        place = tuple(slice(*span) for span in box)
        entropy, margin = doubts(probabilities, self._task)
        self._entropy[place], self._margin[place] = _levels(entropy), _levels(margin)
        if self._temperature != 1:
            calibrated = tempered(probabilities, self._temperature, self._task.activation)
            self.uncertainty[place] = _levels(doubts(calibrated, self._task)[0])
        self._sums += self._overlap(probabilities.flatten(1))
        if members:
            self._members += shared_voxels([list(self.masks(each, bar=0.5)) for each in members])

    def _overlap(self, probabilities: Tensor) -> NDArray[np.int64]:
        """By structure: voxels predicted, and its probability there and everywhere in `_PARTS`; classes x voxels."""
        parts = (probabilities * _PARTS).round_()  # whole numbers, whose sums in float64 are exact
        everywhere = parts.sum(dim=1, dtype=torch.float64)
        if self._task.activation == "sigmoid":
            masks = probabilities > 0.5
            inside = (parts * masks).sum(dim=1, dtype=torch.float64)
            return torch.stack((masks.sum(dim=1), inside, everywhere), dim=1).long().cpu().numpy()
        highest = probabilities.max(dim=0)
        voxels = torch.bincount(highest.indices, minlength=len(parts))
        inside = torch.bincount(highest.indices, (highest.values * _PARTS).round_().double(), minlength=len(parts))
        return torch.stack((voxels, inside, everywhere), dim=1).long()[1:].cpu().numpy()

    @property
    def compares_views(self) -> bool:
        """Whether mirrored views are compared: where there is a single member."""
        return len(self._windows) == 1

    def labels_of(self, scores: Tensor) -> Tensor:
        """What `views` takes of a window's scores, classes x ... before the activation: a byte or two a voxel."""
        if self._task.activation == "sigmoid":
            return scores > 0
        return scores.argmax(dim=0).to(torch.uint8 if len(scores) <= 256 else torch.int16)

    def views(self, starts: Sequence[Triple], views: Sequence[Sequence[Tensor]]) -> None:
        """Take the mirrored views of a batch of windows, turned back.

        Args:
            starts: of the windows.
            views: of each view and window what `labels_of` gave.
        """
        structures = range(1, len(self._task.targets) + 1)
        for index, start in enumerate(starts):
            if start in self._seen[0]:
                continue
            labels = [each[index] for each in views]
            exclusive = self._task.activation == "softmax"
            found = shared_voxels([[of == number for number in structures] if exclusive else [*of] for of in labels])
            self._views = found if self._views is None else self._views + found

    def masks(self, values: Tensor, bar: float) -> Iterator[Tensor]:
        """Of each structure, where it is predicted, of classes x ... probabilities or scores."""
        if self._task.activation == "sigmoid":
            yield from (values[index] > bar for index in range(len(values)))
        else:
            highest = values.max(dim=0).indices
            yield from (highest == index for index in range(1, len(values)))

    def windows(self, member: int, starts: Sequence[Triple], features: Tensor | None) -> None:
        """Take the `pooled` features of a batch of windows, B x features; it ends the windows' turn."""
        if features is not None:
            self._windows[member].add(starts, features)
        self._seen[member].update(starts)

    def signals(self, labels: Labels, voxel_mm3: float) -> CaseSignals:
        """All signals, once every voxel is final.

        Args:
            labels: label values on the native grid, as they are written.
            voxel_mm3: volume of a voxel.
        """
        members = len(self._windows)
        shared = self._members if members > 1 else self._views
        structures = {}
        for index, target in enumerate(self._task.targets):
            voxels, inside, everywhere = (int(value) for value in self._sums[index])
            whole = voxels * _PARTS + everywhere
            structures[target.name] = structure_signals(
                labels,
                self._entropy,
                self._margin,
                target,
                voxel_mm3,
                expected_dice=2 * inside / whole if voxels else math.nan,
                agreement=None if shared is None else pairwise_dice(shared[index]),
            )
        compared = None if shared is None else "members" if members > 1 else "mirrored views"
        return CaseSignals(
            structures=structures, compared=compared, features=tuple(of.pooled() for of in self._windows)
        )


class WindowFeatures:
    """The deepest maps of a scan's windows, pooled: mean and maximum of each channel."""

    def __init__(self) -> None:
        self._of: dict[Triple, Tensor] = {}

    def add(self, starts: Sequence[Triple], features: Tensor) -> None:
        """Take B x features; a window that is known already is the same again."""
        for start, each in zip(starts, features, strict=True):
            self._of.setdefault(start, each)

    def pooled(self) -> tuple[float, ...]:
        """Mean over the windows of their means, then maximum over the windows of their maxima; empty of no window."""
        if not self._of:
            return ()
        each = torch.stack([self._of[start] for start in sorted(self._of)]).double()
        half = each.shape[1] // 2
        return tuple(torch.cat((each[:, :half].mean(dim=0), each[:, half:].amax(dim=0))).tolist())


def pooled(maps: Tensor) -> Tensor:
    """Mean and maximum of each channel, B x 2 channels on the CPU, of B x channels x X x Y x Z."""
    flat = maps.detach().float().flatten(2)
    return torch.cat((flat.mean(dim=2), flat.amax(dim=2)), dim=1).cpu()


def doubts(probabilities: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Entropy (0 to 1) and margin of every voxel, of classes x ...; of regions the most and the least of them."""
    if task.activation == "sigmoid":
        other = 1 - probabilities
        entropy = (torch.special.entr(probabilities) + torch.special.entr(other)) / math.log(2)
        return entropy.amax(dim=0), (2 * probabilities - 1).abs_().amin(dim=0)
    entropy = torch.special.entr(probabilities).sum(dim=0) / math.log(len(probabilities))
    first = probabilities.max(dim=0)
    others = probabilities.scatter(0, first.indices[None], -1.0)
    return entropy, first.values - others.amax(dim=0)


def shared_voxels(masks: Sequence[Sequence[Tensor]]) -> NDArray[np.int64]:
    """Voxels that two predictions have in common: structures x predictions x predictions, of predictions x structures
    masks.
    """
    number = len(masks)
    shared = np.zeros((len(masks[0]), number, number), np.int64)
    for structure in range(len(masks[0])):
        for one in range(number):
            for other in range(one, number):
                both = int((masks[one][structure] & masks[other][structure]).sum())
                shared[structure, one, other] = shared[structure, other, one] = both
    return shared


def as_share(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """An entropy in parts of `LEVELS` as a share, 0 to 1, in the same order in memory."""
    share: NDArray[np.float32] = levels.astype(np.float32) / np.float32(LEVELS)
    return share


def _levels(share: Tensor) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = (share * LEVELS).round_().clamp_(0, LEVELS).to(torch.uint8).cpu().numpy()
    return levels
