"""Configuration of the proxy tasks, and what each needs of the network, the scans and their views. Imports no torch.

A task is one dataclass here, and one field of `ProxiesConfig`; `build.py` names its class.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pretrain.scans.config import ScansConfig
from swin_unetr.config import NetworkConfig
from swin_unetr.errors import ConfigError

#: What a head reads of the deepest map: its mean over all places, or a single token as in the published code.
Reading = Literal["pooled", "token"]
Plane = Literal["XY", "XZ", "YZ"]


@dataclass(frozen=True, kw_only=True)
class ProxyConfig:
    """What all tasks have in common. A task checks what it needs; the base class needs nothing."""

    #: Weight of its loss; 0 leaves the task out.
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"weight: must not be negative, got {self.weight}")

    def check(self, network: NetworkConfig, scans: ScansConfig, views: int) -> None:
        """Refuse a configuration that the task cannot work with; called if the task has a weight.

        Args:
            network: shape of the encoder.
            scans: crop and batch.
            views: views of each crop.

        Raises:
            ValueError: one line that begins with the dotted path of the field.
        """

    def check_data(self, scans: int) -> None:
        """Refuse scans that the task cannot learn from; called if the task has a weight.

        Args:
            scans: how many scans there are.

        Raises:
            ConfigError: one line.
        """


@dataclass(frozen=True, kw_only=True)
class InpaintingConfig(ProxyConfig):
    """Cuboids are cut out of a view and rebuilt (2111.14791, section 3.2)."""

    #: Largest share of the voxels that is cut out; each view draws its own between 0 and this.
    share: float = 0.3
    #: Shortest and longest edge of a cuboid, as shares of the view's.
    edges: tuple[float, float] = (0.05, 0.25)
    #: What fills them: "matched" is normal noise with the mean and deviation of the view, "unit" lies in 0..1.
    noise: Literal["matched", "unit"] = "matched"
    #: Cut out as much again and fill it with another view of the batch, as the published code does.
    paste: bool = False
    #: Compare only the voxels that were cut out; otherwise the whole view, as published.
    masked_only: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_share("share", self.share)
        if not 0 < self.edges[0] <= self.edges[1] <= 1:
            raise ValueError(f"edges: need 0 < shortest <= longest <= 1, got {self.edges}")


@dataclass(frozen=True, kw_only=True)
class RotationConfig(ProxyConfig):
    """Views are turned by quarters and the turn is predicted (2111.14791, section 3.2)."""

    #: Plane of the turns; X-Y is about the body's axis. If a crop is not square in it, only 0 and 180 degrees are used.
    plane: Plane = "XY"
    #: "pooled": the head reads the mean of the deepest map. "token": its first token, as in the published code.
    reads: Reading = "pooled"

    def check(self, network: NetworkConfig, scans: ScansConfig, views: int) -> None:
        """A token belongs to a place, so that it needs crops that are square in the plane."""
        first, second = (scans.crop_size["XYZ".index(axis)] for axis in self.plane)
        if first != second and self.reads == "token":
            raise ValueError("proxies.rotation.reads: token needs crops that are square in the plane of the turns")


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig(ProxyConfig):
    """Embeddings of a crop's two views become alike, those of other crops do not (2111.14791, section 3.2)."""

    #: NT-Xent (2002.05709) or Barlow Twins (2103.03230), which has no negatives.
    loss: Literal["nt_xent", "barlow_twins"] = "nt_xent"
    #: Temperature of NT-Xent.
    temperature: float = 0.5
    #: Weight of the correlations between different features in Barlow Twins.
    redundancy: float = 0.005
    #: Whether other crops of the same scan count as negatives, as in the published code.
    same_scan_negatives: bool = False
    #: Compare with the views of all processes that train together.
    gather: bool = True
    #: Length of the vectors that are compared.
    embedding: int = 512
    #: The layers that make them: one linear layer as published, or two with a ReLU between (2002.05709).
    head: Literal["linear", "mlp"] = "linear"
    #: "pooled": the head reads the mean of the deepest map. "token": its second token, as in the published code.
    reads: Reading = "pooled"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature <= 0:
            raise ValueError(f"temperature: must be positive, got {self.temperature}")
        if self.embedding < 2:
            raise ValueError(f"embedding: at least 2 are needed, got {self.embedding}")
        if self.redundancy < 0:
            raise ValueError(f"redundancy: must not be negative, got {self.redundancy}")

    @property
    def of_other_scans(self) -> bool:
        """Whether only crops of other scans are negatives."""
        return self.loss == "nt_xent" and not self.same_scan_negatives

    def check(self, network: NetworkConfig, scans: ScansConfig, views: int) -> None:
        """It needs two views, other crops to compare with, and the token that it reads."""
        if self.reads == "token" and scans.crop_size == network.size_divisor:
            raise ValueError(
                f"proxies.contrastive.reads: a crop of {scans.crop_size} leaves the encoder one token, and the task "
                "reads the second; set it to pooled"
            )
        if views < 2:
            raise ValueError("views: the contrastive task compares two views of a crop; set 2, or its weight to 0")
        if scans.scans_per_batch * scans.crops_per_scan < 2:
            raise ValueError(
                "scans.scans_per_batch: the contrastive task needs at least two crops in a batch, which has "
                "one; set at least 2, or proxies.contrastive.weight to 0"
            )
        if self.of_other_scans and scans.scans_per_batch < 2:
            raise ValueError(
                "scans.scans_per_batch: crops of one scan are no negatives of each other, and a batch holds one scan "
                "only; set at least 2, or proxies.contrastive.same_scan_negatives"
            )

    def check_data(self, scans: int) -> None:
        """A single scan has no negatives in other scans."""
        if self.of_other_scans and scans < 2:
            raise ConfigError(
                "proxies.contrastive.same_scan_negatives: the data hold one scan, whose crops are then no "
                "negatives of each other; give more scans, set it to true, or proxies.contrastive.weight to 0"
            )


@dataclass(frozen=True, kw_only=True)
class MaskedConfig(ProxyConfig):
    """Cubes of tokens are replaced by a learnt token, and their voxels predicted (SimMIM, 2111.09886)."""

    #: Weight of its loss; 0 leaves the task out.
    weight: float = 0.0
    #: Edge of a cube in voxels; a multiple of the patch.
    cube: int = 16
    #: Share of the cubes that is masked.
    share: float = 0.6
    #: What predicts the voxels. "encoder": a linear layer on the bottleneck; the encoder alone is pre-trained.
    #: "network": the decoder and an output layer of its own. Skips and image are masked too, as in SparK (2301.03580)
    #: and S3D (2410.23132), and everything but the output layer is kept.
    through: Literal["encoder", "network"] = "encoder"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_share("share", self.share)
        if self.cube < 1:
            raise ValueError(f"cube: must be positive, got {self.cube}")

    def check(self, network: NetworkConfig, scans: ScansConfig, views: int) -> None:
        """A cube is made of whole tokens, and a crop of more than one cube."""
        if any(self.cube % patch for patch in network.patch_size):
            raise ValueError(f"proxies.masked.cube: {self.cube} must be a multiple of the patch {network.patch_size}")
        if all(self.cube >= extent for extent in scans.crop_size):
            raise ValueError(
                f"proxies.masked.cube: {self.cube} leaves one cube in a crop of {scans.crop_size}; set a smaller cube"
            )


@dataclass(frozen=True, kw_only=True)
class MomentumConfig(ProxyConfig):
    """What the tasks with a second, slow encoder have in common."""

    #: Weight of its loss; 0 leaves the task out.
    weight: float = 0.0
    #: Share of the slow encoder that a step keeps, at first; it rises to 1 by a cosine until the training ends.
    momentum: float = 0.996
    #: Channels of the hidden layer of each head.
    hidden: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum: must be at least 0 and less than 1, got {self.momentum}")
        if self.hidden < 1:
            raise ValueError(f"hidden: must be positive, got {self.hidden}")


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(MomentumConfig):
    """A teacher, the average of past encoders, sees the views whole and gives the targets (2205.10342, 2111.07832)."""

    #: Number of prototypes over which teacher and student spread their scores.
    prototypes: int = 1024
    #: Length of the vectors that are compared with the prototypes.
    embedding: int = 256
    #: Divides the scores of the teacher; smaller makes its targets sharper.
    teacher_temperature: float = 0.04
    #: Divides the scores of the student.
    student_temperature: float = 0.1
    #: Share of the centre, the mean of the teacher's scores, that a step keeps.
    centre_momentum: float = 0.9
    #: Weight of the masked tokens of the bottleneck within the task.
    tokens: float = 1.0
    #: Weight of the mean over all tokens within the task; its target is that of the crop's other view, if it has two.
    pooled: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("teacher_temperature", "student_temperature"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: must be positive, got {getattr(self, name)}")
        if not 0 <= self.centre_momentum < 1:
            raise ValueError(f"centre_momentum: must be at least 0 and less than 1, got {self.centre_momentum}")
        if min(self.prototypes, self.embedding) < 2:
            raise ValueError("prototypes, embedding: at least 2 are needed")
        if min(self.tokens, self.pooled) < 0 or not self.tokens + self.pooled:
            raise ValueError("tokens, pooled: must not be negative, and one of them must be positive")


@dataclass(frozen=True, kw_only=True)
class MobyConfig(MomentumConfig):
    """Contrast with a queue of past keys of a slow encoder instead of a large batch (MoBY, 2105.04553)."""

    #: Share of the slow encoder that a step keeps, at first; it rises to 1 by a cosine until the training ends.
    momentum: float = 0.99
    #: Divides the cosines.
    temperature: float = 0.2
    #: Keys that are kept. All processes share them.
    queue: int = 4096
    #: Length of the vectors that are compared.
    embedding: int = 256
    #: Whether keys of other crops of the same scan count as negatives.
    same_scan_negatives: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature <= 0:
            raise ValueError(f"temperature: must be positive, got {self.temperature}")
        if self.queue < 1:
            raise ValueError(f"queue: must be positive, got {self.queue}")
        if self.embedding < 2:
            raise ValueError(f"embedding: at least 2 are needed, got {self.embedding}")

    def check(self, network: NetworkConfig, scans: ScansConfig, views: int) -> None:
        """It needs two views."""
        if views < 2:
            raise ValueError("views: the task moby compares two views of a crop; set 2, or its weight to 0")

    def check_data(self, scans: int) -> None:
        """A single scan has no negatives in other scans."""
        if not self.same_scan_negatives and scans < 2:
            raise ConfigError(
                "proxies.moby.same_scan_negatives: the data hold one scan, whose crops are then no negatives of each "
                "other; give more scans, set it to true, or proxies.moby.weight to 0"
            )


@dataclass(frozen=True, kw_only=True)
class ProxiesConfig:
    """The tasks and their weights; all use the same views, in one pass of the encoder."""

    inpainting: InpaintingConfig = field(default_factory=InpaintingConfig)
    rotation: RotationConfig = field(default_factory=RotationConfig)
    contrastive: ContrastiveConfig = field(default_factory=ContrastiveConfig)
    masked: MaskedConfig = field(default_factory=MaskedConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    moby: MobyConfig = field(default_factory=MobyConfig)

    def __post_init__(self) -> None:
        if not self.chosen:
            raise ValueError("proxies: all weights are 0; give at least one task a weight")
        if self.distillation.weight and not self.masked.weight:
            raise ValueError(
                "distillation.weight: the task predicts masked tokens, but nothing is masked; set "
                "proxies.masked.weight too, or this to 0"
            )

    @property
    def whole_network(self) -> bool:
        """Whether the decoder is pre-trained too."""
        return bool(self.masked.weight) and self.masked.through == "network"

    @property
    def chosen(self) -> tuple[ProxyConfig, ...]:
        """The tasks with a weight above 0."""
        return tuple(task for task in vars(self).values() if task.weight)


def _check_share(name: str, share: float) -> None:
    if not 1e-6 <= share <= 1:
        raise ValueError(f"{name}: must lie in 0..1, got {share}")
