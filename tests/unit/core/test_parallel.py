"""Parallel processes: results, errors and deaths."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from swin_unetr.parallel import WorkerDiedError, run_parallel

SOURCE = """
import os

def reciprocal_or_death(number):
    if number < 0:
        os._exit(1)
    return 1 / number
"""


@pytest.fixture
def reciprocal_or_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], float]:
    """A function of a module that spawned processes find too: they do not find test files."""
    (tmp_path / "work_for_test_parallel.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    function: Callable[[int], float] = import_module("work_for_test_parallel").reciprocal_or_death
    return function


@pytest.mark.parametrize("workers", [1, 2])
def test_results_and_errors(reciprocal_or_death: Callable[[int], float], workers: int) -> None:
    outcomes = dict(run_parallel(reciprocal_or_death, [1, 2, 0, 4], workers=workers))
    assert isinstance(outcomes.pop(2), ZeroDivisionError)
    assert outcomes == {0: 1.0, 1: 0.5, 3: 0.25}


def test_a_process_that_dies_takes_its_own_item_alone(reciprocal_or_death: Callable[[int], float]) -> None:
    outcomes = dict(run_parallel(reciprocal_or_death, [1, -1, 2, 4], workers=2))
    assert isinstance(outcomes.pop(1), WorkerDiedError)
    assert outcomes == {0: 1.0, 2: 0.5, 3: 0.25}
