"""Swin UNETR: the shifted-window encoder with a convolutional decoder on its feature maps.

Hatamizadeh et al., "Swin UNETR: Swin Transformers for Semantic Segmentation of Brain Tumors in MRI Images"
(2201.01266), figure 1. Equal to MONAI's `SwinUNETR` with the same weights, where MONAI can express the configuration.
"""

from __future__ import annotations

from torch import Tensor, nn

from swin_unetr.config import NetworkConfig
from swin_unetr.networks.conv_decoder import ResidualBlock, UpBlock, pointwise
from swin_unetr.networks.swin_encoder import SwinEncoder


class SwinBody(nn.Module):
    """The network without its output layer.

    With S stages the encoder gives the maps 0 to S. The image and the maps 0 to S-2 pass a residual block on their
    way to the decoder, map S-1 goes unchanged, and map S passes the bottleneck block; there the decoder starts.

    Args:
        config: shape of the network.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        stages = len(config.depths)
        widths = [config.feature_size * 2**level for level in range(stages + 1)]
        self.encoder = SwinEncoder(config)
        self.input_block = ResidualBlock(config.in_channels, widths[0])
        self.skip_blocks = nn.ModuleList(ResidualBlock(width, width) for width in widths[: stages - 1])
        self.bottleneck = ResidualBlock(widths[stages], widths[stages])
        self.decoder = nn.ModuleList(
            [UpBlock(widths[level + 1], widths[level], config.strides[level]) for level in reversed(range(stages))]
            + [UpBlock(widths[0], widths[0], config.patch_size)]
        )

    @property
    def decoder_widths(self) -> tuple[int, ...]:
        """Channels of the decoder's maps, from full resolution to the coarsest."""
        finest = self.config.feature_size
        return finest, *(finest * 2**level for level in range(len(self.config.depths)))

    def forward_features(self, image: Tensor, coarser: list[Tensor] | None = None) -> Tensor:
        """Features at full resolution, before the output layer.

        Args:
            image: B x in_channels x X x Y x Z.
            coarser: if given, receives the decoder's maps of lower resolution, the coarsest first; otherwise they are
                freed.

        Returns:
            B x feature_size x X x Y x Z.

        Raises:
            ValueError: the image does not suit the network.
        """
        return self.decode(self.encoder(image), image, coarser)

    def decode(self, hidden: list[Tensor], image: Tensor, coarser: list[Tensor] | None = None) -> Tensor:
        """The same from the maps of the encoder.

        Args:
            hidden: the maps, as the encoder gives them; the list is empty afterwards, and maps are freed once used.
            image: for the input block.
            coarser: see `forward_features`.

        Returns:
            B x feature_size x X x Y x Z.
        """
        features: Tensor = self.bottleneck(hidden.pop())
        features = self.decoder[0](features, hidden.pop())
        _keep(features, coarser)
        # A skip is computed when it is joined, so that the largest maps are not in memory before.
        for up, through in zip(self.decoder[1:-1], reversed(self.skip_blocks), strict=True):
            features = up(features, hidden.pop(), through)
            _keep(features, coarser)
        features = self.decoder[-1](features, image, self.input_block)
        return features


class SwinUNETR(SwinBody):
    """U-shaped segmentation network.

    Args:
        config: shape of the network.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.head = nn.Conv3d(config.feature_size, config.num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Segment an image.

        Args:
            image: B x in_channels x X x Y x Z; each axis a multiple of `config.size_divisor`.

        Returns:
            Logits, B x num_classes x X x Y x Z.

        Raises:
            ValueError: the image does not suit the network.
        """
        return pointwise(self.head, self.forward_features(image))


def _keep(features: Tensor, kept: list[Tensor] | None) -> None:
    if kept is not None:
        kept.append(features)
