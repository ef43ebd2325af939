"""Rates of carried-over weights against formulas that are written out, and frozen weights to the last bit."""

import math

import pytest
import torch
from torch import nn

from swin_unetr.config import NetworkConfig, OptimizerConfig, TransferConfig
from swin_unetr.networks import build_network
from swin_unetr.training import build_optimizer
from swin_unetr.training.carried_over import freeze, groups_of, named_rates, rates_of, steps_from_the_end
from swin_unetr.training.gradient_clip import clip_gradients
from swin_unetr.training.optimizer import rate_of_steps

NETWORK = NetworkConfig(
    num_classes=3, feature_size=4, depths=(2, 1), num_heads=(1, 2), window_size=(2, 2, 2), patch_norm=True, use_v2=True
)
STEPS, WARMUP = 20, 0.1
OPTIMIZER = OptimizerConfig(learning_rate=0.01, weight_decay=0.5, warmup_share=WARMUP)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return build_network(NETWORK)


def encoder(network: nn.Module) -> list[str]:
    return [name for name, _ in network.named_parameters() if name.startswith("encoder.")]


def curves(config: TransferConfig, network: nn.Module) -> dict[str, list[float]]:
    groups = groups_of(network, network, encoder(network), config, OPTIMIZER)
    together = rate_of_steps(OPTIMIZER, 1, STEPS)
    shares = rates_of(groups, config, together, lambda step: (step / STEPS, 1 / STEPS), WARMUP)
    return {
        group["name"]: [group["lr"] * share(step) for step in range(STEPS)]
        for group, share in zip(groups, shares, strict=True)
    }


def published(step: int) -> float:
    """Two steps of warm-up, then a cosine over the other eighteen."""
    return (step + 1) / 3 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / 18))


def test_a_frozen_start_and_a_lower_rate(network: nn.Module) -> None:
    found = curves(TransferConfig(rate=0.1, freeze_steps=4), network)
    assert found["fresh"] == pytest.approx([0.01 * published(step) for step in range(STEPS)])
    expected = [0.0 if step < 4 else 0.001 * published(step) for step in range(STEPS)]
    assert found["carried"] == pytest.approx(expected)
    assert found["carried"][:4] == [0.0] * 4


def test_sawtooth_rises_alone_then_begins_again_with_everything(network: nn.Module) -> None:
    """Five steps of the fresh weights alone; then two steps of warm-up, and a cosine over the other thirteen."""
    found = curves(TransferConfig(rate=0.5, schedule="sawtooth", fresh_share=0.25), network)
    alone = [(step + 1) / 6 for step in range(5)]
    rest = [(step + 1) / 3 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / 13)) for step in range(15)]
    assert found["fresh"] == pytest.approx([0.01 * share for share in [*alone, *rest]])
    assert found["carried"] == pytest.approx([0.005 * share for share in [*[0.0] * 5, *rest]])


@pytest.mark.parametrize("decay_all", [True, False])
def test_every_weight_is_in_one_group_with_the_rate_of_its_depth(network: nn.Module, decay_all: bool) -> None:
    optimizer = OptimizerConfig(learning_rate=1.0, weight_decay=0.5, decay_all=decay_all)
    config = TransferConfig(rate=0.5, layer_decay=0.8)
    groups = groups_of(network, network, [*encoder(network), "bottleneck.conv1.weight"], config, optimizer)
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    decays = {id(each): group.get("weight_decay", 0.5) for group in groups for each in group["params"]}
    assert len(rates) == sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    steps = {
        "encoder.patch_embedding.": 4, "encoder.stages.0.residual.": 3, "encoder.stages.0.blocks.0.": 3,
        "encoder.stages.0.blocks.1.": 2, "encoder.stages.0.merging.": 2, "encoder.stages.1.residual.": 1,
        "encoder.stages.1.blocks.0.": 1, "encoder.stages.1.merging.": 1, "bottleneck.conv1.": 0,
    }  # fmt: skip
    for name, parameter in network.named_parameters():
        depth = next((of for prefix, of in steps.items() if name.startswith(prefix)), None)
        assert rates[id(parameter)] == pytest.approx(1.0 if depth is None else 0.5 * 0.8**depth), name
        assert (decays[id(parameter)] == 0) == (not decay_all and (parameter.ndim < 2 or "bias_table" in name)), name
    assert groups[0]["name"] == "fresh"
    built, _ = build_optimizer(groups, optimizer, steps_per_epoch=1, total_steps=99)
    assert [name for name, _ in named_rates(built)][:5] == [*dict.fromkeys(name for name, _ in named_rates(built))][:5]


def test_depth_does_not_count_beyond_the_encoder() -> None:
    assert steps_from_the_end("decoder.0.upsample.weight", (2, 1)) == 0
    assert steps_from_the_end("encoder.patch_embedding.projection.weight", ()) == 0


def test_frozen_weights_keep_every_bit_and_have_no_part_in_the_norm(network: nn.Module) -> None:
    config = TransferConfig(freeze_steps=2)
    groups = groups_of(network, network, encoder(network), config, OPTIMIZER)
    shares = rates_of(groups, config, rate_of_steps(OPTIMIZER, 1, STEPS), lambda step: (step / STEPS, 0.05), WARMUP)
    optimizer, schedule = build_optimizer(groups, OPTIMIZER, steps_per_epoch=1, total_steps=STEPS, rate=shares)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    frozen = {name for name in before if name.startswith("encoder.")}
    for step in range(3):
        for name, parameter in network.named_parameters():
            parameter.grad = torch.full_like(parameter, 1e6 if name in frozen else 1.0)
        freeze(optimizer)
        clip_gradients(network.parameters(), 1.0)
        norm = torch.stack([each.grad.norm() for each in network.parameters() if each.grad is not None]).norm()
        assert float(norm) == pytest.approx(1.0, rel=1e-4)
        optimizer.step()
        schedule.step()
        same = {name for name, value in network.named_parameters() if torch.equal(value, before[name])}
        assert same == (frozen if step < 2 else set())


@pytest.mark.parametrize(
    "values", [{"rate": -1}, {"layer_decay": 0}, {"layer_decay": 1.1}, {"freeze_steps": -1}, {"fresh_share": 1.0}]
)
def test_impossible_values_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        TransferConfig(**values)
