"""The network as torch runs it, operation by operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from swin_unetr.inference.backends.installed import BackendName
from swin_unetr.inference.backends.protocol import Output
from swin_unetr.inference.device import Compute


class EagerBackend:
    """See `Backend`. Takes windows and batches of any size.

    Args:
        network: in evaluation mode, on the device; one of another class if it is to give scores.
        output: what it gives.
        channels: of what it gives.
        compute: where and how precisely.
    """

    name: BackendName = "torch"

    def __init__(self, network: nn.Module, output: Output, channels: int, compute: Compute) -> None:
        self.precision: str = compute.precision
        self.output: Output = output
        self.channels = channels
        self._network, self._compute = network, compute

    def __call__(self, windows: Tensor) -> Tensor:
        """See `Backend`."""
        call = self._network if self.output == "scores" else self._network.forward_features
        with torch.inference_mode(), self._compute.autocast():
            result: Tensor = call(windows)
        return result

    def facts(self) -> dict[str, Any]:
        """What a record says of it."""
        return {"name": self.name, "version": torch.__version__, "precision": self.precision}
