"""Which parameters are decayed: by their names in a Swin UNETR, and by what a step of AdamW does to them."""

import re

import pytest
import torch
from torch import nn

from swin_unetr.config import NetworkConfig, OptimizerConfig
from swin_unetr.networks import build_network
from swin_unetr.training import build_optimizer
from swin_unetr.training.decay import decay_facts, parameter_groups

LESS = OptimizerConfig(learning_rate=0.1, weight_decay=0.5, warmup_epochs=0, decay_all=False)
ALL = OptimizerConfig(learning_rate=0.1, weight_decay=0.5, warmup_epochs=0)
NETWORK = NetworkConfig(
    num_classes=3, feature_size=4, depths=(2, 1), num_heads=(1, 2), window_size=(2, 2, 2), patch_norm=True, use_v2=True
)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return build_network(NETWORK)


def test_all_parameters_are_one_group_in_their_order(network: nn.Module) -> None:
    groups = parameter_groups(network, ALL)
    assert [id(each) for each in groups] == [id(each) for each in network.parameters()]
    assert decay_facts(network, ALL) == {}


@pytest.mark.parametrize("fused", [False, True])
def test_norms_biases_and_tables_are_not_decayed(network: nn.Module, fused: bool) -> None:
    optimizer, schedule = build_optimizer(
        parameter_groups(network, LESS), LESS, steps_per_epoch=1, total_steps=10, fused=fused
    )
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    schedule.step()
    assert len({group["lr"] for group in optimizer.param_groups}) == 1
    kept = [name for name, value in network.named_parameters() if torch.equal(value, before[name])]
    by_name = re.compile(r"(bias|bias_table|norm\w*(\.\d+)?\.weight)$")
    assert [name for name in kept if not by_name.search(name) and before[name].any()] == []
    for name, value in network.named_parameters():
        if value.ndim > 1 and not name.endswith("bias_table"):
            torch.testing.assert_close(value, before[name] * (1 - 0.1 * 0.5))
        else:
            assert name in kept
    assert any(name.endswith("bias_table") for name in kept)
    facts = decay_facts(network, LESS)["weight_decay"]
    assert facts == {"decayed": len(before) - len(kept), "not_decayed": len(kept)}


def test_weights_that_are_decayed_alike_are_trained_alike() -> None:
    """A network without norms, biases and tables has one group, and its steps are those of the published rule."""
    torch.manual_seed(0)
    results = []
    for config in (ALL, LESS):
        torch.manual_seed(1)
        layer = nn.Linear(4, 3, bias=False)
        optimizer, _ = build_optimizer(parameter_groups(layer, config), config, steps_per_epoch=1, total_steps=5)
        for step in range(5):
            optimizer.zero_grad()
            layer(torch.full((2, 4), float(step))).square().sum().backward()
            optimizer.step()
        results.append(layer.weight.detach())
    assert torch.equal(*results)


def test_the_state_of_two_groups_is_resumed(network: nn.Module) -> None:
    def made() -> torch.optim.AdamW:
        return build_optimizer(parameter_groups(network, LESS), LESS, steps_per_epoch=1, total_steps=10)[0]

    first, again = made(), made()
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    first.step()
    again.load_state_dict(first.state_dict())
    assert [group["weight_decay"] for group in again.param_groups] == [0.5, 0.0]
    for parameter in network.parameters():
        assert torch.equal(again.state[parameter]["exp_avg"], first.state[parameter]["exp_avg"])
