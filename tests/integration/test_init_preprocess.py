"""Weights trained on scans preprocessed differently: it is said, theirs can be taken, and no resume mixes weights."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from finetune.config import FinetuneConfig
from finetune.recipes import find_recipe
from finetune.resumed import changed_files
from pretrain.config import PretrainConfig
from pretrain.recipes import find_recipe as find_pretraining
from swin_unetr.checkpoints import save_model
from swin_unetr.checkpoints.model_folder import read_description
from swin_unetr.checkpoints.starting_point import StartingPoint, starting_point
from swin_unetr.cli import main
from swin_unetr.config import IntensityConfig, NetworkConfig, PreprocessConfig
from swin_unetr.config_io import load, to_dict
from swin_unetr.errors import CheckpointError
from swin_unetr.model_description import ModelDescription
from swin_unetr.networks import SwinEncoder

NETWORK = NetworkConfig(feature_size=4, depths=(1, 1), num_heads=(1, 2), window_size=(4, 4, 4))
WIDE = IntensityConfig(scheme="hu_window", window=(-1000, 1000))
THEIRS = PreprocessConfig(spacing_mm=(4, 4, 4), intensity=WIDE, crop_foreground=False)
OURS = PreprocessConfig(intensity=IntensityConfig(scheme="hu_window"), crop_foreground=False)


def encoder(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    description = ModelDescription(kind="encoder", network=NETWORK, preprocess=THEIRS)
    save_model(SwinEncoder(NETWORK), folder, description=description)
    return folder


@pytest.fixture
def arguments(phantom_data: Path, tmp_path: Path) -> list[str]:
    recipe = {
        "network": to_dict(NETWORK),
        "preprocess": to_dict(OURS),
        "sampling": {"crop_size": [16, 16, 16]},
        "optimizer": {"warmup_epochs": 0},
        "trainer": {"max_epochs": 1, "validate_every": 1, "accelerator": "cpu"},
        "inference": {"roi_size": [16, 16, 16], "overlap": 0.0},
        "validation_overlap": 0.0,
        "num_folds": 3,
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    words = ["finetune", "--config", tmp_path / "recipe.yaml", "--data", phantom_data, "--output", tmp_path / "run"]
    return [str(word) for word in [*words, "--init", encoder(tmp_path / "encoder")]]


def record_of(tmp_path: Path) -> dict:
    return json.loads((tmp_path / "run" / "run.json").read_text())


def test_what_differs_is_said_and_no_other_weights_are_gone_on_with(arguments, tmp_path: Path, capsys) -> None:
    differs = [
        "spacing_mm 4 x 4 x 4 there, as stored here",
        "intensity hu_window -1000..1000 there, hu_window -175..250 here",
    ]
    assert main(arguments) == 0
    assert (
        f"warning: {tmp_path / 'encoder'} was trained on scans preprocessed differently: {'; '.join(differs)}; kept as "
        "configured, --init-preprocess take would take theirs\n"
    ) in capsys.readouterr().out
    record = record_of(tmp_path)
    assert record["init_preprocess"] == {"choice": "keep", "known": True, "differs": differs}
    assert read_description(tmp_path / "run" / "best").preprocess == OURS

    resumed = [*arguments, "--resume", "auto", "--trainer.max_epochs", "2"]
    resumed[resumed.index("--init") + 1] = str(encoder(tmp_path / "other", seed=1))
    assert main(resumed) == 2
    line = capsys.readouterr().err
    assert f"--init {tmp_path / 'other'}: {tmp_path / 'run'} began with other weights, those of" in line
    assert f"{tmp_path / 'encoder'}; name these, or choose another --output" in line
    shutil.copytree(tmp_path / "encoder", tmp_path / "copy")
    resumed[resumed.index("--init") + 1] = str(tmp_path / "copy")  # the same weights
    assert main(resumed) == 0
    assert "preprocessed differently" not in capsys.readouterr().out  # it is too late to take theirs
    assert record_of(tmp_path)["init_source"] == record["init_source"]


def test_theirs_can_be_taken_and_must_be_again(arguments, tmp_path: Path, capsys) -> None:
    assert main([*arguments, "--init-preprocess", "take"]) == 0
    assert "preprocessed differently" not in capsys.readouterr().out
    assert record_of(tmp_path)["init_preprocess"] == {"choice": "take", "known": True, "differs": []}
    assert read_description(tmp_path / "run" / "best").preprocess == THEIRS
    assert main([*arguments, "--resume", "auto", "--trainer.max_epochs", "2"]) == 2
    assert "cannot be resumed with another configuration: preprocess.spacing_mm" in capsys.readouterr().err


def test_folds_record_the_choice(arguments, tmp_path: Path, capsys) -> None:
    at = arguments.index("--fold") if "--fold" in arguments else len(arguments)
    several = [*arguments[:at], *arguments[at + 2 :], "--folds", "all", "--num_folds", "2"]
    assert main([*several, "--init-preprocess", "take"]) == 0
    for fold in range(2):
        record = json.loads((tmp_path / "run" / f"fold_{fold}" / "run.json").read_text())
        assert record["init_preprocess"] == {"choice": "take", "known": True, "differs": []}


def test_weights_in_a_run_that_began_without_are_refused(arguments, tmp_path: Path, capsys) -> None:
    at = arguments.index("--init")
    without = arguments[:at] + arguments[at + 2 :]
    assert main([*without, "--init-preprocess", "keep"]) == 2
    assert "--init-preprocess keep: goes with --init" in capsys.readouterr().err
    assert main(without) == 0
    capsys.readouterr()
    assert main([*arguments, "--resume", "auto", "--trainer.max_epochs", "2"]) == 2
    line = f"--init {tmp_path / 'encoder'}: {tmp_path / 'run'} began without; leave out --init, or choose another"
    assert f"{line} --output" in capsys.readouterr().err


def test_files_that_changed_since_a_run_began_are_named(arguments, phantom_data: Path, tmp_path: Path, capsys) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantom_data, data)
    arguments[arguments.index("--data") + 1] = str(data)
    assert main(arguments) == 0
    before = record_of(tmp_path)["contents"]
    assert sorted(before) == [f"phantom_{case:03d}" for case in range(6)]
    label = nib.load(data / "labelsTr" / "phantom_004.nii.gz")
    corrected = np.roll(np.asanyarray(label.dataobj), 1, axis=0)
    nib.save(nib.Nifti1Image(corrected, label.affine, label.header), data / "labelsTr" / "phantom_004.nii.gz")
    capsys.readouterr()
    assert main([*arguments, "--resume", "auto", "--trainer.max_epochs", "2"]) == 0
    line = "warning: since the run began, files changed of phantom_004; it goes on with the new ones\n"
    assert line in capsys.readouterr().err
    after = record_of(tmp_path)
    assert changed_files({"contents": before}, after) == "phantom_004"
    assert changed_files({}, after) == changed_files(after, after) == ""


def test_another_task_is_not_gone_on_with(arguments, phantom_data: Path, tmp_path: Path, capsys) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantom_data, data)
    arguments[arguments.index("--data") + 1] = str(data)
    assert main(arguments) == 0
    description = json.loads((data / "dataset.json").read_text())
    names = description["labels"]
    names["1"], names["2"] = names["2"], names["1"]
    (data / "dataset.json").write_text(json.dumps(description))
    capsys.readouterr()
    assert main([*arguments, "--resume", "auto", "--trainer.max_epochs", "2"]) == 2
    assert "cannot be resumed with another task; the data's targets changed since it began" in capsys.readouterr().err


def test_folds_begin_with_the_same_weights(arguments, tmp_path: Path, capsys) -> None:
    folds = [*arguments, "--folds", "all", "--learn_postprocessing", "false"]
    assert main([*arguments, "--output", str(tmp_path / "cv" / "fold_0"), "--fold", "0"]) == 0
    for name in ("config.yaml", "folds.json"):
        shutil.copy(tmp_path / "cv" / "fold_0" / name, tmp_path / "cv" / name)
    folds += ["--output", str(tmp_path / "cv"), "--resume", "auto"]
    capsys.readouterr()
    folds[folds.index("--init") + 1] = str(encoder(tmp_path / "other", seed=1))
    assert main(folds) == 2
    assert f"--init {tmp_path / 'other'}: {tmp_path / 'cv' / 'fold_0'} began with other" in capsys.readouterr().err
    at = folds.index("--init")
    assert main(folds[:at] + folds[at + 2 :]) == 2
    assert f"no --init: {tmp_path / 'cv' / 'fold_0'} began with other weights" in capsys.readouterr().err


def test_our_own_pair_of_recipes_differs_in_its_window_and_its_resampling_does_not() -> None:
    theirs = load(PretrainConfig, find_pretraining("ct")).preprocess
    ours = load(FinetuneConfig, find_recipe("btcv")).preprocess
    start = StartingPoint(path=Path("ct"), sha256="", preprocess=theirs, channels=("0",))
    assert start.differences(ours, ("CT",)) == ["intensity hu_window -1000..1000 there, hu_window -175..250 here"]


def test_several_channels_are_compared_each_with_its_own() -> None:
    start = StartingPoint(path=Path("m"), sha256="", preprocess=OURS, channels=("0",))
    pet = {"PET": IntensityConfig(scheme="zscore")}
    assert start.differences(OURS, ("CT", "PET")) == []
    assert start.differences(replace(OURS, intensity_of=pet), ("CT", "PET")) == [
        "intensity of PET hu_window -175..250 there, zscore here"
    ]
    unused = replace(OURS, intensity=IntensityConfig(scheme="zscore", window=(0, 1)))
    same = replace(start, preprocess=replace(OURS, intensity=IntensityConfig(scheme="zscore")))
    assert same.differences(unused, ("MR",)) == []


def test_a_published_file_says_nothing_and_one_that_is_absent_is_named(arguments, tmp_path: Path, capsys) -> None:
    (tmp_path / "published.pt").write_bytes(b"weights")
    start = starting_point(tmp_path / "published.pt")
    assert start.preprocess is None
    assert start.differences(OURS, ("CT",)) == []
    arguments[arguments.index("--init") + 1] = str(tmp_path / "published.pt")
    assert main([*arguments, "--init-preprocess", "take"]) == 2
    assert "published.pt does not say how its scans were preprocessed" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match=r"absent\.pt: no such file; check the path"):
        starting_point(tmp_path / "absent.pt")
