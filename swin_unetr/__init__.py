"""Swin UNETR for medical images: fine-tune, segment NIfTI files, evaluate.

Importing this package loads no torch; the public names are loaded when first used (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

#: Public name: the module that holds it.
_PUBLIC = {
    "NetworkConfig": "swin_unetr.config",
    "Task": "swin_unetr.tasks",
    "SwinUNETR": "swin_unetr.networks",
    "build_network": "swin_unetr.networks",
    "load_model": "swin_unetr.checkpoints",
    "save_model": "swin_unetr.checkpoints",
    "import_monai_weights": "swin_unetr.checkpoints",
    "export_monai_weights": "swin_unetr.checkpoints",
    "predict": "swin_unetr.inference.batch.run",
    "Predictor": "swin_unetr.inference.predictor",
    "segment": "swin_unetr.inference.segment",
    "evaluate": "swin_unetr.evaluation.run",
    "compare": "swin_unetr.evaluation.comparison.run",
    "run_study": "swin_unetr.study.run",
    "pretrain": "pretrain.run",
    "plan": "finetune.planning.planner",
    "convert": "swin_unetr.conversion.run",
    "diagnose": "swin_unetr.doctor.diagnosis",
    "finetune": "finetune.run",
    "cross_validate": "finetune.cross_validation",
    "calibrate": "finetune.calibration",
}

__all__ = list(_PUBLIC)  # the table is the one place for the names


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'swin_unetr' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
