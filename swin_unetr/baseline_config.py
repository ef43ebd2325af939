"""Configuration of the baseline networks: networks of others to compare Swin UNETR with. Knows no torch.

A baseline is its options here (their class, a field of `BaselinesConfig`, a name in `Architecture`) and the module
`swin_unetr.networks.baselines.<name>`, whose `build` makes the network of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

#: Which network: ours, or a baseline by the name of its field in `BaselinesConfig`.
Architecture = Literal["swin_unetr", "segresnet", "dynunet"]
_Triple = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class BaselineConfig:
    """What the rest of the package has to know of a baseline."""

    @property
    def size_divisor(self) -> _Triple:
        """What each spatial axis of the input must be a multiple of."""
        raise NotImplementedError

    def check_size(self, size: _Triple) -> None:
        """Refuse a crop or window that the network cannot take although it is a multiple of `size_divisor`.

        Args:
            size: voxels along X, Y, Z.

        Raises:
            ValueError: one line that begins with the size.
        """


@dataclass(frozen=True, kw_only=True)
class SegResNetConfig(BaselineConfig):
    """MONAI's SegResNet: a residual U-Net with group normalisation (1810.11654, without its autoencoder branch)."""

    #: Channels after the first convolution; doubled by every level. A multiple of 8, the groups of its norm.
    init_filters: int = 32
    #: Residual blocks of each level on the way down.
    blocks_down: tuple[int, ...] = (1, 2, 2, 4)
    #: Residual blocks of each level on the way up: one level fewer.
    blocks_up: tuple[int, ...] = (1, 1, 1)
    #: Dropout after the first convolution.
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.init_filters < 8 or self.init_filters % 8:
            raise ValueError(f"init_filters: must be a multiple of 8, got {self.init_filters}")
        if len(self.blocks_up) != len(self.blocks_down) - 1 or not self.blocks_up:
            raise ValueError(
                f"blocks_up: needs one value fewer than blocks_down, which has {len(self.blocks_down)}, and at least "
                f"one; got {len(self.blocks_up)}"
            )
        if min(*self.blocks_down, *self.blocks_up) < 1:
            raise ValueError("blocks_down: every level needs at least one block, as in blocks_up")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: must lie in 0..1, 1 excluded, got {self.dropout}")

    @property
    def size_divisor(self) -> _Triple:
        """See `BaselineConfig`."""
        factor = 2 ** len(self.blocks_up)
        return factor, factor, factor


@dataclass(frozen=True, kw_only=True)
class DynUNetConfig(BaselineConfig):
    """MONAI's DynUNet: the U-Net of nnU-Net (Isensee et al., Nature Methods 18:203, 2021), without deep supervision."""

    #: Stride of each level along X, Y, Z, the first of which keeps the resolution; at least three levels.
    strides: tuple[_Triple, ...] = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    #: Kernel of the convolutions of each level along X, Y, Z, odd; empty means (3, 3, 3) everywhere.
    kernel_sizes: tuple[_Triple, ...] = ()
    #: Channels of each level; empty means 32, doubled by every level, and 320 at most, as in nnU-Net.
    filters: tuple[int, ...] = ()
    #: Residual blocks in place of plain convolutions.
    residual: bool = False

    def __post_init__(self) -> None:
        levels = len(self.strides)
        if levels < 3:
            raise ValueError(f"strides: at least 3 levels are needed, got {levels}")
        if self.strides[0] != (1, 1, 1):
            raise ValueError(f"strides: the first must be (1, 1, 1), got {self.strides[0]}")
        for name in ("kernel_sizes", "filters"):
            given = len(getattr(self, name))
            if given and given != levels:
                raise ValueError(f"{name}: {given} values for {levels} levels in strides")
        if any(step < 1 for stride in self.strides for step in stride):
            raise ValueError(f"strides: values must be positive, got {self.strides}")
        if any(edge < 1 or edge % 2 == 0 for kernel in self.kernel_sizes for edge in kernel):
            raise ValueError(f"kernel_sizes: values must be odd and positive, got {self.kernel_sizes}")
        if any(channels < 1 for channels in self.filters):
            raise ValueError(f"filters: values must be positive, got {self.filters}")

    @property
    def size_divisor(self) -> _Triple:
        """See `BaselineConfig`."""
        x, y, z = (math.prod(stride[axis] for stride in self.strides) for axis in range(3))
        return x, y, z

    def check_size(self, size: _Triple) -> None:
        """Its instance norm needs more than one voxel of a channel."""
        if size == self.size_divisor:
            raise ValueError(
                f"{size} leaves dynunet one voxel at its coarsest level, where nothing can be normalised; take twice "
                "as much along one axis, or fewer network.baselines.dynunet.strides"
            )


@dataclass(frozen=True, kw_only=True)
class BaselinesConfig:
    """Options of the baselines; those of `network.architecture` alone have an effect."""

    segresnet: SegResNetConfig = field(default_factory=SegResNetConfig)
    dynunet: DynUNetConfig = field(default_factory=DynUNetConfig)
