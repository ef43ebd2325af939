"""The commands of `make demo`, on smaller phantoms and for three epochs."""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from swin_unetr.cli import main

#: What makes each command quick; given last, it overrides what the Makefile says.
QUICK = {
    "phantoms": ["--size", "32", "32", "24", "--cases", "5", "--held-back", "2"],
    "finetune": ["--trainer.max_epochs", "3", "--trainer.validate_every", "3", "--preprocess.spacing_mm", "[12,12,12]"],
}


@pytest.fixture
def demo_commands(project_root: Path, tmp_path: Path) -> list[list[str]]:
    """The arguments of every `swin-unetr` that `make demo` runs, with its folder below `tmp_path`."""
    if shutil.which("make") is None:
        pytest.skip("no make on this machine")
    quiet = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    told = subprocess.run(
        ["make", "-n", "demo", "VENV=.venv", f"DEMO={tmp_path / 'demo'}"],
        cwd=project_root, env=quiet, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [shlex.split(line)[1:] for line in told.stdout.splitlines() if line.startswith(".venv/bin/swin-unetr ")]


def test_demo_goes_from_nothing_to_a_report(demo_commands: list[list[str]], tmp_path: Path, capsys) -> None:
    assert [command for command, *_ in demo_commands] == ["phantoms", "finetune", "predict", "evaluate"]
    for command, *arguments in demo_commands:
        assert main([command, *arguments, *QUICK.get(command, [])]) == 0, command
    last_line = capsys.readouterr().out.splitlines()[-1]
    report = tmp_path / "demo/report/report.md"
    assert last_line == f"report: {report}, for a browser: {report.with_suffix('.html')}"
    assert "| liver |" in report.read_text()
    results = json.loads((tmp_path / "demo/report/results.json").read_text())
    assert results["cases"] == {"evaluated": ["phantom_005", "phantom_006"], "failed": []}
    assert {row["status"] for row in results["rows"]} == {"evaluated"}
