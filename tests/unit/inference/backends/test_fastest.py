"""The choice of a precision by measurement."""

import time
from dataclasses import replace

import pytest
import torch

from swin_unetr.config import NetworkConfig
from swin_unetr.inference.backends import fastest
from swin_unetr.inference.backends.compute import Compute, choose_compute
from swin_unetr.inference.backends.opening import open_backend
from swin_unetr.networks import build_network

ROI = (32, 32, 24)
OPEN = Compute(torch.device("cpu"), "bfloat16", "torch", ("float32",))
SETTLED = replace(OPEN, or_else=())


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    config = NetworkConfig(in_channels=2, feature_size=6, num_classes=3, depths=(1, 1), num_heads=(3, 3))
    return build_network(config).eval().requires_grad_(False)


class Slow:
    """A backend that takes some seconds and adds an error to its input."""

    def __init__(self, compute: Compute, seconds: float, error: float) -> None:
        self.compute, self.seconds, self.error = compute, seconds, error

    def __call__(self, windows):
        time.sleep(self.seconds)
        return windows * (1 + self.error)


def settle(network, *, seconds, errors=None, compute=OPEN, keep=True):
    """What is settled, and the precisions that were opened."""
    opened = []

    def open_with(asked: Compute) -> Slow:
        assert not asked.or_else
        opened.append(asked.precision)
        return Slow(asked, seconds[asked.precision], (errors or {}).get(asked.precision, 0.0))

    found, backend = fastest.settle(compute, network, open_with, roi_size=ROI, batch_size=1, keep=keep)
    assert backend.compute.precision == found.precision
    assert not found.or_else
    return found, opened


def test_the_faster_precision_is_taken_and_said(network) -> None:
    found, _ = settle(network, seconds={"bfloat16": 0.4, "float32": 0.15})
    assert found.precision == "float32"
    assert [name for name, _ in found.window_seconds] == ["float32", "bfloat16"]
    assert found.describe().startswith("torch, float32 on cpu (0.15 s for a window; bfloat16 0.4 s)")


def test_the_expected_precision_is_kept_unless_another_is_clearly_faster(network) -> None:
    found, _ = settle(network, seconds={"bfloat16": 0.205, "float32": 0.2})
    assert found.precision == "bfloat16"


def test_a_choice_is_made_once_for_a_shape_and_number_of_threads(network) -> None:
    slow = {"bfloat16": 0.4, "float32": 0.15}
    first, opened = settle(network, seconds=slow)
    assert opened == ["bfloat16", "float32", "float32"]
    other = build_network(network.config).eval()  # other weights
    again, opened = settle(other, seconds=slow)
    assert (again, opened) == (first, ["float32"])
    wider = build_network(replace(network.config, feature_size=12)).eval()
    assert len(settle(wider, seconds=slow)[1]) == 3


def test_nothing_is_kept_on_request(network, tmp_path) -> None:
    settle(network, seconds={"bfloat16": 0.2, "float32": 0.15}, keep=False)
    assert not (tmp_path / "cache").exists()


def test_a_damaged_file_is_measured_again(network, tmp_path) -> None:
    slow = {"bfloat16": 0.4, "float32": 0.15}
    first, _ = settle(network, seconds=slow)
    (file,) = (tmp_path / "cache").rglob("precision.json")
    file.write_bytes(b"[" * file.stat().st_size)
    again, opened = settle(network, seconds=slow)
    assert again.precision == first.precision
    assert len(opened) > 1


@pytest.mark.parametrize("error", [0.3, float("nan")])
def test_a_precision_that_is_far_from_float32_is_not_taken(network, error) -> None:
    found, _ = settle(network, seconds={"bfloat16": 0.12, "float32": 0.3}, errors={"bfloat16": error})
    assert found.precision == "float32"


def test_quick_windows_are_not_compared(network) -> None:
    found, opened = settle(network, seconds={"bfloat16": 0.001, "float32": 0.0})
    assert (found, opened) == (SETTLED, ["bfloat16"])


def test_nothing_is_measured_if_nothing_is_left_open(network) -> None:
    found, opened = settle(network, seconds={"bfloat16": 9.0}, compute=SETTLED)[0], None
    assert (found, opened) == (SETTLED, None)


def test_real_backends_are_compared(network, monkeypatch) -> None:
    monkeypatch.setattr(fastest, "WORTH_SECONDS", 0.0)

    def open_with(compute: Compute):
        return open_backend("torch", network, output="scores", roi_size=ROI, batch_size=2, compute=compute, cache=None)

    found, backend = fastest.settle(OPEN, network, open_with, roi_size=ROI, batch_size=2, keep=False)
    assert backend.precision == found.precision
    assert {name for name, _ in found.window_seconds} == {"bfloat16", "float32"}


def test_auto_leaves_open_what_the_hardware_does_not_emulate(monkeypatch) -> None:
    monkeypatch.setattr("swin_unetr.device.cpu_flags", lambda: frozenset({"avx512_bf16"}))
    assert choose_compute("cpu", backend="torch").or_else == ("float32",)
    assert choose_compute("cpu", "bfloat16", backend="torch").or_else == ()
    monkeypatch.setattr("swin_unetr.device.cpu_flags", lambda: frozenset({"avx512f"}))
    assert choose_compute("cpu", backend="torch").or_else == ()
