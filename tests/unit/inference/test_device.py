import pytest
import torch

from swin_unetr.errors import ConfigError, DataError
from swin_unetr.inference.device import choose_compute, memory_errors_in_words


def test_auto_takes_a_gpu_where_there_is_one() -> None:
    compute = choose_compute()
    assert compute.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_cpu_computes_in_float32_unless_asked() -> None:
    assert choose_compute("cpu").precision == "float32"
    assert choose_compute("cpu", "bfloat16").precision == "bfloat16"
    with choose_compute("cpu", "bfloat16").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_what_is_not_here_is_refused_with_what_is() -> None:
    with pytest.raises(ConfigError, match=r"device: 'cuda:99' is not to be had here; choose one of: auto, cpu"):
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
