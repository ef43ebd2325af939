"""Studies on phantoms, from file to report: shared, resumed, with an arm that fails and one of another program."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from processes import becomes_true, running
from studies import BROKEN, RECIPE, threshold_arm, write_study

from swin_unetr.cli import main

#: The test cases of the studies without a training of ours, so that they are divided without torch.
HELD_BACK = ["phantom_001", "phantom_004"]


@dataclass(frozen=True)
class Done:
    """A study that was done by two commands."""

    file: Path
    output: Path
    #: Exit code and standard output of each command.
    first: tuple[int, str]
    second: tuple[int, str]

    def json(self, name: str = "study.json") -> dict[str, Any]:
        return json.loads((self.output / name).read_text())


def called(file: Path, output: Path, data: Path, *more: object) -> tuple[int, str]:
    """Run the command in this process: exit code and standard output."""
    import contextlib
    import io

    words = ["study", file, "--data", f"phantoms={data}", "--output", output, *more]
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        code = main([str(word) for word in words])
    return code, text.getvalue()


@pytest.fixture(scope="module")
def done(phantom_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Two seeds; ours on all labels, another program on half of them too, and an arm that fails."""
    root = tmp_path_factory.mktemp("study")
    arms = {
        "threshold": threshold_arm(root) | {"labels": [0.5, 1]},
        "ours": {"recipe": str(root / "tiny.yaml"), "overrides": {"optimizer.weight_decay": 0.01}},
        "broken": BROKEN,
    }
    file = write_study(root, arms, seeds=[0, 1])
    first = called(file, root / "out", phantom_data, "--part", "2/3")
    return Done(file, root / "out", first, called(file, root / "out", phantom_data))


@pytest.mark.slow
def test_failures_are_reported_and_the_others_are_done(done: Done) -> None:
    code, text = done.second
    assert code == 1
    assert "6 of 8 cells done, 2 failed" in text
    assert "broken on phantoms, fold 0, seed 1: exit code 1: no licence (" in text
    assert text.count(": failed: exit code 1: no licence") == 2
    failed = [cell for cell in done.json()["cells"] if cell["status"] == "failed"]
    assert [(cell["arm"], cell["cause"]) for cell in failed] == [("broken", "exit code 1: no licence")] * 2
    assert failed[0]["tail"][-1] == "no licence"
    assert Path(failed[0]["log"]).read_text().endswith("no licence\n")
    assert "left" in text


@pytest.mark.slow
def test_a_part_does_its_own_and_what_is_done_is_not_repeated(done: Done, phantom_data: Path) -> None:
    assert "of 8 cells done" in done.first[1]
    assert "not done yet" in done.first[1]
    assert "cells are finished and are kept" in done.second[1]
    results = {path: path.stat().st_mtime_ns for path in (done.output / "runs").glob("*/result.json")}
    assert len(results) == 6
    assert {path.read_text() for path in done.output.glob("runs/*threshold*/peer/starts")} == {"started\n"}
    code, text = called(done.file, done.output, phantom_data)
    assert code == 1
    assert "6 of 8 cells are finished and are kept" in text
    assert {path: path.stat().st_mtime_ns for path in results} == results
    assert not (done.output / ".queue").exists()


@pytest.mark.slow
def test_all_arms_have_the_same_cases_and_budget(done: Done) -> None:
    report = done.json()
    cells = [cell for cell in report["cells"] if cell["status"] == "done"]
    test = {tuple(cell["test"]) for cell in cells}
    assert len(test) == 1
    held_back = [Path(line).name for line in (done.output / "held_back.txt").read_text().splitlines()]
    assert held_back == [f"{case}.nii.gz" for case in test.pop()]
    for seed in (0, 1):
        of_seed = {(cell["arm"], cell["labels"]): cell["training"] for cell in cells if cell["seed"] == seed}
        assert of_seed["ours", 1.0] == of_seed["threshold", 1.0]
        assert set(of_seed["threshold", 0.5]) < set(of_seed["threshold", 1.0])
        assert not {f"{case}.nii.gz" for case in of_seed["ours", 1.0]} & set(held_back)
        listed = json.loads(
            (done.output / f"runs/phantoms,threshold,fold0,seed{seed},labels50/training.json").read_text()
        )
        assert [of["case"] for of in listed["cases"]] == of_seed["threshold", 0.5]
    for cell in cells:
        run = done.output / "runs" / cell["id"]
        if cell["arm"] == "ours":
            record = json.loads((run / "train" / "run.json").read_text())
            assert record["training"] == cell["training"]
            assert (record["seed"], record["config"]["optimizer"]["weight_decay"]) == (cell["seed"], 0.01)
            assert (cell["steps"], record["epochs"]) == (4, 2)  # two validations
            assert not (run / "train" / "checkpoints").exists()
            assert [point[0] for point in cell["curve"]] == [2, 4]
        else:
            assert (cell["steps"], cell["seconds"], cell["foreign"]) == (10, 60, True)
    assert any("same, checked by their ids" in line for line in report["fairness"])
    assert any("took no part in any choice" in line for line in report["fairness"])
    assert any("Other programs (threshold, broken)" in line for line in report["fairness"])


@pytest.mark.slow
def test_the_numbers_are_those_of_evaluate(done: Done, phantom_data: Path) -> None:
    from swin_unetr.evaluation.run import evaluate

    with (done.output / "study.csv").open() as file:
        rows = list(csv.DictReader(file))
    report = done.json()
    assert len(rows) == 6 * 2 * 5 * 3
    for arm, place in (("ours", "predictions"), ("threshold", "peer/predictions")):
        folder = done.output / f"runs/phantoms,{arm},fold0,seed1,labels100"
        mine = [row for row in rows if (row["arm"], row["seed"], row["labels"]) == (arm, "1", "1.0")]
        cases = sorted({row["case"] for row in mine})
        again = evaluate(
            folder / place, phantom_data, cases=cases, metrics=["dice", "nsd", "hd95_mm"], task=phantom_data
        )
        assert {(row.case, row.structure, row.metric): str(row.value) for row in again.rows} == {
            (row["case"], row["structure"], row["metric"]): row["value"] for row in mine
        }
    for level in report["levels"]:
        if level["metric"] == "dice" and level["structure"] == "mean of structures":
            kind = (level["arm"], level["labels"])
            mine = [
                float(row["value"])
                for row in rows
                if (row["arm"], float(row["labels"])) == kind and row["metric"] == "dice"
            ]
            assert level["mean"] == pytest.approx(np.mean(mine))
            assert level["seeds"] == [0, 1]
    means = {
        of["arm"]: of["mean"]
        for of in report["levels"]
        if (of["metric"], of["structure"], of["labels"]) == ("dice", "mean of structures", 1)
    }
    (gain,) = [
        of
        for of in report["gains"]
        if (of["difference"]["metric"], of["difference"]["structure"]) == ("dice", "mean of structures")
    ]
    assert gain["difference"]["mean"] == pytest.approx(means["ours"] - means["threshold"])
    assert "| ours, 100 % of labels |" in (done.output / "study.md").read_text()


@pytest.mark.slow
def test_a_changed_arm_is_refused_and_a_new_one_is_added(
    done: Done, phantom_data: Path, tmp_path: Path, capsys
) -> None:
    output = tmp_path / "out"
    shutil.copytree(done.output, output, symlinks=True)
    study = yaml.safe_load(done.file.read_text())
    study["arms"]["ours"]["overrides"]["optimizer.weight_decay"] = 0.02
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(study, sort_keys=False))
    assert called(changed, output, phantom_data)[0] == 2
    err = capsys.readouterr().err
    assert "phantoms,ours,fold0,seed0,labels100 (and 1 more): was made with another arm" in err
    assert err.count("\n") == 1
    study = yaml.safe_load(done.file.read_text())
    study["arms"]["again"] = study["arms"]["threshold"]
    del study["arms"]["broken"]
    changed.write_text(yaml.safe_dump(study, sort_keys=False))
    code, text = called(changed, output, phantom_data)
    assert code == 0
    assert "10 of 10 cells done, 0 failed" in text
    found = [of for of in json.loads((output / "study.json").read_text())["gains"] if of["arm"] == "again"]
    assert {of["difference"]["mean"] for of in found} == {0}


@pytest.mark.slow
def test_only_a_report_trains_nothing(done: Done, phantom_data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(done.output, output, symlinks=True)
    shutil.rmtree(output / "runs" / "phantoms,threshold,fold0,seed0,labels50")
    code, text = called(done.file, output, phantom_data, "--report-only")
    assert code == 1
    assert "5 of 8 cells done, 2 failed, 1 not done yet" in text


# Another program alone: quick, so that what concerns the study itself is seen in seconds.


@pytest.fixture
def quick(tmp_path: Path) -> Callable[..., Path]:
    """Write a study of another program alone, which is divided by a list."""

    def write(arms: dict[str, Any] | None = None, **values: Any) -> Path:
        data = {"phantoms": {"held_back": HELD_BACK}}
        return write_study(tmp_path, arms or {"threshold": threshold_arm(tmp_path)}, **{"data": data, **values})

    return write


def test_only_a_plan_writes_who_is_held_back_and_the_list_can_be_excluded(
    quick, phantom_data: Path, tmp_path: Path
) -> None:

    code, text = called(quick(seeds=[0, 1], labels=[0.5, 1]), tmp_path / "out", phantom_data, "--plan-only")
    assert code == 0
    assert text.splitlines()[0] == "4 cells; 1 arm; 1 data set; folds 0; seeds 0, 1; 4 steps each"
    lines = (tmp_path / "out" / "held_back.txt").read_text().splitlines()
    assert lines == [str((phantom_data / "imagesTr" / f"{case}.nii.gz").resolve()) for case in HELD_BACK]
    assert not (tmp_path / "out" / "runs").exists()
    assert not (tmp_path / "out" / "study.json").exists()


def test_a_folder_of_test_cases_and_a_choice_of_cases(quick, phantom_data: Path, tmp_path: Path) -> None:
    """The held-back phantoms become a data set of their own, with labels; one training case is left out."""
    test = tmp_path / "test"
    shutil.copytree(phantom_data / "imagesTs", test / "images")
    shutil.copytree(phantom_data / "labelsTs", test / "labels")
    task = tmp_path / "task.yaml"
    from swin_unetr.config_io import to_dict
    from swin_unetr.datasets import read_dataset

    task.write_text(yaml.safe_dump(to_dict(read_dataset(phantom_data, require_labels=True).task)))
    chosen = tmp_path / "cases.txt"
    chosen.write_text("".join(f"phantom_00{number}\n" for number in (0, 1, 2, 3, 4, 6, 7)))
    data = {"phantoms": {"test": str(test), "task": str(task), "cases": str(chosen)}}
    assert called(quick(data=data), tmp_path / "out", phantom_data)[0] == 0
    (cell,) = json.loads((tmp_path / "out" / "study.json").read_text())["cells"]
    assert cell["training"] == [f"phantom_00{number}" for number in range(5)]
    assert cell["test"] == ["phantom_006", "phantom_007"]
    images = tmp_path / "out/data/phantoms/fold_0/test_images"
    assert sorted(path.name for path in images.iterdir()) == ["phantom_006.nii.gz", "phantom_007.nii.gz"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"held_back": ["phantom_9"]}, "names 1 case that the data do not have: phantom_9"),
        ({"held_back": [f"phantom_00{number}" for number in range(6)]}, "has no training cases"),
        ({"cases": ["phantom_000"], "held_back": ["phantom_000"]}, "has no training cases"),
        ({"test": "nowhere"}, "nowhere: no such"),
        ({"split": "nowhere.json"}, "nowhere.json: cannot be read"),
    ],
)
def test_data_that_cannot_be_divided_is_one_line(quick, phantom_data, tmp_path, capsys, data, said) -> None:
    assert called(quick(data={"phantoms": data}), tmp_path / "out", phantom_data)[0] in (1, 2)
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_patient_in_training_and_test_is_refused(quick, phantom_data: Path, tmp_path: Path, capsys) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantom_data, data)
    (data / "patients.csv").write_text("case,patient\n" + "".join(f"phantom_00{n},p{n // 2}\n" for n in range(6)))
    assert called(quick(), tmp_path / "out", data)[0] == 1
    assert "the patient of phantom_001 (p0) has scans in training and test" in capsys.readouterr().err


def test_predictions_that_are_missing_are_a_failure_that_names_the_case(quick, phantom_data, tmp_path: Path) -> None:
    silent = {"command": "{python} -c 'print(1)' {output}"}
    half = tmp_path / "half.py"
    half.write_text(
        "import pathlib, shutil, sys\n"
        "output = pathlib.Path(sys.argv[2], 'predictions')\n"
        "output.mkdir()\n"
        "shutil.copy(next(pathlib.Path(sys.argv[1]).glob('*001*')), output)\n"
    )
    arms = {"silent": silent, "half": {"command": f"{{python}} {half} {phantom_data}/labelsTr {{output}}"}}
    code, text = called(quick(arms), tmp_path / "out", phantom_data)
    assert code == 1
    assert "has left no predictions there" in text
    assert "1 of 2 test cases cannot be evaluated: phantom_004" in text


def started(file: Path, output: Path, data: Path) -> subprocess.Popen[str]:
    words = ["study", file, "--data", f"phantoms={data}", "--output", output]
    return subprocess.Popen(
        [sys.executable, "-m", "swin_unetr", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_two_processes_share_the_cells(quick, phantom_data: Path, tmp_path: Path) -> None:
    file, output = quick(seeds=[0, 1, 2, 3, 4, 5]), tmp_path / "out"
    both = [started(file, output, phantom_data) for _ in range(2)]
    texts = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    notes = [path.read_text() for path in output.glob("runs/*/peer/starts")]
    assert notes == ["started\n"] * 6
    assert all("6 of 6 cells done, 0 failed" in text for text in texts)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_a_stop_ends_everything_and_the_same_command_goes_on(quick, phantom_data: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import pathlib, subprocess, sys, time\n"
        "if not pathlib.Path(sys.argv[1]).exists():\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])\n"
        "    pathlib.Path(sys.argv[1]).write_text(str(child.pid))\n"
        "    time.sleep(100)\n"
    )
    note = tmp_path / "pid"
    arms = {"threshold": threshold_arm(tmp_path)}
    arms["slow"] = {"command": f"{{python}} {slow} {note} {{output}}"}
    file, output = quick(arms), tmp_path / "out"
    process = started(file, output, phantom_data)
    deadline = time.monotonic() + 100
    while not (note.exists() and note.read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    text = process.communicate(timeout=60)[0]
    assert process.returncode == 143, text
    assert "to go on: " in text
    assert "Traceback" not in text
    assert becomes_true(lambda: not running(int(note.read_text())))
    code, again = called(file, output, phantom_data)
    assert code == 1  # it leaves no predictions
    assert "1 of 2 cells are finished and are kept" in again
    assert "1 of 2 cells done, 1 failed" in again


# Weights to start from, and a search over learning rates.


@pytest.fixture
def make_encoder(tmp_path: Path) -> Callable[..., Path]:
    """Write an encoder folder of random weights. Arguments: name, seed, provenance, fields of the network."""

    def make(name: str, seed: int = 1, provenance=None, **network) -> Path:
        import torch

        from swin_unetr.checkpoints import save_model
        from swin_unetr.config import NetworkConfig
        from swin_unetr.config_io import from_dict
        from swin_unetr.model_description import ModelDescription
        from swin_unetr.networks import SwinEncoder

        config = from_dict(NetworkConfig, {**RECIPE["network"], **network}, source="test")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = SwinEncoder(config)
        description = ModelDescription(kind="encoder", network=config, provenance=provenance or {})
        save_model(encoder, tmp_path / name / "best", description=description)
        return tmp_path / name

    return make


def pretrained(tmp_path: Path, encoder: Path) -> dict[str, Any]:
    return {"pretrained": {"recipe": str(tmp_path / "tiny.yaml"), "init": str(encoder)}}


@pytest.mark.slow
def test_a_learning_rate_is_chosen_on_cases_that_are_no_test_cases(quick, make_encoder, phantom_data, tmp_path) -> None:
    from swin_unetr.checkpoints.model_folder import read_weights
    from swin_unetr.study.curves import curve_of

    encoder = make_encoder("ours")
    rates = {"values": [0.01, 0.0001], "share": 0.5}
    file = quick(pretrained(tmp_path, encoder), rates=rates, labels=[0.75], prediction={"tta": False, "overlap": 0.25})
    code, text = called(file, tmp_path / "out", phantom_data)
    assert code == 0, text
    assert "its weights do not record which scans they have seen" in text
    report = json.loads((tmp_path / "out" / "study.json").read_text())
    (cell,) = report["cells"]
    run = tmp_path / "out" / "runs" / cell["id"]
    record = json.loads((run / "train" / "run.json").read_text())
    assert len(cell["training"]) == 3  # of four
    assert cell["rate"] == record["config"]["optimizer"]["learning_rate"]
    assert cell["tried"][f"{cell['rate']:g}"] == max(cell["tried"].values())
    assert set(cell["tried"]) == {"0.01", "0.0001"}
    tensors = len(read_weights(encoder / "best"))
    assert f"{tensors} tensors loaded, 0 adapted" in record["init"][0]
    for rate in ("0.01", "0.0001"):
        tried = json.loads((run / "rates" / rate / "run.json").read_text())
        assert sorted([*tried["training"], *tried["validation"]]) == cell["training"]
        assert not set(tried["validation"]) & set(cell["test"])
        assert tried["config"]["optimizer"]["learning_rate"] == float(rate)
        assert curve_of(run / "rates" / rate)[-1][0] == 2  # half of the budget
    assert " --no-tta --overlap 0.25 " in (run / "log.txt").read_text()
    assert any("tried 0.01, 0.0001 for 50% of the budget" in line for line in report["fairness"])


def test_an_encoder_that_saw_a_test_case_is_refused(quick, make_encoder, phantom_data, tmp_path: Path, capsys) -> None:
    from transforms.content import content_hash
    from transforms.io import read_image

    seen = str((phantom_data / "imagesTr" / "phantom_004.nii.gz").resolve())
    for number, provenance in enumerate(({"scans": [seen]}, {"scan_hashes": [content_hash(read_image([Path(seen)]))]})):
        arms = pretrained(tmp_path, make_encoder(f"leak{number}", provenance=provenance))
        assert called(quick(arms), tmp_path / "out", phantom_data)[0] == 2
        err = capsys.readouterr().err
        assert "has seen 1 of the test cases of phantoms (phantom_004); pre-train with --exclude" in err
    assert not (tmp_path / "out" / "runs").exists()


def test_an_encoder_of_another_shape_is_refused_before_the_first_training(
    quick, make_encoder, phantom_data: Path, tmp_path: Path, capsys
) -> None:
    arms = pretrained(tmp_path, make_encoder("wide", feature_size=8))
    assert called(quick(arms), tmp_path / "out", phantom_data)[0] == 1
    assert "feature_size" in capsys.readouterr().err
    assert not (tmp_path / "out" / "runs").exists()


def test_the_folds_are_those_of_a_fine_tuning_and_no_patient_is_torn(phantom_data: Path, tmp_path: Path) -> None:
    from finetune.run import open_data
    from finetune.split import choose_split
    from swin_unetr.datasets import read_dataset

    data = tmp_path / "data"
    shutil.copytree(phantom_data, data)
    ids = [case.id for case in read_dataset(data, require_labels=True).cases]
    (data / "patients.csv").write_text("case,patient\n" + "".join(f"{case},p{n // 2}\n" for n, case in enumerate(ids)))
    file = write_study(tmp_path, {"threshold": threshold_arm(tmp_path)}, folds=[1])
    assert called(file, tmp_path / "out", data, "--plan-only")[0] == 0
    held_back = [Path(line).name for line in (tmp_path / "out" / "held_back.txt").read_text().splitlines()]
    config, dataset, task = open_data(str(tmp_path / "tiny.yaml"), data, None)
    from dataclasses import replace

    split = choose_split(tmp_path / "run", dataset, task, replace(config, num_folds=3), None)
    assert held_back == [f"{case}.nii.gz" for case in split.split(1)[1]]
