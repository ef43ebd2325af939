"""The network as one graph of static shapes, from which every other backend is made."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from swin_unetr.config import Triple
from swin_unetr.inference.backends.protocol import Output
from swin_unetr.networks import SwinUNETR


class _Features(nn.Module):
    def __init__(self, network: SwinUNETR) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network.forward_features(image)


def export_graph(network: SwinUNETR, output: Output, roi_size: Triple, batch_size: int) -> ExportedProgram:
    """Take down the operations of a network for windows of one size.

    Nothing is computed (the values are symbolic), so that this takes seconds and no memory beyond the weights, which
    the graph shares with the network.

    Args:
        network: in evaluation mode.
        output: whether the graph ends with the class scores or before the output layer.
        roi_size: voxels of a window along X, Y, Z.
        batch_size: windows of a call.
    """
    device = next(network.parameters()).device
    sample = torch.zeros((batch_size, network.config.in_channels, *roi_size), device=device)
    module = network if output == "scores" else _Features(network)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(module.eval(), (sample,), strict=False)
