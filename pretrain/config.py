"""Configuration of a pre-training: what a recipe says. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pretrain.health.config import HealthConfig
from pretrain.proxies.config import ProxiesConfig
from pretrain.scans.config import ScansConfig
from swin_unetr.config import NetworkConfig, OptimizerConfig, PreprocessConfig, SpeedConfig, TrainerConfig


@dataclass(frozen=True, kw_only=True)
class JitterConfig:
    """Random change of the intensities of a whole view."""

    #: Probability of each of the two changes, drawn for each view separately; 0 changes nothing.
    probability: float = 0.0
    #: Multiply by 1 + u, u uniform in plus or minus this.
    scale: float = 0.1
    #: Add u, uniform in plus or minus this.
    shift: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability: must lie in 0..1, got {self.probability}")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Everything of a pre-training but the data and the folder for its results."""

    #: Shape of the network, or of its encoder. `in_channels` is taken from the scans, and `num_classes` is not used.
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
    #: The encoder is written every `validate_every` epochs.
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    #: Speed-ups, selected automatically.
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    health: HealthConfig = field(default_factory=HealthConfig)

    def __post_init__(self) -> None:
        self.optimizer.warmup_of(self.trainer.max_epochs)  # refuses one that leaves nothing
        if self.network.baseline is not None:
            name = self.network.architecture
            raise ValueError(f"network.architecture: pre-training needs the Swin encoder, which {name} does not have")
        if self.speed.compile not in (False, "auto"):  # tokens are masked by a hook that exists for one pass
            raise ValueError("speed.compile: pre-training cannot be compiled; leave it out")
        if self.speed.memory is not None:
            raise ValueError("speed.memory: is for fine-tuning only; set speed.recompute instead")
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
        for task in self.proxies.chosen:
            task.check(self.network, self.scans, self.views)
