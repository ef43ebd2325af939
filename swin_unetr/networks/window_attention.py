"""Self-attention inside (shifted) windows of a 3D feature map, with a relative position bias.

Liu et al., "Swin Transformer" (2103.14030), section 3.2, in three dimensions as in Hatamizadeh et al.
(2201.01266), section 3.1. Feature maps are channels-last here: B x X x Y x Z x C.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swin_unetr.config import AttentionPath, Triple
from swin_unetr.networks.blockwise_attention import attend_by_blocks

#: Added to the logits of pairs that the cyclic shift brought together: the published value, which is finite.
MASKED_LOGIT = -100.0

#: From this many tokens of a window and logits of a map on, training on the CPU uses blockwise attention. Measured: a
#: loss at 175 tokens, a gain at 216, a third of the step at 343. Maps that fit into the cache gain nothing.
SMALLEST_BLOCK, FEWEST_LOGITS = 200, 1 << 24


def fit_window(size: Triple, window: Triple) -> tuple[Triple, Triple]:
    """Clamp the window to the map, and find the shift of every second block.

    Args:
        size: tokens of the map along X, Y, Z.
        window: tokens of the configured window along X, Y, Z.

    Returns:
        The window to use and its shift; an axis that fits into one window is not shifted.
    """
    fits = [extent <= width for extent, width in zip(size, window, strict=True)]
    used = [extent if fit else width for extent, width, fit in zip(size, window, fits, strict=True)]
    shift = [0 if fit else width // 2 for width, fit in zip(window, fits, strict=True)]
    return (used[0], used[1], used[2]), (shift[0], shift[1], shift[2])


def padding_to_windows(size: Triple, window: Triple) -> Triple:
    """Tokens to append to each axis so that the map is a whole number of windows."""
    x, y, z = (-extent % width for extent, width in zip(size, window, strict=True))
    return x, y, z


def partition_windows(features: Tensor, window: Triple) -> Tensor:
    """Cut a map into windows.

    Args:
        features: B x X x Y x Z x C; each axis a multiple of the window's.
        window: tokens of a window along X, Y, Z.

    Returns:
        B x windows x tokens x C; windows and the tokens in them in lexicographic order of (X, Y, Z).
    """
    batch, x, y, z, channels = features.shape
    wx, wy, wz = window
    grid = features.view(batch, x // wx, wx, y // wy, wy, z // wz, wz, channels)
    return grid.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, -1, wx * wy * wz, channels)


def join_windows(windows: Tensor, window: Triple, size: Triple) -> Tensor:
    """Undo `partition_windows`.

    Args:
        windows: B x windows x tokens x C.
        window: tokens of a window along X, Y, Z.
        size: tokens of the map along X, Y, Z.

    Returns:
        B x X x Y x Z x C.
    """
    batch, channels = windows.shape[0], windows.shape[-1]
    (wx, wy, wz), (x, y, z) = window, size
    grid = windows.view(batch, x // wx, y // wy, z // wz, wx, wy, wz, channels)
    return grid.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(batch, x, y, z, channels)


def relative_position_index(window: Triple) -> Tensor:
    """Row of the bias table for each pair of tokens of a window.

    Args:
        window: tokens of a window along X, Y, Z.

    Returns:
        tokens x tokens, int64: the offset query minus key, each axis moved to start at 0, counted in
        lexicographic order over the (2X-1)(2Y-1)(2Z-1) possible offsets.
    """
    positions = torch.cartesian_prod(*(torch.arange(width) for width in window)).view(-1, 3)
    offsets = positions[:, None] - positions[None, :] + torch.tensor(window) - 1
    span_y, span_z = 2 * window[1] - 1, 2 * window[2] - 1
    return (offsets[..., 0] * span_y + offsets[..., 1]) * span_z + offsets[..., 2]


def position_bias(table: Tensor, index: Tensor) -> Tensor:
    """The learned bias of each pair of tokens.

    Args:
        table: offsets x heads.
        index: tokens x tokens, see `relative_position_index`.

    Returns:
        heads x tokens x tokens.
    """
    return F.embedding(index, table).permute(2, 0, 1)


def bias_of_window(table: Tensor, window: Triple) -> Tensor:
    """The same for a whole window without an index, whose gradient needs sorting or atomic additions on a GPU.

    Along an axis of width w the keys k of query q have the offsets q - k: w values of the mirrored table, which start
    at w - 1 - q.

    Args:
        table: offsets x heads.
        window: tokens of the window, and of the table, along X, Y, Z.

    Returns:
        heads x tokens x tokens.
    """
    tokens = window[0] * window[1] * window[2]
    pieces = table.t().reshape(-1, *(2 * width - 1 for width in window)).flip(1, 2, 3)
    for axis, width in enumerate(window, start=1):
        pieces = pieces.unfold(axis, width, 1)
    return pieces.flip(1, 2, 3).reshape(-1, tokens, tokens)


def added_logits(bias: Tensor, mask: ShiftMask | None) -> Tensor:
    """Bias and mask in the form that torch's fused GPU kernels need not copy: rows start at multiples of 8.

    Args:
        bias: heads x tokens x tokens.
        mask: None if nothing is shifted.

    Returns:
        heads x tokens x tokens, or (windows heads) x tokens x tokens with a mask; a view of wider rows.
    """
    tokens = bias.shape[-1]
    wider = (0, -tokens % 8)
    bias = F.pad(bias, wider)
    if mask is not None:
        bias = (bias + F.pad(mask.patterns, wider)[mask.pattern_of][:, None]).flatten(0, 1)
    return bias[..., :tokens]


@dataclass(frozen=True)
class ShiftMask:
    """Logits that separate tokens which are neighbours only because the shift is cyclic.

    Only the last window of each axis holds tokens from the other end, so that there are at most eight patterns, for any
    number of windows.
    """

    #: patterns x tokens x tokens: 0, or `MASKED_LOGIT` between regions.
    patterns: Tensor
    #: windows, int64: which pattern a window has.
    pattern_of: Tensor

    def of_windows(self) -> Tensor:
        """The mask of every window, windows x tokens x tokens."""
        return self.patterns[self.pattern_of]


def shift_mask(size: Triple, window: Triple, shift: Triple, device: torch.device, dtype: torch.dtype) -> ShiftMask:
    """The mask of a map whose windows are shifted.

    After the roll, the last window of an axis holds two regions: its first `window - shift` tokens, and those from the
    other end. Tokens of one window see each other only within a region.

    Args:
        size: tokens of the padded map along X, Y, Z.
        window: tokens of a window along X, Y, Z.
        shift: tokens of the cyclic shift along X, Y, Z; 0 leaves an axis in one region.
        device: where the mask is needed.
        dtype: type of the logits.
    """
    region = torch.zeros((1, 1, 1, 1), dtype=torch.long, device=device)  # patterns x tokens along X, Y, Z
    pattern = torch.zeros((1, 1, 1), dtype=torch.long, device=device)
    for axis, (extent, width, step) in enumerate(zip(size, window, shift, strict=True)):
        last = (torch.arange(extent // width, device=device) == extent // width - 1).long()
        round_ = (torch.arange(width, device=device) >= width - step).long()
        along, across = [1, 1, 1], [1, 1, 1]
        along[axis], across[axis] = extent // width, width
        pattern = pattern * (2 if step else 1) + (last if step else 0 * last).view(along)
        choices = torch.stack((torch.zeros_like(round_), round_)[: 2 if step else 1]).view(1, -1, *across)
        region = (2 * region[:, None] + choices).flatten(0, 1)
    regions = region.expand(-1, *window).flatten(1)
    apart = regions[:, :, None] != regions[:, None, :]
    return ShiftMask(apart.to(dtype) * MASKED_LOGIT, pattern.flatten())


def mix_values(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    mask: ShiftMask | None,
    dropout: float,
    path: AttentionPath = "auto",
) -> Tensor:
    """Softmax of biased, scaled products of queries and keys, applied to the values.

    Args:
        query: B x windows x heads x tokens x channels; so are key and value.
        key: is compared with the queries.
        value: is mixed.
        bias: heads x tokens x tokens, the same in all windows.
        mask: added to the logits, the same in all heads and samples. None if nothing is shifted.
        dropout: probability of dropping an attention weight.
        path: which of the equivalent ways to use.

    Returns:
        B x windows x heads x tokens x channels.
    """
    if path == "auto":
        path = _fastest(query, bias, dropout)
    # Four dimensions, and a bias that is broadcast, not copied: over all windows if it is the same in each.
    shape = query.shape
    if path == "blockwise":
        windows = torch.zeros(shape[1], dtype=torch.long) if mask is None else mask.pattern_of
        bias = bias[None] if mask is None else bias + mask.patterns[:, None]
        query, key, value = (part.flatten(0, 1) for part in (query, key, value))
        return attend_by_blocks(query, key, value, bias, windows.repeat(shape[0])).view(shape)
    if path == "explicit":
        logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        logits += bias
        if mask is not None:
            logits += mask.of_windows()[:, None]
        return F.dropout(logits.softmax(-1), dropout) @ value
    first = 0 if mask is None else 1  # over the batch only, if the shift mask makes every window's bias different
    bias = added_logits(bias, mask)
    query, key, value = (part.flatten(first, first + 1) for part in (query, key, value))
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None], dropout_p=dropout)
    return mixed.view(shape)


def _fastest(query: Tensor, bias: Tensor, dropout: float) -> AttentionPath:
    """The path for "auto". On the CPU torch has no fused kernel for a learned bias; its fallback is a quarter slower.

    If there are few logits, most of the time would go into calling operations window by window.
    """
    if query.device.type != "cpu" or not bias.requires_grad:
        return "fused"
    tokens = query.shape[-2]
    many = tokens >= SMALLEST_BLOCK and query[..., 0].numel() * tokens >= FEWEST_LOGITS
    return "blockwise" if many and not dropout else "explicit"


class WindowAttention(nn.Module):
    """Multi-head self-attention among the tokens of each window (2103.14030, equation 4).

    Args:
        channels: channels of a token.
        num_heads: attention heads; divides `channels`.
        window: the configured window, which sizes the bias table.
        qkv_bias: whether queries, keys and values have a bias.
        attn_drop_rate: dropout of attention weights.
        drop_rate: dropout after the output projection.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        window: Triple,
        *,
        qkv_bias: bool = True,
        attn_drop_rate: float = 0.0,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.attn_drop_rate = attn_drop_rate
        self.drop_rate = drop_rate
        self.path: AttentionPath = "auto"
        offsets = (2 * window[0] - 1) * (2 * window[1] - 1) * (2 * window[2] - 1)
        self.bias_table = nn.Parameter(torch.empty(offsets, num_heads))
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.projection = nn.Linear(channels, channels)
        nn.init.trunc_normal_(self.bias_table, std=0.02)

    def forward(self, windows: Tensor, index: Tensor, mask: ShiftMask | None) -> Tensor:
        """Attend within each window.

        Args:
            windows: B x windows x tokens x C.
            index: tokens x tokens, rows of the bias table.
            mask: added to the logits. None if nothing is shifted.

        Returns:
            B x windows x tokens x C.
        """
        batch, count, tokens, channels = windows.shape
        qkv = self.qkv(windows).view(batch, count, tokens, 3, self.num_heads, channels // self.num_heads)
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)  # each B x windows x heads x tokens x C/heads
        whole = self.path != "explicit" and tokens == self.window[0] * self.window[1] * self.window[2]
        bias = bias_of_window(self.bias_table, self.window) if whole else position_bias(self.bias_table, index)
        bias = bias.to(query.dtype)
        dropout = self.attn_drop_rate if self.training else 0.0
        if mask is not None:
            mask = ShiftMask(mask.patterns.to(query.dtype), mask.pattern_of)
        mixed = mix_values(query, key, value, bias, mask, dropout, self.path)
        mixed = mixed.transpose(2, 3).reshape(windows.shape)
        return F.dropout(self.projection(mixed), self.drop_rate, self.training)
