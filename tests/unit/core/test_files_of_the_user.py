"""Commands that write files of fixed names never replace one of the user's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swin_unetr.cli import main
from swin_unetr.errors import ConfigError
from swin_unetr.files import keep_foreign


def test_files_of_an_earlier_run_may_be_replaced(tmp_path: Path) -> None:
    names = ("r.json", "r.csv")
    keep_foreign(tmp_path / "new", names, record="r.json", keys=("format",))
    keep_foreign(tmp_path, names, record="r.json", keys=("format",))
    (tmp_path / "other.csv").touch()
    keep_foreign(tmp_path, names, record="r.json", keys=("format",))
    (tmp_path / "r.csv").touch()
    for content in (None, "", "[]", '{"mine": 1}'):
        if content is not None:
            (tmp_path / "r.json").write_text(content)
        with pytest.raises(ConfigError, match=r"output: .*/r\.(json|csv) was not written by this program and is kept"):
            keep_foreign(tmp_path, names, record="r.json", keys=("format",))
    (tmp_path / "r.json").write_text(json.dumps({"format": 1}))
    keep_foreign(tmp_path, names, record="r.json", keys=("format",))


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("evaluate", "results.csv"),
        ("evaluate", "brats.csv"),
        ("compare", "compare.csv"),
        ("doctor", "survey.json"),
        ("export", "model.pt2"),
    ],
)
def test_a_file_of_the_user_is_kept(phantom_data: Path, tmp_path: Path, capsys, command: str, name: str) -> None:
    out, labels = tmp_path / "out", str(phantom_data / "labelsTr")
    out.mkdir()
    (out / name).write_text("mine")
    arguments = {
        "evaluate": [labels, labels, "--labels", "organ=1"],
        "compare": [labels, labels, "--names", "a", "b", "--reference", labels, "--labels", "organ=1"],
        "doctor": [str(phantom_data), "--no-machine"],
        "export": [str(tmp_path / "model"), "--format", "torch-export"],
    }[command]
    assert main([command, *arguments, "--output", str(out)]) == 2
    assert f"output: {out / name} was not written by this program and is kept" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == [name]
    assert (out / name).read_text() == "mine"
