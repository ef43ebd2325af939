"""Scans without labels beside labelled ones, on phantoms: what is seen, what the teacher is, stops, leaks."""

import csv
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning_parts import At

from finetune import run as finetune_run
from finetune.command import with_paths
from finetune.config import FinetuneConfig
from finetune.run import finetune
from swin_unetr.checkpoints import load_model
from swin_unetr.checkpoints.model_folder import read_description
from swin_unetr.cli import main
from swin_unetr.config_io import from_dict
from swin_unetr.datasets.folds import Folds
from swin_unetr.training.averaging import average_of

VALUES: dict[str, Any] = {
    "network": {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]},
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "sampling": {"crop_size": [16, 16, 16]},
    "augment": {"affine_probability": 0.5, "noise_probability": 1.0, "noise_std": 0.2},
    "optimizer": {"learning_rate": 0.01, "warmup_share": 0.1},
    "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
    "validation_overlap": 0.0,
}
TRAINER = {"accelerator": "cpu", "validations": 2, "max_steps": 6}
UNLABELLED = {"confidence": 0.0, "weight": 10.0, "batch_size": 2}


def config_of(data: Path, *, workers: int = 0, trainer: dict[str, Any] | None = None, **unlabelled: Any):
    values = {
        **VALUES,
        "sampling": {**VALUES["sampling"], "num_workers": workers},
        "trainer": {**TRAINER, **(trainer or {})},
        "unlabelled": {"paths": [str(data / "imagesTs")], **UNLABELLED, **unlabelled},
    }
    return from_dict(FinetuneConfig, values, source="test")


@pytest.fixture
def two_labelled(phantom_data: Path, tmp_path: Path) -> Path:
    """Trains on two labelled cases, and validates on a third."""
    file = tmp_path / "folds.json"
    Folds(seed=0, folds=(("phantom_000",), ("phantom_001", "phantom_002"))).save(file)
    return file


class Look(Callback):
    """Notes what each step saw, and the weights and averages after it."""

    def __init__(self) -> None:
        self.batches: list[dict[str, torch.Tensor]] = []
        self.weights: list[torch.Tensor] = []
        self.averages: list[torch.Tensor] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.batches.append(batch)
        if not self.weights:
            self.weights.append(flat(pl_module))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.weights.append(flat(pl_module))
        self.averages.append(flat(average_of(trainer).average))


def flat(module) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for each in module.parameters()])


def table(run: Path) -> list[dict[str, str]]:
    rows = csv.DictReader((run / "metrics.csv").open())
    return [{key: value for key, value in row.items() if key not in ("seconds", "loader_share")} for row in rows]


@pytest.mark.slow
def test_the_teacher_is_the_average_and_sees_the_same_place(
    phantom_data: Path, tmp_path: Path, two_labelled: Path, monkeypatch
) -> None:
    look, build = Look(), finetune_run.build_trainer

    def built(*args, **named):
        trainer = build(*args, **named)
        trainer.callbacks.append(look)  # after the average is taken
        return trainer

    monkeypatch.setattr(finetune_run, "build_trainer", built)
    run = tmp_path / "run"
    finetune(config_of(phantom_data), data=phantom_data, output=run, folds=two_labelled)
    assert all(batch["weak"].shape == batch["strong"].shape == (2, 1, 16, 16, 16) for batch in look.batches)
    for batch in look.batches:
        noise = batch["strong"] - batch["weak"]  # of standard deviations up to 0.2, nothing else changes them
        assert 0 < float(noise.std()) < 0.3
        assert abs(float(noise.mean())) < 0.02
    average, looked_back = look.weights[0], 6 / 20
    for step, (now, found) in enumerate(zip(look.weights[1:], look.averages, strict=True)):
        keep = min(1 - 1 / max(1.0, looked_back), (1 + step) / (10 + step))
        average = keep * average + (1 - keep) * now
        torch.testing.assert_close(found, average)
    record = json.loads((run / "run.json").read_text())
    assert record["unlabelled"] == {"scans": 2, "also_labelled": []}
    assert record["config"]["trainer"]["ema_decay"] == 0.99
    assert len(read_description(run / "best").provenance["scan_hashes"]) == 2
    assert all(float(row["train/consistency"]) > 0 for row in table(run))


@pytest.mark.slow
@pytest.mark.parametrize("trainer", [{}, {"max_steps": None, "max_epochs": 6, "validate_every": 3}])
def test_a_stop_and_a_resume_see_the_same(
    phantom_data: Path, tmp_path: Path, two_labelled: Path, monkeypatch, trainer: dict[str, Any]
) -> None:
    config = config_of(phantom_data, workers=1, trainer=trainer)
    finetune(config, data=phantom_data, output=tmp_path / "whole", folds=two_labelled)
    for step in (2, 5):
        with monkeypatch.context() as patch:
            stop = At(step, lambda *_: signal.raise_signal(signal.SIGTERM))
            build = finetune_run.build_trainer
            patch.setattr(
                finetune_run,
                "build_trainer",
                lambda *args, callbacks, stop=stop, build=build, **named: build(
                    *args, callbacks=[*callbacks, stop], **named
                ),
            )
            with pytest.raises(KeyboardInterrupt):
                finetune(config, data=phantom_data, output=tmp_path / "run", folds=two_labelled, resume=True)
    finetune(config, data=phantom_data, output=tmp_path / "run", folds=two_labelled, resume=True)
    assert table(tmp_path / "run") == table(tmp_path / "whole")
    ours, theirs = (load_model(tmp_path / name / "last").network.state_dict() for name in ("run", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
def test_weight_0_learns_what_labelled_scans_alone_teach(
    phantom_data: Path, tmp_path: Path, two_labelled: Path
) -> None:
    beside = config_of(phantom_data, weight=0.0)
    alone = config_of(phantom_data, trainer={"ema_decay": 0.99}, paths=[])
    for name, config in (("beside", beside), ("alone", alone)):
        finetune(config, data=phantom_data, output=tmp_path / name, folds=two_labelled)
    ours, theirs = ([float(row["train/loss"]) for row in table(tmp_path / name)] for name in ("beside", "alone"))
    assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.slow
def test_regions_learn_without_labels_in_memory_and_deeply_supervised(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for folder in ("imagesTr", "labelsTr", "more"):
        (data / folder).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(5):
        label = np.zeros((24, 24, 24), np.uint8)
        label[6:18, 6:18, 6:18], label[9:15, 9:15, 9:15] = 1, 2
        image = (label + generator.normal(0, 0.3, label.shape)).astype(np.float32)
        place = "imagesTr" if number < 3 else "more"
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), data / place / f"case_{number}.nii.gz")
        if number < 3:
            nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), data / "labelsTr" / f"case_{number}.nii.gz")
    (data / "task.yaml").write_text(
        "name: shells\nmodality: MR\nchannels: [T1]\nactivation: sigmoid\n"
        "targets: [{name: whole, labels: [1, 2], write_as: 1}, {name: core, labels: [2], write_as: 2}]\n"
    )
    values = {
        **VALUES,
        "preprocess": {"intensity": {"scheme": "zscore"}, "crop_foreground": False},
        "inference": {"roi_size": [24, 24, 24], "overlap": 0.0},
        "trainer": {**TRAINER, "max_steps": 2},
        "unlabelled": {**UNLABELLED, "paths": [str(data / "more")]},
        "deep_supervision": True,
        "store": "memory",
        "num_folds": 3,
    }
    finetune(from_dict(FinetuneConfig, values, source="test"), data=data, output=tmp_path / "run")
    assert float(table(tmp_path / "run")[-1]["train/consistency"]) > 0


def test_a_scan_of_the_validation_is_refused_under_any_name(
    phantom_data: Path, tmp_path: Path, two_labelled: Path, capsys
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    copied = more / "renamed.nii"
    nibabel.save(nibabel.load(phantom_data / "imagesTr" / "phantom_000.nii.gz"), copied)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({**VALUES, "trainer": {"accelerator": "cpu"}}))
    run = tmp_path / "run"
    given = ["--config", str(recipe), "--data", str(phantom_data), "--folds", str(two_labelled), "--output", str(run)]
    assert main(["finetune", *given, "--steps", "2", "--unlabelled", str(phantom_data / "imagesTs"), str(more)]) == 1
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert f"{copied}: has the same voxels as phantom_000, which is held back for validation" in said
    assert not run.exists()
    copied.unlink()
    shutil.copy(phantom_data / "imagesTr" / "phantom_001.nii.gz", more / "also_labelled.nii.gz")
    assert main(["finetune", *given, "--steps", "2", "--unlabelled", str(more)]) == 0
    assert "1 scan without labels, 1 of them labelled training cases" in capsys.readouterr().out
    assert json.loads((run / "run.json").read_text())["unlabelled"]["also_labelled"] == ["phantom_001"]


def test_a_folder_must_be_named_and_hold_scans(phantom_data: Path, tmp_path: Path, capsys) -> None:
    assert main(["finetune", "--data", str(phantom_data), "--unlabelled", "--output", str(tmp_path / "run")]) == 2
    assert "--unlabelled needs a folder" in capsys.readouterr().err
    assert with_paths(["--unlabelled=a", "--fold", "1"]) == ["--unlabelled.paths", '["a"]', "--fold", "1"]
    assert with_paths(["--unlabelled", "a", "b"]) == ["--unlabelled.paths", '["a", "b"]']
