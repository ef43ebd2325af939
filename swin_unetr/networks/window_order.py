"""Attention in windows for inference on the CPU: one gather in, one gather out, a bias for each pattern of the mask.

Padding, the cyclic shift and the cut into windows only rearrange tokens, and so do their inverses: with `WindowOrder`
each direction is one gather. Windows with the same shift mask are next to each other in this order, so that a bias is
made for each of the at most eight patterns instead of each window (0.5 GB for a map of 48 tokens cubed). The padding,
which counts as keys, is one row: the bias of the linear layer. It has no queries, and nothing is projected back for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from swin_unetr.config import Triple
from swin_unetr.networks.window_attention import (
    WindowAttention,
    padding_to_windows,
    partition_windows,
    position_bias,
    shift_mask,
)


@dataclass(frozen=True)
class WindowOrder:
    """The places of a map's tokens in its windows; made once for maps of a size, and shared."""

    #: windows * tokens, int64: place in the map, lexicographic in X, Y, Z; padding is the place after the last.
    to_windows: Tensor
    #: tokens of the map, int64: place in the windows.
    to_map: Tensor
    #: patterns x tokens x tokens, added to the logits; one pattern of zeros if nothing is shifted.
    patterns: Tensor
    #: windows of each pattern, in this order.
    counts: tuple[int, ...]


@lru_cache(maxsize=16)
def window_order(size: Triple, window: Triple, shift: Triple) -> WindowOrder:
    """The order of a map's tokens in windows.

    Args:
        size: tokens of the map along X, Y, Z.
        window: tokens of a window along X, Y, Z.
        shift: tokens of the cyclic shift along X, Y, Z.
    """
    with torch.inference_mode(False), torch.no_grad():
        count = math.prod(size)
        px, py, pz = padding_to_windows(size, window)
        places = F.pad(torch.arange(count).view(size), (0, pz, 0, py, 0, px), value=count)
        mask = shift_mask((*places.shape,), window, shift, places.device, torch.float32)
        rolled = places.roll([-step for step in shift], (0, 1, 2))[None, ..., None]
        to_windows = partition_windows(rolled, window)[0, :, :, 0][mask.pattern_of.argsort(stable=True)].flatten()
        to_map = torch.empty(count + 1, dtype=torch.long).scatter_(0, to_windows, torch.arange(len(to_windows)))
        counts = torch.bincount(mask.pattern_of, minlength=len(mask.patterns)).tolist()
        return WindowOrder(to_windows, to_map[:count], mask.patterns, tuple(counts))


def attend_in_order(attention: WindowAttention, tokens: Tensor, index: Tensor, order: WindowOrder) -> Tensor:
    """Window attention of a whole map.

    Args:
        attention: the layer, in evaluation mode.
        tokens: B x X x Y x Z x C.
        index: tokens x tokens of a window, rows of the bias table.
        order: of a map of this size.

    Returns:
        B x X x Y x Z x C.
    """
    heads, extent = attention.num_heads, len(index)
    rows = tokens.flatten(1, 3)
    padding = attention.qkv.bias if attention.qkv.bias is not None else tokens.new_zeros(attention.qkv.out_features)
    projected = attention.qkv(rows)
    qkv = torch.cat((projected, padding.to(projected.dtype).expand(len(rows), 1, -1)), 1).index_select(
        1, order.to_windows
    )
    qkv = qkv.view(len(rows), -1, extent, 3, heads, rows.shape[2] // heads).permute(3, 0, 1, 4, 2, 5)
    bias = position_bias(attention.bias_table, index).float()
    mixed = []
    for pattern, part in zip(order.patterns, torch.split(qkv, list(order.counts), 2), strict=True):
        added = (bias + pattern).to(qkv.dtype)[None]
        query, key, value = part.flatten(1, 2)  # B * windows x heads x tokens x channels
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=added)
        mixed.append(out.transpose(1, 2).reshape(len(rows), -1, rows.shape[2]))
    joined = mixed[0] if len(mixed) == 1 else torch.cat(mixed, 1)
    result: Tensor = attention.projection(joined.index_select(1, order.to_map)).view(tokens.shape)
    return result
