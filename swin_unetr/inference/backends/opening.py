"""Opens a backend by its name."""

from __future__ import annotations

from pathlib import Path

from swin_unetr.config import Triple
from swin_unetr.inference.backends.compute import Compute
from swin_unetr.inference.backends.installed import check_installed
from swin_unetr.inference.backends.protocol import Backend, Loader, Output
from swin_unetr.inference.backends.registry import find_backend, import_named
from swin_unetr.networks import SegmentationNetwork


def open_backend(
    name: str,
    network: SegmentationNetwork,
    *,
    output: Output,
    roi_size: Triple,
    batch_size: int,
    compute: Compute,
    cache: Path | None,
    bottleneck: bool = False,
) -> Backend:
    """Make a network ready to be called on windows; see `Loader`, whose network need not be in evaluation mode.

    Raises:
        ConfigError: no backend has this name, or it is not installed.
    """
    check_installed(name)
    load: Loader = import_named(find_backend(name).loader)
    return load(
        network.eval(),
        output=output,
        roi_size=roi_size,
        batch_size=batch_size,
        compute=compute,
        cache=cache,
        bottleneck=bottleneck,
    )
