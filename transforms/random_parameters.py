"""The random numbers of a training crop, and the changes of a batch that follow from them.

The numbers of a crop lie between 0 and 1 and are drawn on the host, so that they depend on the seed alone, not on the
device nor on the batch.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from swin_unetr.augment_config import OfChannels
from swin_unetr.config import AugmentConfig, Triple

#: How many numbers each change takes: the first decides whether it is made, the others how.
_WIDTHS = {"flip": 3, "turn": 2, "affine": 7, "noise": 3, "blur": 4, "gamma": 2, "scale": 2, "shift": 2}
#: The same of changes that came later. Their numbers are drawn after the others, which stay what they were. The last
#: one seeds MONAI's transforms.
_LATER = {"low_resolution": 2, "contrast": 2, "inverted_gamma": 2, "monai": 1}
#: Numbers of a crop.
NUMBERS = sum((*_WIDTHS.values(), *_LATER.values()))
#: Bits of a random seed that a number between 0 and 1 holds.
_SEED_BITS = 53
#: The seeds of MONAI's transforms have fewer.
_MONAI_BITS = 32


def draw(count: int, generator: torch.Generator) -> Tensor:
    """Numbers for `count` crops: count x `NUMBERS`, float64, on the host."""
    widths = (sum(of.values()) for of in (_WIDTHS, _LATER))
    return torch.cat([torch.rand(count, width, generator=generator, dtype=torch.float64) for width in widths], dim=1)


class Changes(NamedTuple):
    """Changes of the crops of a batch. Rows are the indices (int64) of the n crops that are changed.

    Values that can be drawn for each channel are n x channels, or n x 1 for all channels together.
    """

    affine_rows: Tensor
    #: n x 3 x 3: from voxels of the result to voxels of the crop, both counted from the centre.
    matrices: Tensor
    noise_rows: Tensor
    #: n x 1 or channels: standard deviations.
    noise_std: Tensor
    #: Seeds, on the host.
    noise_seeds: list[int]
    blur_rows: Tensor
    #: n x 3: in voxels along X, Y, Z.
    sigmas: Tensor
    low_rows: Tensor
    #: n x 1 or channels: the share of the voxels along each axis.
    low_shares: Tensor
    contrast_rows: Tensor
    #: n x 1 or channels.
    contrasts: Tensor
    #: Whether intensities stay within their range.
    contrast_keeps_range: bool
    inverted_rows: Tensor
    #: n x 1 or channels.
    inverted_powers: Tensor
    gamma_rows: Tensor
    #: n x 1 or channels.
    powers: Tensor
    #: B x 1 or channels, and B x 1. None if no crop is scaled or shifted.
    factors: Tensor | None
    addends: Tensor | None

    def pinned(self) -> Changes:
        """The same in pinned memory, which is copied to a GPU while the program goes on."""
        tensors: dict[str, Any] = {name: value for name, value in self._asdict().items() if isinstance(value, Tensor)}
        return self._replace(**{name: value.pin_memory() for name, value in tensors.items()})

    def to(self, device: torch.device) -> Changes:
        """The same on a device."""
        tensors: dict[str, Any] = {name: value for name, value in self._asdict().items() if isinstance(value, Tensor)}
        return self._replace(**{name: value.to(device) for name, value in tensors.items()})


def changes_of(draws: Tensor, augment: AugmentConfig, channels: int = 1) -> Changes:
    """The changes that random numbers stand for.

    Args:
        draws: B x `NUMBERS`.
        augment: which changes, how large and how often.
        channels: of the images.
    """
    numbers = _named(draws)
    affine_rows, affine = _chosen(numbers["affine"], augment.affine_probability)
    noise_rows, noise = _chosen(numbers["noise"], augment.noise_probability)
    blur_rows, blur = _chosen(numbers["blur"], augment.blur_probability)
    low_rows, low = _chosen(numbers["low_resolution"], augment.low_resolution_probability)
    contrast_rows, contrast = _chosen(numbers["contrast"], augment.contrast_probability)
    inverted_rows, inverted = _chosen(numbers["inverted_gamma"], augment.inverted_gamma_probability)
    gamma_rows, gamma = _chosen(numbers["gamma"], augment.gamma_probability)

    def of_channels(each: Tensor, change: OfChannels) -> Tensor:
        return _for_channels(each, channels) if change in augment.per_channel else each[:, None]

    scale = torch.where(
        numbers["scale"][:, :1] < augment.intensity_scale_probability,
        _either_way(of_channels(numbers["scale"][:, 1], "intensity_scale"), augment.intensity_scale),
        0.0,
    ).float()
    shift = torch.where(
        numbers["shift"][:, :1] < augment.intensity_shift_probability,
        _either_way(numbers["shift"][:, 1:], augment.intensity_shift),
        0.0,
    ).float()
    changed = bool(scale.any() or shift.any())
    return Changes(
        affine_rows=affine_rows,
        matrices=_matrices(affine, augment).float(),
        noise_rows=noise_rows,
        noise_std=(of_channels(noise[:, 0], "noise") * augment.noise_std).float(),
        noise_seeds=[int(number * 2**_SEED_BITS) for number in noise[:, 1].tolist()],
        blur_rows=blur_rows,
        sigmas=_between(blur, augment.blur_sigma).float(),
        low_rows=low_rows,
        low_shares=_between(of_channels(low[:, 0], "low_resolution"), augment.low_resolution).float(),
        contrast_rows=contrast_rows,
        contrasts=_log_between(of_channels(contrast[:, 0], "contrast"), augment.contrast).float(),
        contrast_keeps_range=augment.contrast_keeps_range,
        inverted_rows=inverted_rows,
        inverted_powers=_log_between(of_channels(inverted[:, 0], "inverted_gamma"), augment.gamma).float(),
        gamma_rows=gamma_rows,
        powers=_log_between(of_channels(gamma[:, 0], "gamma"), augment.gamma).float(),
        factors=1 + scale if changed else None,
        addends=shift if changed else None,
    )


def sides_exchanged(draws: Tensor, augment: AugmentConfig) -> bool:
    """Whether a crop is mirrored along X and its sides are to be exchanged.

    Quarter turns exchange nothing: a body that is turned is the same body.

    Args:
        draws: `NUMBERS` of one crop.
        augment: how often.
    """
    return augment.exchange_sides and bool(_named(draws)["flip"][0] < augment.flip_probability[0])


def monai_seeds(draws: Tensor) -> list[int]:
    """A seed for each crop.

    Args:
        draws: B x `NUMBERS`.
    """
    return [int(number * 2**_MONAI_BITS) for number in _named(draws)["monai"][:, 0].tolist()]


def _for_channels(numbers: Tensor, channels: int) -> Tensor:
    """Numbers for the channels of each crop, which follow from its number: n x channels; a single channel has that."""
    if channels == 1:
        return numbers[:, None]
    drawn = numbers.new_empty(len(numbers), channels)
    for row, number in zip(drawn, numbers.tolist(), strict=True):
        generator = torch.Generator().manual_seed(int(number * 2**_SEED_BITS))
        row.copy_(torch.rand(channels, generator=generator, dtype=numbers.dtype))
    return drawn


def orientation(draws: Tensor, augment: AugmentConfig, size: Triple) -> tuple[bool, list[int]]:
    """How a crop is mirrored and turned by quarters.

    Args:
        draws: `NUMBERS` of one crop.
        augment: how often.
        size: of the crop, voxels along X, Y, Z.

    Returns:
        Whether X and Y are swapped, and the axes (1, 2, 3 for X, Y, Z) that are mirrored afterwards.
    """
    numbers = _named(draws)
    mirrored = [chance < most for chance, most in zip(numbers["flip"].tolist(), augment.flip_probability, strict=True)]
    chance, number = numbers["turn"].tolist()
    square = size[0] == size[1]  # a quarter turn would change the shape of other crops, half a turn does not
    turns = 0 if chance >= augment.rotate90_probability else 1 + int(3 * number) if square else 2
    swapped = turns % 2 == 1
    if swapped:
        mirrored[:2] = mirrored[1::-1]
    if turns in (1, 2):
        mirrored[0] = not mirrored[0]
    if turns in (2, 3):
        mirrored[1] = not mirrored[1]
    return swapped, [axis for axis, is_so in enumerate(mirrored, start=1) if is_so]


def margins(draws: Tensor, augment: AugmentConfig, size: Triple) -> Triple | None:
    """How far the rotation with zoom of a crop reaches beyond each of its sides. None if it is not rotated.

    Args:
        draws: `NUMBERS` of one crop.
        augment: how often and how much.
        size: of the crop, voxels along X, Y, Z.

    Returns:
        Voxels along X, Y, Z of the crop as it is after mirrors and quarter turns.
    """
    rows, affine = _chosen(_named(draws)["affine"][None], augment.affine_probability)
    if not len(rows):
        return None
    half = (torch.tensor(size, dtype=draws.dtype) - 1) / 2
    reached = _matrices(affine, augment)[0].abs() @ half
    x, y, z = (reached - half).ceil().clamp(min=0).int().tolist()
    return x, y, z


def _named(draws: Tensor) -> dict[str, Tensor]:
    widths = {**_WIDTHS, **_LATER}
    return dict(zip(widths, torch.split(draws, list(widths.values()), dim=-1), strict=True))


def _chosen(numbers: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """Rows of the crops that are changed, and their numbers for the change."""
    rows = (numbers[:, 0] < probability).nonzero()[:, 0]
    return rows, numbers[rows, 1:]


def _between(number: Tensor, bounds: tuple[float, float]) -> Tensor:
    return bounds[0] + number * (bounds[1] - bounds[0])


def _either_way(number: Tensor, extent: float) -> Tensor:
    return (2 * number - 1) * extent


def _log_between(number: Tensor, bounds: tuple[float, float]) -> Tensor:
    return _between(number, (math.log(bounds[0]), math.log(bounds[1]))).exp()


def _matrices(numbers: Tensor, augment: AugmentConfig) -> Tensor:
    """Rotations about X, then Y, then Z, after a zoom: n x 3 x 3 from n x 6."""
    angles = (2 * numbers[:, :3] - 1) * torch.deg2rad(torch.tensor(augment.rotate_degrees, dtype=numbers.dtype))
    matrix = torch.eye(3, dtype=numbers.dtype).expand(len(numbers), 3, 3)
    for axis in range(3):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        sine, cosine = angles[:, axis].sin(), angles[:, axis].cos()
        turn = torch.eye(3, dtype=numbers.dtype).repeat(len(numbers), 1, 1)
        turn[:, one, one], turn[:, other, other] = cosine, cosine
        turn[:, other, one], turn[:, one, other] = sine, -sine
        matrix = turn @ matrix
    return matrix / _between(numbers[:, 3:], augment.zoom)[:, None]
