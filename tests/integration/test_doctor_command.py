"""The command: exit codes, what it prints and writes, and one training step run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from swin_unetr.cli import main


@pytest.fixture
def spoilt(tmp_path: Path, phantom_data: Path) -> Path:
    root = tmp_path / "spoilt <b>"
    shutil.copytree(phantom_data, root)
    image = root / "imagesTr" / "phantom_002.nii.gz"
    image.write_bytes(image.read_bytes()[:2000])
    return root


def test_errors_are_told_in_the_terminal_in_json_and_on_the_page(spoilt: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "out"
    assert main(["doctor", str(spoilt), "--output", str(output), "--no-machine", "--workers", "1"]) == 1
    printed = capsys.readouterr().out
    assert "layout decathlon: 6 cases" in printed
    assert "imagesTr/phantom_002.nii.gz: " in printed
    assert "→ copy or convert the file again from its source" in printed
    assert "1 error, 0 warnings" in printed
    values = json.loads((output / "diagnosis.json").read_text(encoding="utf-8"))
    (finding,) = values["findings"]
    assert finding["code"] == "unreadable"
    assert finding["severity"] == "error"
    assert finding["case"] == "phantom_002"
    assert Path(finding["file"]) == spoilt / "imagesTr" / "phantom_002.nii.gz"
    page = (output / "doctor.html").read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "<b>" not in page
    assert (output / "survey.json").is_file()


def test_a_sound_data_set_and_a_step_of_its_training(phantom_data: Path, tmp_path: Path, capsys) -> None:
    recipe = tmp_path / "small.yaml"
    recipe.write_text(
        "network: {feature_size: 12, depths: [1, 1], num_heads: [3, 6], window_size: [4, 4, 4]}\n"
        "preprocess: {intensity: {scheme: hu_window}}\n"
        "sampling: {crop_size: [16, 16, 16]}\n"
        "inference: {roi_size: [16, 16, 16]}\n"
        "optimizer: {warmup_epochs: 0}\ntrainer: {max_epochs: 10}\n"
    )
    arguments = ["--config", str(recipe), "--workers", "1", "--output", str(tmp_path / "out")]
    assert main(["doctor", str(phantom_data), *arguments]) == 0
    printed = capsys.readouterr().out
    assert "nothing wrong was found" in printed
    assert "one step of small" in printed
    machine = json.loads((tmp_path / "out" / "diagnosis.json").read_text(encoding="utf-8"))["machine"]
    assert machine["step_seconds"] > 0
    assert 0 < machine["memory_needed"] < machine["memory_free"]
    assert 0 < machine["disk_needed"] < machine["disk_free"]
    assert machine["training_seconds"] == pytest.approx(10 * 4 * machine["step_seconds"])


def test_what_is_no_data_set_and_what_is_no_number(tmp_path: Path, capsys) -> None:
    assert main(["doctor", str(tmp_path / "nowhere"), "--output", str(tmp_path / "out")]) == 1
    assert "no such file or folder" in capsys.readouterr().err
    assert main(["doctor", str(tmp_path), "--workers", "-1"]) in (1, 2)
    assert not (tmp_path / "out").exists()
