"""The loss against values worked out by hand and against MONAI's."""

import math

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss

from finetune.class_weights import weights_by_frequency
from finetune.config import LossConfig
from finetune.losses import SegmentationLoss
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.tasks import BTCV, Task, brats, exclusive
from transforms.labels import IGNORED, encode_targets

TWO = Task(name="two", modality="MR", channels=("T1",), targets=exclusive(("a",)))


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_softmax_by_hand() -> None:
    # Two voxels, two classes. Probabilities of class 1: 0.8 and 0.4; truth: 1 and 0.
    scores = torch.tensor([[0.0, 0.0], [math.log(4), math.log(2 / 3)]]).reshape(1, 2, 2, 1, 1)
    targets = torch.tensor([1, 0]).reshape(1, 1, 2, 1, 1)
    dice_background = 1 - 2 * 0.6 / (0.2 + 0.6 + 1)
    dice_class = 1 - 2 * 0.8 / (0.8 + 0.4 + 1)
    cross_entropy = -(math.log(0.8) + math.log(0.6)) / 2
    expected = (dice_background + dice_class) / 2 + cross_entropy
    assert float(SegmentationLoss(LossConfig(), TWO)(scores, targets)) == pytest.approx(expected, abs=1e-5)
    alone = SegmentationLoss(LossConfig(cross_entropy=0, include_background=False), TWO)
    assert float(alone(scores, targets)) == pytest.approx(dice_class, abs=1e-5)
    squared = SegmentationLoss(LossConfig(cross_entropy=0, include_background=False, squared=True), TWO)
    assert float(squared(scores, targets)) == pytest.approx(1 - 2 * 0.8 / (0.64 + 0.16 + 1), abs=1e-5)
    weighted = SegmentationLoss(LossConfig(dice=0, cross_entropy=2, class_weights=(1, 3)), TWO)
    assert float(weighted(scores, targets)) == pytest.approx(-2 * (3 * math.log(0.8) + math.log(0.6)) / 4, abs=1e-5)


def test_sigmoid_by_hand() -> None:
    # One region, two voxels of probability 0.75 and 0.5; truth: 1 and 0.
    task = Task(name="one", modality="MR", channels=("T1",), targets=exclusive(("a",)), activation="sigmoid")
    scores = torch.tensor([math.log(3), 0.0]).reshape(1, 1, 2, 1, 1)
    targets = torch.tensor([1, 0], dtype=torch.uint8).reshape(1, 1, 2, 1, 1)
    dice = 1 - 2 * 0.75 / (0.75 + 0.5 + 1)
    binary = -(math.log(0.75) + math.log(0.5)) / 2
    assert float(SegmentationLoss(LossConfig(cross_entropy=0), task)(scores, targets)) == pytest.approx(dice, abs=1e-5)
    assert float(SegmentationLoss(LossConfig(), task)(scores, targets)) == pytest.approx(dice + binary, abs=1e-5)


@pytest.mark.parametrize("batch", [False, True])
def test_btcv_is_monais_dice_and_cross_entropy(rng, batch: bool) -> None:
    scores = torch.randn(2, 14, 8, 8, 8, generator=rng)
    targets = torch.randint(0, 14, (2, 1, 8, 8, 8), generator=rng)
    oracle = DiceCELoss(to_onehot_y=True, softmax=True, batch=batch)
    ours = SegmentationLoss(LossConfig(batch=batch), BTCV)(scores, targets.to(torch.uint8))
    assert float(ours) == pytest.approx(float(oracle(scores, targets)), rel=1e-5)


def test_brats_is_monais_dice_on_sigmoids(rng) -> None:
    scores = torch.randn(2, 3, 8, 8, 8, generator=rng)
    targets = torch.randint(0, 2, (2, 3, 8, 8, 8), generator=rng, dtype=torch.uint8)
    ours = SegmentationLoss(LossConfig(cross_entropy=0), brats())(scores, targets)
    assert float(ours) == pytest.approx(float(DiceLoss(sigmoid=True)(scores, targets)), rel=1e-5)


def test_weights_count_in_both_terms(rng) -> None:
    scores = torch.randn(1, 14, 6, 6, 6, generator=rng)
    targets = torch.randint(0, 14, (1, 1, 6, 6, 6), generator=rng)
    weights = tuple(float(value) for value in range(14))
    oracle = DiceLoss(to_onehot_y=True, softmax=True, include_background=False, weight=weights[1:])
    ours = SegmentationLoss(LossConfig(cross_entropy=0, include_background=False, class_weights=weights), BTCV)
    assert float(ours(scores, targets)) == pytest.approx(float(oracle(scores, targets)), rel=1e-5)
    regions = SegmentationLoss(LossConfig(dice=0, class_weights=(0, 0, 1)), brats())
    scores, truth = torch.randn(1, 3, 4, 4, 4, generator=rng), torch.ones(1, 3, 4, 4, 4)
    last = torch.nn.functional.binary_cross_entropy_with_logits(scores[:, 2], truth[:, 2]) / 3
    assert float(regions(scores, truth)) == pytest.approx(float(last), rel=1e-5)


def test_is_taken_in_float32_and_reaches_every_score(rng) -> None:
    scores = torch.randn(1, 14, 16, 16, 16, generator=rng).bfloat16().requires_grad_()
    targets = torch.randint(0, 14, (1, 1, 16, 16, 16), generator=rng)
    loss = SegmentationLoss(LossConfig(), BTCV)(scores, targets)
    assert loss.dtype == torch.float32
    loss.backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert scores.grad.abs().amax(dim=(0, 2, 3, 4)).min() > 0


def test_weights_must_fit_the_task() -> None:
    with pytest.raises(ConfigError, match=r"loss\.class_weights: 2 values for the 14"):
        SegmentationLoss(LossConfig(class_weights=(1, 2)), BTCV)


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_ignored_voxels_are_as_if_they_were_not_there(rng, activation: str, weighted: bool, batch: bool) -> None:
    task = Task(
        name="t", modality="CT", channels=("CT",), targets=exclusive("abc"), activation=activation, ignore_label=9
    )
    config = LossConfig(batch=batch, class_weights=tuple(range(1, task.num_classes + 1)) if weighted else None)
    labels = torch.randint(0, 4, (2, 1, 6, 5, 4), generator=rng)
    labels[:, :, 4:] = 9
    targets = torch.stack([encode_targets(each, task) for each in labels])
    assert (targets == IGNORED).any()
    scores = torch.randn(2, task.num_classes, 6, 5, 4, generator=rng).requires_grad_()
    loss = SegmentationLoss(config, task)(scores, targets)
    rest = SegmentationLoss(config, task)(scores[:, :, :4], targets[:, :, :4])
    assert float(loss) == pytest.approx(float(rest), rel=1e-6)
    loss.backward()
    assert scores.grad is not None
    assert not scores.grad[:, :, 4:].any()
    assert scores.grad[:, :, :4].abs().min() > 0


def test_a_crop_of_which_nothing_counts_moves_nothing() -> None:
    task = Task(name="t", modality="CT", channels=("CT",), targets=exclusive("ab"), ignore_label=9)
    scores = torch.randn(1, 3, 4, 4, 4).requires_grad_()
    loss = SegmentationLoss(LossConfig(), task)(scores, torch.full((1, 1, 4, 4, 4), IGNORED, dtype=torch.uint8))
    loss.backward()
    assert loss.isfinite()
    assert scores.grad is not None
    assert not scores.grad.any()


def test_weights_by_frequency_by_hand() -> None:
    # 100, 4 and 1 voxels in two scans: 1/10, 1/2 and 1, brought to a mean of 1.
    assert weights_by_frequency([(60, 4, 0), (40, 0, 1)], Task(
        name="t", modality="CT", channels=("CT",), targets=exclusive("ab")
    )) == pytest.approx((0.1875, 0.9375, 1.875))  # fmt: skip
    assert weights_by_frequency([(60, 4, 16, 1)], brats()) == pytest.approx((0.857143, 0.428571, 1.714286), rel=1e-5)
    with pytest.raises(DataError, match=r"brats2021: no training scan has ET"):
        weights_by_frequency([(60, 4, 16, 0)], brats())
