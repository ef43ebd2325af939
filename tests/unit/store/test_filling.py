"""One process at a time fills a store; where a disk has no locks, it is said."""

import errno
import fcntl
import sys

import pytest

from swin_unetr.store.filling import alone, in_parallel


def test_a_disk_without_locks_is_said(tmp_path, monkeypatch) -> None:
    told: list[str] = []
    with alone(tmp_path, told.append) as sure:
        assert sure
    assert told == []

    def missing(file: object, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    with alone(tmp_path, told.append, "store") as sure:
        assert not sure
    words = "has no file locks; other processes that fill it do the same work again"
    assert told == [f"store: the disk of {tmp_path} {words}"]


def test_no_bar_outlives_an_error(monkeypatch, capsys) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # how rich is told that this is a terminal
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    def work(_: int) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        in_parallel(work, range(3), 2, print)
    line = "a line that is long " * 10
    print(line)
    assert capsys.readouterr().out.splitlines()[-1].endswith(line)
