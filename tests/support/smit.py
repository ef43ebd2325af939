"""SMIT's encoder (2205.10342), written out plainly: the oracle for weights in its layout. Its names are the file's."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WINDOW = 4
NEIGHBOURS = ("000", "100", "010", "001", "110", "011", "101", "111")


def _relative_index() -> Tensor:
    places = list(itertools.product(range(WINDOW), repeat=3))
    width = 2 * WINDOW - 1

    def row(a: tuple[int, ...], b: tuple[int, ...]) -> int:
        x, y, z = (p - q + WINDOW - 1 for p, q in zip(a, b, strict=True))
        return (x * width + y) * width + z

    return torch.tensor([[row(a, b) for b in places] for a in places])


class Attention(nn.Module):
    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.randn((2 * WINDOW - 1) ** 3, heads))
        self.register_buffer("relative_position_index", _relative_index())
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, windows: Tensor, region: Tensor | None) -> Tensor:
        """Attention inside windows: number x tokens x channels; tokens of unlike regions do not see each other."""
        number, tokens, channels = windows.shape
        q, k, v = self.qkv(windows).reshape(number, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) * (channels // self.heads) ** -0.5
        scores = scores + self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        if region is not None:
            unlike = region[:, :, None] != region[:, None, :]
            scores = scores - 100.0 * unlike[:, None].to(scores.dtype)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(number, tokens, channels))


class Mlp(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)


def _windows(tokens: Tensor) -> Tensor:
    """X x Y x Z x C to windows x tokens x C; sizes are multiples of the window."""
    x, y, z, channels = tokens.shape
    cut = tokens.reshape(x // WINDOW, WINDOW, y // WINDOW, WINDOW, z // WINDOW, WINDOW, channels)
    return cut.permute(0, 2, 4, 1, 3, 5, 6).reshape(-1, WINDOW**3, channels)


def _joined(windows: Tensor, size: tuple[int, int, int]) -> Tensor:
    x, y, z = (length // WINDOW for length in size)
    cut = windows.reshape(x, y, z, WINDOW, WINDOW, WINDOW, -1)
    return cut.permute(0, 3, 1, 4, 2, 5, 6).reshape(*size, -1)


def _regions(size: tuple[int, int, int]) -> Tensor:
    """Which part of the unshifted map each token of a shifted one comes from."""

    def part(length: int) -> Tensor:
        place = torch.arange(length)
        return (place >= length - WINDOW).long() + (place >= length - WINDOW // 2).long()

    x, y, z = map(part, size)
    return 9 * x[:, None, None] + 3 * y[None, :, None] + z[None, None, :]


class Block(nn.Module):
    def __init__(self, channels: int, heads: int, *, shifted: bool) -> None:
        super().__init__()
        self.shift = WINDOW // 2 if shifted else 0
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attn, self.mlp = Attention(channels, heads), Mlp(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        x, y, z = (WINDOW * math.ceil(length / WINDOW) for length in tokens.shape[:3])
        empty = [
            step for padded, length in zip((z, y, x), tokens.shape[2::-1], strict=True) for step in (0, padded - length)
        ]
        moved = torch.roll(F.pad(self.norm1(tokens), (0, 0, *empty)), (-self.shift,) * 3, (0, 1, 2))
        region = _windows(_regions((x, y, z))[..., None])[..., 0] if self.shift else None
        attended = _joined(self.attn(_windows(moved), region), (x, y, z))
        attended = torch.roll(attended, (self.shift,) * 3, (0, 1, 2))
        tokens = tokens + attended[: tokens.shape[0], : tokens.shape[1], : tokens.shape[2]]
        return tokens + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(tokens))))


class Merging(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8 * channels)
        self.reduction = nn.Linear(8 * channels, 2 * channels, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        parts = [tokens[int(x) :: 2, int(y) :: 2, int(z) :: 2] for x, y, z in NEIGHBOURS]
        return self.reduction(self.norm(torch.cat(parts, -1)))


class Stage(nn.Module):
    def __init__(self, channels: int, depth: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(channels, heads, shifted=number % 2 == 1) for number in range(depth))
        self.downsample = Merging(channels)


class PatchEmbed(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.proj, self.norm = nn.Conv3d(1, features, 2, stride=2), nn.LayerNorm(features)


class Smit(nn.Module):
    """The encoder of the published pre-training: depths 2, 2, 4, 2, four heads in every stage, no bias of q, k, v."""

    def __init__(self, features: int = 12, depths: tuple[int, ...] = (2, 2, 4, 2)) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(features)
        self.layers = nn.ModuleList(Stage(features * 2**stage, depth, 4) for stage, depth in enumerate(depths))
        for stage in range(len(depths)):
            self.add_module(f"norm{stage}", nn.LayerNorm(features * 2**stage))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, features))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)

    def forward(self, image: Tensor) -> list[Tensor]:
        """1 x 1 x X x Y x Z to the map after the embedding and after each merging, X x Y x Z x C each."""
        tokens = self.patch_embed.norm(self.patch_embed.proj(image)[0].permute(1, 2, 3, 0))
        maps = [tokens]
        for stage in self.layers:
            for block in stage.blocks:
                tokens = block(tokens)
            tokens = stage.downsample(tokens)
            maps.append(tokens)
        return maps
