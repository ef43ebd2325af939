"""A training that takes milliseconds."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer
from lightning_parts import METRICS, Line, Points, save_line

from swin_unetr.config import TrainerConfig
from swin_unetr.training import ModelFolders, build_trainer


@pytest.fixture
def line():
    """Build a module, its data and its trainer."""

    def build(folder: Path, epochs: int = 4, callbacks=(), **options: Any) -> tuple[Trainer, Line, Points]:
        config = TrainerConfig(**{"max_epochs": epochs, "validate_every": 2, "accelerator": "cpu", **options})
        folders = ModelFolders(folder, "val/dice", save_line)
        trainer = build_trainer(config, folder, monitor="val/dice", metrics=METRICS, callbacks=[folders, *callbacks])
        return trainer, Line(epochs), Points()

    return build
