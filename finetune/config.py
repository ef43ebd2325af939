"""Configuration of a fine-tuning: what a recipe says. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from swin_unetr.config import (
    AugmentConfig,
    InferenceConfig,
    NetworkConfig,
    OptimizerConfig,
    PreprocessConfig,
    SamplingConfig,
    SpeedConfig,
    TrainerConfig,
    TransferConfig,
)
from swin_unetr.datasets.readers import Layout


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weighted sum of soft Dice and cross-entropy: softmax for exclusive classes, sigmoids for regions."""

    #: Weight of the soft Dice loss.
    dice: float = 1.0
    #: Weight of the cross-entropy; binary for regions. 0 leaves it out.
    cross_entropy: float = 1.0
    #: Whether background counts in the Dice of exclusive classes.
    include_background: bool = True
    #: Square the terms of the denominator of Dice.
    squared: bool = False
    #: Sum over the batch before dividing, rather than averaging the Dice of every crop.
    batch: bool = False
    #: Weight of each output channel of the network, background first for exclusive classes. If None, all are 1.
    #: "frequencies": by the inverse square root of each one's share of the voxels of the training scans.
    class_weights: tuple[float, ...] | Literal["frequencies"] | None = None

    def __post_init__(self) -> None:
        if min(self.dice, self.cross_entropy) < 0 or self.dice + self.cross_entropy == 0:
            raise ValueError(f"dice: weights must not be negative nor both 0, got {self.dice}, {self.cross_entropy}")
        if isinstance(self.class_weights, tuple) and (min(self.class_weights) < 0 or sum(self.class_weights) == 0):
            raise ValueError(f"class_weights: must not be negative nor all 0, got {self.class_weights}")


@dataclass(frozen=True, kw_only=True)
class UnlabelledConfig:
    """Scans without labels beside the labelled ones: a mean teacher (Tarvainen & Valpola, 1703.01780).

    The teacher is the average of the weights (`trainer.ema_decay`). It sees crops that are mirrored, turned and zoomed;
    the network in training sees the same crops with changed intensities too, and learns the teacher's probabilities.
    """

    #: Folders, files and lists of scans; labels that lie there are not read. If empty, all scans are labelled ones.
    paths: tuple[str, ...] = ()
    #: Weight of the consistency with the teacher against the loss of the labelled crops.
    weight: float = 1.0
    #: Voxels count at which the teacher is at least so sure: of its most probable class, or, for regions, whether a
    #: voxel belongs to each (FixMatch, 2001.07685). 0 counts all voxels.
    confidence: float = 0.8
    #: Share of the training in which the weight rises to its full value. 0 begins with it.
    ramp: float = 0.2
    #: Crops without labels that a step sees beside the labelled ones, each of another scan.
    batch_size: int = 1

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"weight: must not be negative, got {self.weight}")
        if not 0 <= self.confidence < 1:
            raise ValueError(f"confidence: must lie in 0..1, 1 excluded, got {self.confidence}")
        if not 0 <= self.ramp <= 1:
            raise ValueError(f"ramp: must lie in 0..1, got {self.ramp}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size: must be positive, got {self.batch_size}")


@dataclass(frozen=True, kw_only=True)
class FinetuneSpeed(SpeedConfig):
    """Ways to compute the same function, and to prepare the same crops, faster; the latter only for accelerators."""

    #: Where preprocessed scans are while an accelerator trains: "device", on it; "host", in the store or in memory.
    #: "auto" is "device" if they leave two thirds of its free memory to the training, else "host".
    scans: Literal["auto", "device", "host"] = "auto"
    #: Where crops are changed at random: "device", a whole batch there; "loader", where they are read (scans on the
    #: device are read there). With `augment.monai` it is "loader", and scans stay on the host.
    augmentation: Literal["auto", "device", "loader"] = "auto"


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Everything of a fine-tuning but the data, the fold and the folder for its results."""

    #: Shape of the network. `in_channels` and `num_classes` follow from the data's task, whatever is given here.
    network: NetworkConfig = field(default_factory=NetworkConfig)
    #: From a file to what the network sees.
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    #: Which sub-volumes a training step sees.
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    #: Random changes of the training crops.
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    #: Take the loss at the decoder's lower resolutions too, each with half the weight of the next finer one.
    deep_supervision: bool = False
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    #: How weights that `--init` has carried over are trained, as against fresh ones.
    transfer: TransferConfig = field(default_factory=TransferConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    #: Scans without labels, whose crops a step sees beside the labelled ones.
    unlabelled: UnlabelledConfig = field(default_factory=UnlabelledConfig)
    #: Ways to compute the same faster, selected automatically.
    speed: FinetuneSpeed = field(default_factory=FinetuneSpeed)
    #: Sliding window of the trained model, as it is written to its folder; validation has its own overlap.
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    #: Share of a window that overlaps its neighbour in validation.
    validation_overlap: float = 0.5
    #: Layout of the data folder; "auto" recognises it from its files.
    layout: Layout = "auto"
    #: Number of folds, if no split is given.
    num_folds: int = 5
    #: Learn from the predictions of a cross-validation which components to remove, where that helps.
    learn_postprocessing: bool = True
    #: Where preprocessed scans are kept, from which every crop is read: "auto", in the folder `store` beside the run
    #: folder, for other runs too; "memory", in memory, made again by each run; otherwise a folder.
    store: str = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.validation_overlap < 1:
            raise ValueError(f"validation_overlap: must lie in 0..1, 1 excluded, got {self.validation_overlap}")
        compiled = self.speed.fast and self.speed.compile not in (False, "auto")
        if self.deep_supervision and compiled:
            raise ValueError("speed.compile: deep supervision cannot be compiled; leave one of them out")
        if self.augment.monai:
            for name, choice in (("augmentation", self.speed.augmentation), ("scans", self.speed.scans)):
                if choice == "device":
                    raise ValueError(f"speed.{name}: transforms of augment.monai are made on the host; leave it out")
            if self.unlabelled.paths:
                raise ValueError(
                    "unlabelled.paths: teacher and student see a crop in the same place, which transforms of "
                    "augment.monai may not keep; leave one of them out"
                )
        if self.num_folds < 2:
            raise ValueError(f"num_folds: at least 2 are needed, got {self.num_folds}")
        warmup = self.optimizer.warmup_of(self.trainer.max_epochs)  # refuses one that leaves nothing
        if self.transfer.schedule == "sawtooth" and warmup + self.transfer.fresh_share >= 1:
            raise ValueError(
                f"transfer.fresh_share: {self.transfer.fresh_share:g} and a warm-up of {warmup:g} leave nothing of the "
                "training; lower one of them"
            )
        if self.network.baseline is not None and self.transfer.layer_decay != 1:
            raise ValueError(
                f"transfer.layer_decay: {self.network.architecture} has no transformer blocks; leave it out, or set "
                "network.architecture to swin_unetr"
            )
        if self.trainer.strategy == "fsdp" and compiled:  # nobody has seen it train
            raise ValueError("speed.compile: is not supported with trainer.strategy fsdp; leave one of them out")
        divisor, baseline = self.network.size_divisor, self.network.baseline
        if self.deep_supervision and baseline is not None:
            raise ValueError(
                f"deep_supervision: {self.network.architecture} is trained without; set it to false "
                "(--deep_supervision false), or network.architecture to swin_unetr"
            )
        for name, size in (
            ("sampling.crop_size", self.sampling.crop_size),
            ("inference.roi_size", self.inference.roi_size),
        ):
            if any(voxels % step for voxels, step in zip(size, divisor, strict=True)):
                raise ValueError(f"{name}: {size} must be multiples of {divisor} for this network")
            if baseline is not None:
                try:
                    baseline.check_size(size)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error
