"""What is learnt from crops without labels, against references that are written out voxel by voxel."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finetune.config import UnlabelledConfig
from finetune.consistency import consistency, weight_at
from swin_unetr.tasks import Task, exclusive

ORGANS = Task(name="organs", modality="CT", channels=("CT",), targets=exclusive(("a", "b")))
REGIONS = Task(name="regions", modality="MR", channels=("T1",), targets=exclusive(("a", "b")), activation="sigmoid")


def scores(task: Task, seed: int) -> torch.Tensor:
    return 2 * torch.randn(2, task.num_classes, 3, 2, 2, generator=torch.Generator().manual_seed(seed))


def exclusive_by_hand(student: torch.Tensor, teacher: torch.Tensor, least: float) -> tuple[float, float]:
    squares, counted, voxels = 0.0, 0, 0
    for crop in range(len(student)):
        for own, taught in zip(student[crop].flatten(1).T.tolist(), teacher[crop].flatten(1).T.tolist(), strict=True):
            p = [math.exp(value) / sum(map(math.exp, own)) for value in own]
            q = [math.exp(value) / sum(map(math.exp, taught)) for value in taught]
            voxels += 1
            if max(q) >= least:
                counted += 1
                squares += sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) / len(p)
    return squares / counted, counted / voxels


def regions_by_hand(student: torch.Tensor, teacher: torch.Tensor, least: float) -> tuple[float, float]:
    squares, counted, values = 0.0, 0, 0
    for own, taught in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True):
        p, q = 1 / (1 + math.exp(-own)), 1 / (1 + math.exp(-taught))
        values += 1
        if max(q, 1 - q) >= least:
            counted += 1
            squares += (p - q) ** 2
    return squares / counted, counted / values


@pytest.mark.parametrize("least", [0.0, 0.7, 0.9])
@pytest.mark.parametrize(("task", "by_hand"), [(ORGANS, exclusive_by_hand), (REGIONS, regions_by_hand)])
def test_the_loss_is_that_of_the_formula_and_only_the_student_learns(task: Task, by_hand, least: float) -> None:
    student, teacher = scores(task, 0).requires_grad_(), scores(task, 1).requires_grad_()
    loss, confident = consistency(student, teacher, task, least)
    assert (float(loss), float(confident)) == pytest.approx(by_hand(student.detach(), teacher.detach(), least))
    assert 0 < float(confident) < 1 or least == 0
    loss.backward()
    assert student.grad is not None
    assert teacher.grad is None
    sure = teacher.softmax(1).amax(1, keepdim=True) if task is ORGANS else teacher.sigmoid().sub(0.5).abs() + 0.5
    unsure = (sure < least).expand_as(student)
    assert not student.grad[unsure].any()
    assert student.grad[~unsure].all()


def test_where_the_teacher_is_nowhere_sure_nothing_is_learnt() -> None:
    student = scores(ORGANS, 0).requires_grad_()
    loss, confident = consistency(student, torch.zeros_like(student), ORGANS, 0.9)
    loss.backward()
    assert (float(loss), float(confident)) == (0, 0)
    assert student.grad is not None
    assert not student.grad.any()


@given(spent=st.floats(0, 1), ramp=st.floats(0.01, 1))
def test_the_weight_rises_and_stays(spent: float, ramp: float) -> None:
    config = UnlabelledConfig(weight=3.0, ramp=ramp)
    if spent >= ramp:
        assert weight_at(spent, config) == 3.0
    else:
        assert weight_at(spent, config) == pytest.approx(3.0 * math.exp(-5 * (1 - spent / ramp) ** 2))


def test_without_a_ramp_the_weight_is_the_whole_one_at_once() -> None:
    assert weight_at(0.0, UnlabelledConfig(weight=2.0, ramp=0)) == 2.0


@pytest.mark.parametrize("values", [{"weight": -1}, {"confidence": 1.0}, {"ramp": 2}, {"batch_size": 0}])
def test_impossible_values_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        UnlabelledConfig(**values)
