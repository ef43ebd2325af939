"""What is said of numbers, failures and what cannot be written, and the commands that are printed."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from swin_unetr.batch import BatchReport, Failure
from swin_unetr.checkpoints.torch_file import read_torch_file
from swin_unetr.cli import main
from swin_unetr.errors import CheckpointError
from swin_unetr.files import replacing
from swin_unetr.provenance import command, resume_command
from swin_unetr.words import count, decimal, interval, why_not_written


def test_counts() -> None:
    assert count(1, "case") == "1 case"
    assert count(0, "case") == "0 cases"
    assert count(12000, "voxel") == "12,000 voxels"
    assert count(2, "series", "series") == "2 series"


def test_undefined_values_are_dashes() -> None:
    assert [decimal(value) for value in (0.12345, -0.5, float("nan"))] == ["0.1235", "-0.5000", "–"]
    assert [decimal(value, 2, signed=True) for value in (1, float("inf"), -float("inf"))] == ["+1.00", "+∞", "-∞"]
    assert interval(0.1, float("inf"), 1) == "0.1 to ∞"
    assert interval(float("nan"), float("nan")) == "–"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "check your permissions"),
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EROFS, "on another disk"),
        (errno.ENAMETOOLONG, "choose a shorter name"),
    ],
)
def test_the_remedy_fits_the_error_of_the_system(number: int, remedy: str) -> None:
    words = why_not_written(OSError(number, os.strerror(number), "/x"))
    assert words.startswith("cannot be written (")
    assert remedy in words
    assert ("room" in words) == (number in (errno.ENOSPC, errno.EDQUOT))


def test_an_error_that_is_not_known_is_said_as_the_system_says_it() -> None:
    assert f"({os.strerror(errno.ENOTTY)})" in why_not_written(OSError(errno.ENOTTY, os.strerror(errno.ENOTTY)))
    assert "(too bad)" in why_not_written(OSError("too bad"))


def test_a_path_is_said_once() -> None:
    report = BatchReport(failures=[Failure("lst", "lst: no such file"), Failure("a", "lst: no such file")])
    assert report.summary().splitlines()[1:] == ["  lst: no such file", "  a: lst: no such file"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_files_are_for_whom_the_umask_says(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with replacing(tmp_path / "a.safetensors") as path:
            save_file({"a": torch.zeros(1)}, path)
        with replacing(tmp_path / "a.txt") as path:
            path.write_text("a")
    finally:
        os.umask(before)
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.safetensors", "a.txt")}
    assert modes == {0o666 & ~mask}


def test_a_block_that_writes_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())


class Program:
    """Would run when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("never",)


def test_a_file_that_would_run_code_comes_with_our_own_advice(tmp_path: Path) -> None:
    torch.save({"a": Program()}, tmp_path / "a.pt")
    scripted = torch.jit.script(torch.nn.Linear(1, 1))
    torch.jit.save(scripted, tmp_path / "b.pt")
    for name in ("a.pt", "b.pt"):
        with pytest.raises(CheckpointError) as caught:
            read_torch_file(tmp_path / name, otherwise="start anew")
        assert "weights_only" not in str(caught.value)
        assert "is refused" in str(caught.value)
        assert "save_file" in str(caught.value)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch) -> Path:
    """An environment with the script, which is not on PATH; the current folder is beside it."""
    script = tmp_path / ".venv" / "bin" / "swin-unetr"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(script.with_name("python")))
    return script


@pytest.mark.parametrize("called", [".venv/bin/swin-unetr", "{absolute}", "/x/swin_unetr/__main__.py", "ipykernel.py"])
def test_printed_commands_work_where_they_are_typed(installed: Path, monkeypatch, called: str) -> None:
    monkeypatch.setattr(sys, "argv", [called.format(absolute=installed), "finetune"])
    assert command(["predict", "my run", "SCANS"]) == ".venv/bin/swin-unetr predict 'my run' SCANS"
    monkeypatch.setenv("PATH", f"{installed.parent}:/usr/bin:/bin")
    assert command(["predict", Path("run"), "SCANS"]) == "swin-unetr predict run SCANS"


def test_the_command_of_another_installation_is_not_taken(installed: Path, tmp_path: Path, monkeypatch) -> None:
    other = tmp_path / "other" / "swin-unetr"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(other.parent))
    monkeypatch.setattr(sys, "argv", [".venv/bin/swin-unetr"])
    assert command(["view"]) == ".venv/bin/swin-unetr view"


def test_without_a_script_the_module_is_named(installed: Path, monkeypatch) -> None:
    installed.unlink()
    monkeypatch.setattr(sys, "argv", ["/x/swin_unetr/__main__.py"])
    assert command(["view"]) == ".venv/bin/python -m swin_unetr view"


def test_a_run_is_gone_on_with_whatever_was_said_before(monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["swin-unetr"])
    for said in ([], ["--resume", "never"], ["--resume=never"], ["--resume", "auto"]):
        assert resume_command("finetune", ["--fold", "1", *said]).split()[-4:] == ["--fold", "1", "--resume", "auto"]


def test_threads_that_wait_sleep_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    script = "import os; from swin_unetr.cli import main; main(['phantoms']); print(os.environ.get('OMP_WAIT_POLICY'))"
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    for said, taken in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"), ({"GOMP_SPINCOUNT": "9"}, "None")):
        done = subprocess.run(
            [sys.executable, "-c", script], env={**environment, **said}, capture_output=True, text=True, check=False
        )
        assert done.stdout.splitlines()[-1] == taken


@pytest.mark.parametrize("name", ["evaluate", "doctor", "plan", "convert", "phantoms"])
def test_every_command_ends_with_the_code_of_its_signal(name: str, monkeypatch, capsys) -> None:
    import signal

    import swin_unetr.cli

    class Stopped:
        @staticmethod
        def run(argv: list[str]) -> int:
            os.kill(os.getpid(), signal.SIGTERM if argv else signal.SIGINT)
            return 0

    monkeypatch.setitem(swin_unetr.cli.COMMANDS, name, ("stopped:run", ""))
    monkeypatch.setitem(sys.modules, "stopped", Stopped)
    before = signal.getsignal(signal.SIGTERM)
    known = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    assert main([name]) == 130
    signal.signal(signal.SIGINT, known)
    assert main([name, "x"]) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert capsys.readouterr().err.splitlines() == [
        f"swin-unetr {name}: stopped",
        f"swin-unetr {name}: stopped by SIGTERM",
    ]
