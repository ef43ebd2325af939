"""What a prediction may take: the same in the tenth case as in the first, and less after a plan that failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from swin_unetr.config import InferenceConfig, PreprocessConfig
from swin_unetr.device import GpuMemory
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.inference.backends.compute import choose_compute
from swin_unetr.inference.engine.budget import Budget
from swin_unetr.inference.engine.memory_plan import MemoryPlan
from swin_unetr.inference.engine.models import load_ensemble
from swin_unetr.inference.predictor import Predictor
from swin_unetr.tasks import Task, exclusive
from transforms.geometry import Geometry, Volume
from transforms.prepare import Prepared, prepare

CT = Task(name="organs", modality="CT", channels=("CT",), targets=exclusive(("liver", "spleen")))
WHOLE = PreprocessConfig(crop_foreground=False)
WINDOWS = InferenceConfig(roi_size=(16, 16, 16), overlap=0.5)
GPU = torch.device("cuda")
WEIGHTS, WORKSPACE = 200_000_000, 1_000_000_000


@dataclass
class SimulatedGpu:
    """Memory as torch's allocator takes it: what was freed stays its own."""

    total: int
    allocated: int = 0
    reserved: int = 0

    def take(self, size: int) -> None:
        self.allocated += size
        self.reserved = max(self.reserved, self.allocated)
        assert self.reserved <= self.total

    def free(self, size: int) -> None:
        self.allocated -= size

    def report(self, device: torch.device) -> GpuMemory:
        return GpuMemory(self.total - self.reserved, self.reserved, self.allocated)


def scan(size: tuple[int, int, int]) -> Volume:
    voxels = np.random.default_rng(0).normal(size=(1, *size)).astype(np.float32)
    return Volume(voxels, Geometry(size, np.eye(4)))


@pytest.fixture
def budget_on(make_model) -> Callable[..., Budget]:
    """A budget on a simulated GPU, for one model, whose workspace was measured."""
    ensemble = load_ensemble(
        make_model("model", CT, preprocess=WHOLE, inference=WINDOWS), choose_compute("cpu", "float32", "torch")
    )

    def make(gpu: SimulatedGpu, limit: int | None = None) -> Budget:
        budget = Budget(ensemble, GPU, limit, gpu_memory=gpu.report)
        budget._measured = WORKSPACE
        return budget

    return make


def plans(budget: Budget, gpu: SimulatedGpu, prepared: Prepared, cases: int) -> list[MemoryPlan]:
    """Of cases one after the other; each takes what its plan says, and frees it."""
    found = []
    for _ in range(cases):
        plan = budget.plan(prepared, with_probabilities=False)
        gpu.take(plan.bytes)
        gpu.free(plan.bytes)
        found.append(plan)
    return found


@pytest.mark.parametrize("limit", [None, 6_000_000_000])
@pytest.mark.parametrize("room", [1.0, 1.3])
def test_the_tenth_case_gets_the_plan_of_the_first(budget_on, limit, room) -> None:
    prepared = prepare(scan((64, 64, 64)), WHOLE)
    probe = SimulatedGpu(1 << 40)
    probe.take(WEIGHTS)
    (whole,) = plans(budget_on(probe), probe, prepared, 1)
    gpu = SimulatedGpu(int(room * (WEIGHTS + whole.bytes / 0.9)) + 1_000_000)
    gpu.take(WEIGHTS)
    gpu.take(WORKSPACE)  # measured
    gpu.free(WORKSPACE)
    found = plans(budget_on(gpu, limit), gpu, prepared, 10)
    assert len(found[0].tiles) == 1
    assert found == [found[0]] * 10


def test_memory_that_others_take_counts(budget_on) -> None:
    prepared = prepare(scan((64, 64, 64)), WHOLE)
    gpu = SimulatedGpu(20_000_000_000)
    assert budget_on(gpu).plan(prepared, with_probabilities=False).budget == pytest.approx(0.9 * 20e9, rel=1e-6)
    gpu.total -= 16_000_000_000  # another program's
    with pytest.raises(ConfigError, match=r"max_memory: 3.6 GB is too little"):
        budget_on(gpu).plan(prepared, with_probabilities=False)


def test_results_that_do_not_fit_into_the_machine_are_refused(budget_on) -> None:
    prepared = prepare(scan((16, 16, 16)), WHOLE)
    with pytest.raises(
        ConfigError, match=r"^memory: the results of this scan, and what is read meanwhile, take 1150 TB"
    ):
        budget_on(SimulatedGpu(1 << 40)).plan(prepared, with_probabilities=False, reserve=10**15)


@pytest.fixture
def predictor(make_model) -> Predictor:
    sparse = replace(WINDOWS, overlap=0.0)
    models = [make_model(name, CT, preprocess=WHOLE, inference=sparse, seed=len(name)) for name in ("a", "bb")]
    return Predictor(models, device="cpu", backend="torch", precision="float32")


@pytest.mark.slow
def test_out_of_memory_goes_on_with_smaller_tiles(predictor, monkeypatch) -> None:
    volume = scan((24, 20, 33))
    expected = predictor.segment(volume)
    backend = predictor.ensemble.members[0].backend
    call, failures = type(backend).__call__, [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()]

    def refuse(self: object, windows: Tensor) -> Tensor:
        if failures:
            raise failures.pop()
        result: Tensor = call(backend, windows) if self is backend else call(self, windows)  # type: ignore[arg-type]
        return result

    monkeypatch.setattr(type(backend), "__call__", refuse)
    steps: list[tuple[int, int]] = []
    found = predictor.segment(volume, on_windows=lambda done, total: steps.append((done, total)))
    assert np.array_equal(found.labels, expected.labels)
    assert len(expected.plan.tiles) == 1 < len(found.plan.tiles)
    assert found.plan.sums <= expected.plan.sums // 4
    assert [note.partition(";")[0] for note in found.notes] == ["not enough memory for the plan"] * 2
    assert steps[-1][0] == steps[-1][1] == found.windows_done


def test_out_of_memory_in_every_tile_is_said(predictor, monkeypatch) -> None:
    def refuse(self: object, windows: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(predictor.ensemble.members[0].backend), "__call__", refuse)
    with pytest.raises(DataError, match=r"^not enough memory on cpu for this scan; crop the scan"):
        predictor.segment(scan((24, 20, 33)))


class Counting(torch.Tensor):
    """Counts how often it is brought to a device."""

    calls = 0

    def to(self, *arguments: object, **options: object) -> Tensor:  # type: ignore[override]
        type(self).calls += 1
        return self.as_subclass(torch.Tensor)


def test_the_image_is_brought_to_the_device_once_for_all_models(predictor, tmp_path: Path) -> None:
    prepared = predictor.prepare(scan((10, 9, 8)))
    counted = replace(prepared, image=prepared.image.as_subclass(Counting))
    Counting.calls = 0
    labels = predictor.segment_prepared(counted).labels
    assert Counting.calls == 1
    assert np.array_equal(labels, predictor.segment_prepared(prepared).labels)
