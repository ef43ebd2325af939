"""MONAI's SegResNet."""

from __future__ import annotations

from monai.networks.nets import SegResNet
from torch import nn

from swin_unetr.baseline_config import SegResNetConfig


def build(options: SegResNetConfig, in_channels: int, num_classes: int) -> nn.Module:
    """A network with fresh weights; maps B x in_channels x X x Y x Z to logits B x num_classes x X x Y x Z."""
    network: nn.Module = SegResNet(
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=num_classes,
        init_filters=options.init_filters,
        blocks_down=options.blocks_down,
        blocks_up=options.blocks_up,
        dropout_prob=options.dropout or None,
    )
    return network
