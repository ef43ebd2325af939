"""The network as torch runs it, operation by operation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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
    """

    name = "torch"

    def __init__(self, call: Callable[[Tensor], Tensor], output: Output, channels: int, compute: Compute) -> None:
        self.precision: str = compute.precision
        self.output: Output = output
        self.channels = channels
        self._call, self._compute = call, compute

    def __call__(self, windows: Tensor) -> Tensor:
        """See `Backend`."""
        with torch.inference_mode(), self._compute.autocast():
            return self._call(windows)

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
) -> EagerBackend:
    """See `Loader`."""
    if output == "scores":
        return EagerBackend(network, output, network.config.num_classes, compute)
    assert isinstance(network, SwinUNETR)  # a baseline gives scores alone
    return EagerBackend(network.forward_features, output, network.config.feature_size, compute)
