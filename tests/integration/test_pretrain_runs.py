"""Pre-training from a folder of scans to an encoder that fine-tuning takes: command, resume, bad input; on phantoms."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from pretrain import run as pretrain_run
from pretrain.config import PretrainConfig
from pretrain.run import PretrainResult, pretrain
from swin_unetr.checkpoints.model_folder import load_model, read_description, read_weights
from swin_unetr.cli import main
from swin_unetr.config_io import from_dict
from swin_unetr.errors import CheckpointError, ConfigError

NETWORK = {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4], "drop_path_rate": 0.2}
TINY: dict[str, Any] = {
    "network": NETWORK,
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "scans": {"crop_size": [16, 16, 16], "scans_per_batch": 2, "crops_per_scan": 1, "num_workers": 0},
    "proxies": {"masked": {"weight": 1.0, "cube": 8}},
    "optimizer": {"learning_rate": 0.001, "warmup_epochs": 1},
    "trainer": {"max_epochs": 3, "validate_every": 2, "accelerator": "cpu"},
    "health": {"picture_every": 2, "probe_every": 2, "probe_voxels": 20},
}
TASKS = ("rotation", "inpainting", "masked", "contrastive")


def tiny(**trainer: Any) -> PretrainConfig:
    return from_dict(PretrainConfig, {**TINY, "trainer": {**TINY["trainer"], **trainer}}, source="test")


def table(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if key not in ("seconds", "loader_share")}
            for row in csv.DictReader(file)
        ]


class FailAfter(Callback):
    """A power cut after some steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.steps:
            raise RuntimeError("power cut")


@pytest.fixture
def break_after(monkeypatch):
    """Let the next training end by an exception after some steps."""
    build = pretrain_run.build_trainer

    def arrange(steps: int) -> None:
        def broken(*args, callbacks, **kwargs):
            return build(*args, callbacks=[*callbacks, FailAfter(steps)], **kwargs)

        monkeypatch.setattr(pretrain_run, "build_trainer", broken)

    yield arrange
    monkeypatch.undo()


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(TINY))  # JSON is YAML
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def undisturbed(phantom_data: Path, cache: Path, tmp_path_factory) -> PretrainResult:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    return pretrain(tiny(), data=[phantom_data], output=folder, cache=cache, probe=phantom_data)


def test_the_run_folder_says_everything(undisturbed: PretrainResult, phantom_data: Path) -> None:
    folder = undisturbed.run_folder
    assert {path.name for path in folder.iterdir()} == {
        "best", "checkpoints", "config.yaml", "curves.png", "last", "metrics.csv", "pictures", "probe.csv", "run.json",
        "tensorboard",
    }  # fmt: skip
    record = json.loads((folder / "run.json").read_text())
    assert (record["kind"], record["seed"], record["epochs"]) == ("pretrain", 0, 3)
    assert sorted(Path(scan).name for scan in record["scans"]) == [f"phantom_{index:03d}.nii.gz" for index in range(6)]
    assert len(set(record["scan_hashes"])) == 6
    assert {task: record["config"]["proxies"][task]["weight"] for task in TASKS} == dict.fromkeys(TASKS, 1.0)
    assert record["transfer"]["merging"] == "mergingv2"
    assert record["best"]["epoch"] == 3
    assert [session["status"] for session in record["sessions"]] == ["finished"]
    rows = table(folder)
    assert [row["step"] for row in rows] == ["3", "6", "9"]
    for row in rows:
        parts = sum(float(row[f"train/{task}/loss"]) for task in TASKS)
        assert float(row["train/loss"]) == pytest.approx(parts, rel=1e-4)
        assert 0 <= float(row["train/rotation/accuracy"]) <= 1
        assert 0 <= float(row["train/contrastive/top1"]) <= 1
    assert [bool(row["probe/accuracy"]) for row in rows] == [False, True, True]
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    assert pictures == {f"epoch_{epoch:05d}_{task}.png" for epoch in (1, 2, 3) for task in ("inpainting", "masked")}


def test_the_encoder_transfers_whole_and_says_where_it_is_from(undisturbed: PretrainResult) -> None:
    tensors = read_weights(undisturbed.best_model)
    transfer = json.loads((undisturbed.run_folder / "run.json").read_text())["transfer"]
    assert {f"encoder.{name}" for name in tensors} == set(transfer["loaded"])
    assert not [name for name in transfer["missing"] if name.startswith("encoder.")]
    assert not transfer["unexpected"]
    assert f"{len(tensors)} tensors loaded, 0 adapted" in undisturbed.summary()
    description = read_description(undisturbed.last_model)
    assert description.kind == "encoder"
    assert description.preprocess == tiny().preprocess
    assert description.provenance["epoch"] == 3
    assert len(description.provenance["scan_hashes"]) == 6
    for name, tensor in read_weights(undisturbed.last_model).items():
        assert torch.equal(tensor, tensors[name])


def test_finetune_starts_from_the_run(undisturbed: PretrainResult, phantom_data: Path, tmp_path: Path) -> None:
    from finetune.config import FinetuneConfig
    from finetune.run import finetune

    config = {
        "network": NETWORK,
        "preprocess": TINY["preprocess"],
        "sampling": {"crop_size": [16, 16, 16]},
        "optimizer": {"learning_rate": 0.0, "warmup_epochs": 0},
        "trainer": {"max_epochs": 1, "validate_every": 1, "accelerator": "cpu"},
        "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
        "num_folds": 3,
    }
    config = from_dict(FinetuneConfig, config, source="test")
    finetune(config, data=phantom_data, output=tmp_path / "fine", init=undisturbed.run_folder)
    fine, ours = read_weights(tmp_path / "fine" / "last"), read_weights(undisturbed.best_model)
    for name, tensor in ours.items():
        torch.testing.assert_close(fine[f"encoder.{name}"], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("steps", [2, 4, 7])
def test_a_run_that_was_cut_off_goes_on_to_the_same_losses(
    steps: int, undisturbed: PretrainResult, phantom_data: Path, cache: Path, tmp_path: Path, break_after, monkeypatch
) -> None:
    from swin_unetr.training import resume_point

    monkeypatch.setattr(resume_point, "SAVE_EVERY_SECONDS", 0.0)  # a checkpoint after every epoch
    given = {"data": [phantom_data], "output": tmp_path / "run", "cache": cache, "probe": phantom_data, "resume": True}
    break_after(steps)
    with pytest.raises(RuntimeError, match="power cut"):
        pretrain(tiny(), **given)
    monkeypatch.undo()
    result = pretrain(tiny(), **given)
    assert table(tmp_path / "run") == table(undisturbed.run_folder)
    wanted = read_weights(undisturbed.last_model)
    for name, tensor in read_weights(result.last_model).items():
        torch.testing.assert_close(tensor, wanted[name], rtol=0, atol=0)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [session["status"] for session in record["sessions"]] == ["failed", "finished"]


def test_other_scans_or_another_task_are_no_way_to_go_on(
    undisturbed: PretrainResult, phantom_data: Path, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed.run_folder, folder)
    fewer = [phantom_data / "imagesTr" / f"phantom_{index:03d}.nii.gz" for index in range(5)]
    with pytest.raises(ConfigError, match="with other scans"):
        pretrain(tiny(), data=fewer, output=folder, cache=cache, resume=True)
    changed = from_dict(PretrainConfig, {**TINY, "proxies": {"masked": {"weight": 0.5, "cube": 8}}}, source="test")
    with pytest.raises(ConfigError, match=r"proxies\.masked\.weight"):
        pretrain(changed, data=[phantom_data], output=folder, cache=cache, resume=True)
    assert pretrain(tiny(max_epochs=4), data=[phantom_data], output=folder, cache=cache, resume=True).epochs == 4


def whole(**trainer: Any) -> PretrainConfig:
    """The whole network, with the tasks that have a slow encoder."""
    small = {"weight": 1.0, "hidden": 8, "embedding": 4}
    tasks = {
        **{name: {"weight": 0.0} for name in TASKS},
        "masked": {"weight": 1.0, "cube": 4, "through": "network"},
        "distillation": {**small, "prototypes": 6},
        "moby": {**small, "queue": 10},
    }
    values = {**TINY, "proxies": tasks, "trainer": {**TINY["trainer"], "max_epochs": 2, **trainer}}
    return from_dict(PretrainConfig, values, source="test")


@pytest.fixture(scope="module")
def of_the_network(phantom_data: Path, cache: Path, tmp_path_factory) -> PretrainResult:
    return pretrain(whole(), data=[phantom_data], output=tmp_path_factory.mktemp("whole") / "run", cache=cache)


def test_the_whole_network_is_kept_and_taken_up(
    of_the_network: PretrainResult, phantom_data: Path, cache: Path, tmp_path: Path, capsys
) -> None:
    from finetune.config import FinetuneConfig
    from finetune.run import finetune

    assert read_description(of_the_network.best_model).kind == "body"
    transfer = json.loads((of_the_network.run_folder / "run.json").read_text())["transfer"]
    assert transfer["missing"] == ["head.bias", "head.weight"]
    assert not transfer["unexpected"]
    assert f"network: {of_the_network.best_model}" in of_the_network.summary()
    ours = read_weights(of_the_network.best_model)
    assert {name.split(".")[0] for name in ours} == {"encoder", "input_block", "skip_blocks", "bottleneck", "decoder"}
    assert (of_the_network.run_folder / "pictures" / "epoch_00002_masked.png").is_file()
    rows = table(of_the_network.run_folder)
    for row in rows:
        assert 0 <= float(row["train/distillation/entropy"]) <= 1
        assert 0 <= float(row["train/moby/top1"]) <= 1
    with pytest.raises(CheckpointError, match="without an output layer"):
        load_model(of_the_network.best_model)
    config = {
        "network": NETWORK,
        "preprocess": TINY["preprocess"],
        "sampling": {"crop_size": [16, 16, 16]},
        "optimizer": {"learning_rate": 0.0, "warmup_epochs": 0},
        "trainer": {"max_epochs": 1, "validate_every": 1, "accelerator": "cpu"},
        "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
        "num_folds": 3,
    }
    capsys.readouterr()
    run = tmp_path / "fine"
    finetune(
        from_dict(FinetuneConfig, config, source="test"), data=phantom_data, output=run, init=of_the_network.run_folder
    )
    said = "carried over: the whole network but its output layer"
    assert said in capsys.readouterr().out
    assert any(said in line for line in json.loads((run / "run.json").read_text())["init"])
    fine = read_weights(run / "last")
    for name, tensor in ours.items():
        torch.testing.assert_close(fine[name], tensor, rtol=0, atol=0)
    # the next pre-training goes on with all of it
    again = pretrain(
        whole(), data=[phantom_data], output=tmp_path / "again", cache=cache,
        init=of_the_network.run_folder,
    )  # fmt: skip
    record = json.loads((again.run_folder / "run.json").read_text())
    assert f"{len(ours)} tensors loaded, 0 adapted, 0 missing" in record["init"][0]


def test_slow_encoders_centre_and_queue_are_resumed(
    of_the_network: PretrainResult, phantom_data: Path, cache: Path, tmp_path: Path, break_after, monkeypatch
) -> None:
    from swin_unetr.training import resume_point

    monkeypatch.setattr(resume_point, "SAVE_EVERY_SECONDS", 0.0)
    given = {"data": [phantom_data], "output": tmp_path / "run", "cache": cache, "resume": True}
    break_after(4)
    with pytest.raises(RuntimeError, match="power cut"):
        pretrain(whole(), **given)
    monkeypatch.undo()
    pretrain(whole(), **given)
    assert table(tmp_path / "run") == table(of_the_network.run_folder)
    ours, theirs = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (tmp_path / "run", of_the_network.run_folder)
    )
    parts = (
        "distillation.teacher.encoder",
        "distillation.centre",
        "moby.slow.head",
        "moby.queue_scans",
        "body.decoder",
    )
    for part in parts:
        assert any(part in name for name in ours), part
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("task", TASKS)
def test_every_task_trains_alone(task: str, phantom_data: Path, cache: Path, tmp_path: Path) -> None:
    alone = {name: {"weight": float(name == task), **({"cube": 8} if name == "masked" else {})} for name in TASKS}
    values = {**TINY, "proxies": alone, "trainer": {**TINY["trainer"], "max_epochs": 2}}
    result = pretrain(
        from_dict(PretrainConfig, values, source="test"), data=[phantom_data], output=tmp_path / "run", cache=cache
    )
    assert result.epochs == 2
    columns = [name for name in table(tmp_path / "run")[0] if name.endswith("/loss") and name != "train/loss"]
    assert columns == [f"train/{task}/loss"]


@pytest.fixture
def call(phantom_data: Path, cache: Path, recipe: Path, tmp_path: Path) -> Callable[..., int]:
    def call(*arguments: object, data: Path = phantom_data) -> int:
        fixed = ["--config", recipe, "--data", data, "--output", tmp_path / "run", "--cache", cache]
        return main(["pretrain", *(str(word) for word in (*fixed, *arguments))])

    return call


def test_the_command_says_what_came_of_it_and_what_was_left_out(
    call, phantom_data: Path, tmp_path: Path, capsys
) -> None:
    scans = tmp_path / "scans"
    shutil.copytree(phantom_data / "imagesTr", scans)
    (scans / "broken.nii.gz").write_bytes(b"no scan")
    shutil.copy(scans / "phantom_000.nii.gz", scans / "again.nii.gz")
    (tmp_path / "without.txt").write_text("phantom_005\n")
    options = ("--exclude", tmp_path / "without.txt", "--trainer.max_epochs", 2, "--scans.crop_size", "[32, 32, 32]")
    assert call(*options, data=scans) == 0
    before, _, after = capsys.readouterr().out.partition("epoch 1/2")
    assert "5 scans of 1 channel" in before
    assert before.count("padded with zeros") == 1
    for text in (before, after):  # named at the end too
        assert "broken.nii.gz" in text
        assert "1 of 8 excluded by the list" in text
        assert "again.nii.gz (as " in text or "(as " + str(scans / "again.nii.gz") in text
    assert f"swin-unetr finetune --init {tmp_path / 'run'}" in after
    assert "2 epochs in " in after


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--scans.scans_per_batch", 1), 2, "at least two crops in a batch"),
        (("--scans.crop_size", "[20, 16, 16]"), 2, "multiples of"),
        (("--proxies.rotation.plane", "AB"), 2, "plane"),
        (("--trainer.early_stop_patience", 3), 2, "early_stop_patience"),
        (("--init", "nowhere"), 1, "nowhere"),
        (("--probe", "nowhere"), 1, "nowhere"),
        (("--exclude", "nowhere.txt"), 1, "nowhere.txt"),
    ],
)
def test_wrong_arguments_are_one_line_and_leave_nothing(call, tmp_path: Path, capsys, arguments, code, said) -> None:
    assert call(*arguments) == code
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_scans_of_the_test_are_an_error(call, phantom_data: Path, tmp_path: Path, capsys) -> None:
    assert call("--test", phantom_data / "imagesTr" / "phantom_003.nii.gz") == 1
    assert "phantom_003" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
