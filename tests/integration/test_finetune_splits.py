"""What a fine-tuning says of its split: patients, classes without a training case, scans that the weights have seen."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from finetune.class_presence import absent_classes, classes_of_cases
from finetune.config import FinetuneConfig
from finetune.leaks import seen_by_weights
from finetune.run import finetune
from finetune.split import choose_split, deal
from swin_unetr.checkpoints import save_model
from swin_unetr.config import NetworkConfig
from swin_unetr.config_io import from_dict
from swin_unetr.datasets import Dataset, read_dataset
from swin_unetr.errors import DataError
from swin_unetr.model_description import ModelDescription
from swin_unetr.networks import SwinEncoder
from swin_unetr.tasks import Task
from transforms.content import content_hash
from transforms.io import read_image

NETWORK = {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]}
CONFIG: dict[str, Any] = {
    "network": NETWORK,
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "sampling": {"crop_size": [16, 16, 16], "crops_per_scan": 1},
    "optimizer": {"warmup_epochs": 0},
    "trainer": {"max_epochs": 1, "validate_every": 1, "accelerator": "cpu"},
    "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
    "validation_overlap": 0.0,
    "num_folds": 3,
}


@pytest.fixture
def config() -> FinetuneConfig:
    return from_dict(FinetuneConfig, CONFIG, source="test")


@pytest.fixture
def data(phantom_data: Path, tmp_path: Path) -> Path:
    """Phantoms of which the first alone has the last structure, and the first two the one before."""
    root = shutil.copytree(phantom_data, tmp_path / "data")
    dataset = read_dataset(root, require_labels=True)
    for number, case in enumerate(dataset.cases):
        image = nib.load(case.label)
        labels = np.asanyarray(image.dataobj).copy()
        last = targets(dataset)[-1].write_as
        labels[(labels == last) & (number > 0)] = 0
        labels[(labels == last - 1) & (number > 1)] = 0
        nib.save(nib.Nifti1Image(labels, image.affine, image.header), case.label)
    return root


def targets(dataset: Dataset) -> Any:
    return task_of(dataset).targets


def task_of(dataset: Dataset) -> Task:
    assert dataset.task is not None
    return dataset.task


def test_classes_are_read_once_and_spread(data: Path, tmp_path: Path, config: FinetuneConfig, monkeypatch) -> None:
    dataset = read_dataset(data, require_labels=True)
    task, count = task_of(dataset), len(targets(dataset))
    found = classes_of_cases(dataset.cases, task, tmp_path / "store")
    assert [count - 1 in of for of in found.values()] == [True] + [False] * 5
    assert [count - 2 in of for of in found.values()] == [True, True] + [False] * 4
    monkeypatch.setattr("finetune.class_presence.label_values", None)  # nothing is read again
    assert classes_of_cases(dataset.cases, task, tmp_path / "store") == found
    for seed in range(8):
        seeded = from_dict(FinetuneConfig, {**CONFIG, "trainer": {"seed": seed}}, source="test")
        folds = deal(dataset, task, seeded, tmp_path / "store").folds
        first_two = {case.id for case in dataset.cases[:2]}
        assert all(len(first_two & set(fold)) < 2 for fold in folds)


def test_a_label_that_cannot_be_read_is_left_to_the_preparation(data: Path) -> None:
    dataset = read_dataset(data, require_labels=True)
    label = dataset.cases[0].label
    assert label is not None
    label.write_bytes(b"nothing")
    assert classes_of_cases(dataset.cases, task_of(dataset))[dataset.cases[0].id] == frozenset()


def test_absent_classes(data: Path) -> None:
    task = task_of(read_dataset(data, require_labels=True))
    names = [target.name for target in task.targets]
    voxels = [[9, *(number % 2 for number, _ in enumerate(names))], [9] + [0] * len(names)]
    assert list(absent_classes(voxels, task)) == names[::2]
    assert absent_classes([], task) == tuple(names)


def test_patients_that_a_given_split_tears_apart_are_refused(data: Path, tmp_path: Path, config) -> None:
    dataset = read_dataset(data, require_labels=True)
    ids = [case.id for case in dataset.cases]
    (data / "patients.csv").write_text("case,patient\n" + "".join(f"{case},p{n // 2}\n" for n, case in enumerate(ids)))
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"seed": 0, "folds": [ids[::2], ids[1::2]]}))
    dataset = read_dataset(data, require_labels=True)
    with pytest.raises(DataError, match=r"split\.json: puts the scans of 3 patients into several folds"):
        choose_split(tmp_path / "run", dataset, task_of(dataset), config, split)
    split.write_text(json.dumps({"seed": 0, "folds": [ids]}))
    with pytest.raises(DataError, match=r"split\.json: has a single fold"):
        choose_split(tmp_path / "run", dataset, task_of(dataset), config, split)
    assert choose_split(tmp_path / "run", dataset, task_of(dataset), config, split, "all").folds == (tuple(ids),)


@pytest.fixture
def encoder(tmp_path: Path):
    """Writes an encoder that has seen what is given."""

    def write(**seen: Any) -> Path:
        network = from_dict(NetworkConfig, NETWORK, source="test")
        description = ModelDescription(
            kind="encoder",
            network=network,
            preprocess=from_dict(FinetuneConfig, CONFIG, source="test").preprocess,
            provenance=seen,
        )
        save_model(SwinEncoder(network), tmp_path / "encoder" / "best", description=description)
        return tmp_path / "encoder"

    return write


def test_scans_that_an_encoder_has_seen(data: Path, tmp_path: Path, encoder) -> None:
    cases = read_dataset(data, require_labels=True).cases
    hashes = [content_hash(read_image(case.images)) for case in cases[:2]]
    assert seen_by_weights(encoder(scan_hashes=hashes), cases, data) == tuple(case.id for case in cases[:2])
    assert seen_by_weights(encoder(scan_hashes=["0"], channel_hashes=hashes[1:]), cases, data) == (cases[1].id,)
    assert seen_by_weights(encoder(scans=[str(cases[3].images[0])]), cases, data) == (cases[3].id,)
    of_finetune = {"training": [case.id for case in cases[4:]], "data": str(data.resolve())}
    assert seen_by_weights(encoder(**of_finetune), cases, data) == tuple(case.id for case in cases[4:])
    assert seen_by_weights(encoder(**of_finetune), cases, tmp_path) == ()
    assert seen_by_weights(encoder(), cases, data) is None


def test_a_run_says_what_is_wrong_with_its_split(data: Path, tmp_path: Path, config, encoder, capsys) -> None:
    dataset = read_dataset(data, require_labels=True)
    ids, last = [case.id for case in dataset.cases], targets(dataset)[-1].name
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"seed": 0, "folds": [[f"{case}.nii.gz" for case in ids[:2]], ids[2:5]]}))
    seen = content_hash(read_image(dataset.cases[1].images))
    init = encoder(scan_hashes=[seen, "0" * 32])
    finetune(config, data=data, output=tmp_path / "run", folds=split, init=init)
    told = capsys.readouterr()
    assert f"the split leaves out 1 of 6 cases: {ids[5]}" in told.out
    assert f"{init} was trained on 1 of the validation scans, so their scores are too good: {ids[1]}" in told.err
    assert f"no training case of fold 0 has {targets(dataset)[-2].name}, {last}" in told.err
    assert "augment.flip_probability mirrors left and right" in told.err  # by default; phantoms have two kidneys
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["seen_by_init"] == [ids[1]]
    assert record["choice"]["not_in_training"] == [targets(dataset)[-2].name, last]
    assert json.loads((tmp_path / "run" / "folds.json").read_text())["folds"] == [ids[:2], ids[2:5]]
