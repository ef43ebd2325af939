"""MONAI's DynUNet."""

from __future__ import annotations

from monai.networks.nets import DynUNet
from torch import nn

from swin_unetr.baseline_config import DynUNetConfig


def build(options: DynUNetConfig, in_channels: int, num_classes: int) -> nn.Module:
    """A network with fresh weights; maps B x in_channels x X x Y x Z to logits B x num_classes x X x Y x Z."""
    network: nn.Module = DynUNet(
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=num_classes,
        kernel_size=options.kernel_sizes or ((3, 3, 3),) * len(options.strides),
        strides=options.strides,
        upsample_kernel_size=options.strides[1:],
        filters=options.filters or None,
        res_block=options.residual,
    )
    for second_name in ("input_block", "downsamples", "bottleneck", "upsamples"):
        delattr(network, second_name)  # also in `skip_layers`: a file of weights would hold it twice
    return network
