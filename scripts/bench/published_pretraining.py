"""The published pre-training, rewritten for bench/pretraining.py: the same operations on a batch, in the same order.

After Tang et al. (2111.14791) and their released code where it differs from the paper: Python loops over samples and
blocks, an encoder pass for each view, heads on the first and the second token. Written from a description of it, on
MONAI's encoder, only as a reference for measurements.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import Tensor, nn
from torch.nn import functional as F

#: Largest share of the voxels that blocks cover, and the edges of a block as shares of the sub-volume's.
MOST, SHORTEST, LONGEST = 0.3, 0.05, 0.25
TEMPERATURE = 0.5
EMBEDDING = 512


def rotated(batch: Tensor, rng: random.Random) -> tuple[Tensor, Tensor]:
    """Turn each sample, one after the other, by quarter turns in the Y-Z plane.

    Args:
        batch: B x C x X x Y x Z with Y = Z.
        rng: draws the turns.

    Returns:
        The same shape, and B numbers of quarter turns.
    """
    turned = batch.detach().clone()
    turns = torch.zeros(len(batch), dtype=torch.long, device=batch.device)
    for sample in range(len(batch)):
        number = rng.randrange(4)
        if number:
            turned[sample] = torch.rot90(batch[sample], number, (2, 3))
        turns[sample] = number
    return turned, turns


def damaged(batch: Tensor, rng: random.Random) -> Tensor:
    """Fill blocks of each sample with noise, then put blocks of another sample into it, B x C x X x Y x Z."""
    cut = batch.detach().clone()
    for sample in range(len(cut)):
        _fill_blocks(cut[sample], None, rng)
        other = rng.randrange(len(cut))
        if other != sample:
            _fill_blocks(cut[sample], cut[other], rng)
    return cut


def _fill_blocks(volume: Tensor, source: Tensor | None, rng: random.Random) -> None:
    """Fill random blocks of C x X x Y x Z, in place, until they have the drawn number of voxels."""
    size = volume.shape[1:]
    wanted, filled = rng.uniform(0, MOST) * size.numel(), 0
    while filled < wanted:
        place = []
        for extent in size:
            shortest = max(1, int(SHORTEST * extent))
            start = rng.randrange(extent - shortest + 1)
            place.append(slice(start, min(start + rng.randint(shortest, max(shortest, int(LONGEST * extent))), extent)))
        block = volume[:, place[0], place[1], place[2]]
        if source is None:
            noise = torch.empty_like(block).normal_()
            low, high = noise.min(), noise.max()
            block.copy_((noise - low) / (high - low + 1e-6))
        else:
            block.copy_(source[:, place[0], place[1], place[2]])
        filled += block[0].numel()


class PublishedNetwork(nn.Module):
    """MONAI's encoder with the three heads.

    Args:
        feature_size: channels of the first stage.
    """

    def __init__(self, feature_size: int) -> None:
        super().__init__()
        self.encoder = SwinTransformer(
            in_chans=1,
            embed_dim=feature_size,
            window_size=(7, 7, 7),
            patch_size=(2, 2, 2),
            depths=(2, 2, 2, 2),
            num_heads=(3, 6, 12, 24),
        )
        width = 16 * feature_size
        self.rotation = nn.Linear(width, 4)
        self.contrastive = nn.Linear(width, EMBEDDING)
        stages: list[nn.Module] = []
        for stage in range(5):
            narrower = width // 2 if stage < 4 else width
            stages += [nn.Conv3d(width, narrower, 3, padding=1), nn.InstanceNorm3d(narrower), nn.LeakyReLU()]
            stages += [nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)]
            width = narrower
        self.decoder = nn.Sequential(*stages, nn.Conv3d(width, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of the turns B x 4, embeddings B x 512 and the image rebuilt, from B x 1 x X x Y x Z."""
        deepest: Tensor = self.encoder(image.contiguous())[4]
        tokens = deepest.flatten(2).transpose(1, 2)
        return self.rotation(tokens[:, 0]), self.contrastive(tokens[:, 1]), self.decoder(deepest)


@dataclass(frozen=True)
class PublishedViews:
    """Two views of a batch: as they should be rebuilt, as the encoder sees them, and their quarter turns."""

    whole: tuple[Tensor, Tensor]
    seen: tuple[Tensor, Tensor]
    turns: tuple[Tensor, Tensor]


def make_views(batch: Tensor, rng: random.Random) -> PublishedViews:
    """Both views of B x 1 x X x Y x Z."""
    (first, one), (second, two) = rotated(batch, rng), rotated(batch, rng)
    return PublishedViews((first, second), (damaged(first, rng), damaged(second, rng)), (one, two))


def loss_of(outputs: list[tuple[Tensor, Tensor, Tensor]], views: PublishedViews) -> Tensor:
    """Cross-entropy of the turns, NT-Xent, and L1 over whole sub-volumes, each with weight 1."""
    scores, embeddings, rebuilt = (torch.cat(parts) for parts in zip(*outputs, strict=True))
    rotation = F.cross_entropy(scores, torch.cat(views.turns))
    vectors = F.normalize(embeddings, dim=1)
    similarity = vectors @ vectors.T / TEMPERATURE
    similarity = similarity.masked_fill(torch.eye(len(vectors), dtype=torch.bool, device=vectors.device), -torch.inf)
    half = len(vectors) // 2
    partners = torch.arange(2 * half, device=vectors.device).roll(half)
    return rotation + F.cross_entropy(similarity, partners) + F.l1_loss(rebuilt, torch.cat(views.whole))
