"""Attention by blocks: an operator that torch accepts, and closer to the truth than the explicit one in bfloat16."""

import pytest
import torch

from swin_unetr.networks.blockwise_attention import attend_by_blocks
from swin_unetr.networks.window_attention import mix_values


def parts(dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 4, 2, 12, 5, dtype=dtype).unbind(0)
    return query, key, value, torch.randn(2, 12, 12, dtype=dtype)


@pytest.mark.parametrize("threads", [1, 3])
def test_gradients_are_those_of_finite_differences(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Three windows have one pattern: with three threads they go together, whatever the machine has.
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    query, key, value, bias = (part.requires_grad_() for part in parts(torch.float64))
    patterns = torch.tensor([1, 0, 1, 1])

    def attend(*inputs: torch.Tensor) -> torch.Tensor:
        *windows, added = inputs
        return attend_by_blocks(*windows, torch.stack((added, 2 * added)), patterns)

    assert torch.autograd.gradcheck(attend, (query[0], key[0], value[0], bias), fast_mode=True)


def test_the_operator_keeps_torch_s_rules() -> None:
    query, key, value, bias = parts(torch.float32)
    inputs = [part[0].permute(1, 0, 3, 2).clone().requires_grad_() for part in (query, key, value)]
    arguments = (*inputs, bias[None].clone().requires_grad_(), torch.zeros(4, dtype=torch.long))
    torch.library.opcheck(torch.ops.swin_unetr.attend.default, arguments)


def test_large_logits_do_not_overflow() -> None:
    query, key, value, bias = (part.requires_grad_() for part in parts(torch.float32))
    out = mix_values(1000 * query, key, value, bias, None, 0.0, "blockwise")
    wanted = mix_values(1000 * query, key, value, bias, None, 0.0, "explicit")
    torch.testing.assert_close(out, wanted, rtol=1e-3, atol=1e-4)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(out.sum(), (query, key, value, bias)))


def test_bfloat16_is_computed_in_float32() -> None:
    inputs = parts(torch.bfloat16)
    exact = mix_values(*(part.double() for part in inputs), None, 0.0, "explicit")

    def error(path: str) -> float:
        mixed = mix_values(*inputs, None, 0.0, path)
        assert mixed.dtype == torch.bfloat16
        return float((mixed.double() - exact).norm() / exact.norm())

    assert error("blockwise") < 3e-3 < error("explicit")
