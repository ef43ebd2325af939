"""Which backends are installed here. No torch."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from swin_unetr.errors import ConfigError

BackendName = Literal["torch", "compile", "openvino", "onnx"]

#: Modules that a backend needs beside torch, and the extra of this package that brings them.
_NEEDS: dict[str, tuple[tuple[str, ...], str]] = {
    "openvino": (("openvino",), "openvino"),
    "onnx": (("onnx", "onnxruntime", "onnxscript"), "onnx"),
}


def is_installed(backend: BackendName) -> bool:
    """Whether the modules of a backend are here."""
    return not _missing(backend)


def check_installed(backend: BackendName) -> None:
    """Refuse a backend whose modules are missing.

    Raises:
        ConfigError: with the command that installs them.
    """
    if missing := _missing(backend):
        extra = _NEEDS[backend][1]
        raise ConfigError(
            f"backend: {backend} is not installed (no {', '.join(missing)}); run: pip install 'swin-unetr[{extra}]'"
        )


def _missing(backend: BackendName) -> list[str]:
    modules, _ = _NEEDS.get(backend, ((), ""))
    return [module for module in modules if find_spec(module) is None]
