"""Fine-tuning on real scans: hippocampus (exclusive classes) and BraTS 2013 (regions, two modalities)."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from finetune.config import FinetuneConfig
from finetune.recipes import find_recipe
from finetune.run import finetune
from swin_unetr.checkpoints import load_model
from swin_unetr.config_io import load


@pytest.fixture
def hippocampus(test_data: Path, tmp_path: Path) -> Path:
    """Six cases."""
    source, folder = test_data / "Task04_Hippocampus", tmp_path / "Task04_Hippocampus"
    description = json.loads((source / "dataset.json").read_text())
    description["training"] = description["training"][:6]
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for case in description["training"]:
        for path in case.values():
            shutil.copy(source / path, folder / path)
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def test_hippocampus(hippocampus: Path, tmp_path: Path) -> None:
    config = load(FinetuneConfig, find_recipe("hippocampus"))
    config = replace(
        config,
        network=replace(config.network, feature_size=12, num_heads=(1, 2, 4)),
        trainer=replace(config.trainer, max_epochs=2, validate_every=2, accelerator="cpu"),
        num_folds=3,
    )
    result = finetune(config, data=hippocampus, output=tmp_path / "run")
    assert result.dice_per_target.keys() == {"Anterior", "Posterior"}
    assert 0 <= result.dice <= 1
    model = load_model(result.best_model)
    assert (model.description.network.in_channels, model.description.network.num_classes) == (1, 3)
    with torch.no_grad():
        assert model.network.eval()(torch.zeros(1, 1, 40, 56, 40)).shape == (1, 3, 40, 56, 40)


def test_brats_regions_of_two_modalities(test_data: Path, tmp_path: Path) -> None:
    config = load(FinetuneConfig, find_recipe("brats"))
    config = replace(
        config,
        network=replace(
            config.network, feature_size=6, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), window_size=(4, 4, 4)
        ),
        sampling=replace(config.sampling, crop_size=(64, 64, 64), num_workers=0),
        optimizer=replace(config.optimizer, warmup_epochs=0),
        trainer=replace(config.trainer, max_epochs=1, precision="32-true", accelerator="cpu"),
        inference=replace(config.inference, roi_size=(96, 96, 96)),
        validation_overlap=0.0,
        num_folds=4,
    )
    result = finetune(config, data=test_data / "brats2013", output=tmp_path / "run")
    assert list(result.dice_per_target) == ["TC", "WT", "ET"]
    assert not math.isnan(result.dice)
    description = load_model(result.best_model).description
    assert description.task.name == "brats2013"
    assert description.task.channels == ("FLAIR", "T1ce")
    assert (description.network.in_channels, description.network.num_classes) == (2, 3)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (len(record["training"]), len(record["validation"])) == (3, 1)
