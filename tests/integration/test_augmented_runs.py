"""Runs with exchanged sides and MONAI's transforms: what they record, that they resume, prediction by their model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback

from finetune import run as finetune_run
from finetune.config import FinetuneConfig
from finetune.run import finetune
from swin_unetr.checkpoints import load_model
from swin_unetr.cli import main
from swin_unetr.config_io import from_dict

RECIPE: dict[str, Any] = {
    "network": {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]},
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "sampling": {"crop_size": [16, 16, 16], "crops_per_scan": 2},
    "augment": {
        "flip_probability": [0.5, 0, 0],
        "exchange_sides": True,
        "contrast_probability": 0.5,
        "low_resolution_probability": 0.5,
        "inverted_gamma_probability": 0.3,
        "monai": [{"RandGibbsNoised": {"prob": 0.5, "alpha": [0, 0.5]}}, {"RandBiasFieldd": {"prob": 0.5}}],
    },
    "optimizer": {"learning_rate": 0.01, "warmup_epochs": 1},
    "trainer": {"max_epochs": 2, "validate_every": 1, "accelerator": "cpu"},
    "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
    "validation_overlap": 0.0,
    "num_folds": 2,
}


def weights(run: Path) -> torch.Tensor:
    return torch.cat([value.flatten() for value in load_model(run / "last").network.state_dict().values()])


def config(**sampling: Any) -> FinetuneConfig:
    return from_dict(FinetuneConfig, {**RECIPE, "sampling": {**RECIPE["sampling"], **sampling}}, source="test")


@pytest.fixture(scope="module")
def whole(phantom_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("augmented")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    arguments = ["--config", str(folder / "recipe.yaml"), "--data", str(phantom_data), "--output", str(folder / "run")]
    assert main(["finetune", *arguments]) == 0
    return folder / "run"


def test_a_run_records_what_it_exchanged_and_where_it_changed_crops(whole: Path) -> None:
    record = json.loads((whole / "run.json").read_text())
    assert record["fast_paths"]["augmentation"] == "loader"
    assert record["exchanged_sides"] == [["right kidney", "left kidney"]]
    assert record["config"]["augment"]["monai"] == RECIPE["augment"]["monai"]
    description = load_model(whole / "best").description
    assert description.inference.mirror_axes == (0,)
    assert description.inference.mirror_pairs == (("right kidney", "left kidney"),)


def test_its_model_averages_over_mirror_images(whole: Path, phantom_data: Path, tmp_path: Path) -> None:
    scan = str(phantom_data / "imagesTs" / "phantom_006.nii.gz")
    assert main(["predict", str(whole), scan, "--output", str(tmp_path / "out"), "--tta", "--device", "cpu"]) == 0
    assert (tmp_path / "out" / "phantom_006.nii.gz").is_file()


class FailAfter(Callback):
    """A power cut after some steps."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == 4:
            raise RuntimeError("power cut")


def test_a_run_with_workers_that_was_cut_off_ends_as_the_undisturbed_one(
    whole: Path, phantom_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = finetune_run.build_trainer
    with monkeypatch.context() as patch:
        patch.setattr(
            finetune_run,
            "build_trainer",
            lambda *args, callbacks, **keys: build(*args, callbacks=[*callbacks, FailAfter()], **keys),
        )
        with pytest.raises(RuntimeError, match="power cut"):
            finetune(config(num_workers=2), data=phantom_data, output=tmp_path / "run")
    finetune(config(num_workers=2), data=phantom_data, output=tmp_path / "run", resume=True)
    assert torch.equal(weights(tmp_path / "run"), weights(whole))


def test_sides_without_partner_are_not_mirrored(
    phantom_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantom_data, data, symlinks=True)
    text = (data / "dataset.json").read_text()
    (data / "dataset.json").write_text(text.replace("right kidney", "LV").replace("left kidney", "kidney_l"))
    recipe = {**RECIPE, "augment": {"exchange_sides": True}, "trainer": {**RECIPE["trainer"], "max_epochs": 2}}
    finetune(from_dict(FinetuneConfig, recipe, source="test"), data=data, output=tmp_path / "run")
    told = capsys.readouterr()
    assert told.err.count("crops are not mirrored along X: the mirror image of") == 1
    assert "LV" in told.err
    assert "kidney_l" in told.err
    description = load_model(tmp_path / "run" / "best").description
    assert description.inference.mirror_axes == (1, 2)
    assert description.inference.mirror_pairs == ()
