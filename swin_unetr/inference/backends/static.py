"""What backends have in common that are made of a graph of static shapes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swin_unetr.config import Triple
from swin_unetr.inference.backends.graph import export_graph
from swin_unetr.inference.backends.installed import BackendName
from swin_unetr.inference.backends.protocol import Output
from swin_unetr.inference.backends.store import Store
from swin_unetr.inference.device import Compute
from swin_unetr.networks import SwinUNETR


class StaticBackend:
    """See `Backend`. A subclass says how a graph becomes files, and files a callable.

    Args:
        network: in evaluation mode, on the device; not needed once this is made.
        output: what it gives.
        roi_size: voxels of a window along X, Y, Z.
        batch_size: windows of a call; fewer are filled up with zeros.
        compute: where and how precisely.
        store: where what is made of a network is kept.
    """

    name: BackendName
    #: Whether the graph has attention as one operation.
    attention_whole = True
    #: Whether the files hold machine code, for one precision and number of threads.
    ahead_of_time = False

    def __init__(
        self, network: SwinUNETR, output: Output, roi_size: Triple, batch_size: int, compute: Compute, store: Store
    ) -> None:
        config = network.config
        self.precision: str = compute.precision
        self.output: Output = output
        self.channels = config.num_classes if output == "scores" else config.feature_size
        self.compute = compute
        self._shape = (batch_size, config.in_channels, *roi_size)

        def make(folder: Path) -> None:
            lowered = compute if self.ahead_of_time else None
            graph = export_graph(
                network, output, roi_size, batch_size, attention_whole=self.attention_whole, lowered=lowered
            )
            self.write(graph, folder)

        key: dict[str, Any] = {
            "backend": self.name,
            "version": self.version(),
            "output": output,
            "shape": list(self._shape),
        }
        if self.ahead_of_time:
            key |= {"precision": compute.precision, "threads": torch.get_num_threads()}
        with store.entry(network, key, make) as folder:
            self._run = self.load(folder)
        self._facts = {"version": key["version"], "precision": compute.precision, "cache": store.said}

    def version(self) -> str:
        """Of what makes and runs the files."""
        raise NotImplementedError

    def write(self, graph: torch.export.ExportedProgram, folder: Path) -> None:
        """Write the files of a graph into an empty folder."""
        raise NotImplementedError

    def load(self, folder: Path) -> Callable[[Tensor], Tensor]:
        """Make a callable of the files, on whole batches; the files are not needed after."""
        raise NotImplementedError

    def __call__(self, windows: Tensor) -> Tensor:
        """See `Backend`."""
        batch, *of_window = self._shape
        assert list(windows.shape[1:]) == of_window, f"windows of {tuple(windows.shape)} for a graph of {self._shape}"
        assert 0 < len(windows) <= batch, f"{len(windows)} windows where {batch} are taken"
        missing = batch - len(windows)
        whole = torch.cat((windows, windows.new_zeros(missing, *of_window))) if missing else windows.contiguous()
        with torch.inference_mode():
            return self._run(whole)[: len(windows)]

    def facts(self) -> dict[str, Any]:
        """What a record says of it."""
        return {"name": self.name, **self._facts}
