"""Deep supervision: the loss is taken at lower resolutions of the decoder too, while training.

The weights are those of nnU-Net (Isensee et al., Nature Methods 18:203, 2021, and its code): each resolution has half
the weight of the next finer one, the coarsest map of the decoder has none, and the weights sum to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from swin_unetr.networks import SwinUNETR
from swin_unetr.networks.conv_decoder import pointwise


class AuxiliaryHeads(nn.Module):
    """Output layers of the decoder's maps between the finest, which the network's own head reads, and the coarsest.

    They belong to the training, not to the network: a saved model does not have them.

    Args:
        network: whose decoder they read.
    """

    def __init__(self, network: SwinUNETR) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Conv3d(width, network.config.num_classes, 1) for width in network.decoder_widths[1:-1]
        )

    def forward(self, network: SwinUNETR, image: Tensor) -> list[Tensor]:
        """Scores at all resolutions that have a head, the finest first.

        Args:
            network: the same as, or of the same shape as, the one that the heads were made for.
            image: B x in_channels x X x Y x Z.

        Returns:
            B x num_classes x X x Y x Z, then the same with X, Y, Z divided by the strides so far.
        """
        coarser: list[Tensor] = []
        finest = pointwise(network.head, network.forward_features(image, coarser))
        return [finest, *(head(features) for head, features in zip(self.heads, reversed(coarser[1:]), strict=True))]


def level_weights(levels: int) -> tuple[float, ...]:
    """Weight of each resolution, the finest first: halving, and 1 together."""
    halves = [0.5**level for level in range(levels)]
    return tuple(half / sum(halves) for half in halves)


def supervise(
    loss: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    scores: Sequence[Tensor],
    targets: Tensor,
    labelled: Tensor | None = None,
) -> Tensor:
    """Weighted sum of the losses of several resolutions.

    Args:
        loss: of scores and targets of one size, and what was looked for.
        scores: B x C x X x Y x Z, the finest first, the others smaller.
        targets: encoded, of the finest size; the others take the nearest voxel's.
        labelled: B x C bool, whether each channel was looked for. If None, all were.
    """
    total = scores[0].new_zeros(())
    for weight, each in zip(level_weights(len(scores)), scores, strict=True):
        size = each.shape[2:]
        # Nearest, so that a class index, or the mark of an ignored voxel, stays what it is; float32 holds them exactly.
        nearest = targets if targets.shape[2:] == size else F.interpolate(targets.float(), size, mode="nearest-exact")
        total = total + weight * loss(each, nearest.to(targets.dtype), labelled)
    return total
