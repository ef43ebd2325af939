"""The ways of inference on the CPU are the same function, and step aside for whoever takes the network down."""

import pytest
import torch

from swin_unetr.config import NetworkConfig, SpeedConfig
from swin_unetr.networks import SwinUNETR, build_network, choose_fast_paths
from swin_unetr.networks.in_place import works_in_place
from swin_unetr.networks.window_order import window_order

SMALL = {"num_classes": 3, "feature_size": 12, "window_size": (4, 4, 4)}
NETWORKS = {
    "one channel": NetworkConfig(in_channels=1, **SMALL),
    "four channels, V2, no biases": NetworkConfig(in_channels=4, use_v2=True, qkv_bias=False, **SMALL),
    "three stages, anisotropic": NetworkConfig(
        in_channels=2,
        **SMALL,
        depths=(2, 2, 2),
        num_heads=(3, 6, 12),
        patch_size=(2, 2, 1),
        merge_strides=((2, 2, 1), (2, 2, 2), (2, 2, 2)),
        merging="mergingv2",
    ),
}


def network(name: str = "one channel", dtype: torch.dtype = torch.float64) -> SwinUNETR:
    torch.manual_seed(0)
    return build_network(NETWORKS[name]).to(dtype).eval()


def image(model: SwinUNETR, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    torch.manual_seed(1)
    return 5 + torch.randn(2, model.config.in_channels, 64, 32, 32, dtype=dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_inference_is_the_function_that_is_trained(name: str) -> None:
    model = network(name)
    windows = image(model)
    before = windows.clone()
    wanted = model(windows).detach()
    with torch.inference_mode():
        assert works_in_place(windows)
        torch.testing.assert_close(model(windows), wanted, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(model(windows), wanted, rtol=1e-9, atol=1e-10)  # what is kept holds for the next
    assert torch.equal(windows, before)
    model(windows).sum().backward()  # nothing of inference is left in the way of a gradient


def test_bfloat16_is_as_close_as_without() -> None:
    model = network(dtype=torch.float32)
    windows = image(model, torch.float32)
    errors = []
    with torch.no_grad():
        exact = network()(windows.double())
        for fast in (True, False):
            choose_fast_paths(model, SpeedConfig(fast=fast))
            with torch.autocast("cpu", torch.bfloat16):
                errors.append(float((model(windows) - exact).norm() / exact.norm()))
    assert errors[0] < 1.2 * errors[1] < 0.05


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("way", ["trace", "export", "compile"])
def test_who_takes_the_network_down_gets_the_plain_one(way: str) -> None:
    model = network(dtype=torch.float32)
    windows = image(model, torch.float32)[:1]
    with torch.no_grad():
        wanted = model(windows)
        if way == "trace":
            taken = torch.jit.trace(model, windows, check_trace=False)
            assert sum("_" in str(node.kind()) for node in taken.inlined_graph.nodes()) < 5000  # no loops over blocks
        elif way == "export":
            program = torch.export.export(model, (windows,), strict=False)
            assert torch.ops.aten.scaled_dot_product_attention.default in [node.target for node in program.graph.nodes]
            taken = program.module()
        else:
            taken = torch.compile(model, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(taken(windows), wanted, rtol=1e-4, atol=1e-5)


def test_the_order_of_windows_holds_every_token_once() -> None:
    order = window_order((5, 4, 6), (3, 4, 3), (1, 0, 1))
    assert len(order.to_windows) == 6 * 4 * 6
    assert torch.equal(order.to_windows[order.to_map], torch.arange(5 * 4 * 6))
    assert (order.to_windows == 5 * 4 * 6).sum() == 4 * 6  # the padding
    assert order.counts == (1, 1, 1, 1)
    assert window_order((5, 4, 6), (3, 4, 3), (1, 0, 1)) is order
