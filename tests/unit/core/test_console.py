"""The installed script, as a shell runs it."""

import os
import subprocess
import sys
from pathlib import Path

from swin_unetr.cli import main


def test_a_reader_that_stops_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "swin_unetr", "--help"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_path_that_the_system_refuses_is_one_line(tmp_path: Path, capsys) -> None:
    (tmp_path / "file").touch()
    assert main(["phantoms", "--cases", "1", "--output", str(tmp_path / "file" / "new")]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"swin-unetr phantoms: {tmp_path / 'file'}")
    assert "(Not a directory); check the path" in message
    assert message.count("\n") == 1
