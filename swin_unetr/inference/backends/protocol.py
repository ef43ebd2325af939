"""Interfaces: a backend, what loads it, and what writes an exported network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor
from torch.export import ExportedProgram

from swin_unetr.config import Triple
from swin_unetr.inference.backends.compute import Compute
from swin_unetr.networks import SegmentationNetwork

#: Class scores, or the decoder's features, of which the output layer makes scores.
Output = Literal["scores", "features"]


class Backend(Protocol):
    """A network ready to be called on windows of one size."""

    @property
    def name(self) -> str:
        """Which backend it is."""

    @property
    def precision(self) -> str:
        """Type of the products inside."""

    @property
    def output(self) -> Output:
        """What it gives."""

    @property
    def channels(self) -> int:
        """Channels of what it gives: classes, or features."""

    def __call__(self, windows: Tensor) -> Tensor:
        """Compute.

        Args:
            windows: B x C x *roi_size, float32, on the device; B may be less than the batch size, never more.

        Returns:
            B x channels x *roi_size, float32 or the narrower type of the products. The next call may overwrite it.
        """

    def listen(self, take: Callable[[Tensor], None] | None) -> None:
        """Hand the network's deepest map to `take` in every call, B x channels x X x Y x Z, to be used at once.

        A backend or network that has none never calls it. None ends it.
        """

    def facts(self) -> dict[str, Any]:
        """What a record says of it."""


class Loader(Protocol):
    """Makes a network a `Backend`; what a `BackendSpec` names as its loader."""

    def __call__(
        self,
        network: SegmentationNetwork,
        *,
        output: Output,
        roi_size: Triple,
        batch_size: int,
        compute: Compute,
        cache: Path | None,
        bottleneck: bool = False,
    ) -> Backend:
        """Make the network ready to be called on windows.

        Args:
            network: in evaluation mode, on the device of `compute`.
            output: class scores, or the features that the output layer makes them of.
            roi_size: voxels of a window along X, Y, Z.
            batch_size: windows of a call; fewer may be given.
            compute: where and how precisely.
            cache: model folder in which a converted model may be kept (`cache.GraphCache`). If None, nothing is kept.
            bottleneck: whether its deepest map will be listened to.
        """


class Writer(Protocol):
    """Writes an exported network; what an `ExportFormat` names as its writer."""

    def __call__(self, graph: ExportedProgram, path: Path, precision: str) -> Callable[[Tensor], Tensor]:
        """Write the file and read it back.

        Args:
            graph: a network that gives class scores, for one window; with "bfloat16" its autocast is in the graph.
            path: of the file.
            precision: one of the format's.

        Returns:
            What computes the scores of 1 x channels x *roi_size with what is in the file.
        """
