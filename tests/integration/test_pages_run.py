"""The commands of the pages that need no training are run, in a folder that holds what the pages speak of."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from pages import Command, commands, fenced

from swin_unetr.cli import main
from swin_unetr.config_io import to_dict
from swin_unetr.datasets import read_dataset
from swin_unetr.datasets.patients import write_patients
from swin_unetr.files import write_json
from swin_unetr.inference.batch.record import PREDICTIONS_JSON
from swin_unetr.phantoms import make_phantoms

ROOT = Path(__file__).resolve().parents[2]
#: Commands that take seconds; trainings, predictions and exports have tests of their own.
QUICK = ("phantoms", "doctor", "plan", "convert", "evaluate", "compare", "study")
#: What a page names and this folder does not hold: a challenge's data, DICOM, a trained run, another machine's GPU.
ELSEWHERE = {"btcv", "--dicom", "--folds", "--gpu-memory", "liver=1", "phantoms/labelsTs"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`my_data` in plain folders, predictions, references and patients, as the pages name them."""
    root = tmp_path_factory.mktemp("pages")
    made = make_phantoms(root / "made", cases=5, held_back=2, size=(32, 32, 24))
    shutil.copytree(made / "imagesTr", root / "my_data/images")
    shutil.copytree(made / "labelsTr", root / "my_data/labels")
    shutil.copytree(made / "labelsTs", root / "reference_labels")
    write_patients(root, {case.name.removesuffix(".nii.gz"): case.name for case in (made / "labelsTs").iterdir()})
    task = to_dict(read_dataset(made, require_labels=True).task)
    (root / "study.yaml").write_text(fenced((ROOT / "docs/how-to/study.md").read_text(), "yaml")[0])
    for name in ("segmented", "segmented_a", "segmented_b"):
        shutil.copytree(made / "labelsTs", root / name)
        write_json(root / name / PREDICTIONS_JSON, {"task": task})  # as predict does
    return root


def quick(command: Command) -> bool:
    program, *words = command.words
    if words[:1] == ["study"] and "--plan-only" not in words:
        return False  # it trains
    return program == "swin-unetr" and words[0] in QUICK and not ELSEWHERE & set(words)


def test_quick_commands_of_the_pages_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    done = []
    page = ""
    for command in filter(quick, commands(ROOT)):
        if command.page != page:  # each page starts afresh, but for reports that the page before it made
            page = command.page
            for left in ("checked", "planned", "phantoms", "Dataset101_Kidneys", "comparison", "my_study"):
                shutil.rmtree(left, ignore_errors=True)
        words = list(command.words[1:])
        for report in ("report", "report_a", "report_b", "other_report"):  # what `compare` is given
            if words[0] == "compare" and report in words and not Path(report).exists():
                assert main(["evaluate", "segmented_a", "reference_labels", "--output", report]) == 0
        if words[0] == "doctor" and "--no-machine" not in words:
            words.append("--no-machine")  # its training step has a test of its own
        if words[0] == "plan" and "--survey" in words and not Path("checked/survey.json").exists():
            assert main(["doctor", "my_data", "--output", "checked", "--no-machine"]) == 0
        assert main(words) == 0, f"{command} in {os.getcwd()}"
        done.append(words[0])
    assert set(done) == set(QUICK)
