"""Inpainting: what was in the cuboids that were cut out? Tang et al. (2111.14791), section 3.2."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from pretrain.losses import l1_where
from pretrain.proxies.config import InpaintingConfig
from pretrain.proxies.proxy import Judged, Proxy
from pretrain.views import Views, normal_like, uniform
from swin_unetr.config import NetworkConfig, Triple
from swin_unetr.networks.conv_decoder import Convolution

#: The fewest channels of the decoder.
_NARROWEST = 8


def random_cuboids(
    count: int, size: Triple, share: float, edges: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Masks of cuboids that cover up to a share of the volume, which each sample draws between 0 and `share`.

    The cuboids of a sample are taken one after the other until the next would exceed its share; where they overlap,
    they cover less.

    Args:
        count: samples.
        size: voxels along X, Y, Z.
        share: the largest share of the voxels.
        edges: shortest and longest edge, as shares of the size.
        generator: source of all random numbers; the masks are on its device.

    Returns:
        count x 1 x X x Y x Z, bool.
    """
    limits = []
    for extent in size:
        shortest = max(1, int(edges[0] * extent))
        limits.append((shortest, max(shortest, int(edges[1] * extent))))
    typical = math.prod((low + high) / 2 / extent for (low, high), extent in zip(limits, size, strict=True))
    number = math.ceil(share / typical)
    number += math.ceil(2 * math.sqrt(number))  # a sample of small cuboids needs more of them
    draws = uniform((3, 2, count, number), generator)
    wanted = share * uniform((count, 1), generator)
    inside, volume = [], torch.ones((count, number), device=generator.device)
    for (low, high), extent, (draw_edge, draw_start) in zip(limits, size, draws, strict=True):
        edge = low + (draw_edge * (high - low + 1)).floor()
        start = (draw_start * (extent - edge + 1)).floor()
        place = torch.arange(extent, device=generator.device)
        inside.append(((place >= start[..., None]) & (place < (start + edge)[..., None])).float())
        volume = volume * edge / extent
    kept = (volume.cumsum(1) <= wanted).float()
    # A voxel is covered where the three intervals of any cuboid meet: a product of matrices over the cuboids.
    x, y, z = inside
    slabs = (y[..., :, None] * z[..., None, :]).flatten(2)
    covered: Tensor = (x * kept[..., None]).transpose(1, 2) @ slabs
    return covered.view(count, 1, *size) > 0


class Inpainting(Proxy):
    """Fills cuboids with noise and rebuilds the view by a light decoder from the bottleneck.

    Args:
        config: how much is cut out, what fills it, what is compared.
        network: shape of the encoder.
    """

    def __init__(self, config: InpaintingConfig, network: NetworkConfig) -> None:
        super().__init__(config, network)
        self._config = config
        self.decoder = _decoder(
            network.deepest_width, (*network.strides[::-1], network.patch_size), network.in_channels
        )

    def view(self, views: Views, generator: torch.Generator) -> Views:
        """Cut out and fill with noise; with `paste`, also fill from other crops."""
        config, seen = self._config, views.seen
        size = (seen.shape[2], seen.shape[3], seen.shape[4])
        cut = random_cuboids(len(seen), size, config.share, config.edges, generator)
        noise = normal_like(seen, generator)
        if config.noise == "unit":
            noise = (0.5 + noise / 8).clamp(0, 1)
        else:
            mean, deviation = seen.mean((1, 2, 3, 4), keepdim=True), seen.std((1, 2, 3, 4), keepdim=True)
            noise = torch.addcmul(mean, noise, deviation)
        seen = torch.where(cut, noise, seen)
        crops = len(seen) // views.count
        if config.paste and crops > 1:
            pasted = random_cuboids(len(seen), size, config.share, config.edges, generator)
            step = 1 + (uniform((1,), generator) * (crops - 1)).long()
            rows = torch.arange(len(seen), device=seen.device)
            others = (rows + step) % crops + rows // crops * crops  # of the same view
            seen, cut = torch.where(pasted, seen[others], seen), cut | pasted
        return views.with_notes(seen=seen, cut=cut)

    def forward(self, deepest: Tensor) -> Tensor:
        """N x C x X x Y x Z."""
        rebuilt: Tensor = self.decoder(deepest)
        return rebuilt

    def judge(self, output: Tensor, views: Views) -> Judged:
        """L1 over the whole view or over the voxels that were cut out."""
        loss = l1_where(output, views.whole, views.notes["cut"] if self._config.masked_only else None)
        return Judged(loss=loss, picture=(views.whole[:1], views.seen[:1], output[:1]))


def _decoder(width: int, strides: tuple[Triple, ...], channels: int) -> nn.Sequential:
    """Convolve, double the resolution, halve the channels, until the voxels are reached.

    Normed over all channels together: a bottleneck of a single voxel has no spread within one channel.
    """
    widths = [max(_NARROWEST, width // 2**step) for step in range(len(strides) + 1)]
    stages: list[nn.Module] = []
    for (wide, narrow), stride in zip(itertools.pairwise(widths), strides, strict=True):
        stages += [Convolution(wide, narrow), nn.GroupNorm(1, narrow), nn.LeakyReLU(0.01, inplace=True)]
        if stride != (1, 1, 1):
            factors = tuple(float(factor) for factor in stride)
            stages.append(nn.Upsample(scale_factor=factors, mode="trilinear", align_corners=False))
    return nn.Sequential(*stages, nn.Conv3d(widths[-1], channels, 1))
