"""The network in ONNX Runtime, for machines without another backend; float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from swin_unetr.errors import ConfigError
from swin_unetr.inference.backends.quiet import quietly
from swin_unetr.inference.backends.static import Run, StaticBackend, first_output

_FILE = "model.onnx"
INPUT = "image"
#: The oldest version of ONNX's operators that has all operations of the network.
_OPSET = 18


def convert(graph: ExportedProgram, *outputs: str) -> Any:
    """An exported network, its attention taken apart, as an ONNX program.

    Args:
        graph: of static shapes.
        outputs: names of the outputs; that of the input is `INPUT`.
    """
    with quietly("torch.onnx"):  # it warns of packages that are not needed
        return torch.onnx.export(
            graph, dynamo=True, opset_version=_OPSET, verbose=False, input_names=[INPUT], output_names=[*outputs]
        )


def load_onnx(model: Path | bytes, device: torch.device) -> Run:
    """A callable of an ONNX file, or of the content of one.

    Raises:
        ConfigError: ONNX Runtime here does not compute on this device.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    provider = "CUDAExecutionProvider" if device.type == "cuda" else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise ConfigError(f"backend: ONNX Runtime here has no {provider}; run: pip install onnxruntime-gpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    chosen = (provider, {"device_id": device.index or 0}) if device.type == "cuda" else provider
    session = onnxruntime.InferenceSession(model, options, providers=[chosen])

    def run(windows: Tensor) -> list[Tensor]:
        return [torch.from_numpy(each).to(device) for each in session.run(None, {INPUT: windows.cpu().numpy()})]

    return run


def write_model(graph: ExportedProgram, path: Path, precision: str) -> Callable[[Tensor], Tensor]:
    """See `Writer`; float32."""
    convert(graph, "scores").save(path)
    return first_output(load_onnx(path, torch.device("cpu")))


class OnnxBackend(StaticBackend[Any]):
    """See `StaticBackend`."""

    name = "onnx"

    def version(self) -> str:
        """Of ONNX Runtime."""
        import onnxruntime

        return str(onnxruntime.__version__)

    def make(self, graph: ExportedProgram) -> Any:
        """Convert."""
        names = (self.output, "bottleneck")
        return convert(graph, *names[: len(graph.graph_signature.user_outputs)])

    def write(self, made: Any, folder: Path) -> None:
        """Write the model as ONNX."""
        made.save(folder / _FILE)

    def load(self, folder: Path) -> Run:
        """Prepare the file for this machine."""
        return load_onnx(folder / _FILE, self.compute.device)

    def use(self, made: Any) -> Run:
        """Prepare the model for this machine."""
        return load_onnx(made.model_proto.SerializeToString(), self.compute.device)
