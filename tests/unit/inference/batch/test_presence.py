"""Two methods never work in one folder at a time; a disk without locks is said."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from swin_unetr.config import PreprocessConfig
from swin_unetr.errors import ConfigError
from swin_unetr.files import can_lock
from swin_unetr.inference.backends.compute import Compute
from swin_unetr.inference.batch.presence import has_locks, registered
from swin_unetr.inference.batch.record import Records
from swin_unetr.inference.engine.models import Ensemble
from swin_unetr.tasks import BTCV


def records(output: Path, precision: str = "float32") -> Records:
    compute = Compute(torch.device("cpu"), precision)
    return Records(output, Ensemble((), compute, BTCV, PreprocessConfig()), compute, [output], {})


def nothing() -> None:
    pass


def test_the_same_method_shares_and_another_is_refused(tmp_path) -> None:
    other = records(tmp_path, "bfloat16")
    words = r"another method \(different: precision\) is running in .*; wait for it"
    with (
        registered(records(tmp_path), nothing),
        registered(records(tmp_path), nothing),
        pytest.raises(ConfigError, match=words),
        registered(other, nothing),
    ):
        pass
    with registered(other, nothing):
        pass
    assert list(tmp_path.iterdir()) == []


def test_who_refuses_leaves_nothing_behind(tmp_path) -> None:
    def refuse() -> None:
        raise ConfigError("no")

    with pytest.raises(ConfigError, match=r"^no$"), registered(records(tmp_path), refuse):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_process_that_was_killed_is_not_running(tmp_path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path; from test_presence import *\n"
        "with registered(records(Path(sys.argv[1]), 'bfloat16'), nothing):\n"
        "    print('there', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path, Path(__file__).parent],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "there\n"
        with pytest.raises(ConfigError, match="is running"), registered(records(tmp_path), nothing):
            pass
        other.kill()
        other.wait()
    with registered(records(tmp_path), nothing):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_wants_parts(tmp_path, monkeypatch, number) -> None:
    assert can_lock(tmp_path)
    assert has_locks(tmp_path, None)

    def missing(file: object, operation: int) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", missing)
    assert not can_lock(tmp_path)
    with pytest.raises(ConfigError, match=r"has no file locks \(flock\), .* --part K/N \(a single one --part 1/1\)"):
        has_locks(tmp_path, None)
    assert not has_locks(tmp_path, (1, 2))
    assert list(tmp_path.iterdir()) == []
