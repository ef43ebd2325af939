"""One process at a time fills a store; where a disk has no locks, it is said."""

import errno
import fcntl

from swin_unetr.store.filling import alone


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
