"""What a training step takes, against sums by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from finetune.config import FinetuneConfig, FinetuneSpeed, LossConfig
from finetune.planning.memory import training_footprint
from finetune.speed import settled_speed
from swin_unetr.config import InferenceConfig, NetworkConfig, SamplingConfig, TrainerConfig
from swin_unetr.errors import ConfigError
from swin_unetr.planning.footprint import LARGE, step_footprint
from swin_unetr.planning.this_machine import this_machine
from swin_unetr.tasks import Task, exclusive

TASK = Task(name="two", modality="CT", channels=("CT",), targets=exclusive(("one", "two")))


class Scale(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(count))


@pytest.mark.parametrize(("averaged", "copies"), [(False, 7), (True, 8)])
def test_a_product_and_a_rectifier(averaged: bool, copies: int) -> None:
    """n weights of 4 bytes: weights, input, product and result live at a time, and the gradients of the step before.

    Then AdamW's two moments, and the average of the weights.
    """
    count = 1 << 20
    footprint = step_footprint(
        lambda: Scale(count),
        lambda module, batch: torch.relu(module.weight * batch["x"]).sum(),
        {"x": ((count,), torch.float32)},
        bfloat16=False,
        averaged=averaged,
    )
    assert footprint.weights == 4 * count
    assert footprint.training_state == (copies - 4) * 4 * count
    assert footprint.peak == pytest.approx(copies * 4 * count, rel=1e-4)
    assert footprint.activations == pytest.approx(3 * 4 * count, rel=1e-4)
    assert footprint.large == 0


def test_blocks_that_the_system_takes_back_are_told_apart() -> None:
    count = LARGE // 4
    footprint = step_footprint(
        lambda: Scale(1),
        lambda module, batch: (module.weight * batch["x"]).sum(),
        {"x": ((count,), torch.float32)},
        bfloat16=False,
        averaged=False,
    )
    assert footprint.large == 2 * LARGE  # the input and the product


def config_of(batch: int = 1, precision: str = "32-true", size: int = 16, **network) -> FinetuneConfig:
    shape = {"feature_size": 12, "depths": (2, 2), "num_heads": (1, 2), "window_size": (4, 4, 4), **network}
    return FinetuneConfig(
        network=NetworkConfig(**shape),
        sampling=SamplingConfig(crop_size=(size,) * 3, scans_per_batch=batch),
        inference=InferenceConfig(roi_size=(16, 16, 16)),
        trainer=TrainerConfig(precision=precision),
    )


def test_the_network_is_the_one_that_is_trained() -> None:
    from finetune.module import FinetuneModule
    from swin_unetr.networks import build_network

    config = config_of(num_classes=3)
    network = build_network(config.network)
    footprint = training_footprint(config, TASK, device="cpu")
    values = sum(each.nbytes for each in FinetuneModule(network, TASK, config).parameters())
    buffers = sum(each.nbytes for each in network.buffers())
    assert footprint.weights == values + buffers
    assert footprint.training_state == 3 * values


@pytest.mark.slow
def test_twice_the_batch_is_twice_the_activations_and_checkpointing_and_bfloat16_spare_some() -> None:
    one = training_footprint(config_of(size=32), TASK, device="cpu")
    # The gradients of the step before are part of neither; those of this one, of each, but small.
    assert training_footprint(config_of(2, size=32), TASK, device="cpu").activations == pytest.approx(
        2 * one.activations, rel=0.1
    )
    checkpointed = training_footprint(config_of(size=32, gradient_checkpointing=True), TASK, device="cpu")
    assert checkpointed.activations < 0.95 * one.activations
    low = training_footprint(config_of(size=32, precision="bf16-mixed"), TASK, device="cpu")
    assert low.activations < 0.85 * one.activations


def test_any_loss_can_be_gone_through() -> None:
    losses = [LossConfig(batch=False), LossConfig(class_weights="frequencies"), LossConfig(class_weights=(1, 2, 3))]
    peaks = [training_footprint(replace(config_of(), loss=loss), TASK, device="cpu").peak for loss in losses]
    assert min(peaks) > 0


def test_a_gpu_need_not_be_here() -> None:
    assert training_footprint(config_of(), TASK, device="cuda").peak > 0


def test_what_is_recomputed_is_not_kept() -> None:
    """The more, the less; a GPU's reckoning knows of it as well."""
    for device in ("cpu", "cuda"):
        taken = [
            training_footprint(
                replace(config_of(), speed=FinetuneSpeed(recompute=again)), TASK, device=device
            ).activations
            for again in ("none", "encoder", "all")
        ]
        assert taken[1] < 0.95 * taken[0]
        assert taken[2] < 0.6 * taken[0]


@pytest.mark.slow
def test_parts_are_chosen_by_the_memory() -> None:
    config = replace(config_of(), trainer=TrainerConfig(accelerator="cpu"))
    machine = this_machine(memory=0)

    def needs(again: str | tuple[str, ...]) -> int:
        tried = replace(config, speed=FinetuneSpeed(recompute=again))
        return machine.needs(training_footprint(tried, TASK, device="cpu"))

    def settled(memory: int) -> FinetuneSpeed:
        return settled_speed(replace(config, speed=FinetuneSpeed(memory=f"{memory}B")), TASK)

    spare = 100_000_000  # the process may have grown since
    assert settled(needs("none") + spare).recompute == ()
    with pytest.raises(ConfigError, match=r"speed.memory: .* is too little even if everything is recomputed"):
        settled(needs("all") - spare)
