"""The Dice of validation: of what is written, pooled over the fold, and what decides about a model."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_dice
from monai.networks.utils import one_hot

from finetune.deciding import Deciding
from finetune.module import metric_names
from finetune.notices import of_absent_classes
from finetune.validation import OF_CASES, POOLED, ValidationScores, dice_of, overlap
from swin_unetr.tasks import BTCV, Task, brats, exclusive
from transforms.labels import decode_activations, encode_targets

THREE = Task(name="three", modality="MR", channels=("T1",), targets=exclusive(("a", "b", "c")))
TWO = Task(name="two", modality="MR", channels=("T1",), targets=exclusive(("a", "b")))


def dice_per_target(scores: torch.Tensor, truth: torch.Tensor, task: Task) -> torch.Tensor:
    return dice_of(overlap(scores, truth, task))


def scores_of(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Scores whose highest class is that of a label map X x Y x Z."""
    return one_hot(labels[None, None], classes)[0]


def test_by_hand_with_what_is_empty_in_both_left_out() -> None:
    predicted = torch.tensor([0, 1, 1, 1, 2, 2]).reshape(1, 6, 1, 1)
    truth = torch.tensor([0, 0, 1, 1, 1, 1]).reshape(1, 6, 1, 1)
    dice = dice_per_target(one_hot(predicted[None], 4)[0], truth.to(torch.uint8), THREE)
    assert dice[0] == pytest.approx(2 * 2 / (3 + 4))
    assert dice[1] == 0  # found where there is none
    assert dice[2].isnan()  # in neither


def test_nested_regions_count_as_they_are_painted() -> None:
    # TC, WT, ET of six voxels; a prediction paints WT, then TC over it, then ET over both.
    scores = torch.tensor(
        [[1, 1, -1, -1, 0, 0], [-1, 1, 1, -1, -1, -1], [-1, -1, -1, 1, -1, -1]], dtype=torch.float32
    ).reshape(3, 6, 1, 1)
    truth = torch.tensor([[1, 1, 0, 1, 0, 0], [1, 1, 1, 1, 0, 0], [0, 0, 0, 1, 0, 0]]).reshape(3, 6, 1, 1)
    # Each channel by itself would miss voxels of TC and WT that the written labels have: Dice 0.8 and 0.667.
    assert dice_per_target(scores, truth, brats()).tolist() == [1, 1, 1]
    assert dice_per_target(scores, truth * 0, brats()).tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_is_monais_of_the_labels_that_are_written(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(14, 9, 8, 7, generator=generator)
    truth = torch.randint(0, 14, (1, 9, 8, 7), generator=generator)
    oracle = compute_dice(
        one_hot(scores.argmax(0, keepdim=True)[None], 14), one_hot(truth[None], 14), include_background=False
    )
    assert torch.allclose(dice_per_target(scores, truth, BTCV), oracle[0])
    written = decode_activations(scores[:3].sigmoid(), brats())
    truth = encode_targets(torch.tensor([0, 1, 2, 4])[torch.randint(0, 4, (1, 9, 8, 7), generator=generator)], brats())
    oracle = compute_dice(encode_targets(written[None], brats())[None].float(), truth[None].float())
    assert torch.allclose(dice_per_target(scores[:3], truth, brats()), oracle[0])


def test_what_is_to_be_ignored_counts_nowhere() -> None:
    task = Task(name="two", modality="MR", channels=("T1",), targets=exclusive(("a", "b")), ignore_label=9)
    labels = torch.tensor([1, 1, 2, 0]).reshape(4, 1, 1)
    truth = torch.tensor([1, 255, 255, 0]).reshape(1, 4, 1, 1).to(torch.uint8)
    dice = dice_per_target(scores_of(labels, 3), truth, task)
    assert dice[0] == 1
    assert dice[1].isnan()


def test_names_of_what_is_logged() -> None:
    assert metric_names(brats(), unlabelled=False) == (
        "train/loss", "val/smoothed_pooled_dice",
        "val/pooled_dice", "val/pooled_dice/TC", "val/pooled_dice/WT", "val/pooled_dice/ET",
        "val/dice", "val/dice/TC", "val/dice/WT", "val/dice/ET",
    )  # fmt: skip


def fold(cases: list[tuple[list[int], list[int]]], deciding: tuple[bool, ...] = (True, True)) -> dict[str, float]:
    """Scores of cases given as predicted and true classes of a row of voxels."""
    scores = ValidationScores(TWO, deciding, torch.device("cpu"))
    for predicted, truth in cases:
        labels, targets = (torch.tensor(values).reshape(-1, 1, 1) for values in (predicted, truth))
        scores.add(scores_of(labels, 3), targets[None].to(torch.uint8))
    return scores.summary(lambda values: values)


def test_a_false_voxel_in_healthy_cases_does_not_outweigh_a_better_model() -> None:
    ill, healthy = [1] * 50 + [0] * 50, [0] * 100
    good = [([1] * 50 + [0] * 50, ill), *[([1] + [0] * 99, healthy)] * 4]
    worse = [([1] * 25 + [0] * 75, ill), *[(healthy, healthy)] * 4]
    ours, theirs = fold(good, (True, False)), fold(worse, (True, False))
    assert ours[f"{OF_CASES}/a"] < theirs[f"{OF_CASES}/a"]  # by single cases the worse one wins
    assert ours[POOLED] == pytest.approx(2 * 50 / (54 + 50))
    assert theirs[POOLED] == pytest.approx(2 * 25 / (25 + 50))


def test_a_structure_that_does_not_decide_is_logged_alone() -> None:
    scores = fold([([1, 2, 2, 0], [1, 1, 0, 0])], (True, False))
    assert scores[POOLED] == scores[f"{POOLED}/a"] == pytest.approx(2 / 3)
    assert scores[f"{POOLED}/b"] == 0
    assert scores[OF_CASES] == pytest.approx(1 / 3)  # over all that are defined, as in a report
    assert math.isnan(fold([([1, 0], [1, 0])], (False, False))[POOLED])
    assert math.isnan(fold([([1, 0], [1, 0])])[f"{POOLED}/b"])  # in neither


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=3, max_size=9), max_size=6), st.data()
)
def test_processes_together_score_as_one_does(cases: list[list[tuple[int, int]]], data: st.DataObject) -> None:
    parts: list[ValidationScores] = [ValidationScores(TWO, (True, True), torch.device("cpu")) for _ in range(2)]
    alone = ValidationScores(TWO, (True, True), torch.device("cpu"))
    for case in cases:
        labels, truth = (torch.tensor([voxel[side] for voxel in case]).reshape(-1, 1, 1) for side in (0, 1))
        for scores in (alone, parts[data.draw(st.integers(0, 1))]):
            scores.add(scores_of(labels, 3), truth[None].to(torch.uint8))
    others = iter((parts[1]._overlap, parts[1]._of_cases))
    assert parts[0].summary(lambda values: values + next(others)) == pytest.approx(
        alone.summary(lambda values: values), nan_ok=True
    )


def test_what_a_fold_can_choose_by() -> None:
    both, a, nothing = (5, 3, 2), (8, 2, 0), (10, 0, 0)
    whole = Deciding.of(TWO, [both, a], [a, both], 0)
    assert (whole.structures, whole.always_last, whole.lines()) == ((True, True), None, [])
    untrained = Deciding.of(TWO, [a, nothing], [both], 0)
    assert (untrained.structures, untrained.always_last) == ((True, False), None)
    assert (untrained.untrained, untrained.lines()) == (("b",), [])
    assert Deciding.of(TWO, [both], [a], 0).structures == (True, False)
    healthy = Deciding.of(TWO, [both], [nothing, nothing], 1)
    assert healthy.structures == (False, False)
    assert healthy.lines()[-1] == (
        "no validation case has a structure that was trained on, so that validation cannot choose a model: "
        "best/ takes the last one"
    )
    never = Deciding.of(TWO, [a], [a], 0)  # the warning of structures that cannot be learnt says it all
    assert (never.untrained, never.lines()) == (("b",), [])
    assert of_absent_classes(never.untrained, 0).startswith("warning: no training case of fold 0 has b: ")
    assert of_absent_classes(never.untrained, "all") == (
        "warning: no case has b: the model cannot learn this; label more cases, or leave the structure out of the task"
    )
    everything = Deciding.of(TWO, [both], [both], "all")
    assert everything.always_last is not None
    assert everything.lines()[-1].startswith("every case is trained on, so that validation cannot choose a model: ")
    assert everything.facts()["structures"] == ["a", "b"]
