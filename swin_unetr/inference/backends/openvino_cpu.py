"""The network in OpenVINO, on the CPU: close to the peak of its matrix units, given static shapes."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from swin_unetr.inference.backends.static import Run, StaticBackend, first_output

#: Of a converted model; its weights are beside it, as .bin.
_FILE = "model.xml"
_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry.

    When it is imported, it reports to its makers through the package `openvino_telemetry`, which does not ask for
    consent if there is no terminal. OpenVINO works without that package, so this process hides it.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    module: ModuleType = openvino
    return module


def convert(graph: ExportedProgram) -> Any:
    """An exported network as an OpenVINO model.

    Instance norm and attention stay whole on the way, since OpenVINO has kernels for them; taken apart, the norms
    alone would make the result three times as inexact.
    """
    import_openvino()
    from openvino.frontend import FrontEndManager  # not convert_model, which is wrapped in telemetry
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
    from openvino.frontend.pytorch.torchdynamo.export_decompositions import ops_to_not_decompose

    table = torch.export.default_decompositions()
    for operation in {*ops_to_not_decompose(), torch.ops.aten.instance_norm.default} & set(table):
        del table[operation]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decoder = TorchFXPythonDecoder(graph.run_decompositions(table).module(), dynamic_shapes=False)
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    (sample,) = graph.example_inputs[0]
    model.reshape(list(sample.shape))
    return model


def compile_model(model: Any, precision: str) -> Run:
    """A callable of a converted model, or of the path of one; each call overwrites the results of the last one."""
    options = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        # Pinned threads would hand their one core on to every thread that is started later.
        "ENABLE_CPU_PINNING": False,
    }
    request = import_openvino().Core().compile_model(model, "CPU", options).create_infer_request()

    def run(windows: Tensor) -> list[Tensor]:
        outputs = request.infer([windows.numpy()], share_inputs=True, share_outputs=True)
        return [torch.from_numpy(outputs[index]) for index in range(len(outputs))]

    return run


def write_model(graph: ExportedProgram, path: Path, precision: str) -> Callable[[Tensor], Tensor]:
    """See `Writer`; "float16" is the type of the weights in the file."""
    import_openvino().save_model(convert(graph), path, compress_to_fp16=precision == "float16")
    return first_output(compile_model(path, "float32"))


class OpenVinoBackend(StaticBackend[Any]):
    """See `StaticBackend`. One file serves every precision, which is chosen when it is compiled."""

    name = "openvino"
    folds = True  # 12 to 14 % less time (96 voxels cubed, 48 features, both precisions)

    def version(self) -> str:
        """Of OpenVINO."""
        return str(import_openvino().get_version())

    def make(self, graph: ExportedProgram) -> Any:
        """Convert."""
        return convert(graph)

    def write(self, made: Any, folder: Path) -> None:
        """Write the model in OpenVINO's own format, float32."""
        import_openvino().save_model(made, folder / _FILE, compress_to_fp16=False)

    def load(self, folder: Path) -> Run:
        """Compile the file for this machine."""
        return compile_model(folder / _FILE, self.precision)

    def use(self, made: Any) -> Run:
        """Compile the model for this machine."""
        return compile_model(made, self.precision)
