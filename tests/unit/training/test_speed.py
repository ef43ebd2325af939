"""What "auto" comes to on which machine; machines are data here."""

import pytest
import torch

from swin_unetr.config import SpeedConfig
from swin_unetr.errors import ConfigError
from swin_unetr.training.speed import Hardware, float32_products, hardware, least_recomputation, settle

LAPTOP = Hardware(device="cpu", compiler=True)
BARE = Hardware(device="cpu")
HOPPER = Hardware(device="cuda", capability=(9, 0), compiler=True)
TURING = Hardware(device="cuda", capability=(7, 5), compiler=True)


def test_on_the_cpu_calls_decide() -> None:
    assert settle(SpeedConfig(), LAPTOP, precision="bf16-mixed") == SpeedConfig(
        compile=False, fused_optimizer=True, tf32=False
    )


def test_on_a_gpu() -> None:
    wanted = SpeedConfig(
        attention="fused", memory_layout="contiguous", compile=False, fused_optimizer=True, tf32="convolutions"
    )
    assert settle(SpeedConfig(), HOPPER, precision="32-true") == wanted
    assert settle(SpeedConfig(), TURING, precision="32-true").tf32 is False


def test_what_is_asked_for_stands() -> None:
    asked = SpeedConfig(
        attention="explicit", memory_layout="channels_last", compile="reduce-overhead", fused_optimizer=False, tf32=True
    )
    assert settle(asked, HOPPER, precision="32-true") == asked
    assert settle(SpeedConfig(compile=True), LAPTOP, precision="32-true").compile == "default"


@pytest.mark.parametrize("machine", [LAPTOP, HOPPER, TURING])
def test_one_switch_for_all(machine: Hardware) -> None:
    asked = SpeedConfig(fast=False, attention="fused", compile=True, fused_optimizer=True, tf32=True, recompute="all")
    assert settle(asked, machine, precision="32-true") == SpeedConfig(
        fast=False,
        attention="explicit",
        memory_layout="unchanged",
        compile=False,
        fused_optimizer=False,
        tf32=False,
        recompute="all",  # spares memory, and is no faster
    )


def test_a_scaler_of_gradients_and_a_fused_optimizer_do_not_go_together() -> None:
    assert settle(SpeedConfig(), HOPPER, precision="16-mixed").fused_optimizer is False
    with pytest.raises(ConfigError, match="fused_optimizer: cannot be used with precision '16-mixed'"):
        settle(SpeedConfig(fused_optimizer=True), HOPPER, precision="16-mixed")


@pytest.mark.parametrize(
    ("asked", "machine", "words"),
    [
        (SpeedConfig(compile=True), BARE, "speed.compile: needs a C.. compiler"),
        (SpeedConfig(compile=True), Hardware(device="cuda", capability=(9, 0)), "speed.compile: needs Triton"),
        (SpeedConfig(compile="reduce-overhead"), LAPTOP, "'reduce-overhead' is for CUDA GPUs, not for cpu"),
        (SpeedConfig(tf32=True), TURING, "speed.tf32: needs a CUDA GPU of compute capability 8.0"),
        (SpeedConfig(tf32="convolutions"), LAPTOP, "speed.tf32: needs a CUDA GPU"),
    ],
)
def test_what_the_machine_cannot_do_is_refused(asked: SpeedConfig, machine: Hardware, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        settle(asked, machine, precision="32-true")


def test_the_machine_at_hand() -> None:
    assert hardware("cpu").device == "cpu"
    assert hardware("auto").device == ("cuda" if torch.cuda.is_available() else hardware("gpu").device)


def test_no_more_is_recomputed_than_must_be() -> None:
    parts = ("a", "b", "c", "d", "e")
    sizes = dict(zip(parts, (40, 30, 0, 10, 5), strict=True))

    def needs(again: tuple[str, ...]) -> int:
        return 100 - sum(sizes[part] for part in again)

    for limit, wanted in ((100, ""), (99, "a"), (60, "a"), (59, "ab"), (30, "ab"), (29, "abcd"), (15, "abcde")):
        assert "".join(least_recomputation(limit, parts, needs)) == wanted
    with pytest.raises(ConfigError, match=r"14 bytes is too little even if everything is recomputed, .* 15 bytes"):
        least_recomputation(14, parts, needs)


@pytest.mark.parametrize(
    ("tf32", "wanted"), [(True, (True, True)), ("convolutions", (False, True)), (False, (False,) * 2)]
)
def test_float32_products_are_set_and_set_back(tf32, wanted) -> None:
    def flags() -> tuple[bool, bool]:
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before = flags()
    with float32_products(SpeedConfig(tf32=tf32)):
        assert flags() == wanted
    assert flags() == before
