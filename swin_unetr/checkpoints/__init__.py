"""Models on disk, and published weights. Importing this package loads no torch; its names do, when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swin_unetr.checkpoints.model_folder import LoadedModel, load_model, save_model
    from swin_unetr.checkpoints.monai_weights import export_monai_weights, import_monai_weights
    from swin_unetr.checkpoints.starting_weights import start_from
    from swin_unetr.checkpoints.transfer import TransferReport

#: Public name: the module that holds it.
_PUBLIC = {
    "LoadedModel": "model_folder",
    "TransferReport": "transfer",
    "export_monai_weights": "monai_weights",
    "import_monai_weights": "monai_weights",
    "load_model": "model_folder",
    "save_model": "model_folder",
    "start_from": "starting_weights",
}

__all__ = [
    "LoadedModel",
    "TransferReport",
    "export_monai_weights",
    "import_monai_weights",
    "load_model",
    "save_model",
    "start_from",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
