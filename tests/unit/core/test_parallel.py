"""Parallel processes: results, errors and deaths."""

from __future__ import annotations

import os

import pytest

from swin_unetr.parallel import WorkerDiedError, run_parallel


def reciprocal_or_death(number: int) -> float:
    if number < 0:
        os._exit(1)
    return 1 / number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_and_errors(workers: int) -> None:
    outcomes = dict(run_parallel(reciprocal_or_death, [1, 2, 0, 4], workers=workers))
    assert isinstance(outcomes.pop(2), ZeroDivisionError)
    assert outcomes == {0: 1.0, 1: 0.5, 3: 0.25}


def test_a_process_that_dies_takes_its_own_item_alone() -> None:
    outcomes = dict(run_parallel(reciprocal_or_death, [1, -1, 2, 4], workers=2))
    assert isinstance(outcomes.pop(1), WorkerDiedError)
    assert outcomes == {0: 1.0, 2: 0.5, 3: 0.25}
