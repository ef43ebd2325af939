"""Configuration of a pre-training: what a recipe says. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pretrain.health.config import HealthConfig
from pretrain.scans.config import ScansConfig
from swin_unetr.config import NetworkConfig, OptimizerConfig, PreprocessConfig, SpeedConfig, TrainerConfig

#: What a head reads of the deepest map: its mean over all places, or a single token as in the published code.
Reading = Literal["pooled", "token"]
Plane = Literal["XY", "XZ", "YZ"]


@dataclass(frozen=True, kw_only=True)
class JitterConfig:
    """Random change of the intensities of a whole view."""

    #: Probability of each of the two changes, drawn for each view apart; 0 changes nothing.
    probability: float = 0.0
    #: Multiply by 1 + u, u uniform in plus or minus this.
    scale: float = 0.1
    #: Add u, uniform in plus or minus this.
    shift: float = 0.1

    def __post_init__(self) -> None:
        _check_share("probability", self.probability, least=0.0)


@dataclass(frozen=True, kw_only=True)
class InpaintingConfig:
    """Cuboids are cut out of a view and rebuilt (2111.14791, section 3.2)."""

    #: Weight of its loss; 0 leaves the task out.
    weight: float = 1.0
    #: Largest share of the voxels that is cut out; each view draws its own between 0 and this.
    share: float = 0.3
    #: Shortest and longest edge of a cuboid, as shares of the view's.
    edges: tuple[float, float] = (0.05, 0.25)
    #: What fills them: "matched" is normal noise with the mean and deviation of the view, "unit" lies in 0..1.
    noise: Literal["matched", "unit"] = "matched"
    #: Cut out as much again and fill it with another view of the batch, as the published code does.
    paste: bool = False
    #: Compare the voxels that were cut out alone; else the whole view, as published.
    masked_only: bool = False

    def __post_init__(self) -> None:
        _check_weight(self.weight)
        _check_share("share", self.share)
        if not 0 < self.edges[0] <= self.edges[1] <= 1:
            raise ValueError(f"edges: need 0 < shortest <= longest <= 1, got {self.edges}")


@dataclass(frozen=True, kw_only=True)
class RotationConfig:
    """Views are turned by quarters and the turn is told (2111.14791, section 3.2)."""

    #: Weight of its loss; 0 leaves the task out.
    weight: float = 1.0
    #: Plane that is turned; X-Y is about the body's axis. Where a crop is no square in it, by 0 and 180 degrees alone.
    plane: Plane = "XY"
    #: "pooled": the head reads the mean of the deepest map. "token": its first token, as in the published code.
    reads: Reading = "pooled"

    def __post_init__(self) -> None:
        _check_weight(self.weight)


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig:
    """The two views of a crop are alike, those of others are not (2111.14791, section 3.2)."""

    #: Weight of its loss; 0 leaves the task out.
    weight: float = 1.0
    #: NT-Xent (2002.05709) or Barlow Twins (2103.03230), which knows no negatives.
    loss: Literal["nt_xent", "barlow_twins"] = "nt_xent"
    #: Of NT-Xent.
    temperature: float = 0.5
    #: Weight of the correlations between different features, of Barlow Twins.
    redundancy: float = 0.005
    #: Whether other crops of the same scan count as negatives, as in the published code.
    same_scan_negatives: bool = False
    #: Compare with the views of all processes that train together.
    gather: bool = True
    #: Length of the vectors that are compared.
    embedding: int = 512
    #: What leads to them: one linear layer as published, or two with a ReLU between (2002.05709).
    head: Literal["linear", "mlp"] = "linear"
    #: "pooled": the head reads the mean of the deepest map. "token": its second token, as in the published code.
    reads: Reading = "pooled"

    def __post_init__(self) -> None:
        _check_weight(self.weight)
        if self.temperature <= 0:
            raise ValueError(f"temperature: must be positive, got {self.temperature}")
        if self.embedding < 2:
            raise ValueError(f"embedding: at least 2 are needed, got {self.embedding}")
        if self.redundancy < 0:
            raise ValueError(f"redundancy: must not be negative, got {self.redundancy}")


@dataclass(frozen=True, kw_only=True)
class MaskedConfig:
    """Cubes of tokens are replaced by a learnt one, and their voxels told (SimMIM, 2111.09886)."""

    #: Weight of its loss; 0 leaves the task out.
    weight: float = 0.0
    #: Edge of a cube in voxels; a multiple of the patch.
    cube: int = 16
    #: Share of the cubes that is masked.
    share: float = 0.6

    def __post_init__(self) -> None:
        _check_weight(self.weight)
        _check_share("share", self.share)
        if self.cube < 1:
            raise ValueError(f"cube: must be positive, got {self.cube}")


@dataclass(frozen=True, kw_only=True)
class ProxiesConfig:
    """The tasks and their weights; all on the same views, in one pass of the encoder."""

    inpainting: InpaintingConfig = field(default_factory=InpaintingConfig)
    rotation: RotationConfig = field(default_factory=RotationConfig)
    contrastive: ContrastiveConfig = field(default_factory=ContrastiveConfig)
    masked: MaskedConfig = field(default_factory=MaskedConfig)

    def __post_init__(self) -> None:
        if not any(task.weight for task in (self.inpainting, self.rotation, self.contrastive, self.masked)):
            raise ValueError("proxies: all weights are 0; give at least one task a weight")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Everything of a pre-training but the data and the folder for its results."""

    #: Shape of the encoder. `in_channels` follows from the scans, and `num_classes` is of no use, whatever stands here.
    network: NetworkConfig = field(default_factory=NetworkConfig)
    #: From a file to what the network sees.
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    #: Which sub-volumes a training step sees.
    scans: ScansConfig = field(default_factory=ScansConfig)
    #: Views of each crop in a step; the contrastive task needs two.
    views: Literal[1, 2] = 2
    jitter: JitterConfig = field(default_factory=JitterConfig)
    proxies: ProxiesConfig = field(default_factory=ProxiesConfig)
    #: Warm-up is in epochs here too.
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    #: `validate_every` is how often the encoder is written, in epochs.
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    #: Ways to compute the same faster, chosen by themselves.
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    health: HealthConfig = field(default_factory=HealthConfig)

    def __post_init__(self) -> None:
        if self.optimizer.warmup_epochs >= self.trainer.max_epochs:
            raise ValueError(
                f"optimizer.warmup_epochs: {self.optimizer.warmup_epochs:g} leave nothing of the "
                f"{self.trainer.max_epochs} epochs of trainer.max_epochs"
            )
        if self.speed.compile not in (False, "auto"):  # tokens are masked by a hook that is there for one pass
            raise ValueError("speed.compile: pre-training cannot be compiled; leave it out")
        if self.speed.memory is not None:
            raise ValueError("speed.memory: is for fine-tuning; choose speed.recompute yourself")
        if self.trainer.early_stop_patience is not None:
            raise ValueError("trainer.early_stop_patience: pre-training has no validation to stop by; leave it out")
        size, divisor = self.scans.crop_size, self.network.size_divisor
        if any(voxels % step for voxels, step in zip(size, divisor, strict=True)):
            raise ValueError(f"scans.crop_size: {size} must be multiples of {divisor} for this network")
        if strange := [name for name in self.preprocess.intensity_of if not name.isdecimal()]:
            raise ValueError(
                f"preprocess.intensity_of: channels of scans without a task have no names; call {strange[0]!r} by its "
                "number, from 0"
            )
        self._check_reading()
        if self.proxies.contrastive.weight:
            self._check_contrastive()
        if self.proxies.masked.weight:
            self._check_cubes()

    def _check_reading(self) -> None:
        rotation, contrastive = self.proxies.rotation, self.proxies.contrastive
        single = self.scans.crop_size == self.network.size_divisor
        if single and contrastive.weight and contrastive.reads == "token":
            raise ValueError(
                f"proxies.contrastive.reads: a crop of {self.scans.crop_size} leaves the encoder one token, and there "
                "is no second to read; set it to pooled"
            )
        if rotation.weight and self.turned_extents[0] != self.turned_extents[1] and rotation.reads == "token":
            raise ValueError("proxies.rotation.reads: token needs crops that are square in the plane of the turns")

    @property
    def turned_extents(self) -> tuple[int, int]:
        """Voxels of a crop along the two axes of the plane that is turned."""
        first, second = ("XYZ".index(axis) for axis in self.proxies.rotation.plane)
        return self.scans.crop_size[first], self.scans.crop_size[second]

    def _check_contrastive(self) -> None:
        scans, crops = self.scans.scans_per_batch, self.scans.crops_per_scan
        if self.views < 2:
            raise ValueError("views: the contrastive task compares two views of a crop; set 2, or its weight to 0")
        if scans * crops < 2:
            raise ValueError(
                "scans.scans_per_batch: the contrastive task needs another crop to tell apart, and a batch of one has "
                "none; set at least 2, or proxies.contrastive.weight to 0"
            )
        contrastive = self.proxies.contrastive
        if contrastive.loss == "nt_xent" and scans < 2 and not contrastive.same_scan_negatives:
            raise ValueError(
                "scans.scans_per_batch: crops of one scan are no negatives of each other, and a batch of one scan has "
                "no others; set at least 2, or proxies.contrastive.same_scan_negatives"
            )

    def _check_cubes(self) -> None:
        cube, size = self.proxies.masked.cube, self.scans.crop_size
        if any(cube % patch for patch in self.network.patch_size):
            raise ValueError(f"proxies.masked.cube: {cube} must be a multiple of the patch {self.network.patch_size}")
        if all(cube >= extent for extent in size):
            raise ValueError(f"proxies.masked.cube: {cube} leaves one cube in a crop of {size}; take a smaller one")


def _check_weight(weight: float) -> None:
    if weight < 0:
        raise ValueError(f"weight: must not be negative, got {weight}")


def _check_share(name: str, share: float, least: float = 1e-6) -> None:
    if not least <= share <= 1:
        raise ValueError(f"{name}: must lie in 0..1, got {share}")
