"""What trainings say of files with something odd about them: once for each kind, and in the record of the run."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune.config import FinetuneConfig
from finetune.run import finetune
from pretrain.config import PretrainConfig
from pretrain.run import pretrain
from swin_unetr.config_io import from_dict
from swin_unetr.training.file_notes import grouped

COMMON: dict[str, Any] = {
    "network": {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]},
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "optimizer": {"warmup_epochs": 0},
    "trainer": {"max_epochs": 1, "validate_every": 1, "accelerator": "cpu"},
}
#: Scans whose content is not compressed, although their names say so; phantom_000's label is the fifth such file.
MISNAMED = [f"phantom_00{number}" for number in range(4)]


@pytest.fixture
def odd_data(phantom_data: Path, tmp_path: Path) -> Path:
    root = tmp_path / "data"
    shutil.copytree(phantom_data, root)
    files = [root / "imagesTr" / f"{name}.nii.gz" for name in MISNAMED]
    for file in (*files, root / "labelsTr" / "phantom_000.nii.gz"):
        file.write_bytes(gzip.decompress(file.read_bytes()))
    return root


def said(text: str) -> list[str]:
    return [line for line in text.splitlines() if "is not compressed" in line]


def test_finetune_says_each_note_once_and_keeps_all(odd_data: Path, tmp_path: Path, capsys) -> None:
    more = {"sampling": {"crop_size": [16, 16, 16]}, "inference": {"roi_size": [32, 32, 24]}, "num_folds": 3}
    config = from_dict(FinetuneConfig, {**COMMON, **more}, source="test")
    finetune(config, data=odd_data, output=tmp_path / "run")
    (line,) = said(capsys.readouterr().err)
    assert line.startswith("warning: 5 files (imagesTr/phantom_00")
    assert " and 2 more): " in line
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert sorted(record["file_notes"]) == MISNAMED
    assert [len(record["file_notes"][name]) for name in MISNAMED] == [2, 1, 1, 1]
    finetune(config, data=odd_data, output=tmp_path / "run", resume=True)
    assert not said(capsys.readouterr().err)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["file_notes"] == record["file_notes"]


def test_pretrain_says_each_note_once_and_keeps_all(odd_data: Path, tmp_path: Path, capsys) -> None:
    more = {"scans": {"crop_size": [16, 16, 16]}, "proxies": {"masked": {"weight": 1.0, "cube": 8}}}
    config = from_dict(PretrainConfig, {**COMMON, **more}, source="test")
    for run in ("first", "with_the_cache"):
        pretrain(config, data=[odd_data], output=tmp_path / run)
        (line,) = said(capsys.readouterr().out)
        assert line.startswith("warning: 4 files (imagesTr/phantom_000.nii.gz, imagesTr/phantom_001.nii.gz, imagesTr")
        assert " and 1 more): " in line
        record = json.loads((tmp_path / run / "run.json").read_text())
        assert sorted(record["file_notes"]) == MISNAMED


def test_sentences_that_differ_in_numbers_are_one() -> None:
    pairs = (("a", "has 1.5 mm"), ("b", "has -2e-3 mm"), ("c", "is odd"), ("a", "has 1.5 mm"), ("d", "has 1.5 mm"))
    notes = [(Path("in") / name, words) for name, words in pairs]
    first = "warning: 3 files (in/a, in/b, in/d): has 1.5 mm (numbers of the first)"
    assert list(grouped(notes)) == [first, "warning: in/c: is odd"]
    assert list(grouped([])) == []
