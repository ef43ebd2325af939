"""What is computed a second time in the backward pass gives the same gradients, to the bit, and spares memory."""

from dataclasses import replace

import pytest
import torch

from swin_unetr.config import NetworkConfig, SpeedConfig
from swin_unetr.errors import ConfigError
from swin_unetr.networks import SwinEncoder, SwinUNETR, build_network, choose_fast_paths, recomputable

SMALL = NetworkConfig(
    in_channels=1,
    num_classes=2,
    feature_size=8,
    depths=(2, 2),
    num_heads=(1, 2),
    window_size=(3, 3, 3),
    use_v2=True,
    drop_rate=0.1,
    drop_path_rate=0.2,
)
PARTS = ["encoder.stages.0", "encoder.stages.1", "input_block", "skip_blocks.0", "bottleneck"]
PARTS += ["decoder.2", "decoder.1", "decoder.0"]


def network(speed: SpeedConfig, config: NetworkConfig = SMALL) -> SwinUNETR:
    torch.manual_seed(0)
    model = build_network(config)
    choose_fast_paths(model, speed)
    return model


def gradients(model: SwinUNETR, *, bfloat16: bool = False) -> list[torch.Tensor]:
    torch.manual_seed(1)
    image = torch.randn(2, 1, 16, 16, 24)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        loss = model(image).float().square().mean()
    loss.backward()
    return [parameter.grad for parameter in model.parameters()]


def kept_bytes(model: SwinUNETR) -> int:
    """Bytes of what autograd keeps for the backward pass; storages are counted once, weights are not."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(torch.randn(1, 1, 32, 32, 32))
    total = sum(kept.values())
    del output
    return total


def test_parts_have_the_names_of_their_modules() -> None:
    model = network(SpeedConfig())
    assert [name for name, _ in recomputable(model)] == PARTS
    assert all(model.get_submodule(name) is part for name, part in recomputable(model))
    assert [name for name, _ in recomputable(SwinEncoder(SMALL))] == ["stages.0", "stages.1"]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("recompute", ["encoder", "all", *((part,) for part in PARTS)], ids=str)
def test_gradients_are_the_same_to_the_bit(recompute: str | tuple[str, ...], fast: bool) -> None:
    wanted = gradients(network(SpeedConfig(fast=fast)))
    found = gradients(network(SpeedConfig(fast=fast, recompute=recompute)))
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_so_they_are_under_autocast() -> None:
    wanted = gradients(network(SpeedConfig()), bfloat16=True)
    found = gradients(network(SpeedConfig(recompute="all")), bfloat16=True)
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_each_part_keeps_less() -> None:
    taken = [kept_bytes(network(SpeedConfig(recompute=tuple(PARTS[:count])))) for count in range(len(PARTS) + 1)]
    assert taken == sorted(taken, reverse=True)
    assert len(set(taken)) == len(taken)
    assert taken[-1] < 0.3 * taken[0]


def test_the_network_s_own_choice_stands_unless_another_is_made() -> None:
    stages = "encoder.stages.0, encoder.stages.1"
    checkpointing = replace(SMALL, gradient_checkpointing=True)
    model = build_network(checkpointing)
    assert choose_fast_paths(model, SpeedConfig())["recompute"] == stages
    assert choose_fast_paths(model, SpeedConfig(recompute="none"))["recompute"] == "none"
    assert choose_fast_paths(model, SpeedConfig(recompute="encoder"))["recompute"] == stages
    assert choose_fast_paths(model, SpeedConfig(recompute="all"))["recompute"] == ", ".join(PARTS)


def test_an_unknown_part_is_refused_naming_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"speed.recompute: the network has no part 'decoder.9'.*input_block"):
        choose_fast_paths(build_network(SMALL), SpeedConfig(recompute=("decoder.0", "decoder.9")))


@pytest.mark.slow
def test_it_is_compiled_without_graph_breaks() -> None:
    model = network(SpeedConfig(recompute="all"), replace(SMALL, drop_rate=0.0, drop_path_rate=0.0))
    image = torch.randn(1, 1, 16, 16, 24)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(image), model(image))
