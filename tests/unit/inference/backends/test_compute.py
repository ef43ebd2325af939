from pathlib import Path

import pytest
import torch

from swin_unetr.device import cpu_flags, memory_errors_in_words
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.inference.backends.compute import choose_compute


def test_auto_takes_a_gpu_where_there_is_one() -> None:
    compute = choose_compute()
    assert compute.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_auto_takes_the_precision_that_the_hardware_multiplies_in(monkeypatch) -> None:
    for flags, precision in (({"avx512_bf16"}, "bfloat16"), ({"amx_bf16"}, "bfloat16"), ({"avx512f"}, "float32")):
        monkeypatch.setattr("swin_unetr.device.cpu_flags", lambda flags=flags: frozenset(flags))
        compute = choose_compute("cpu", backend="torch")
        assert compute.precision == precision
        assert choose_compute("cpu", "bfloat16", "torch").precision == "bfloat16"
        assert compute.describe() == f"torch, {precision} on cpu" + (" (native here)" if precision != "float32" else "")
    assert "(emulated here)" in choose_compute("cpu", "bfloat16", "torch").describe()


def test_flags_of_this_processor_are_read() -> None:
    if Path("/proc/cpuinfo").exists():
        assert len(cpu_flags()) > 5
        assert all(" " not in flag for flag in cpu_flags())


def test_precision_of_the_products_is_that_which_was_asked_for() -> None:
    with choose_compute("cpu", "bfloat16").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with choose_compute("cpu", "float32").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_auto_takes_openvino_on_a_cpu_where_it_is_installed(monkeypatch) -> None:
    for here, backend in ((True, "openvino"), (False, "torch")):
        monkeypatch.setattr("swin_unetr.inference.backends.compute.is_installed", lambda name, here=here: here)
        assert choose_compute("cpu").backend == backend


def test_each_process_of_torchrun_has_a_gpu_of_its_own(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("swin_unetr.inference.backends.compute.is_native", lambda device, precision: True)
    for rank, device in (("0", "cuda:0"), ("1", "cuda:1"), ("3", "cuda:1"), ("", "cuda")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        compute = choose_compute()
        assert (str(compute.device), compute.backend) == (device, "torch")


@pytest.mark.parametrize(
    ("precision", "backend", "message"),
    [
        ("float16", "torch", "precision: float16 is for GPUs"),
        ("bfloat16", "onnx", "precision: ONNX Runtime computes in float32"),
        ("auto", "tensorrt", "backend: 'tensorrt' is not one of auto, torch, compile, openvino, onnx"),
    ],
)
def test_what_does_not_go_together_is_refused(precision, backend, message, monkeypatch) -> None:
    monkeypatch.setattr("swin_unetr.inference.backends.compute.check_installed", lambda name: None)
    with pytest.raises(ConfigError, match=message):
        choose_compute("cpu", precision, backend)


def test_what_is_not_here_is_refused_with_what_is() -> None:
    with pytest.raises(
        ConfigError, match=r"device: 'cuda:99' is not available on this machine; choose one of: auto, cpu"
    ):
        choose_compute("cuda:99")
    with pytest.raises(ConfigError, match="precision: 'float8' is not one of auto, float32, bfloat16"):
        choose_compute("cpu", "float8")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), MemoryError()])
def test_too_little_memory_is_said_with_its_remedy(error) -> None:
    with (
        pytest.raises(DataError, match=r"^not enough memory on cpu for this scan; \w+"),
        memory_errors_in_words(torch.device("cpu")),
    ):
        raise error


def test_refusal_of_the_cpu_allocator_is_known() -> None:
    with pytest.raises(DataError, match="not enough memory"), memory_errors_in_words(torch.device("cpu")):
        torch.empty(2**60, dtype=torch.uint8)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory_errors_in_words(torch.device("cpu")):
        torch.ones(2).reshape(3)
