"""The hierarchical encoder: patch embedding, and stages of shifted-window transformer blocks with patch merging.

Hatamizadeh et al. (2201.01266), section 3.1. Tokens are channels-last inside (B x X x Y x Z x C); what goes in and
comes out is channels-first (B x C x X x Y x Z).
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swin_unetr.config import MergingForm, NetworkConfig, Triple
from swin_unetr.networks.conv_decoder import ResidualBlock
from swin_unetr.networks.in_place import is_traced, works_in_place
from swin_unetr.networks.recomputation import run
from swin_unetr.networks.window_attention import (
    ShiftMask,
    WindowAttention,
    fit_window,
    join_windows,
    padding_to_windows,
    partition_windows,
    relative_position_index,
    shift_mask,
)
from swin_unetr.networks.window_order import attend_in_order, window_order

LAYER_NORM_EPS = 1e-5


def merging_order(form: MergingForm, stride: Triple) -> tuple[Triple, ...]:
    """Offsets of the neighbours in the order in which patch merging concatenates them.

    "legacy" takes (0, 1, 0) and (0, 0, 1) twice and leaves out (1, 1, 0) and (0, 1, 1): MONAI up to 1.4, and so every
    Swin UNETR published before 2025. "merging" is MONAI's order from 1.5. Weights trained with one give a different
    function under another, although every tensor fits.

    Args:
        form: name of the order; only "mergingv2", the lexicographic one, is defined for other strides than 2, 2, 2.
        stride: tokens that are merged along X, Y, Z.

    Returns:
        As many offsets along (X, Y, Z) as the stride has tokens.
    """
    digits = {
        "legacy": "000 100 010 001 101 010 001 111",
        "merging": "000 100 010 001 110 101 011 111",
    }
    if form == "mergingv2":
        return tuple(itertools.product(range(stride[0]), range(stride[1]), range(stride[2])))
    return tuple((int(offset[0]), int(offset[1]), int(offset[2])) for offset in digits[form].split())


def drop_path(features: Tensor, rate: float, training: bool) -> Tensor:
    """Stochastic depth: drop the whole branch for a sample, and scale up the others (1603.09382).

    Args:
        features: B x ..., the branch that would be added to the residual.
        rate: probability of dropping a sample's branch.
        training: whether to drop at all.

    Returns:
        The same shape.
    """
    if rate == 0.0 or not training:
        return features
    if rate == 1.0:
        return torch.zeros_like(features)
    kept = features.new_empty((features.shape[0],) + (1,) * (features.ndim - 1)).bernoulli_(1 - rate)
    return features * (kept / (1 - rate))


class PatchEmbedding(nn.Module):
    """Turn each patch of voxels into a token, by a convolution whose stride is its kernel."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.projection = nn.Conv3d(
            config.in_channels, config.feature_size, config.patch_size, stride=config.patch_size
        )
        self.norm = nn.LayerNorm(config.feature_size, LAYER_NORM_EPS) if config.patch_norm else None

    def forward(self, image: Tensor) -> Tensor:
        """Map B x C x X x Y x Z to tokens B x X/px x Y/py x Z/pz x feature_size."""
        tokens: Tensor = self.projection(image).permute(0, 2, 3, 4, 1).contiguous()
        return tokens if self.norm is None else self.norm(tokens)


class PatchMerging(nn.Module):
    """Join neighbouring tokens into one of twice the channels (2103.14030, section 3.1).

    Args:
        channels: channels of an incoming token.
        stride: tokens that become one along X, Y, Z.
        form: order of the neighbours, see `merging_order`.
    """

    def __init__(self, channels: int, stride: Triple, form: MergingForm) -> None:
        super().__init__()
        self.stride = stride
        self.order = merging_order(form, stride)
        self.norm = nn.LayerNorm(len(self.order) * channels, LAYER_NORM_EPS)
        self.reduction = nn.Linear(len(self.order) * channels, 2 * channels, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map B x X x Y x Z x C to B x X/sx x Y/sy x Z/sz x 2C; a last, incomplete group is filled with zeros."""
        sx, sy, sz = self.stride
        px, py, pz = padding_to_windows(spatial_size(tokens), self.stride)
        if px or py or pz:
            tokens = F.pad(tokens, (0, 0, 0, pz, 0, py, 0, px))
        merged: Tensor = torch.cat([tokens[:, x::sx, y::sy, z::sz] for x, y, z in self.order], dim=-1)
        reduced: Tensor = self.reduction(self.norm(merged))
        return reduced


class SwinBlock(nn.Module):
    """Window attention and an MLP, each after a layer norm and inside a residual (2201.01266, equation 1).

    Args:
        config: shape of the network.
        stage: which stage the block is in.
        shifted: whether its windows are shifted by half a window.
        drop_path_rate: stochastic depth of this block.
    """

    def __init__(self, config: NetworkConfig, stage: int, *, shifted: bool, drop_path_rate: float) -> None:
        super().__init__()
        channels = config.feature_size * 2**stage
        hidden = int(channels * config.mlp_ratio)
        self.window = config.window_size
        self.shifted = shifted
        self.drop_rate = config.drop_rate
        self.drop_path_rate = drop_path_rate
        self.norm1 = nn.LayerNorm(channels, LAYER_NORM_EPS)
        self.attention = WindowAttention(
            channels,
            config.num_heads[stage],
            config.window_size,
            qkv_bias=config.qkv_bias,
            attn_drop_rate=config.attn_drop_rate,
            drop_rate=config.drop_rate,
        )
        self.norm2 = nn.LayerNorm(channels, LAYER_NORM_EPS)
        self.expand = nn.Linear(channels, hidden)
        self.contract = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor, index: Tensor, mask: ShiftMask | None) -> Tensor:
        """Map tokens B x X x Y x Z x C to the same shape.

        Args:
            tokens: the feature map.
            index: tokens x tokens of a window, rows of the bias table.
            mask: for shifted windows.
        """
        tokens = tokens + drop_path(self._attend(self.norm1(tokens), index, mask), self.drop_path_rate, self.training)
        return tokens + drop_path(self._mlp(self.norm2(tokens)), self.drop_path_rate, self.training)

    def _attend(self, tokens: Tensor, index: Tensor, mask: ShiftMask | None) -> Tensor:
        """Pad to whole windows, shift, attend, and undo both; padding counts as keys, as published."""
        size = spatial_size(tokens)
        window, shift = fit_window(size, self.window)
        if self.uses_window_order(tokens):
            order = window_order(size, window, shift if self.shifted else (0, 0, 0))
            return attend_in_order(self.attention, tokens, index, order)
        px, py, pz = padding_to_windows(size, window)
        if px or py or pz:
            tokens = F.pad(tokens, (0, 0, 0, pz, 0, py, 0, px))
        shifts = self.shifted and any(shift)
        if shifts:
            tokens = torch.roll(tokens, [-step for step in shift], (1, 2, 3))
        padded = spatial_size(tokens)
        attended = self.attention(partition_windows(tokens, window), index, mask if shifts else None)
        tokens = join_windows(attended, window, padded)
        if shifts:
            tokens = torch.roll(tokens, shift, (1, 2, 3))
        return tokens[:, : size[0], : size[1], : size[2]]

    def uses_window_order(self, tokens: Tensor) -> bool:
        """Whether attention rearranges tokens with `window_order`, which makes its own masks."""
        return works_in_place(tokens) and self.attention.path == "auto" and not self.training

    def _mlp(self, tokens: Tensor) -> Tensor:
        hidden = F.dropout(F.gelu(self.expand(tokens)), self.drop_rate, self.training)
        return F.dropout(self.contract(hidden), self.drop_rate, self.training)


class SwinStage(nn.Module):
    """Transformer blocks, windows shifted in every second one, then patch merging.

    Args:
        config: shape of the network.
        stage: which stage this is.
    """

    relative_index: Tensor

    def __init__(self, config: NetworkConfig, stage: int) -> None:
        super().__init__()
        channels = config.feature_size * 2**stage
        first, total = sum(config.depths[:stage]), sum(config.depths)
        self.window = config.window_size
        self.recompute = config.gradient_checkpointing
        self.residual = ResidualBlock(channels, channels) if config.use_v2 else None
        self.blocks = nn.ModuleList(
            SwinBlock(
                config,
                stage,
                shifted=block % 2 == 1,
                drop_path_rate=config.drop_path_rate * (first + block) / max(total - 1, 1),
            )
            for block in range(config.depths[stage])
        )
        self.merging = PatchMerging(channels, config.strides[stage], config.merging)
        self.register_buffer("relative_index", relative_position_index(config.window_size), persistent=False)
        self._last_mask: tuple[object, ShiftMask] | None = None

    def forward(self, tokens: Tensor) -> Tensor:
        """Map B x X x Y x Z x C to B x X/sx x Y/sy x Z/sz x 2C."""
        if self.residual is not None:
            features = channels_first(tokens)
            if self.residual.layout == "unchanged":  # MONAI copies here; rounding depends on the layout
                features = features.contiguous()
            tokens = self.residual(features).permute(0, 2, 3, 4, 1).contiguous()
        index, mask = self._window_tables(tokens)
        for block in self.blocks:
            tokens = run(block, tokens, index, mask, again=self.recompute)
        return run(self.merging, tokens, again=self.recompute)

    def _window_tables(self, tokens: Tensor) -> tuple[Tensor, ShiftMask | None]:
        """Position index and shift mask for a map of this size, made once for all blocks of the stage.

        A window that was clamped to a small map uses the top left corner of the full window's index, not the index
        of its own shape, as in the published networks.
        """
        size = spatial_size(tokens)
        window, shift = fit_window(size, self.window)
        count = math.prod(window)
        index = self.relative_index[:count, :count]
        if not any(shift) or len(self.blocks) < 2 or _makes_its_masks(self.blocks[1], tokens):
            return index, None
        padding = padding_to_windows(size, window)
        padded = (size[0] + padding[0], size[1] + padding[1], size[2] + padding[2])
        return index, self._mask(padded, window, shift, tokens)

    def _mask(self, size: Triple, window: Triple, shift: Triple, tokens: Tensor) -> ShiftMask:
        """The mask of the last call if its map had the same size; a tracer gets a new one."""
        if is_traced():
            return shift_mask(size, window, shift, tokens.device, tokens.dtype)
        key = (size, window, shift, tokens.device, tokens.dtype)
        if self._last_mask is None or self._last_mask[0] != key:
            with torch.inference_mode(False), torch.no_grad():  # training may use what validation made
                self._last_mask = key, shift_mask(size, window, shift, tokens.device, tokens.dtype)
        return self._last_mask[1]


class SwinEncoder(nn.Module):
    """Image to feature maps of falling resolution.

    Args:
        config: shape of the network.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.size_divisor = config.size_divisor  # stored, because the compiler cannot trace the property
        self.patch_embedding = PatchEmbedding(config)
        self.stages = nn.ModuleList(SwinStage(config, stage) for stage in range(len(config.depths)))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Encode an image.

        Args:
            image: B x in_channels x X x Y x Z; each axis a multiple of `config.size_divisor`.

        Returns:
            One map per stage and the embedding before them: map i is B x feature_size * 2^i x X_i x Y_i x Z_i, with
            X_0 = X / patch and X_(i+1) = X_i / stride of stage i. With `config.normalize` each is layer-normalised
            over its channels without parameters.

        Raises:
            ValueError: wrong number of dimensions or channels, or an axis that is no multiple of its divisor.
        """
        self._check(image)
        tokens = F.dropout(self.patch_embedding(image), self.config.drop_rate, self.training)
        hidden = [self._output(tokens)]
        for stage in self.stages:
            tokens = stage(tokens)
            hidden.append(self._output(tokens))
        return hidden

    def _check(self, image: Tensor) -> None:
        channels, divisor = self.config.in_channels, self.size_divisor
        if image.ndim != 5 or image.shape[1] != channels:
            raise ValueError(
                f"input of shape {tuple(image.shape)}: the network takes batch x {channels} channels x X x Y x Z"
            )
        size = tuple(image.shape[2:])
        if any(extent % step or not extent for extent, step in zip(size, divisor, strict=True)):
            raise ValueError(f"input of {size} voxels: each axis must be a multiple of {divisor}; pad or crop it")

    def _output(self, tokens: Tensor) -> Tensor:
        if self.config.normalize:
            tokens = F.layer_norm(tokens, tokens.shape[-1:], eps=LAYER_NORM_EPS)
        return channels_first(tokens)


def _makes_its_masks(block: nn.Module, tokens: Tensor) -> bool:
    return isinstance(block, SwinBlock) and block.uses_window_order(tokens)


def spatial_size(tokens: Tensor) -> Triple:
    """Tokens along X, Y, Z of a map B x X x Y x Z x C."""
    return tokens.shape[1], tokens.shape[2], tokens.shape[3]


def channels_first(tokens: Tensor) -> Tensor:
    """B x X x Y x Z x C to B x C x X x Y x Z, a view."""
    return tokens.permute(0, 4, 1, 2, 3)
