"""The network as torch runs it, operation by operation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from swin_unetr.config import Triple
from swin_unetr.inference.backends.compute import Compute
from swin_unetr.inference.backends.protocol import Output
from swin_unetr.networks import SegmentationNetwork, SwinUNETR


class EagerBackend:
    """See `Backend`. Takes windows and batches of any size.

    Args:
        call: maps windows to what it gives; a network in evaluation mode on the device, or a method of one.
        output: what it gives.
        channels: of what it gives.
        compute: where and how precisely.
        deepest: the part of the network that gives its deepest map; None if that is not known.
    """

    name = "torch"

    def __init__(
        self,
        call: Callable[[Tensor], Tensor],
        output: Output,
        channels: int,
        compute: Compute,
        deepest: nn.Module | None = None,
    ) -> None:
        self.precision: str = compute.precision
        self.output: Output = output
        self.channels = channels
        self._call, self._compute, self._deepest = call, compute, deepest
        self._listening: RemovableHandle | None = None

    def __call__(self, windows: Tensor) -> Tensor:
        """See `Backend`."""
        with torch.inference_mode(), self._compute.autocast():
            return self._call(windows)

    def listen(self, take: Callable[[Tensor], None] | None) -> None:
        """See `Backend`."""
        if self._listening is not None:
            self._listening.remove()
            self._listening = None
        if take is not None and self._deepest is not None:
            self._listening = self._deepest.register_forward_hook(lambda _, __, deepest: take(deepest))

    def facts(self) -> dict[str, Any]:
        """What a record says of it."""
        return {"name": self.name, "version": torch.__version__, "precision": self.precision}


def open_eager(
    network: SegmentationNetwork,
    *,
    output: Output,
    roi_size: Triple,
    batch_size: int,
    compute: Compute,
    cache: Path | None,
    bottleneck: bool = False,
) -> EagerBackend:
    """See `Loader`."""
    deepest = network.bottleneck if isinstance(network, SwinUNETR) else None
    if output == "scores":
        return EagerBackend(network, output, network.config.num_classes, compute, deepest)
    assert isinstance(network, SwinUNETR)  # a baseline gives scores alone
    return EagerBackend(network.forward_features, output, network.config.feature_size, compute, deepest)
