"""The network in OpenVINO, on the CPU: close to the peak of its matrix units, given static shapes."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from swin_unetr.config import Triple
from swin_unetr.inference.backends.graph import export_graph
from swin_unetr.inference.backends.installed import BackendName
from swin_unetr.inference.backends.protocol import Output, check_windows
from swin_unetr.inference.backends.store import Store
from swin_unetr.inference.device import Compute
from swin_unetr.networks import SwinUNETR

_FILE = "model.xml"
_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry.

    Its import reports itself to its makers through the package `openvino_telemetry`, which asks nobody when there is
    no terminal. Where that package cannot be imported OpenVINO does without; so it cannot be, in this process.
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


class OpenVinoBackend:
    """See `Backend`.

    Args:
        network: in evaluation mode, on the CPU; not needed once this is made.
        output: what it gives.
        roi_size: voxels of a window along X, Y, Z.
        batch_size: windows of a call; fewer are filled up.
        compute: how precisely.
        store: where converted models are kept.
    """

    name: BackendName = "openvino"

    def __init__(
        self, network: SwinUNETR, output: Output, roi_size: Triple, batch_size: int, compute: Compute, store: Store
    ) -> None:
        openvino = import_openvino()
        config = network.config
        self.precision: str = compute.precision
        self.output: Output = output
        self.channels = config.num_classes if output == "scores" else config.feature_size
        self._shape = (batch_size, config.in_channels, *roi_size)

        def make(folder: Path) -> None:
            model = convert(export_graph(network, output, roi_size, batch_size))
            openvino.save_model(model, folder / _FILE, compress_to_fp16=False)

        version = openvino.get_version()
        facts = {"format": "openvino", "version": version, "output": output, "shape": list(self._shape)}
        with store.entry(network, facts, make) as folder:
            core = openvino.Core()
            compiled = core.compile_model(core.read_model(folder / _FILE), "CPU", self._options())
        self._request = compiled.create_infer_request()
        self._facts = {"version": version, "precision": self.precision, "cache": store.said}

    def _options(self) -> dict[str, Any]:
        return {
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            # Pinned threads would hand their one core on to every thread that is started later.
            "ENABLE_CPU_PINNING": False,
        }

    def __call__(self, windows: Tensor) -> Tensor:
        """See `Backend`."""
        batch, channels, *roi = self._shape
        check_windows(windows, channels, (roi[0], roi[1], roi[2]), batch)
        missing = batch - len(windows)
        whole = torch.cat((windows, windows.new_zeros(missing, *self._shape[1:]))) if missing else windows.contiguous()
        result = self._request.infer([whole.numpy()], share_inputs=True, share_outputs=True)[0]
        return torch.from_numpy(result)[: len(windows)]

    def facts(self) -> dict[str, Any]:
        """What a record says of it."""
        return {"name": self.name, **self._facts}
