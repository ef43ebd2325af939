"""The common part of all backends that are made of a graph of static shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.export import ExportedProgram

from swin_unetr.config import Triple
from swin_unetr.inference.backends.cache import GraphCache, key_of
from swin_unetr.inference.backends.compute import Compute
from swin_unetr.inference.backends.folding import fold_upsampling
from swin_unetr.inference.backends.graph import export_graph
from swin_unetr.inference.backends.protocol import Output
from swin_unetr.inference.backends.registry import BACKENDS
from swin_unetr.networks import SegmentationNetwork

#: Computes the outputs of a graph: the scores or features, and the deepest map where it was asked for.
Run = Callable[[Tensor], Sequence[Tensor]]
#: Version of the graphs; raised by one when the same network gives another graph.
_MADE = 1
#: What a backend makes of a graph, before it is written.
Made = TypeVar("Made")


def first_output(run: Run) -> Callable[[Tensor], Tensor]:
    """What gives the first output alone."""
    return lambda windows: run(windows)[0]


class StaticBackend(Generic[Made]):
    """See `Backend`. A subclass says how a graph becomes something that can be kept and called.

    Args:
        network: in evaluation mode, on the device; not needed once this is made.
        output: what it gives.
        roi_size: voxels of a window along X, Y, Z.
        batch_size: windows of a call; fewer are filled up with zeros.
        compute: where and how precisely.
        cache: model folder in which what is made of the network is kept. If None, nothing is kept.
        bottleneck: whether its deepest map will be listened to.
    """

    #: In `registry.BACKENDS`.
    name: str
    #: Whether the decoder's upsampling is folded into the convolutions behind it; set if measured to be faster.
    folds = False
    #: Whether the files hold machine code, for one precision and number of threads.
    ahead_of_time = False

    def __init__(
        self,
        network: SegmentationNetwork,
        *,
        output: Output,
        roi_size: Triple,
        batch_size: int,
        compute: Compute,
        cache: Path | None,
        bottleneck: bool = False,
    ) -> None:
        self._take: Callable[[Tensor], None] | None = None
        config = network.config
        self.precision: str = compute.precision
        self.output: Output = output
        self.channels = config.num_classes if output == "scores" else config.feature_size
        self.compute = compute
        self._shape = (batch_size, config.in_channels, *roi_size)

        code: dict[str, Any] = (
            {"precision": compute.precision, "threads": torch.get_num_threads()} if self.ahead_of_time else {}
        )
        code |= {"bottleneck": True} if bottleneck else {}  # without it, the keys are as they were
        key = key_of(
            network,
            backend=self.name,
            version=self.version(),
            output=output,
            shape=list(self._shape),
            made=_MADE,
            **code,
        )
        store = GraphCache(cache, machine_code=self.ahead_of_time)
        folder = store.find(key)
        if folder is None:
            network = fold_upsampling(network) if self.folds else network
            lowered = compute if self.ahead_of_time else None
            whole = BACKENDS[self.name].whole_attention
            made = self.make(
                export_graph(
                    network,
                    output,
                    roi_size,
                    batch_size,
                    whole_attention=whole,
                    lowered=lowered,
                    bottleneck=bottleneck,
                )
            )
            folder = store.keep(key, lambda empty: self.write(made, empty))
            if folder is None:
                self._run = self.use(made)
            del made  # before what was written is read: one copy of the weights at a time
        if folder is not None:
            self._run = self.load(folder)
        self._facts = {"version": self.version(), "precision": compute.precision, "cache": store.said}

    def version(self) -> str:
        """Of what makes and runs it."""
        raise NotImplementedError

    def make(self, graph: ExportedProgram) -> Made:
        """Convert or compile a graph."""
        raise NotImplementedError

    def write(self, made: Made, folder: Path) -> None:
        """Write what was made into an empty folder."""
        raise NotImplementedError

    def load(self, folder: Path) -> Run:
        """A callable, on whole batches, of what was written."""
        raise NotImplementedError

    def use(self, made: Made) -> Run:
        """A callable of what was made, without files."""
        raise NotImplementedError

    def __call__(self, windows: Tensor) -> Tensor:
        """See `Backend`."""
        batch, *of_window = self._shape
        assert list(windows.shape[1:]) == of_window, f"windows of {tuple(windows.shape)} for a graph of {self._shape}"
        assert 0 < len(windows) <= batch, f"{len(windows)} windows where {batch} are taken"
        missing = batch - len(windows)
        whole = torch.cat((windows, windows.new_zeros(missing, *of_window))) if missing else windows.contiguous()
        with torch.inference_mode():
            result, *deepest = self._run(whole)
        if self._take is not None and deepest:
            self._take(deepest[0][: len(windows)])
        return result[: len(windows)]

    def listen(self, take: Callable[[Tensor], None] | None) -> None:
        """See `Backend`."""
        self._take = take

    def facts(self) -> dict[str, Any]:
        """What a record says of it."""
        return {"name": self.name, **self._facts}
