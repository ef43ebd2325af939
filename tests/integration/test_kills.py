"""A few kills of preprocessing and training; `scripts/check/kills.py` by itself does twenty."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that can fork")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--part", "training", "--kills", "2", "--epochs", "3"),
        ("--part", "preprocessing", "--kills", "3", "--scans", "6"),
    ],
)
def test_what_was_killed_ends_as_what_was_not(project_root: Path, tmp_path: Path, arguments) -> None:
    command = [
        sys.executable,
        str(project_root / "scripts" / "check" / "kills.py"),
        *arguments,
        "--folder",
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": str(project_root)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{arguments[3]} kills" in done.stdout
