"""A transposed convolution folded into the convolutions behind it: one product in place of two, at the coarse size.

Nothing nonlinear lies between them. With stride 2, and kernels of 2 and 3 voxels, each fine voxel depends on two coarse
ones along each axis, and which two tells its parity: a convolution of 2x2x2 voxels gives all eight parities, as eight
times the channels. For a fine voxel and a pair of channels, 8 products take the place of 28 with a joined map between
them. The folding of the kernels themselves is part of the graph, so that gradients reach the weights.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swin_unetr.config import Triple

#: What can be folded, and from how many fine voxels on for each coarse channel: fewer do not pay for the folding of the
#: kernels, whose products are those of so many voxels.
STRIDE: Triple = (2, 2, 2)
FEWEST_VOXELS = 256


def fold_kernels(up: Tensor, after: Tensor) -> Tensor:
    """Kernel of one transposed convolution that equals a transposed convolution and the convolution behind it.

    With stride s, voxel i of the coarse map reaches the voxels s*i + q of the fine one through tap q, and these reach
    s*i + q + r - d through tap d of a convolution with padding r on both sides: tap q + 2r - d of the whole, which has
    padding r. Zeros outside the fine map are zeros on both ways.

    Args:
        up: in x middle x sx x sy x sz, of a transposed convolution whose stride is its kernel.
        after: out x middle x k x k x k, of a convolution with padding (k - 1) / 2.

    Returns:
        in x out x (sx + k - 1) x (sy + k - 1) x (sz + k - 1).
    """
    size = after.shape[2]
    mirrored = after.flip((2, 3, 4)).transpose(0, 1).flatten(1)  # middle x (out taps)
    strides = up.shape[2:]
    whole = [stride + size - 1 for stride in strides]
    folded = up.new_zeros((up.shape[0], after.shape[0], *whole))
    for x, y, z in itertools.product(*map(range, strides)):
        part = (up[:, :, x, y, z] @ mirrored).view(*folded.shape[:2], size, size, size)
        folded[:, :, x : x + size, y : y + size, z : z + size] += part
    return folded


def pays(upsample: nn.ConvTranspose3d, skip: Tensor) -> bool:
    """Whether folding is possible for this stride, and the map B x C x X x Y x Z large enough for it to be faster."""
    many = len(skip) * skip[0, 0].numel() >= FEWEST_VOXELS * upsample.in_channels
    return many and tuple(upsample.stride) == STRIDE


def convolve_joined(
    upsample: nn.ConvTranspose3d, convolution: nn.Conv3d, shortcut: nn.Conv3d, coarse: Tensor, skip: Tensor
) -> tuple[Tensor, Tensor]:
    """What two convolutions make of the upsampled map and the skip, joined; the joined map is never made.

    Args:
        upsample: with stride and kernel `STRIDE`, to half the channels that the others take.
        convolution: 3x3x3, padding 1.
        shortcut: 1x1x1.
        coarse: B x C x X x Y x Z.
        skip: B x D x 2X x 2Y x 2Z.

    Returns:
        Results of `convolution` and `shortcut`.
    """
    half = upsample.out_channels
    with torch.autocast(coarse.device.type, enabled=False):  # kernels are rounded once, as they are without folding
        wide = fold_kernels(upsample.weight, convolution.weight[:, :half])
        thin = fold_kernels(upsample.weight, shortcut.weight[:, :half])
        count = wide.shape[1]
        # A fine voxel meets every second tap, the last first: an axis of 4 taps is 2 (of the coarse map) by 2 (parity).
        taps = wide.flip(2, 3, 4).reshape(-1, count, 2, 2, 2, 2, 2, 2).permute(3, 5, 7, 1, 0, 2, 4, 6).flatten(0, 3)
        products = thin.permute(2, 3, 4, 1, 0).flatten(0, 3)
    spread = F.conv3d(coarse, taps, padding=1).permute(0, 2, 3, 4, 1)
    convolved = _interleave(spread, count, shifted=True) + F.conv3d(skip, convolution.weight[:, half:], padding=1)
    spread = F.linear(coarse.permute(0, 2, 3, 4, 1), products)
    beside = F.linear(skip.permute(0, 2, 3, 4, 1), shortcut.weight[:, half:].flatten(1)).permute(0, 4, 1, 2, 3)
    return convolved, _interleave(spread, count, shifted=False) + beside


def _interleave(spread: Tensor, channels: int, *, shifted: bool) -> Tensor:
    """Put parities where they belong.

    Args:
        spread: B x X x Y x Z x (2 2 2 channels); one more along X, Y, Z if `shifted`.
        channels: of the result.
        shifted: whether the odd voxels of an axis begin one further than the even ones.

    Returns:
        B x channels x 2X x 2Y x 2Z, channels-last.
    """
    parts: Tensor = spread.unflatten(4, (2, 2, 2, channels))  # type: ignore[no-untyped-call]  # torch's
    for axis in (1, 2, 3):
        extent = parts.shape[axis] - shifted
        sides = [parts.narrow(axis, side * shifted, extent).select(4, side) for side in (0, 1)]
        parts = torch.stack(sides, axis + 1).flatten(axis, axis + 1)
    return parts.permute(0, 4, 1, 2, 3)
