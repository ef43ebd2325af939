"""Attention with a learned bias on the CPU, one window and head at a time.

The logits of all windows of a map (0.2 GB for one 64-voxel crop, 343 tokens a window) would go to memory and back for
every elementary step. Those of one window and head, half a megabyte, stay in the cache, and are computed a second time
in the backward pass instead of being kept: the scheme of FlashAttention (2205.14135), with the gradient of the bias,
for which torch has no fused kernel on the CPU. One custom operator, so that `torch.compile` takes it as a whole.

Two habits of the CPU kernels decide the form. Products with a long axis first (channels x tokens) are up to four times
as fast as tokens x channels when a head has few channels; and `exp2` takes a third of the time of `exp`, so logits are
kept in units of ln 2. Row-wise subtractions ride on the products as one more channel.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_LOG2_E = 1 / math.log(2)


def attend_by_blocks(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, pattern_of: Tensor) -> Tensor:
    """Softmax of biased, scaled products of queries and keys, applied to the values.

    Args:
        query: windows x heads x tokens x channels; so are key and value.
        key: what queries are compared with.
        value: what is mixed.
        bias: patterns x heads x tokens x tokens, added to the logits.
        pattern_of: windows, int64 on the CPU: which of the patterns a window has.

    Returns:
        windows x heads x tokens x channels, in the type of the values. Inside, everything is float32 (float64 for
        float64), also under autocast.
    """
    accurate = torch.float64 if query.dtype == torch.float64 else torch.float32
    turned = (part.transpose(-1, -2).to(accurate) for part in (query, key, value))
    mixed, _ = _attend(*turned, bias.to(accurate), pattern_of)
    result: Tensor = mixed.transpose(-1, -2).to(value.dtype)
    return result


def _scaled(query: Tensor) -> Tensor:
    return query * float(query.shape[-2] ** -0.5 * _LOG2_E)


@torch.library.custom_op("swin_unetr::attend", mutates_args=())
def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, pattern_of: Tensor) -> tuple[Tensor, Tensor]:
    """Mix values (windows x heads x channels x tokens) and give the base-2 log-sum-exp of the rows of logits."""
    heads, tokens = query.shape[1], query.shape[3]
    scaled, bias = _scaled(query), bias * _LOG2_E
    mixed, normaliser = (
        torch.empty_like(value, memory_format=torch.contiguous_format),
        query.new_empty((*query.shape[:2], 1, tokens)),
    )
    logits = query.new_empty(tokens, tokens)
    for window, pattern in enumerate(pattern_of.tolist()):
        for head in range(heads):
            torch.addmm(bias[pattern, head], scaled[window, head].t(), key[window, head], out=logits)
            highest = logits.amax(1, keepdim=True)
            total = logits.sub_(highest).exp2_().sum(1)
            torch.mm(value[window, head], logits.t(), out=mixed[window, head]).div_(total)
            normaliser[window, head, 0] = total.log2_().add_(highest[:, 0])
    return mixed, normaliser


@_attend.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, pattern_of: Tensor) -> tuple[Tensor, Tensor]:
    return value.new_empty(value.shape), query.new_empty((*query.shape[:2], 1, query.shape[-1]))


@torch.library.custom_op("swin_unetr::attend_backward", mutates_args=())
def _attend_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    pattern_of: Tensor,
    mixed: Tensor,
    normaliser: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value (windows x heads x channels x tokens) and bias."""
    heads, tokens = query.shape[1], query.shape[-1]
    channels = query.shape[2]
    one = torch.ones_like(normaliser)
    # With one more channel the products give (logits - log-sum-exp) and (gradient of the weights - its mean) at once.
    rows = torch.cat((_scaled(query), -normaliser), 2)
    columns = torch.cat((key, one), 2)
    left = torch.cat((gradient, -(gradient * mixed).sum(2, keepdim=True)), 2)
    right = torch.cat((value, one), 2)
    results = [torch.empty_like(part, memory_format=torch.contiguous_format) for part in (query, key, value)]
    of_query, of_key, of_value = results
    scaled_bias, of_bias = bias * _LOG2_E, torch.zeros_like(bias)
    weights, of_logits = query.new_empty(tokens, tokens), query.new_empty(tokens, tokens)
    for window, pattern in enumerate(pattern_of.tolist()):
        for head in range(heads):
            row, left_part = rows[window, head], left[window, head]
            torch.addmm(scaled_bias[pattern, head], row.t(), columns[window, head], out=weights).exp2_()
            torch.mm(left_part.t(), right[window, head], out=of_logits).mul_(weights)
            of_bias[pattern, head].add_(of_logits)
            torch.mm(left_part[:channels], weights, out=of_value[window, head])
            torch.mm(key[window, head], of_logits.t(), out=of_query[window, head])
            torch.mm(query[window, head], of_logits, out=of_key[window, head])
    scale = channels**-0.5
    return of_query.mul_(scale), of_key.mul_(scale), of_value, of_bias


@_attend_backward.register_fake
def _(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    pattern_of: Tensor,
    mixed: Tensor,
    normaliser: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        query.new_empty(query.shape),
        key.new_empty(key.shape),
        value.new_empty(value.shape),
        bias.new_empty(bias.shape),
    )


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return (*_attend_backward(gradient, *ctx.saved_tensors), None)


_attend.register_autograd(_backward, setup_context=_keep)
