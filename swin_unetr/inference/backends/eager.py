"""The network as torch runs it, operation by operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from swin_unetr.inference.backends.installed import BackendName
from swin_unetr.inference.backends.protocol import Output
from swin_unetr.inference.device import Compute
from swin_unetr.networks import SwinUNETR


class EagerBackend:
    """See `Backend`. Takes windows and batches of any size.

    Args:
        network: in evaluation mode, on the device.
        output: what it gives.
        compute: where and how precisely.
    """

    name: BackendName = "torch"

    def __init__(self, network: SwinUNETR, output: Output, compute: Compute) -> None:
        config = network.config
        self.precision: str = compute.precision
        self.output: Output = output
        self.channels = config.num_classes if output == "scores" else config.feature_size
        self._call = network.forward if output == "scores" else network.forward_features
        self._compute = compute

    def __call__(self, windows: Tensor) -> Tensor:
        """See `Backend`."""
        with torch.inference_mode(), self._compute.autocast():
            return self._call(windows)

    def facts(self) -> dict[str, Any]:
        """What a record says of it."""
        return {"name": self.name, "version": torch.__version__, "precision": self.precision}
