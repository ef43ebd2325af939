"""Structures that were not looked for: the marginal loss, crops, weights, validation, records."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from finetune.batch_dice import batch_dice
from finetune.class_presence import classes_of_cases
from finetune.class_weights import weights_by_frequency
from finetune.config import LossConfig
from finetune.deciding import Deciding
from finetune.deep_supervision import level_weights, supervise
from finetune.leaks import seen_cases
from finetune.losses import SegmentationLoss
from finetune.partial_labels import PartialLabels, of_hidden_voxels, refuse_other_labels, summary
from finetune.validation import OF_CASES, POOLED, ValidationScores
from swin_unetr.config import SamplingConfig
from swin_unetr.datasets.case import Case
from swin_unetr.errors import ConfigError
from swin_unetr.tasks import Task, exclusive
from transforms.crops import ANY, LabelledScan, ScanInMemory, TakeCrops
from transforms.labels import IGNORED

ABC = Task(name="abc", modality="CT", channels=("CT",), targets=exclusive(("a", "b", "c")))
AB = replace(ABC, targets=ABC.targets[:2])
REGIONS, TWO_REGIONS = replace(ABC, activation="sigmoid"), replace(AB, activation="sigmoid")
CONFIGS = [
    LossConfig(),
    LossConfig(include_background=False, batch=True),
    LossConfig(batch=True, squared=True),
    LossConfig(squared=True, dice=0.5, cross_entropy=2.0),
    LossConfig(cross_entropy=0),
    LossConfig(dice=0),
]


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def batch(rng: torch.Generator, task: Task, crops: int = 3) -> tuple[Tensor, Tensor]:
    scores = 2 * torch.randn(crops, task.num_classes, 4, 5, 6, generator=rng)
    if task.activation == "sigmoid":
        return scores, torch.randint(0, 2, scores.shape, generator=rng, dtype=torch.uint8)
    return scores, torch.randint(0, task.num_classes, (crops, 1, 4, 5, 6), generator=rng, dtype=torch.uint8)


def with_gradient(loss: SegmentationLoss, scores: Tensor, *more: Tensor) -> tuple[Tensor, Tensor]:
    leaf = scores.clone().requires_grad_()
    value = loss(leaf, *more)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 2.0, 3.0)])
@pytest.mark.parametrize("ignores", [False, True])
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("task", [ABC, REGIONS])
def test_where_everything_was_looked_for_it_is_todays_loss_bit_for_bit(rng, task, config, ignores, weights) -> None:
    task = replace(task, ignore_label=9) if ignores else task
    scores, targets = batch(rng, task)
    if ignores:
        targets[:, :, 0] = IGNORED
    loss = SegmentationLoss(config, task, None if weights is None else weights[-task.num_classes :])
    everything = torch.ones(3, task.num_classes, dtype=torch.bool)
    for one, other in zip(
        with_gradient(loss, scores, targets), with_gradient(loss, scores, targets, everything), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(("task", "smaller"), [(ABC, AB), (REGIONS, TWO_REGIONS)])
@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 2.0, 3.0)])
def test_it_is_the_loss_of_a_network_without_what_was_not_looked_for(rng, config, task, smaller, weights) -> None:
    few = smaller.num_classes
    scores, targets = batch(rng, smaller)
    more = torch.cat([scores, torch.full_like(scores[:, :1], -math.inf)], dim=1)
    truth = targets if task is ABC else torch.cat([targets, torch.ones_like(targets[:, :1])], dim=1)
    labelled = torch.ones(3, few + 1, dtype=torch.bool)
    labelled[:, -1] = False
    of_all = None if weights is None else weights[-task.num_classes :]
    small = SegmentationLoss(config, smaller, None if of_all is None else of_all[:few])
    loss = SegmentationLoss(config, task, of_all)
    if task is REGIONS:  # a region of probability 0 has a loss of its own, and none here
        more[:, -1] = 3.0
    value, gradient = with_gradient(loss, more, truth, labelled)
    expected, expected_gradient = with_gradient(small, scores, targets)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient[:, :few], expected_gradient)
    assert not gradient[:, few:].any()


@pytest.mark.parametrize("config", CONFIGS)
def test_nothing_is_learnt_of_which_class_it_is_among_those_not_looked_for(rng, config) -> None:
    """The loss sees the sum of their probabilities alone, so that its gradient is divided as these are."""
    scores, targets = batch(rng, ABC)
    labelled = torch.tensor([[True, True, False, False], [True, False, True, True], [True, True, True, True]])
    _, gradient = with_gradient(SegmentationLoss(config, ABC), scores, targets, labelled)
    shares = scores.softmax(dim=1)
    for crop, row in enumerate(labelled.tolist()):
        merged = [0, *(channel for channel, is_so in enumerate(row) if not is_so)]
        of = shares[crop, merged] / shares[crop, merged].sum(dim=0)
        expected = of * gradient[crop, merged].sum(dim=0)
        torch.testing.assert_close(gradient[crop, merged], expected, atol=1e-7, rtol=1e-4)
    # By hand: background of the first crop, where b and c may be background, is right with their sum.
    only = SegmentationLoss(LossConfig(dice=0), ABC)
    value, gradient = with_gradient(only, scores[:1], torch.zeros_like(targets[:1]), labelled[:1])
    share = shares[:1, [0, 2, 3]].sum(dim=1)
    torch.testing.assert_close(value, -share.log().mean())
    torch.testing.assert_close(gradient[:, 1], shares[:1, 1] / share.numel())
    torch.testing.assert_close(gradient[:, 2], (shares[:1, 2] - shares[:1, 2] / share) / share.numel())


def test_voxels_of_what_was_not_looked_for_count_as_background(rng) -> None:
    scores, targets = batch(rng, ABC)
    labelled = torch.tensor([[True, True, True, False]]).expand(3, -1)
    loss = SegmentationLoss(LossConfig(), ABC)
    assert torch.equal(loss(scores, targets, labelled), loss(scores, targets.masked_fill(targets == 3, 0), labelled))


def test_sums_over_a_batch_leave_out_crops_of_other_cases(rng) -> None:
    """By hand: a over both crops, b over the first; c, which neither has, is no part of the mean."""
    scores, targets = batch(rng, ABC, crops=2)
    labelled = torch.tensor([[True, True, True, False], [True, True, False, False]])
    config = LossConfig(cross_entropy=0, batch=True, include_background=False)
    value = SegmentationLoss(config, ABC)(scores, targets, labelled)
    shares = scores.softmax(dim=1)
    truth = torch.nn.functional.one_hot(targets[:, 0].long(), 4).movedim(-1, 1).float()
    of_a = batch_dice(shares[:, 1:2], truth[:, 1:2])
    of_b = batch_dice(shares[:1, 2:3], truth[:1, 2:3])
    torch.testing.assert_close(value, torch.cat([of_a, of_b]).mean())
    nothing = torch.tensor([[True, False, False, False]]).expand(2, -1)
    assert float(SegmentationLoss(config, ABC)(scores, targets, nothing)) == 0
    assert float(SegmentationLoss(LossConfig(), ABC)(scores, targets, nothing)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("task", [ABC, REGIONS])
@pytest.mark.parametrize("of_batch", [True, False])
def test_a_batch_in_which_nothing_was_looked_for_has_no_gradient(rng, task: Task, of_batch: bool) -> None:
    scores, targets = batch(rng, task, crops=2)
    labelled = torch.tensor([index == 0 and task is ABC for index in range(task.num_classes)]).expand(2, -1)
    leaf = scores.clone().requires_grad_()
    loss = SegmentationLoss(LossConfig(batch=of_batch), task)(leaf, targets, labelled)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert leaf.grad is not None
    assert float(leaf.grad.abs().max()) < 1e-6


def test_deep_supervision_goes_through_the_same_loss(rng) -> None:
    scores, targets = batch(rng, ABC, crops=2)
    coarse = torch.randn(2, 4, 2, 3, 3, generator=rng)
    labelled = torch.tensor([[True, True, True, False], [True, False, True, True]])
    loss = SegmentationLoss(LossConfig(), ABC)
    nearest = torch.nn.functional.interpolate(targets.float(), (2, 3, 3), mode="nearest-exact").to(targets.dtype)
    first, second = level_weights(2)
    expected = first * loss(scores, targets, labelled) + second * loss(coarse, nearest, labelled)
    torch.testing.assert_close(supervise(loss, [scores, coarse], targets, labelled), expected)


def case(name: str, *labelled: str, everything: bool = False) -> Case:
    return Case(id=name, images=(Path(f"{name}.nii"),), labelled=None if everything else frozenset(labelled))


def scan(*values: int) -> ScanInMemory:
    label = torch.tensor(values, dtype=torch.uint8).reshape(1, -1, 1, 1)
    return ScanInMemory(torch.zeros(label.shape), label)


def test_crops_are_never_centred_on_what_was_not_looked_for() -> None:
    of = LabelledScan(scan(0, 1, 2, 3, 0, 3), (True, False, True))
    assert [of.places(which).tolist() for which in (0, 1, 2, 3, ANY)] == [[0, 4], [1], [], [3, 5], [1, 3, 5]]
    whole = scan(0, 1, 1, 0, 0, 3)
    assert LabelledScan(whole, (True, False, True)).places(ANY).tolist() == whole.places(ANY).tolist()
    for scheme in ("classes", "positive_negative"):
        sampling = SamplingConfig(crop_size=(1, 1, 1), crops_per_scan=200, scheme=scheme, positive=1, negative=1)
        take = TakeCrops(sampling, ABC)
        take.set_random_state(seed=0)
        centres = {start[0] for start in take.starts(of)}
        assert centres == {0, 1, 3, 4, 5}


def test_voxels_are_counted_where_a_structure_was_looked_for() -> None:
    labels = PartialLabels([case("x", "a", "c"), case("y", everything=True)], ABC)
    assert labels
    assert not PartialLabels([case("y", everything=True), case("z", "a", "b", "c")], ABC)
    assert labels.counted(0, (100, 10, 5, 1)) == (105, 10, 0, 1)
    assert labels.counted(1, (100, 10, 5, 1)) == (100, 10, 5, 1)
    assert labels.channels(0).tolist() == [True, True, False, True]
    regions = PartialLabels([case("x", "a", "c")], REGIONS)
    assert regions.channels(0).tolist() == [True, False, True]
    assert regions.counted(0, (100, 10, 5, 1)) == (100, 10, 0, 1)


def test_class_weights_know_how_rare_a_structure_is_where_it_was_looked_for() -> None:
    whole = weights_by_frequency([(800, 100, 60, 40)] * 4, ABC)
    assert weights_by_frequency([(800, 100, 60, 40)] * 4, ABC, [(True,) * 3] * 4) == whole
    partly = [(800, 100, 60, 40), *[(860, 100, 0, 40)] * 3]
    looked_for = [(True,) * 3, *[(True, False, True)] * 3]
    expected = [1 / math.sqrt(count) for count in (3380, 400, 240, 160)]
    assert weights_by_frequency(partly, ABC, looked_for) == pytest.approx(
        [weight * 4 / sum(expected) for weight in expected], abs=1e-6
    )


def test_the_choice_of_a_model_counts_what_was_looked_for() -> None:
    labels = PartialLabels([case("x", "a"), case("y", "a", "b")], ABC)
    voxels = (100, 10, 5, 1)
    deciding = Deciding.of(ABC, [labels.counted(1, voxels)], [labels.counted(0, voxels)], 0)
    assert (deciding.untrained, deciding.unvalidated) == (("c",), ("b", "c"))
    assert deciding.structures == (True, False, False)


def scores_of(*labels: int) -> Tensor:
    """Scores that paint these labels along X."""
    return 10 * torch.nn.functional.one_hot(torch.tensor(labels), 4).T.reshape(4, -1, 1, 1).float()


def targets_of(*labels: int) -> Tensor:
    return torch.tensor(labels, dtype=torch.uint8).reshape(1, -1, 1, 1)


def validated(scans: Sequence[tuple[Tensor, Tensor, Tensor | None]]) -> dict[str, float]:
    scores = ValidationScores(ABC, (True, True, True), torch.device("cpu"))
    for each in scans:
        scores.add(*each)
    return scores.summary(lambda values: values)


def test_validation_counts_a_structure_where_it_was_looked_for() -> None:
    without_b = torch.tensor([True, True, False, True])
    whole = (scores_of(1, 1, 2, 0), targets_of(1, 1, 2, 2), None)
    partly = (scores_of(2, 2, 2, 3), targets_of(0, 2, 1, 3), without_b)
    found = validated([whole, partly])
    # b: the second scan, in which it is predicted three times and marked once, says nothing of it.
    assert [found[f"{name}/b"] for name in (POOLED, OF_CASES)] == pytest.approx([2 / 3, 2 / 3])
    # a: a voxel that is surely a and taken for b is missed, whether or not b was looked for.
    assert found[f"{POOLED}/a"] == pytest.approx(2 * 2 / (2 + 3))
    assert found[f"{OF_CASES}/a"] == pytest.approx((1 + 0) / 2)
    assert found[f"{POOLED}/c"] == 1
    assert math.isnan(validated([partly])[f"{POOLED}/b"])
    everything = torch.ones(4, dtype=torch.bool)
    assert validated([whole]) == pytest.approx(validated([(*whole[:2], everything)]), nan_ok=True)


def test_folds_count_what_was_looked_for(phantom_data: Path) -> None:
    from swin_unetr.datasets import read_dataset

    dataset = read_dataset(phantom_data, require_labels=True)
    first, *others = dataset.cases
    known = classes_of_cases(dataset.cases, dataset.task)
    partly = classes_of_cases([replace(first, labelled=frozenset({"liver"})), *others], dataset.task)
    assert known[first.id] > partly[first.id] == {0}
    assert {case.id: known[case.id] for case in others} == {case.id: partly[case.id] for case in others}


def test_what_is_said_and_what_a_resume_refuses() -> None:
    cases = [case("x", "a", "c"), case("y", everything=True), case("z", "a")]
    assert summary(cases, ABC) == (
        "partial labels: in 2 of 3 cases not every structure was looked for; cases in which they were: b 1, c 2"
    )
    assert summary(cases[1:2], ABC) == ""
    words = of_hidden_voxels(cases, ABC, [(9, 1, 4, 1), (9, 1, 1, 1), (9, 1, 0, 0)])
    assert words.startswith("warning: label files hold structures that were not looked for there")
    assert "x (b)" in words
    assert "z (" not in words
    assert of_hidden_voxels(cases, ABC, [(9, 1, 0, 1), (9, 1, 1, 1), (9, 1, 0, 0)]) == ""
    run, before = Path("run"), {"fold": 0, "labelled": {"x": ["a"]}}
    refuse_other_labels(run, before, {"x": ("a",)})
    refuse_other_labels(run, {}, {"x": ("a",)})
    refuse_other_labels(run, {"fold": 0}, {})  # of an earlier version
    for now in ({}, {"x": ("a", "b")}, {"x": ("a",), "y": ("a",)}):
        with pytest.raises(ConfigError, match=r"cannot be resumed with other partial labels.*(x|y)"):
            refuse_other_labels(run, before, now)


def test_places_of_a_large_scan_are_those_of_its_structures() -> None:
    label = np.zeros((1, 8, 8, 8), np.uint8)
    label[0, :2], label[0, 2:4] = 1, 2
    of = LabelledScan(ScanInMemory(torch.zeros(1, 8, 8, 8), torch.from_numpy(label)), (False, True, True))
    assert np.array_equal(of.places(ANY), np.flatnonzero(label[0] == 2))
    assert not len(of.places(1))


def test_a_case_of_a_joined_data_set_is_recognised_in_each_of_them(tmp_path: Path) -> None:
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    record = {"data": [str(one), str(two)], "training": ["one_x", "y"]}
    cases = [case("x", everything=True), case("y", everything=True), case("z", everything=True)]
    assert seen_cases(record, cases, one) == ("x", "y")
    assert seen_cases({"data": str(one), "training": ["x"]}, [case("one_x"), case("z")], [one, two]) == ("one_x",)
    assert seen_cases(record, [case("one_x"), case("x")], [one, two]) == ("one_x",)
    assert seen_cases(record, cases, other) == ()
