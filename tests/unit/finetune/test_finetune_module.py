"""The Dice of validation."""

import pytest
import torch
from monai.metrics import compute_dice
from monai.networks.utils import one_hot

from finetune.module import dice_per_target, metric_names
from swin_unetr.tasks import BTCV, Task, brats, exclusive

THREE = Task(name="three", modality="MR", channels=("T1",), targets=exclusive(("a", "b", "c")))


def test_by_hand_with_what_is_empty_in_both_left_out() -> None:
    predicted = torch.tensor([0, 1, 1, 1, 2, 2]).reshape(1, 6, 1, 1)
    truth = torch.tensor([0, 0, 1, 1, 1, 1]).reshape(1, 6, 1, 1)
    scores = one_hot(predicted[None], 4)[0]
    dice = dice_per_target(scores, truth.to(torch.uint8), THREE)
    assert dice[0] == pytest.approx(2 * 2 / (3 + 4))
    assert dice[1] == 0  # found where there is none
    assert dice[2].isnan()  # in neither


def test_sigmoid_takes_regions_above_one_half() -> None:
    scores = torch.tensor([[1.0, -1.0, 0.0, 2.0], [-1, -1, -1, -1], [-1, -1, -1, -1]]).reshape(3, 4, 1, 1)
    truth = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]).reshape(3, 4, 1, 1)
    dice = dice_per_target(scores, truth, brats())
    assert dice[:2].tolist() == [0.5, 0.0]
    assert dice[2].isnan()


@pytest.mark.parametrize("seed", range(3))
def test_is_monais_where_both_are_defined(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(14, 9, 8, 7, generator=generator)
    truth = torch.randint(0, 14, (1, 9, 8, 7), generator=generator)
    oracle = compute_dice(
        one_hot(scores.argmax(0, keepdim=True)[None], 14), one_hot(truth[None], 14), include_background=False
    )
    assert torch.allclose(dice_per_target(scores, truth, BTCV), oracle[0])
    regions = torch.randint(0, 2, (3, 9, 8, 7), generator=generator)
    oracle = compute_dice((scores[None, :3].sigmoid() > 0.5).float(), regions[None].float())
    assert torch.allclose(dice_per_target(scores[:3], regions, brats()), oracle[0])


def test_names_of_what_is_logged() -> None:
    assert metric_names(brats()) == ("train/loss", "val/dice", "val/dice/TC", "val/dice/WT", "val/dice/ET")
