"""Mirror images along X: labels, scores and crops in which paired structures are exchanged."""

from dataclasses import replace

import pytest
import torch
from augmentations import NONE
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_unetr.config import AugmentConfig, SamplingConfig
from swin_unetr.tasks import Target, Task, exclusive
from transforms.crops import RandomCrops, Sample, ScanInMemory
from transforms.exchange import ExchangeSides, exchanged_pairs, mirrored_as_possible, score_order
from transforms.labels import decode_activations, encode_targets, ignored_value, target_type

NAMES = ("kidney_l", "liver", "kidney_r", "left eye", "right eye")
PAIRS = (("kidney_l", "kidney_r"), ("left eye", "right eye"))
CLASSES = Task(name="t", modality="CT", channels=("CT",), targets=exclusive(NAMES), ignore_label=9)
REGIONS = replace(CLASSES, activation="sigmoid")
#: As many classes as need the wider type.
MANY = replace(CLASSES, targets=(*CLASSES.targets, *exclusive([f"rib {number}" for number in range(260)], 10)))
#: Label values of the structures, and of those on the other side.
OTHER = {0: 0, 1: 3, 2: 2, 3: 1, 4: 5, 5: 4, 9: 9}

values = st.lists(st.sampled_from(sorted(OTHER)), min_size=24, max_size=24)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(values, st.sampled_from([CLASSES, REGIONS, MANY]))
def test_an_exchange_of_targets_is_one_of_label_values(found: list[int], task: Task) -> None:
    exchange = ExchangeSides(task, PAIRS)
    labels = torch.tensor(found).reshape(1, 2, 3, 4)
    other = torch.tensor([OTHER[value] for value in found]).reshape(labels.shape)
    targets = encode_targets(labels, task)
    assert torch.equal(exchange(targets), encode_targets(other, task))
    assert exchange(targets).dtype == target_type(task)
    assert torch.equal(exchange(exchange(targets)), targets)  # twice is nothing
    ignored = targets == ignored_value(targets)
    assert torch.equal(exchange(targets) == ignored_value(targets), ignored)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(values, st.sampled_from([CLASSES, REGIONS]))
def test_an_exchange_of_scores_is_one_of_labels(found: list[int], task: Task) -> None:
    labels = torch.tensor([value % 9 for value in found]).reshape(1, 2, 3, 4)
    targets = encode_targets(labels, task)
    scores = torch.nn.functional.one_hot(targets[0].long(), 6).movedim(-1, 0).float() if task is CLASSES else targets
    order = list(score_order(task, PAIRS))
    written = torch.tensor([OTHER[int(value)] for value in labels.flatten()]).reshape(2, 3, 4)
    assert torch.equal(decode_activations(scores[order].float(), task), written)


def test_what_was_looked_for_on_one_side_is_on_the_other_in_a_mirrored_crop() -> None:
    augment = replace(NONE, flip_probability=(0.5, 0.0, 0.0), exchange_sides=True)
    crops = RandomCrops(SamplingConfig(crop_size=(2, 3, 4), crops_per_scan=8), augment, CLASSES)
    label = torch.ones(1, 2, 3, 4, dtype=torch.uint8)  # left kidney throughout
    scan = ScanInMemory(torch.zeros(1, 2, 3, 4), label, [])
    known = torch.tensor([True, True, False, False, True, True])  # of the kidneys, only the left
    for crop in crops(scan, torch.Generator().manual_seed(0)):
        mirrored = bool((crop["label"] == 3).all())
        assert mirrored or bool((crop["label"] == 1).all())
        assert crops.channels(known, crop).tolist()[1:4] == ([False, False, True] if mirrored else [True, False, False])


def test_without_pairs_nothing_is_exchanged() -> None:
    assert score_order(CLASSES, ()) == tuple(range(6))
    assert score_order(REGIONS, ()) == tuple(range(5))
    assert score_order(CLASSES, PAIRS) == (0, 3, 2, 1, 5, 4)
    assert score_order(REGIONS, PAIRS) == (2, 1, 0, 4, 3)


def test_a_side_without_partner_is_not_mirrored() -> None:
    augment = AugmentConfig(exchange_sides=True)
    assert mirrored_as_possible(augment, CLASSES) == augment
    assert exchanged_pairs(augment, CLASSES) == PAIRS
    alone = replace(CLASSES, targets=CLASSES.targets[:4])
    assert mirrored_as_possible(augment, alone).flip_probability == (0, 0.5, 0.5)
    assert exchanged_pairs(augment, alone) == ()
    paired = replace(alone, pairs=(("left eye", "left eye"),))  # one that stays what it is
    assert mirrored_as_possible(augment, paired) == augment
    assert exchanged_pairs(augment, paired) == PAIRS[:1]
    assert exchanged_pairs(replace(augment, flip_probability=(0, 0.5, 0.5)), CLASSES) == ()
    assert exchanged_pairs(AugmentConfig(), alone) == ()
    assert mirrored_as_possible(AugmentConfig(), alone) == AugmentConfig()


def crop(task: Task, augment: AugmentConfig, seed: int = 0) -> tuple[Sample, torch.Tensor, torch.Tensor]:
    """A crop of a scan of its size, and the scan: its image says what its labels are."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(6, (1, 8, 8, 6), generator=generator)
    targets = encode_targets(labels, task)
    image = labels.float()
    crops = RandomCrops(SamplingConfig(crop_size=(8, 8, 6)), augment, task)
    (sample,) = crops(ScanInMemory(image, targets), torch.Generator().manual_seed(seed))
    return sample, image, targets


@pytest.mark.parametrize("task", [CLASSES, REGIONS])
@pytest.mark.parametrize("wide", [0.0, 1.0])
def test_a_mirrored_crop_has_exchanged_labels(task: Task, wide: float) -> None:
    augment = replace(NONE, flip_probability=(1, 0, 0), exchange_sides=True, affine_probability=wide)
    sample, image, targets = crop(task, augment)
    assert torch.equal(sample["image"], image.flip(1))
    assert torch.equal(sample["label"], ExchangeSides(task, PAIRS)(targets).flip(1))
    assert not torch.equal(sample["label"], targets.flip(1))
    if wide:
        around = [(there - size) // 2 for there, size in zip(sample["wide_label"].shape[1:], (8, 8, 6), strict=True)]
        part = tuple(slice(more, more + size) for more, size in zip(around, (8, 8, 6), strict=True))
        assert torch.equal(sample["wide_label"][(slice(None), *part)], sample["label"])


def test_only_crops_that_are_mirrored_along_x_are_exchanged() -> None:
    augment = AugmentConfig(exchange_sides=True, rotate90_probability=0.5, flip_probability=(0.5, 0.0, 0.5))
    plain = replace(augment, exchange_sides=False)
    exchanged = 0
    for seed in range(40):
        sample, without = crop(CLASSES, augment, seed)[0], crop(CLASSES, plain, seed)[0]
        assert torch.equal(sample["image"], without["image"])  # the random streams are the same
        mirrored = bool(sample["draws"][0] < 0.5)
        expected = ExchangeSides(CLASSES, PAIRS)(without["label"]) if mirrored else without["label"]
        assert torch.equal(sample["label"], expected)
        exchanged += mirrored
    assert 10 < exchanged < 30


def test_a_region_of_both_sides_stays_what_it_is() -> None:
    targets = (
        Target(name="lungs", labels=(1, 2), write_as=1),
        Target(name="left lung", labels=(1,), write_as=1),
        Target(name="right lung", labels=(2,), write_as=2),
    )
    task = Task(name="t", modality="CT", channels=("CT",), targets=targets, activation="sigmoid")
    assert score_order(task, exchanged_pairs(AugmentConfig(exchange_sides=True), task)) == (0, 2, 1)
