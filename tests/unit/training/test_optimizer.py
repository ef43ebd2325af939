"""Warm-up and cosine."""

import pytest
import torch
from torch import nn

from swin_unetr.config import OptimizerConfig
from swin_unetr.training import build_optimizer, warmup_cosine
from swin_unetr.training.optimizer import take_up


def test_rises_linearly_then_falls_as_a_cosine() -> None:
    shares = [warmup_cosine(step, warmup_steps=4, total_steps=12) for step in range(12)]
    assert shares[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert shares[8] == pytest.approx(0.5)  # half-way from step 4 to step 12
    assert shares[4:] == sorted(shares[4:], reverse=True)


@pytest.mark.parametrize(("warmup", "total"), [(0, 1), (1, 2), (0, 10), (5, 10), (10, 10), (50, 10), (500, 50_000)])
def test_no_step_is_made_at_rate_zero(warmup: int, total: int) -> None:
    assert min(warmup_cosine(step, warmup_steps=warmup, total_steps=total) for step in range(total)) > 0


def test_adamw_decays_all_parameters_and_follows_the_schedule() -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.InstanceNorm3d(2, affine=True))
    config = OptimizerConfig(learning_rate=0.1, weight_decay=0.5, warmup_epochs=2)
    optimizer, schedule = build_optimizer(network.parameters(), config, steps_per_epoch=2, total_steps=10)
    assert len(optimizer.param_groups) == 1
    assert len(optimizer.param_groups[0]["params"]) == len(list(network.parameters()))
    assert optimizer.param_groups[0]["weight_decay"] == 0.5
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.1 * warmup_cosine(step, warmup_steps=4, total_steps=10) for step in range(10)])


def test_a_longer_training_takes_up_the_schedule_of_its_own_length() -> None:
    def build(epochs: int) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
        parameter = nn.Parameter(torch.zeros(1))
        config = OptimizerConfig(learning_rate=1.0, warmup_epochs=0)
        return build_optimizer([parameter], config, steps_per_epoch=1, total_steps=epochs)

    optimizer, schedule = build(10)
    for _ in range(10):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0)
    longer, resumed = build(20)
    longer.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    take_up(resumed)
    assert longer.param_groups[0]["lr"] == pytest.approx(0.5)
    longer.step()
    resumed.step()
    assert longer.param_groups[0]["lr"] == pytest.approx(warmup_cosine(11, warmup_steps=0, total_steps=20))
