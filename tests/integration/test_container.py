"""The Dockerfile brings what it needs, and its entry point segments a folder."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from swin_unetr.datasets import read_dataset

sys.path.append(str(Path(__file__).parents[2] / "scripts" / "check"))


def test_every_file_that_is_copied_is_there_and_none_that_is_needed_is_left_out(
    project_root: Path, tmp_path: Path
) -> None:
    from container import copy_files

    copy_files(project_root / "Dockerfile", tmp_path)
    for package in ("swin_unetr", "pretrain", "finetune", "transforms"):
        assert (tmp_path / package / "__init__.py").is_file()
    assert (tmp_path / "scripts/container.sh").is_file()
    for line in (project_root / "MANIFEST.in").read_text(encoding="utf-8").splitlines():  # the wheel's build needs them
        if line.startswith("include "):
            assert all((tmp_path / name).is_file() for name in line.split()[1:]), line


@pytest.mark.parametrize("words", [(), ("--max-memory", "4GB")])
def test_the_entry_point_segments_input_into_output(
    project_root: Path, phantom_data: Path, make_model: Callable[..., Path], tmp_path: Path, words: tuple[str, ...]
) -> None:
    task = read_dataset(phantom_data, require_labels=True).task
    places = {"MODEL": make_model("model", task), "INPUT": phantom_data / "imagesTs", "OUTPUT": tmp_path / "out"}
    program = tmp_path / "bin" / "swin-unetr"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m swin_unetr "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, **{name: str(place) for name, place in places.items()}}
    environment["PATH"] = f"{program.parent}:{environment['PATH']}"
    environment["PYTHONPATH"] = str(project_root)
    run = subprocess.run(
        ["sh", str(project_root / "scripts/container.sh"), *words], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert {path.name for path in (tmp_path / "out").glob("*.nii.gz")} == {"phantom_006.nii.gz", "phantom_007.nii.gz"}


def test_another_command_runs_instead(project_root: Path, tmp_path: Path) -> None:
    program = tmp_path / "swin-unetr"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    run = subprocess.run(
        ["sh", str(project_root / "scripts/container.sh"), "doctor", "/input"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert run.stdout == "doctor /input\n"
