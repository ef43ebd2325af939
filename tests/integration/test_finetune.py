"""Fine-tuning from a folder of scans to a model folder, on phantoms: command, resume, Ctrl-C, bad input."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from monai.networks.nets import SwinUNETR as MonaiSwinUNETR

from finetune import run as finetune_run
from finetune.config import FinetuneConfig
from finetune.run import finetune
from swin_unetr.checkpoints import load_model
from swin_unetr.cli import main
from swin_unetr.config_io import from_dict
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.training.choice import COLLAPSE

#: Takes about a second an epoch on phantoms of 32 x 32 x 24 voxels.
TINY: dict[str, Any] = {
    "network": {
        "feature_size": 4,
        "depths": [1, 1],
        "num_heads": [1, 2],
        "window_size": [4, 4, 4],
        "drop_path_rate": 0.2,
    },
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "sampling": {"crop_size": [16, 16, 16], "crops_per_scan": 2},
    "augment": {"intensity_shift_probability": 1.0, "affine_probability": 0.5, "noise_probability": 0.5},
    "optimizer": {"learning_rate": 0.01, "warmup_epochs": 1},
    "trainer": {"max_epochs": 3, "validate_every": 1, "accelerator": "cpu"},
    "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
    "validation_overlap": 0.0,
    "num_folds": 3,
}


def tiny(**trainer: Any) -> FinetuneConfig:
    return from_dict(FinetuneConfig, {**TINY, "trainer": {**TINY["trainer"], **trainer}}, source="test")


def weights(folder: Path) -> torch.Tensor:
    return torch.cat([value.flatten() for value in load_model(folder).network.state_dict().values()])


def table(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


class FailAfter(Callback):
    """A power cut after some steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.steps:
            raise RuntimeError("power cut")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(TINY))  # JSON is YAML
    return path


@pytest.fixture
def break_after(monkeypatch):
    """Let the next training end by an exception after some steps."""
    build = finetune_run.build_trainer

    def arrange(steps: int) -> None:
        def broken(*args, callbacks, **kwargs):
            return build(*args, callbacks=[*callbacks, FailAfter(steps)], **kwargs)

        monkeypatch.setattr(finetune_run, "build_trainer", broken)

    yield arrange
    monkeypatch.undo()


@pytest.fixture(scope="module")
def undisturbed(phantom_data: Path, tmp_path_factory) -> Path:
    """The run folder of a whole training."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    result = finetune(tiny(), data=phantom_data, output=folder)
    assert result.epochs == 3
    return folder


def test_the_run_folder_says_everything(undisturbed: Path, phantom_data: Path) -> None:
    assert {path.name for path in undisturbed.iterdir()} == {
        "best", "checkpoints", "config.yaml", "folds.json", "last", "metrics.csv", "run.json", "tensorboard",
    }  # fmt: skip
    record = json.loads((undisturbed / "run.json").read_text())
    assert record["data"] == str(phantom_data)
    assert (record["fold"], record["seed"], record["epochs"]) == (0, 0, 3)
    assert sorted(record["training"] + record["validation"]) == [f"phantom_{index:03d}" for index in range(6)]
    assert record["seconds"] > 0
    assert record["config"]["network"]["num_classes"] == 6
    assert record["fast_paths"] == {
        "attention": "auto",
        "memory_layout": "auto",
        "compile": "off",
        "recompute": "none",
        "fused_optimizer": True,
        "tf32": False,
        "scans": "store",
        "augmentation": "loader",
    }
    assert [session["status"] for session in record["sessions"]] == ["finished"]
    rows = table(undisturbed)
    assert len(rows) == 3
    assert all(0 < float(row["loader_share"]) < 1 for row in rows)
    smoothed = float(rows[-1]["val/smoothed_pooled_dice"])
    assert smoothed >= max(float(row["val/smoothed_pooled_dice"]) for row in rows) - COLLAPSE
    assert (record["best"]["epoch"], record["best"]["reason"]) == (3, "end of training")
    assert record["best"]["scores"]["val/smoothed_pooled_dice"] == pytest.approx(smoothed, rel=1e-4)
    assert record["choice"]["not_in_training"] == []
    assert float(rows[-1]["train/loss"]) < float(rows[0]["train/loss"])
    model = load_model(undisturbed / "best").description
    assert model.task.targets[0].name == "liver"
    assert model.provenance["epoch"] == record["best"]["epoch"]
    assert model.provenance["versions"]["torch"] == torch.__version__
    assert model.inference.roi_size == (32, 32, 24)
    assert model.training_scans is not None
    assert model.training_scans.looked_at == len(record["training"])
    (values,) = model.training_scans.channels
    assert values.lowest[1] < -900 < 100 < values.highest[0]  # Hounsfield units, as in the files


def test_the_dice_of_validation_is_that_of_the_saved_model(undisturbed: Path, phantom_data: Path) -> None:
    from finetune.validation import dice_of, overlap
    from swin_unetr.datasets import read_dataset
    from transforms.preprocess import preprocessing

    model = load_model(undisturbed / "last")
    description = model.description
    cases = {case.id: case for case in read_dataset(phantom_data, require_labels=True).cases}
    steps = preprocessing(description.preprocess, description.task, with_label=True)
    rows = []
    for name in description.provenance["validation"]:
        sample = steps({"case": cases[name]})
        with torch.no_grad():
            scores = model.network.eval()(sample["image"].as_tensor()[None])[0]  # one window holds it all
        rows.append(overlap(scores, torch.as_tensor(sample["label"]), description.task))
    logged = description.provenance["scores"]
    for name, dice in (
        ("dice", torch.stack([dice_of(row) for row in rows])),
        ("pooled_dice", dice_of(sum(rows))[None]),
    ):
        for target, mean in zip(description.task.targets, dice.nanmean(0), strict=True):
            assert logged[f"val/{name}/{target.name}"] == pytest.approx(float(mean), abs=1e-4)


@pytest.mark.parametrize(("workers", "steps"), [(0, 10), (1, 6)])
def test_a_broken_run_goes_on_as_if_it_had_not(
    phantom_data: Path, tmp_path: Path, undisturbed: Path, break_after, monkeypatch, workers: int, steps: int
) -> None:
    config = from_dict(FinetuneConfig, {**TINY, "sampling": {**TINY["sampling"], "num_workers": workers}}, source="")
    break_after(steps)
    with pytest.raises(RuntimeError, match="power cut"):
        finetune(config, data=phantom_data, output=tmp_path / "run")
    monkeypatch.undo()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["sessions"][0]["status"] == "failed"
    result = finetune(config, data=phantom_data, output=tmp_path / "run", resume=True)
    assert result.epochs == 3
    for name in ("best", "last"):
        assert torch.equal(weights(tmp_path / "run" / name), weights(undisturbed / name))
    columns = [[row["val/smoothed_pooled_dice"] for row in table(run)] for run in (tmp_path / "run", undisturbed)]
    assert columns[0] == columns[1]  # the average of the scores goes on, too


def test_scans_in_memory_train_the_same_but_for_rounding(phantom_data: Path, tmp_path: Path, undisturbed: Path) -> None:
    config = from_dict(FinetuneConfig, {**TINY, "store": "memory"}, source="test")
    finetune(config, data=phantom_data, output=tmp_path / "run")
    assert not (tmp_path / "store").exists()
    rows = []
    for folder in (tmp_path / "run", undisturbed):
        with (folder / "metrics.csv").open() as file:
            rows.append([float(row["train/loss"]) for row in csv.DictReader(file)])
    np.testing.assert_allclose(*rows, rtol=1e-3)


def test_a_run_reads_no_scan_that_is_in_the_store(
    phantom_data: Path, tmp_path: Path, undisturbed: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(undisturbed.parent / "store", tmp_path / "store")
    monkeypatch.setattr("transforms.preprocess.read_image", None)  # reading would fail
    finetune(tiny(), data=phantom_data, output=tmp_path / "run")
    assert "to preprocess" not in capsys.readouterr().out
    assert torch.equal(weights(tmp_path / "run" / "last"), weights(undisturbed / "last"))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_store_ends_a_run_in_one_line(
    phantom_data: Path, tmp_path: Path, undisturbed: Path, workers: int
) -> None:
    shutil.copytree(undisturbed.parent / "store", tmp_path / "store")
    for file in (tmp_path / "store").rglob("*.scan"):
        raw = bytearray(file.read_bytes())
        raw[20] ^= 1
        file.write_bytes(raw)
    config = from_dict(FinetuneConfig, {**TINY, "sampling": {**TINY["sampling"], "num_workers": workers}}, source="")
    with pytest.raises(DataError) as caught:
        finetune(config, data=phantom_data, output=tmp_path / "run")
    assert re.fullmatch(r"phantom_00\d: .*\.scan is damaged \(.*\); delete that file.*", str(caught.value))


def test_resuming_with_another_configuration_names_the_fields(phantom_data: Path, undisturbed: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.seed \(was 0, now 1\)"):
        finetune(tiny(seed=1), data=phantom_data, output=undisturbed, resume=True)
    with pytest.raises(ConfigError, match=r"--resume auto"):
        finetune(tiny(), data=phantom_data, output=undisturbed)
    with pytest.raises(ConfigError, match=r"fold.*was 0, now 1"):
        finetune(tiny(), data=phantom_data, output=undisturbed, fold=1, resume=True)


def test_a_finished_run_can_train_for_longer(phantom_data: Path, tmp_path: Path, undisturbed: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    assert finetune(tiny(), data=phantom_data, output=folder, resume=True).epochs == 3  # nothing left to do
    result = finetune(tiny(max_epochs=4), data=phantom_data, output=folder, resume=True)
    assert result.epochs == 4
    with (folder / "metrics.csv").open() as file:
        assert min(float(row["learning_rate"]) for row in csv.DictReader(file)) > 0
    record = json.loads((folder / "run.json").read_text())
    assert [session["status"] for session in record["sessions"]] == ["finished"] * 3
    assert result.seconds > json.loads((undisturbed / "run.json").read_text())["seconds"]


def test_average_of_weights_in_bfloat16_by_command(
    phantom_data: Path, tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    arguments = ["finetune", "--config", str(recipe), "--data", str(phantom_data), "--output", str(folder)]
    options = ["--trainer.ema_decay", "0.9", "--trainer.precision", "bf16-mixed", "--network.feature_size", "8"]
    options += ["--speed.fast", "false"]
    assert main([*arguments, *options, "--fold", "2", "--sampling.scans_per_batch", "3"]) == 0
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in err.splitlines()] == ["warning"]  # of the sides that are mirrored
    assert "augment.flip_probability" in err
    assert "3 epochs in" in out
    assert "best/ has epoch" in out
    assert "in validation: mean Dice of cases" in out
    assert load_model(folder / "best").description.network.feature_size == 8
    record = json.loads((folder / "run.json").read_text())
    assert (record["fold"], record["config"]["trainer"]["ema_decay"]) == (2, 0.9)
    assert record["fast_paths"] == {
        "attention": "explicit",
        "memory_layout": "unchanged",
        "compile": "off",
        "recompute": "none",
        "fused_optimizer": False,
        "tf32": False,
        "scans": "store",
        "augmentation": "loader",
    }


def test_a_split_is_reused(phantom_data: Path, tmp_path: Path) -> None:
    folds = tmp_path / "mine.json"
    ids = [f"phantom_{index:03d}" for index in range(6)]
    folds.write_text(json.dumps({"seed": 7, "folds": [ids[:1], ids[1:]]}))
    finetune(tiny(max_epochs=2), data=phantom_data, output=tmp_path / "run", fold=1, folds=folds)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["training"], record["validation"]) == (ids[:1], ids[1:])
    folds.write_text(json.dumps({"seed": 7, "folds": [["absent"], ids]}))
    with pytest.raises(DataError, match=r"mine\.json.*absent"):
        finetune(tiny(), data=phantom_data, output=tmp_path / "other", folds=folds)


def test_all_trains_on_every_case_and_can_be_resumed(phantom_data: Path, tmp_path: Path) -> None:
    finetune(tiny(max_epochs=2), data=phantom_data, output=tmp_path / "run", fold="all")
    result = finetune(tiny(), data=phantom_data, output=tmp_path / "run", fold="all", resume=True)
    assert result.epochs == 3
    assert "\non the cases that it was trained on: mean Dice of cases " in result.summary()  # which is no validation
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["fold"] == "all"
    assert record["training"] == record["validation"] == [f"phantom_{index:03d}" for index in range(6)]
    assert (record["best"]["epoch"], record["best"]["reason"]) == (3, record["choice"]["always_last"])
    assert record["choice"]["always_last"].startswith("every case is trained on")


def test_starts_from_another_models_weights_and_says_which(
    phantom_data: Path, tmp_path: Path, undisturbed: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantom_data, data)
    description = json.loads((data / "dataset.json").read_text())
    description["labels"]["6"] = "spine"  # a class more: the head does not fit
    (data / "dataset.json").write_text(json.dumps(description))
    arguments = ["finetune", "--config", str(recipe), "--data", str(data), "--output", str(tmp_path / "run")]
    options = ["--init", str(undisturbed), "--optimizer.learning_rate", "1e-30", "--optimizer.weight_decay", "0"]
    assert main([*arguments, *options, "--trainer.max_epochs", "2"]) == 0
    assert "of another shape, keep their initial values: head.weight" in capsys.readouterr().out
    before, after = (load_model(folder / "best").network.state_dict() for folder in (undisturbed, tmp_path / "run"))
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"head.weight", "head.bias"}
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert any("head.weight" in line for line in record["init"])
    assert main([*arguments, "--init", str(undisturbed), "--network.feature_size", "8"]) == 2  # not an empty folder
    arguments[-1] = str(tmp_path / "other")
    assert main([*arguments, "--init", str(undisturbed), "--network.feature_size", "8"]) == 1
    assert "set network.feature_size" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_starts_from_a_published_encoder(phantom_data: Path, tmp_path: Path, recipe: Path, capsys) -> None:
    published = MonaiSwinUNETR(
        in_channels=1, out_channels=2, feature_size=12, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8)
    )
    encoder = {f"module.{name}": value for name, value in published.swinViT.state_dict().items()}
    torch.save({"state_dict": encoder}, tmp_path / "model_swinvit.pt")
    arguments = ["finetune", "--config", str(recipe), "--data", str(phantom_data), "--output", str(tmp_path / "run")]
    arguments += ["--init", str(tmp_path / "model_swinvit.pt"), "--sampling.crop_size", "[32,32,32]"]
    arguments += ["--network.depths", "[1,1,1,1]", "--network.num_heads", "[1,2,4,8]", "--network.feature_size", "12"]
    arguments += ["--network.window_size", "[7,7,7]", "--inference.roi_size", "[32,32,32]"]
    arguments += ["--optimizer.learning_rate", "1e-30", "--optimizer.weight_decay", "0", "--trainer.max_epochs", "1"]
    arguments += ["--optimizer.warmup_epochs", "0", "--sampling.crops_per_scan", "1"]
    assert main(arguments) == 1
    assert "set network.merging to legacy" in capsys.readouterr().err
    assert main([*arguments, "--network.merging", "legacy"]) == 0
    assert "0 unexpected" in capsys.readouterr().out
    network = load_model(tmp_path / "run" / "best").network
    ours = network.encoder.patch_embedding.projection.weight
    assert torch.equal(ours, published.swinViT.patch_embed.proj.weight)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--network.featur_size", "3"], "network.featur_size"),
        (["--network.feature_size", "many"], "network.feature_size"),
        (["--fold", "9"], "fold: 9"),
        (["--config", "absent.yaml"], "absent.yaml"),
        (["--trainer.devices", "0"], "trainer:"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(
    phantom_data: Path, tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str], options, words: str
) -> None:
    arguments = ["finetune", "--config", str(recipe), "--data", str(phantom_data), "--output", str(tmp_path / "run")]
    assert main([*arguments, *options]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_misspelt_field_of_a_recipe_is_named_with_its_file(phantom_data: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("network: {featur_size: 12}")
    assert main(["finetune", "--config", str(path), "--data", str(phantom_data), "--output", str(tmp_path / "r")]) == 2
    assert "mine.yaml: unknown field 'network.featur_size'" in capsys.readouterr().err


def test_bad_scans_are_all_named_and_nothing_is_left_behind(
    phantom_data: Path, tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantom_data, data)
    image = data / "imagesTr" / "phantom_001.nii.gz"
    image.write_bytes(image.read_bytes()[:2000])
    shutil.copy(data / "labelsTr" / "phantom_000.nii.gz", data / "labelsTr" / "phantom_004.nii.gz")
    arguments = ["finetune", "--config", str(recipe), "--data", str(data), "--output", str(tmp_path / "run")]
    assert main(arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    assert "2 of 6 scans cannot be used" in lines[0]
    assert len(lines) == 3
    assert "phantom_001" in lines[1]
    assert "phantom_004" in lines[2]
    assert not (tmp_path / "run").exists()


def test_ctrl_c_saves_says_how_to_go_on_and_ends_with_130(phantom_data: Path, tmp_path: Path, recipe: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "swin_unetr", "finetune", "--config", str(recipe), "--data", str(phantom_data)]
    command += ["--output", str(folder), "--trainer.max_epochs", "500", "--sampling.num_workers", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 120
        while not (folder / "checkpoints" / "last.ckpt").is_file():
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: workers are told too
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "stopping after this step" in out
    assert "to go on: swin-unetr finetune " in err
    assert "--resume auto" in err
    assert "Traceback" not in err
    epochs = json.loads((folder / "run.json").read_text())["epochs"]
    config = from_dict(
        FinetuneConfig, {**TINY, "trainer": {**TINY["trainer"], "max_epochs": epochs + 1}}, source="test"
    )
    assert finetune(config, data=phantom_data, output=folder, resume=True).epochs == epochs + 1
