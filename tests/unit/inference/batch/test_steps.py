"""When the next scan may be read, and what is refused, by what the memory allows."""

from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch

from swin_unetr.config import PreprocessConfig
from swin_unetr.datasets import Case
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.inference.batch.steps import CaseSteps, Job

#: Of the scans: 20 x 30 x 40 voxels of int16.
STORED_BYTES = 20 * 30 * 40 * 2


class Planner:
    """Stands for a Predictor: plans by what is to be left to others, and remembers it."""

    def __init__(self, limit: int | None = None) -> None:
        self.max_memory = limit
        self.compute = SimpleNamespace(device=torch.device("cpu"))
        self.ensemble = SimpleNamespace(preprocess=PreprocessConfig())
        self.task = SimpleNamespace(channels=("CT",))
        self.reserved: list[int] = []
        self.windows_beside, self.sums_beside = 8, "float32"

    def plan(self, prepared: object, *, with_probabilities: bool, reserve: int) -> SimpleNamespace:
        self.reserved.append(reserve)
        if reserve and not self.windows_beside:
            raise ConfigError("max_memory: too little")
        windows, accumulate = (self.windows_beside, self.sums_beside) if reserve else (8, "float32")
        return SimpleNamespace(windows=windows, accumulate=accumulate, reserve=reserve)


def steps(planner: Planner) -> CaseSteps:
    return CaseSteps(planner, None, None, None, None, save_probabilities=False, warnings=None)


@pytest.fixture
def jobs(tmp_path) -> tuple[Job, Job]:
    found = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.nii"
        nibabel.save(nibabel.Nifti1Image(np.zeros((20, 30, 40), np.int16), np.eye(4)), path)
        found.append(Job(SimpleNamespace(case=Case(id=name, images=(path,)))))
    return found[0], found[1]


def test_the_next_scan_is_read_ahead_where_it_costs_no_window(jobs) -> None:
    planner = Planner()
    assert steps(planner).may_read_ahead(jobs[0], object(), jobs[1])
    assert planner.reserved[0] == 0
    assert planner.reserved[1] > 3 * STORED_BYTES  # as stored, and as float32
    assert jobs[0].plan.reserve == planner.reserved[1]
    assert jobs[1].is_ahead


@pytest.mark.parametrize(("windows", "sums"), [(9, "float32"), (0, "float32"), (8, "float16")])  # 0: no plan at all
def test_the_next_scan_waits_where_it_would_cost_something(jobs, windows, sums) -> None:
    planner = Planner()
    planner.windows_beside, planner.sums_beside = windows, sums
    assert not steps(planner).may_read_ahead(jobs[0], object(), jobs[1])
    assert jobs[0].plan.reserve == 0
    assert not jobs[1].is_ahead


def test_a_damaged_next_scan_does_no_harm_to_this_one(jobs) -> None:
    Path(jobs[1].case.images[0]).write_bytes(b"no image")
    assert not steps(Planner()).may_read_ahead(jobs[0], object(), jobs[1])
    assert jobs[0].plan.reserve == 0


def test_a_scan_that_cannot_even_be_read_within_the_bound_is_refused_before(jobs) -> None:
    with pytest.raises(DataError, match=r"a\.nii: reading it takes this process to .* more than --max-memory 1\.0 MB"):
        steps(Planner(limit=10**6)).read(jobs[0])


def test_a_scan_that_the_machine_cannot_hold_is_refused_before_it_is_read(jobs, monkeypatch) -> None:
    monkeypatch.setattr("swin_unetr.inference.batch.steps.available", lambda: 10**6)
    words = r"a\.nii: reading it takes .* MB and 1\.0 MB of memory are available; crop the scan"
    with pytest.raises(DataError, match=words):
        steps(Planner()).read(jobs[0])


def test_a_tilted_scan_is_counted_on_the_larger_grid_around_it(jobs) -> None:
    taken = []
    for tilt in (0.0, 0.9):
        affine = np.diag([1.0, 1.0, 8.0, 1.0])
        affine[1, 2] = tilt * affine[2, 2]
        nibabel.save(nibabel.Nifti1Image(np.zeros((20, 30, 40), np.int16), affine), jobs[0].case.images[0])
        planner = Planner()
        planner.ensemble.preprocess = PreprocessConfig(spacing_mm=(1, 1, 1))
        taken.append(steps(planner)._reading_bytes(jobs[0].case))
    assert taken[1] > taken[0] + 4 * 20 * 200 * 320  # its planes are moved by 290 mm
