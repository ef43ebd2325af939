"""Opens a backend by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swin_unetr.config import Triple
from swin_unetr.inference.backends.cache import GraphCache
from swin_unetr.inference.backends.eager import EagerBackend
from swin_unetr.inference.backends.installed import BackendName, check_installed
from swin_unetr.inference.backends.protocol import Backend, Output
from swin_unetr.inference.backends.static import StaticBackend
from swin_unetr.inference.compute import Compute
from swin_unetr.networks import SegmentationNetwork, SwinUNETR


def open_backend(
    name: BackendName,
    network: SegmentationNetwork,
    *,
    output: Output,
    roi_size: Triple,
    batch_size: int,
    compute: Compute,
    cache: Path | None,
) -> Backend:
    """Make a network ready to be called on windows.

    Args:
        name: which backend.
        network: in evaluation mode, on the device of `compute`.
        output: class scores, or the features that the output layer makes them of.
        roi_size: voxels of a window along X, Y, Z.
        batch_size: windows of a call; fewer may be given.
        compute: where and how precisely.
        cache: model folder in whose `.compiled` a converted model is kept; none keeps none.

    Raises:
        ConfigError: the backend is not installed.
    """
    check_installed(name)
    network.eval()
    if name == "torch":
        channels = network.config.num_classes if output == "scores" else network.config.feature_size
        if output == "scores":
            return EagerBackend(network, output, channels, compute)
        assert isinstance(network, SwinUNETR)  # a baseline gives scores alone
        return EagerBackend(network.forward_features, output, channels, compute)
    backend = _static(name)
    store = GraphCache(cache, machine_code=backend.ahead_of_time)
    return backend(network, output, roi_size, batch_size, compute, store)


def _static(name: BackendName) -> type[StaticBackend[Any]]:
    """The class of a backend; others are not imported, since they may not be installed."""
    if name == "openvino":
        from swin_unetr.inference.backends.openvino_cpu import OpenVinoBackend

        return OpenVinoBackend
    if name == "onnx":
        from swin_unetr.inference.backends.onnx_runtime import OnnxBackend

        return OnnxBackend
    from swin_unetr.inference.backends.compiled import CompiledBackend

    return CompiledBackend
