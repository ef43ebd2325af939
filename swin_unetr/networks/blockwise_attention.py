"""Attention with a learned bias on the CPU, a few windows of one head at a time.

The logits of all windows of a map (0.2 GB for one 64-voxel crop, 343 tokens a window) would go to memory and back for
every elementary step. Those of one window and head, half a megabyte, stay in the cache of a core, and are computed a
second time in the backward pass instead of being kept. This is the scheme of FlashAttention (2205.14135), with the
gradient of the bias, for which torch has no fused kernel on the CPU. Each thread works on one window at a time, and the
whole is one custom operator, which `torch.compile` does not look into.

Two properties of the CPU kernels decide the form. Products with a long axis first (channels x tokens) are up to four
times as fast as tokens x channels when a head has few channels; and `exp2` takes a third of the time of `exp`, so
logits are kept in units of ln 2. Row-wise subtractions are done by the products, with one more channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_LOG2_E = 1 / math.log(2)


def attend_by_blocks(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, pattern_of: Tensor) -> Tensor:
    """Softmax of biased, scaled products of queries and keys, applied to the values.

    Args:
        query: windows x heads x tokens x channels; so are key and value.
        key: is compared with the queries.
        value: is mixed.
        bias: patterns x heads x tokens x tokens, added to the logits.
        pattern_of: windows, int64 on the CPU: which of the patterns a window has.

    Returns:
        windows x heads x tokens x channels, in the type of the values. Inside, everything is float32 (float64 for
        float64), also under autocast.
    """
    accurate = torch.float64 if query.dtype == torch.float64 else torch.float32
    order = pattern_of.argsort(stable=True)  # windows of one pattern next to each other
    turned = (part[order].permute(1, 0, 3, 2).to(accurate).contiguous() for part in (query, key, value))
    mixed, _ = _attend(*turned, bias.to(accurate), pattern_of[order])
    result: Tensor = mixed.permute(1, 0, 3, 2)[order.argsort()].to(value.dtype)
    return result


def _scaled(query: Tensor) -> Tensor:
    return query * float(query.shape[-2] ** -0.5 * _LOG2_E)


def _groups(pattern_of: Tensor, heads: int) -> Iterator[tuple[int, int, slice]]:
    """Head, pattern and windows that are computed at a time: as many windows as there are threads."""
    size = torch.get_num_threads()
    patterns, counts = (each.tolist() for each in torch.unique_consecutive(pattern_of, return_counts=True))
    for head in range(heads):
        start = 0
        for pattern, count in zip(patterns, counts, strict=True):
            for first in range(start, start + count, size):
                yield head, pattern, slice(first, min(first + size, start + count))
            start += count


@torch.library.custom_op("swin_unetr::attend", mutates_args=())
def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, pattern_of: Tensor) -> tuple[Tensor, Tensor]:
    """Mix values (heads x windows x channels x tokens) and give the base-2 log-sum-exp of the rows of logits."""
    tokens = query.shape[3]
    scaled, bias = _scaled(query).transpose(2, 3), bias * _LOG2_E
    mixed, normaliser = torch.empty_like(value), query.new_empty((*query.shape[:2], 1, tokens))
    room = query.new_empty(torch.get_num_threads(), tokens, tokens)
    for head, pattern, group in _groups(pattern_of, len(query)):
        logits = room[: group.stop - group.start]
        torch.baddbmm(bias[pattern, head].expand_as(logits), scaled[head, group], key[head, group], out=logits)
        highest = logits.amax(2, keepdim=True)
        total = logits.sub_(highest).exp2_().sum(2)[:, None]
        torch.bmm(value[head, group], logits.transpose(1, 2), out=mixed[head, group]).div_(total)
        torch.add(total.log2_(), highest.transpose(1, 2), out=normaliser[head, group])
    return mixed, normaliser


@_attend.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, pattern_of: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(value), query.new_empty((*query.shape[:2], 1, query.shape[3]))


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
    """Gradients of query, key, value (heads x windows x channels x tokens) and bias."""
    channels, tokens = query.shape[2:]
    one = torch.ones_like(normaliser)
    # With one more channel the products give (logits - log-sum-exp) and (gradient of the weights - its mean) at once.
    rows = torch.cat((_scaled(query), -normaliser), 2).transpose(2, 3)
    columns = torch.cat((key, one), 2)
    left = torch.cat((gradient, -(gradient * mixed).sum(2, keepdim=True)), 2)
    right = torch.cat((value, one), 2)
    of_query, of_key, of_value = (torch.empty_like(query) for _ in range(3))
    scaled_bias, of_bias = bias * _LOG2_E, torch.zeros_like(bias)
    rooms = query.new_empty(2, torch.get_num_threads(), tokens, tokens)
    for head, pattern, group in _groups(pattern_of, len(query)):
        weights, of_logits = rooms[:, : group.stop - group.start]
        added, part = scaled_bias[pattern, head].expand_as(weights), left[head, group]
        torch.baddbmm(added, rows[head, group], columns[head, group], out=weights).exp2_()
        torch.bmm(part.transpose(1, 2), right[head, group], out=of_logits).mul_(weights)
        of_bias[pattern, head] += of_logits[0] if len(of_logits) == 1 else of_logits.sum(0)
        torch.bmm(part[:, :channels], weights, out=of_value[head, group])
        torch.bmm(key[head, group], of_logits.transpose(1, 2), out=of_query[head, group])
        torch.bmm(query[head, group], of_logits, out=of_key[head, group])
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
    return torch.empty_like(query), torch.empty_like(query), torch.empty_like(query), torch.empty_like(bias)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return (*_attend_backward(gradient.contiguous(), *ctx.saved_tensors), None)


_attend.register_autograd(_backward, setup_context=_keep)
