"""The network as one graph of static shapes, from which every backend but torch's own is made."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from swin_unetr.config import Triple
from swin_unetr.inference.backends.compute import Compute
from swin_unetr.inference.backends.protocol import Output
from swin_unetr.networks import SegmentationNetwork, SwinUNETR
from swin_unetr.networks.window_attention import WindowAttention


class _Wanted(nn.Module):
    """The output that is wanted of a network, in the precision that is wanted."""

    def __init__(self, network: SegmentationNetwork, output: Output, lowered: Compute | None, bottleneck: bool) -> None:
        super().__init__()
        self.network, self.output, self.lowered, self.bottleneck = network, output, lowered, bottleneck

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if not self.bottleneck or not isinstance(self.network, SwinUNETR):
            return self._lowered(image)
        deepest: list[Tensor] = []
        listening = self.network.bottleneck.register_forward_hook(lambda _, __, output: deepest.append(output))
        result = self._lowered(image)
        listening.remove()
        return result, deepest[0].float()

    def _lowered(self, image: Tensor) -> Tensor:
        if self.lowered is None or self.lowered.precision == "float32":
            return self._plain(image)
        with self.lowered.autocast():  # inside the graph
            return self._plain(image)

    def _plain(self, image: Tensor) -> Tensor:
        if self.output == "features":
            assert isinstance(self.network, SwinUNETR)  # a baseline gives scores alone
            return self.network.forward_features(image)
        result: Tensor = self.network(image)
        return result


def export_graph(
    network: SegmentationNetwork,
    output: Output,
    roi_size: Triple,
    batch_size: int,
    *,
    whole_attention: bool = True,
    lowered: Compute | None = None,
    bottleneck: bool = False,
) -> ExportedProgram:
    """Record the operations of a network for windows of one size.

    Nothing is computed (the values are symbolic), so that this takes seconds and no memory beyond the weights, which
    the graph shares with the network.

    Args:
        network: in evaluation mode.
        output: whether the graph ends with the class scores or before the output layer.
        roi_size: voxels of a window along X, Y, Z.
        batch_size: windows of a call.
        whole_attention: whether attention is one operation, or products and a softmax.
        lowered: gives the precision that becomes part of the graph. If None, the graph is float32.
        bottleneck: whether the graph gives the network's deepest map as a second output; a baseline has none.
    """
    device = next(network.parameters()).device
    sample = torch.zeros((batch_size, network.config.in_channels, *roi_size), device=device)
    module = _Wanted(network, output, lowered, bottleneck).eval()
    with torch.no_grad(), warnings.catch_warnings(), _attention(network, whole=whole_attention):
        warnings.simplefilter("ignore")
        return torch.export.export(module, (sample,), strict=False)


def write_graph(graph: ExportedProgram, path: Path, precision: str) -> Callable[[Tensor], Tensor]:
    """See `Writer`; the precision is in the graph."""
    torch.export.save(graph, path)
    run: Callable[[Tensor], Tensor] = torch.export.load(path).module()
    return run


@contextmanager
def _attention(network: SegmentationNetwork, *, whole: bool) -> Iterator[None]:
    parts = [part for part in network.modules() if isinstance(part, WindowAttention)]
    paths = [part.path for part in parts]
    for part in parts:
        part.path = "fused" if whole else "explicit"
    try:
        yield
    finally:
        for part, path in zip(parts, paths, strict=True):
            part.path = path
