"""Cross-validation on phantoms: interrupted, gone on with, evaluated out of fold, and used as an ensemble."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch import Callback
from safetensors import safe_open

from finetune import run as finetune_run
from finetune.config import FinetuneConfig
from finetune.cross_report import CrossValidationResult
from finetune.cross_validation import cross_validate
from swin_unetr.cli import main
from swin_unetr.config_io import from_dict
from swin_unetr.datasets import read_dataset
from swin_unetr.errors import CheckpointError, ConfigError
from swin_unetr.inference.batch.run import predict
from transforms.io import read_image

TINY: dict[str, Any] = {
    "network": {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]},
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "sampling": {"crop_size": [16, 16, 16]},
    "loss": {"class_weights": "frequencies"},
    "deep_supervision": True,
    "optimizer": {"learning_rate": 0.01, "warmup_epochs": 0},
    "trainer": {"max_epochs": 1, "validate_every": 1, "accelerator": "cpu", "ema_decay": 0.5},
    "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
    "validation_overlap": 0.0,
    "num_folds": 2,
    "store": "memory",
}
CONFIG = from_dict(FinetuneConfig, TINY, source="test")


class PowerCut(Callback):
    """In the second step of fold 1."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == 2 and Path(trainer.default_root_dir).name == "fold_1":
            raise RuntimeError("power cut")


@pytest.fixture(scope="module")
def interrupted_and_resumed(phantom_data: Path, tmp_path_factory) -> CrossValidationResult:
    """A cross-validation whose power was cut in its second fold."""
    run = tmp_path_factory.mktemp("cross") / "run"
    build = finetune_run.build_trainer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            finetune_run,
            "build_trainer",
            lambda *args, callbacks, **options: build(*args, callbacks=[*callbacks, PowerCut()], **options),
        )
        with pytest.raises(RuntimeError, match="power cut"):
            cross_validate(CONFIG, data=phantom_data, output=run)
    with pytest.raises(CheckpointError, match="not finished"):
        predict(run, phantom_data / "imagesTs", run.parent / "too_early", progress=False)
    finished = (run / "fold_0" / "run.json").read_bytes()
    with pytest.raises(ConfigError, match="is not empty"):
        cross_validate(CONFIG, data=phantom_data, output=run)
    result = cross_validate(CONFIG, data=phantom_data, output=run, resume=True)
    assert (run / "fold_0" / "run.json").read_bytes() == finished
    return result


def test_every_case_is_predicted_by_the_model_that_did_not_see_it(interrupted_and_resumed) -> None:
    result, run = interrupted_and_resumed, interrupted_and_resumed.run_folder
    sessions = json.loads((run / "fold_1" / "run.json").read_text())["sessions"]
    assert [session["status"] for session in sessions] == ["failed", "finished"]
    for fold in result.folds:
        record = json.loads((run / fold.folder / "run.json").read_text())
        assert set(fold.cases) == set(record["validation"])
        assert not set(fold.cases) & set(record["training"])
        for case in fold.cases:
            models = json.loads((run / "out_of_fold" / f"{case}.json").read_text())["models"]
            assert [model["path"] for model in models] == [str(run / fold.folder / "best")]
    assert result.evaluation.evaluated == tuple(f"phantom_{index:03d}" for index in range(6))


def test_the_summary_is_of_all_cases(interrupted_and_resumed) -> None:
    result, run = interrupted_and_resumed, interrupted_and_resumed.run_folder
    values = json.loads((run / "cross_validation.json").read_text())
    dice = {row.case: row.value for row in result.evaluation.rows if (row.structure, row.metric) == ("liver", "dice")}
    assert len(dice) == 6
    liver = values["dice"]["liver"]
    assert liver["mean"] == pytest.approx(np.mean(list(dice.values())))
    assert liver["ci_low"] <= liver["mean"] <= liver["ci_high"]
    assert [fold["folder"] for fold in values["folds"]] == ["fold_0", "fold_1"]
    for fold in result.folds:  # what was learnt, if anything, is what each of the models says of itself
        description = json.loads((run / fold.folder / "best" / "model.json").read_text())
        assert description["postprocess"] == values["postprocess"]
    assert {trial["rule"]["structure"] for trial in values["tried"]} == set(values["dice"]) - {"mean of structures"}
    assert (run / values["report"]).is_file()
    assert f"| liver | {liver['mean']:.4f} |" in (run / "cross_validation.md").read_text()
    assert f"swin-unetr predict {run} SCANS" in result.summary()


def test_what_helps_in_training_is_not_in_the_model(interrupted_and_resumed) -> None:
    folder = interrupted_and_resumed.run_folder / "fold_0"
    with safe_open(folder / "best" / "model.safetensors", "numpy") as file:
        assert not [name for name in file.keys() if "auxiliary" in name or "heads" in name]  # noqa: SIM118  # no mapping
    weights = json.loads((folder / "run.json").read_text())["class_weights"]
    assert len(weights) == 6
    assert np.mean(weights) == pytest.approx(1, abs=1e-5)
    assert weights[0] == min(weights)  # most voxels are background


def test_predict_takes_the_mean_of_all_folds(interrupted_and_resumed, phantom_data: Path, tmp_path: Path) -> None:
    run, scan = interrupted_and_resumed.run_folder, phantom_data / "imagesTs" / "phantom_006.nii.gz"
    options = {"backend": "torch", "precision": "float32", "save_probabilities": True, "progress": False}
    probabilities = []
    for name, model in (("zero", run / "fold_0"), ("one", run / "fold_1"), ("both", run)):
        assert predict(model, scan, tmp_path / name, **options).exit_code == 0
        probabilities.append(read_image([tmp_path / name / "phantom_006_probabilities.nii.gz"]).array)
    assert np.abs(probabilities[0] - probabilities[1]).max() > 0.01
    assert np.allclose(probabilities[2], (probabilities[0] + probabilities[1]) / 2, atol=1e-6)


def test_finished_folds_and_predictions_stand(interrupted_and_resumed, phantom_data: Path, capsys) -> None:
    run = interrupted_and_resumed.run_folder
    before = {path: path.stat().st_mtime_ns for path in run.glob("out_of_fold/*.nii.gz")}
    assert len(before) == 6
    again = cross_validate(CONFIG, data=phantom_data, output=run, resume=True)
    assert "2 of 2 folds are finished and are kept" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert again.summary() == interrupted_and_resumed.summary()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--folds", "all", "--fold", "1"], "leave out --fold"),
        (["--parallel", "2"], "parallel: goes with --folds all"),
        (["--folds", "all", "--parallel", "0"], "parallel:"),
        (["--folds", "mine.json", "--split", "other.json"], "split:"),
    ],
)
def test_options_about_folds_that_do_not_go_together(phantom_data, tmp_path: Path, capsys, options, words) -> None:
    arguments = ["finetune", "--config", "demo", "--data", str(phantom_data), "--output", str(tmp_path / "run")]
    assert main([*arguments, *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1


def test_one_of_many_processes_is_told_how_to_go_about_it(phantom_data, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"WORLD_SIZE=2: .*--fold K --output RUN/fold_K"):
        cross_validate(CONFIG, data=phantom_data, output=tmp_path / "run")


def test_a_list_of_some_cases_of_a_folder(phantom_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for part in ("imagesTr", "labelsTr"):
        (data / part).mkdir(parents=True)
        for index in range(4):
            file = f"{part}/phantom_{index:03d}.nii.gz"
            (data / file).symlink_to(phantom_data / file)
    rows = [f"case_{index},imagesTr/phantom_00{index}.nii.gz,labelsTr/phantom_00{index}.nii.gz" for index in range(3)]
    (data / "mine.csv").write_text("\n".join(["case,image,label", *rows]))
    task = read_dataset(phantom_data, require_labels=True).task
    result = cross_validate(CONFIG, data=data / "mine.csv", output=tmp_path / "run", task=task)
    assert result.evaluation.evaluated == ("case_0", "case_1", "case_2")
