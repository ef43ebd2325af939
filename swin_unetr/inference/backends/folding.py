"""Exact algebra on a trained network: the transposed convolutions of the decoder folded into what comes behind them.

Each step of the decoder upsamples by a transposed convolution whose stride is its kernel, joins the skip, and applies
a 3x3x3 and a 1x1x1 convolution. Nothing nonlinear lies between, so that upsampling and convolution are one transposed
convolution, two voxels wider, and the joined map is never made. At full resolution, where most of the work is, 8
products a voxel and pair of channels take the place of 28.
"""

from __future__ import annotations

import copy
import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swin_unetr.networks import SegmentationNetwork, SwinUNETR
from swin_unetr.networks.conv_decoder import ResidualBlock, UpBlock
from swin_unetr.networks.in_place import NEGATIVE_SLOPE
from swin_unetr.networks.instance_norm import instance_norm

#: Relative difference (root mean square) of a folded network in float32 that is rounding.
ROUNDING = 1e-4


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


class FoldedUpBlock(nn.Module):
    """The same function as an `UpBlock`; see there for what goes in and comes out."""

    def __init__(self, block: UpBlock) -> None:
        super().__init__()
        half = block.upsample.out_channels
        inner, shortcut = block.block, block.block.shortcut
        assert shortcut is not None  # twice the channels go in
        up = block.upsample.weight.detach()
        self.stride = tuple(block.upsample.stride)
        self.register_buffer("up1", fold_kernels(up, inner.conv1.weight.detach()[:, :half]))
        self.register_buffer("up_shortcut", fold_kernels(up, shortcut.weight.detach()[:, :half]))
        self.register_buffer("skip1", inner.conv1.weight.detach()[:, half:].contiguous())
        self.register_buffer("skip_shortcut", shortcut.weight.detach()[:, half:].contiguous())
        self.conv2 = inner.conv2

    up1: Tensor
    up_shortcut: Tensor
    skip1: Tensor
    skip_shortcut: Tensor

    def forward(self, coarse: Tensor, skip: Tensor, through: ResidualBlock | None = None) -> Tensor:
        """See `UpBlock`."""
        skip = skip if through is None else through(skip)
        hidden = F.conv_transpose3d(coarse, self.up1, stride=self.stride, padding=1)
        hidden = hidden + F.conv3d(skip, self.skip1, padding=1)
        residual = F.conv_transpose3d(coarse, self.up_shortcut, stride=self.stride)
        residual = instance_norm(residual + F.conv3d(skip, self.skip_shortcut))
        hidden = F.leaky_relu(instance_norm(hidden), NEGATIVE_SLOPE)
        return F.leaky_relu(instance_norm(self.conv2(hidden)) + residual, NEGATIVE_SLOPE)


def fold_upsampling(network: SegmentationNetwork) -> SegmentationNetwork:
    """A network that computes the same with fewer operations, for inference only; it shares the other weights.

    Args:
        network: in evaluation mode; left as it is.

    Returns:
        The folded network, or the given one if the two differ on a sample or if it is a baseline.
    """
    if not isinstance(network, SwinUNETR):
        return network
    folded = copy.copy(network)
    folded._modules = dict(network._modules)
    folded.decoder = nn.ModuleList(
        FoldedUpBlock(block) if isinstance(block, UpBlock) else block for block in network.decoder
    )
    return folded.eval() if difference(folded, network) < ROUNDING else network


def difference(one: SwinUNETR, other: SwinUNETR) -> float:
    """Difference of two networks' features on noise, relative (root mean square), in float32.

    The sample is twice the smallest size that the networks take along each axis: it has voxels away from its border.
    """
    device = next(other.parameters()).device
    size = [2 * extent for extent in other.config.size_divisor]
    sample = torch.randn((1, other.config.in_channels, *size), generator=torch.Generator().manual_seed(0)).to(device)
    with torch.inference_mode():
        expected = other.forward_features(sample)
        return float((one.forward_features(sample) - expected).norm() / expected.norm())
