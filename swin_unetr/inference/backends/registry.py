"""The backends: what each needs and what it can do. No torch, so that a command can ask before it imports any.

A new backend is a module in this folder and an entry in `BACKENDS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, get_args

from swin_unetr.errors import ConfigError
from swin_unetr.machine import Precision

#: What "auto" means where no backend is preferred.
DEFAULT = "torch"
_DEVICE_IN_WORDS = {"cpu": "a CPU", "cuda": "an NVIDIA GPU", "mps": "Apple's GPU"}


@dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """What `swin-unetr export` writes with the help of a backend."""

    #: Name of the format.
    name: str
    #: Name of the file with the network; others may lie beside it.
    file: str
    #: Precisions that it can be written in: "float16" of its weights, "bfloat16" by autocast inside the graph.
    precisions: tuple[Precision, ...]
    #: "module:name" of a `protocol.Writer`.
    writer: str


@dataclass(frozen=True, kw_only=True)
class BackendSpec:
    """What the rest of the package knows of a backend."""

    #: As messages name it.
    title: str
    #: "module:name" of a `protocol.Loader`; the module is imported when the backend is opened.
    loader: str
    #: Modules that it needs beside torch, and the extra of this package that installs them.
    modules: tuple[str, ...] = ()
    extra: str | None = None
    #: Types of device that it computes on.
    devices: tuple[str, ...] = ("cpu", "cuda", "mps")
    #: Types of device on which "auto" means this backend, where it is installed.
    preferred_on: tuple[str, ...] = ()
    #: Precisions that it computes in.
    precisions: tuple[Precision, ...] = get_args(Precision)
    #: Whether it takes attention as one operation of the graph; if False, attention is products and a softmax.
    whole_attention: bool = True
    #: The format that it can write; None for a backend that only runs.
    export: ExportFormat | None = None


#: Every backend by its name.
BACKENDS: dict[str, BackendSpec] = {
    "torch": BackendSpec(
        title="torch",
        loader="swin_unetr.inference.backends.eager:open_eager",
        export=ExportFormat(
            name="torch-export",
            file="model.pt2",
            precisions=("float32", "bfloat16"),
            writer="swin_unetr.inference.backends.graph:write_graph",
        ),
    ),
    "compile": BackendSpec(title="torch's compiler", loader="swin_unetr.inference.backends.compiled:CompiledBackend"),
    "openvino": BackendSpec(
        title="OpenVINO",
        loader="swin_unetr.inference.backends.openvino_cpu:OpenVinoBackend",
        modules=("openvino",),
        extra="openvino",
        devices=("cpu",),
        preferred_on=("cpu",),
        precisions=("float32", "bfloat16"),
        export=ExportFormat(
            name="openvino",
            file="model.xml",
            precisions=("float32", "float16"),
            writer="swin_unetr.inference.backends.openvino_cpu:write_model",
        ),
    ),
    "onnx": BackendSpec(
        title="ONNX Runtime",
        loader="swin_unetr.inference.backends.onnx_runtime:OnnxBackend",
        modules=("onnx", "onnxruntime", "onnxscript"),
        extra="onnx",
        devices=("cpu", "cuda"),
        precisions=("float32",),
        # ONNX has it as one operation only since version 23, and torch's exporter fails on it.
        whole_attention=False,
        export=ExportFormat(
            name="onnx",
            file="model.onnx",
            precisions=("float32",),
            writer="swin_unetr.inference.backends.onnx_runtime:write_model",
        ),
    ),
}

#: Every format of `swin-unetr export` by its name, with the name of the backend that writes it.
EXPORTS: dict[str, tuple[str, ExportFormat]] = {
    spec.export.name: (name, spec.export) for name, spec in sorted(BACKENDS.items()) if spec.export
}


def find_backend(name: str) -> BackendSpec:
    """The backend of a name.

    Raises:
        ConfigError: no backend has this name.
    """
    if name not in BACKENDS:
        raise ConfigError(f"backend: {name!r} is not one of auto, {', '.join(BACKENDS)}")
    return BACKENDS[name]


def find_export(format: str) -> tuple[str, ExportFormat]:
    """The name of the backend that writes a format, and the format.

    Raises:
        ConfigError: no backend writes this format.
    """
    if format not in EXPORTS:
        raise ConfigError(f"format: {format!r} is not one of {', '.join(EXPORTS)}")
    return EXPORTS[format]


def import_named(reference: str) -> Any:
    """Import what a "module:name" of this table names."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def auto_in_words() -> str:
    """What "auto" means, such as "openvino on a CPU where it is installed, else torch"."""
    preferred = [
        f"{name} on {_DEVICE_IN_WORDS[device]} where it is installed, else "
        for name, spec in BACKENDS.items()
        for device in spec.preferred_on
    ]
    return f"{''.join(preferred)}{DEFAULT}"


def exports_in_words() -> str:
    """The precisions of each format, such as "onnx: float32; openvino: float32, float16"."""
    return "; ".join(f"{name}: {', '.join(export.precisions)}" for name, (_, export) in EXPORTS.items())
