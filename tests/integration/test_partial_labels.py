"""Partial labels and joined data sets from files to reports, on phantoms; who has what in OpenKBP."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finetune.config import FinetuneConfig
from finetune.opening import open_data
from finetune.planning.planner import plan
from finetune.run import finetune
from swin_unetr import compare, convert, evaluate, predict
from swin_unetr.checkpoints import load_model
from swin_unetr.cli import main
from swin_unetr.config_io import from_dict
from swin_unetr.datasets import read_dataset
from swin_unetr.datasets.labelled import partly_labelled
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.files import write_json
from swin_unetr.phantoms import LABELS
from swin_unetr.survey.run import survey
from transforms.io import read_labels, write_labels
from transforms.preprocess import preprocessing

TINY: dict[str, Any] = {
    "network": {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]},
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "sampling": {"crop_size": [16, 16, 16], "crops_per_scan": 2},
    "loss": {"batch": True},
    "optimizer": {"learning_rate": 0.01, "warmup_epochs": 0},
    "trainer": {"max_epochs": 1, "validate_every": 1, "accelerator": "cpu"},
    "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
    "validation_overlap": 0.0,
    "num_folds": 3,
}
CASES = [f"phantom_{index:03d}" for index in range(6)]


def tiny(**more: Any) -> FinetuneConfig:
    return from_dict(FinetuneConfig, {**TINY, **more}, source="test")


def weights(folder: Path) -> torch.Tensor:
    return torch.cat([value.flatten() for value in load_model(folder).network.state_dict().values()])


def part(source: Path, target: Path, cases: list[str], **values: int) -> Path:
    """A plain data set of some phantoms, in which some organs have values of their own and the others are gone."""
    for case in cases:
        (target / "images").mkdir(parents=True, exist_ok=True)
        shutil.copy(source / "imagesTr" / f"{case}.nii.gz", target / "images")
        volume = read_labels(source / "labelsTr" / f"{case}.nii.gz")
        labels = np.zeros(volume.array.shape, np.uint8)
        for name, value in values.items():
            labels[volume.array == LABELS.index(name.lower().replace("_", " ")) + 1] = value
        names = {value: name for name, value in values.items()}
        write_labels(target / "labels" / f"{case}.nii.gz", labels[0], volume.geometry, names)
    targets = [{"name": name.replace("_", " "), "labels": [value], "write_as": value} for name, value in values.items()]
    write_json(target / "task.yaml", {"name": target.name, "modality": "CT", "channels": ["CT"], "targets": targets})
    return target


@pytest.fixture(scope="module")
def parts(phantom_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Three phantoms with liver and spleen, and three with liver and a kidney under other values."""
    root = tmp_path_factory.mktemp("parts")
    one = part(phantom_data, root / "one", CASES[:3], liver=1, spleen=2)
    return one, part(phantom_data, root / "two", CASES[3:], Right_Kidney=1, LIVER=4)


@pytest.fixture
def partly(phantom_data: Path, tmp_path: Path) -> Path:
    """The phantoms, with a table of what was looked for."""
    root = shutil.copytree(phantom_data, tmp_path / "partly")
    rows = ["case,labelled", "phantom_000,liver;aorta", "phantom_001,Liver|SPLEEN", "phantom_002,all"]
    (root / "cases.csv").write_text("\n".join(rows))
    return root


def test_a_table_that_says_all_changes_nothing(phantom_data: Path, tmp_path: Path) -> None:
    said = shutil.copytree(phantom_data, tmp_path / "said")
    (said / "cases.csv").write_text("case,labelled\n" + "".join(f"{case},all\n" for case in CASES))
    one = finetune(tiny(), data=phantom_data, output=tmp_path / "runs" / "one")
    two = finetune(tiny(), data=said, output=tmp_path / "runs" / "two")
    assert torch.equal(weights(one.best_model), weights(two.best_model))
    assert "labelled" not in json.loads((two.run_folder / "run.json").read_text())


def test_a_run_says_keeps_and_guards_what_was_looked_for(
    partly: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    result = finetune(tiny(deep_supervision=False), data=partly, output=run, fold="all")
    words = capsys.readouterr()
    assert "partial labels: in 2 of 6 cases not every structure was looked for" in words.out
    assert "spleen 5, right kidney 4, left kidney 4, aorta 5" in words.out
    assert "label files hold structures that were not looked for" in words.err + words.out
    assert "phantom_000 (spleen, right kidney, left kidney)" in words.err + words.out
    record = json.loads((run / "run.json").read_text())
    assert record["labelled"] == {"phantom_000": ["liver", "aorta"], "phantom_001": ["liver", "spleen"]}
    assert np.isfinite(result.pooled_dice)
    again = tiny(trainer={**TINY["trainer"], "max_epochs": 2})
    (partly / "cases.csv").write_text("case,labelled\nphantom_000,liver\nphantom_001,liver;spleen\n")
    with pytest.raises(ConfigError, match=r"cannot be resumed with other partial labels.*phantom_000; restore"):
        finetune(again, data=partly, output=run, fold="all", resume=True)


def test_a_rule_reads_the_label_files(parts: tuple[Path, Path], tmp_path: Path) -> None:
    root = shutil.copytree(parts[0], tmp_path / "data")
    label = root / "labels" / "phantom_001.nii.gz"
    volume = read_labels(label)
    write_labels(label, np.where(volume.array[0] == 2, 0, volume.array[0]).astype(np.uint8), volume.geometry, {})
    described = json.loads((root / "task.yaml").read_text())
    write_json(root / "task.yaml", {**described, "absent": "not_looked_for"})
    (root / "cases.csv").write_text("case,labelled\nphantom_002,spleen\n")
    _, dataset, task = open_data(tiny(), root, None, tmp_path / "store")
    assert partly_labelled(dataset.cases, task) == {"phantom_001": ("liver",), "phantom_002": ("spleen",)}
    found = survey(read_dataset(root, require_labels=True), workers=1)
    assert found.labelled == {"phantom_001": ("liver",), "phantom_002": ("spleen",)}
    assert (found.looked_for("liver"), found.looked_for("spleen")) == (2, 2)
    truth = part_of_predictions(root, tmp_path / "predicted", dataset.task)
    result = evaluate(truth, root)
    assert result.not_looked_for == {"phantom_001": ("spleen",), "phantom_002": ("liver",)}
    beside = evaluate(truth, root / "labels")
    assert beside.not_looked_for == result.not_looked_for


def part_of_predictions(root: Path, target: Path, task: Any) -> Path:
    from swin_unetr.config_io import to_dict

    shutil.copytree(root / "labels", target)
    write_json(target / "predictions.json", {"task": to_dict(task)})
    return target


def test_two_data_sets_with_different_organs_train_one_model(
    parts: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "tiny.yaml"
    write_json(recipe, TINY)
    run = tmp_path / "run"
    command = ["finetune", "--config", str(recipe), "--data", *map(str, parts), "--output", str(run)]
    assert main([*command, "--deep_supervision", "true"]) == 0
    words = capsys.readouterr().out
    assert "structures liver, spleen, Right Kidney" in words
    assert "partial labels: in 6 of 6 cases" in words
    assert "spleen 3, Right Kidney 3" in words
    record = json.loads((run / "run.json").read_text())
    assert record["data"] == [str(folder) for folder in parts]
    assert record["labelled"][CASES[5]] == ["liver", "Right Kidney"]
    task = load_model(run / "best").description.task
    assert [(target.name, target.write_as) for target in task.targets] == [
        ("liver", 1), ("spleen", 2), ("Right Kidney", 3),
    ]  # fmt: skip
    capsys.readouterr()
    for folder, names in zip(parts, (["liver", "spleen"], ["Right Kidney", "LIVER"]), strict=True):
        output = tmp_path / f"of_{folder.name}"
        predict(run, folder, output, progress=False)
        result = evaluate(output, folder)
        assert not result.failures
        assert [target.name for target in result.reference_task.targets] == names
        assert "that the references do not name, not evaluated" in " ".join(result.notes)


def test_label_files_of_a_joined_data_set_have_the_joint_values(parts: tuple[Path, Path]) -> None:
    config, dataset, task = open_data(tiny(), parts, None)
    assert config.network.num_classes == 4
    steps = preprocessing(config.preprocess, task, with_label=True)
    last = dataset.cases[-1]
    encoded = steps({"case": last})["label"].numpy()
    raw = read_labels(last.label).array
    assert np.count_nonzero(encoded == 1) == np.count_nonzero(raw == 4) > 0
    assert np.count_nonzero(encoded == 3) == np.count_nonzero(raw == 1) > 0
    assert not np.count_nonzero(encoded == 2)


def test_the_store_keeps_one_file_apart_for_each_meaning(parts: tuple[Path, Path], tmp_path: Path) -> None:
    from finetune.scans import ScansOnDisk

    _, dataset, task = open_data(tiny(), parts, None)
    last = dataset.cases[-1]
    alone = read_dataset(parts[1], require_labels=True).cases[-1]
    found = []
    for case in (last, alone):
        scans = ScansOnDisk([case], task, tiny().preprocess, tmp_path)
        problems = scans.prepare()
        found.append((scans.contents(), problems))
    assert found[0][1] == []
    assert "label values [4]" in str(found[1][1][0])  # read as a label file of the joint task, it is another one


def test_values_that_its_own_task_does_not_know_are_refused(parts: tuple[Path, Path], tmp_path: Path) -> None:
    """Even where the joint task would know them."""
    one = shutil.copytree(parts[0], tmp_path / "one")
    label = one / "labels" / "phantom_001.nii.gz"
    volume = read_labels(label)
    write_labels(label, np.where(volume.array[0] == 2, 3, volume.array[0]).astype(np.uint8), volume.geometry, {})
    with pytest.raises(DataError, match=r"phantom_001.*label values \[3\] that task 'one' does not know"):
        finetune(tiny(), data=[one, parts[1]], output=tmp_path / "run")
    with pytest.raises(DataError, match=r"phantom_001.*label values \[3\]"):
        plan([one, parts[1]], tmp_path / "plan", memory="4GB")


def test_a_plan_of_two_data_sets(parts: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *map(str, parts), "--memory", "4GB", "--output", str(tmp_path)]) == 0
    words = capsys.readouterr().out
    assert "Plan for one+two: 6 cases" in words
    assert f"--data {parts[0]} {parts[1]}" in words
    printed = json.loads((tmp_path / "fingerprint.json").read_text())
    found = {each["name"]: (each["cases"], each["looked_for"]) for each in printed["targets"]}
    assert found == {"liver": (6, None), "spleen": (3, 3), "Right Kidney": (3, 3)}
    alone = plan(parts[0], tmp_path / "alone", memory="4GB").data
    spleen = next(each for each in printed["targets"] if each["name"] == "spleen")
    assert spleen["volume_mm3"] == next(each for each in alone.targets if each.name == "spleen").volume_mm3


def test_cross_validation_takes_one_data_set(parts: tuple[Path, Path], tmp_path: Path) -> None:
    from finetune.cross_validation import cross_validate

    with pytest.raises(ConfigError, match="--folds all takes one data set"):
        cross_validate(tiny(), data=list(parts), output=tmp_path / "run")


def test_doctor_says_who_has_what(partly: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(partly), "--output", str(tmp_path / "out"), "--no-machine"]) == 0
    words = capsys.readouterr().out
    assert "looked for" in words
    row = next(line.split() for line in words.splitlines() if line.split()[:1] == ["spleen"])
    assert row[2:4] == ["5", "6/6"]
    assert "label holds what was not looked for (2)" in words
    found = json.loads((tmp_path / "out" / "diagnosis.json").read_text())
    assert found["labelled"] == {"phantom_000": ["liver", "aorta"], "phantom_001": ["liver", "spleen"]}
    (partly / "cases.csv").write_text("case,labelled\nphantom_000,lever\n")
    assert main(["doctor", str(partly), "--output", str(tmp_path / "out"), "--no-machine"]) == 1
    words = capsys.readouterr().out
    assert "labelled-wrong" in words
    assert "lever (did you mean liver?)" in words


@pytest.fixture
def predicted(phantom_data: Path, partly: Path, tmp_path: Path) -> Path:
    """Predictions that are the references, but that the first case has its spleen where nobody looked, as liver."""
    folder = tmp_path / "predicted"
    shutil.copytree(phantom_data / "labelsTr", folder)
    return folder


def test_evaluation_leaves_out_and_counts_what_was_not_looked_for(
    partly: Path, predicted: Path, tmp_path: Path
) -> None:
    path = predicted / "phantom_000.nii.gz"
    volume = read_labels(path)
    wrong = np.where(np.isin(volume.array[0], (2, 3)), 4, volume.array[0]).astype(np.uint8)
    write_labels(path, wrong, volume.geometry, {})
    (predicted / "phantom_001.nii.gz").unlink()  # fails, and is not asked for its kidneys
    result = evaluate(predicted, partly, output=tmp_path / "report")
    assert result.not_looked_for == {
        "phantom_000": ("spleen", "right kidney", "left kidney"),
        "phantom_001": ("right kidney", "left kidney", "aorta"),
    }
    assert all(result.summary_of(name).mean == 1 for name in LABELS)  # what is wrong was not looked for
    counts = {name: (of.evaluated, of.not_looked_for, of.failed) for name in LABELS if (of := result.summary_of(name))}
    assert counts["liver"] == (5, 0, 1)
    assert counts["spleen"] == (4, 1, 1)
    assert counts["left kidney"] == (4, 2, 0)
    assert result.summary_of("left kidney").mean_with_failures == 1
    written = json.loads((tmp_path / "report" / "results.json").read_text())
    assert written["not_looked_for"]["phantom_000"] == ["spleen", "right kidney", "left kidney"]
    lines = (tmp_path / "report" / "results.csv").read_text().splitlines()
    heading = lines[0].split(",")
    row = dict(
        zip(heading, next(line for line in lines if line.startswith("phantom_000,spleen,dice")).split(","), strict=True)
    )
    assert (row["value"], row["status"]) == ("", "not_looked_for")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| not looked for |" in text
    assert "is not evaluated there, whatever is predicted" in text


def test_comparison_leaves_out_the_same(partly: Path, predicted: Path, phantom_data: Path, tmp_path: Path) -> None:
    worse = shutil.copytree(predicted, tmp_path / "worse")
    for case in CASES[:1]:
        volume = read_labels(worse / f"{case}.nii.gz")
        write_labels(worse / f"{case}.nii.gz", np.where(volume.array[0] == 2, 0, volume.array[0]), volume.geometry, {})
    (worse / "phantom_001.nii.gz").unlink()
    result = compare({"one": predicted, "two": worse}, reference=partly, output=tmp_path / "compared", metrics=["dice"])
    assert result.not_looked_for == {"spleen": 1, "right kidney": 2, "left kidney": 2, "aorta": 1}
    by_name = {of.structure: of for of in result.differences}
    assert by_name["spleen"].mean == 0  # the only difference is where nobody looked
    assert (by_name["spleen"].pairs, by_name["spleen"].not_looked_for, by_name["spleen"].lacking) == (4, 1, 1)
    assert (by_name["aorta"].pairs, by_name["aorta"].not_looked_for, by_name["aorta"].lacking) == (5, 1, 0)
    ranks = result.ranks["dice"][:, result.cases.index("phantom_001")]
    assert np.isnan(ranks[:, 4]).all()  # the lacking method is not punished for an aorta that nobody looked for
    assert not np.isnan(ranks[:, 0]).any()
    text = (tmp_path / "compared" / "compare.md").read_text()
    assert "spleen in 1 case, right kidney in 2 cases" in text
    evaluate(predicted, partly, output=tmp_path / "with")
    evaluate(predicted, phantom_data, output=tmp_path / "without")
    with pytest.raises(DataError, match="was looked for in one evaluation, and not in the other"):
        compare({"one": tmp_path / "with", "two": tmp_path / "without"})
    again = compare({"one": tmp_path / "with", "two": tmp_path / "with"})
    assert again.not_looked_for == result.not_looked_for


def test_conversion_keeps_what_was_looked_for(partly: Path, tmp_path: Path) -> None:
    before = read_dataset(partly, require_labels=True)
    assert not convert(partly, tmp_path / "Dataset001_P", to="nnunet", workers=1).failures
    after = read_dataset(tmp_path / "Dataset001_P", require_labels=True)
    assert after.layout == "nnunet"
    assert partly_labelled(after.cases, after.task) == partly_labelled(before.cases, before.task) != {}


def test_who_has_what_in_openkbp(test_data: Path, tmp_path: Path) -> None:
    """Reading alone: by the rule, the cases that have an organ are those that its publishers count."""
    source = test_data / "OpenKBP"
    if not source.is_dir():
        pytest.skip("no OpenKBP there")
    organs = ("brainstem", "spinal cord", "right parotid", "left parotid", "oesophagus", "larynx", "mandible")
    for name in ("images", "labels"):
        os.symlink((source / "train" / name).resolve(), tmp_path / name)
    targets = [{"name": name, "labels": [value], "write_as": value} for value, name in enumerate(organs, 1)]
    described = {"name": "kbp", "modality": "CT", "channels": ["CT"], "targets": targets, "absent": "not_looked_for"}
    write_json(tmp_path / "task.yaml", described)
    _, dataset, task = open_data(tiny(), tmp_path, None)
    listed = {of["case"]: of for of in json.loads((source / "cases.json").read_text()) if of["split"] == "train"}
    assert set(listed) == {case.id for case in dataset.cases}
    partly = partly_labelled(dataset.cases, task)
    for case in dataset.cases:
        held = [voxels > 0 for voxels in listed[case.id]["voxels"].values()]
        assert [name in partly.get(case.id, organs) for name in organs] == held, case.id
        assert listed[case.id]["complete4"] == all(held[:4])
    assert len(dataset.cases) - len(partly) == 30  # have all seven
