"""What every backend is to the engine."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from torch import Tensor

from swin_unetr.inference.backends.installed import BackendName

#: Class scores, or the decoder's features, of which the output layer makes scores.
Output = Literal["scores", "features"]


class Backend(Protocol):
    """A network ready to be called on windows of one size."""

    @property
    def name(self) -> BackendName:
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

    def facts(self) -> dict[str, Any]:
        """What a record says of it."""
