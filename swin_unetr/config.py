"""Typed configuration: frozen dataclasses that know no torch.

They are read from YAML and the command line by `swin_unetr.config_io`, and written to JSON beside results.
A wrong value raises `ValueError` with one line; `swin_unetr.config_io` turns it into a `ConfigError` that
names the dotted path of the field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from swin_unetr.augment_config import AugmentConfig as AugmentConfig
from swin_unetr.baseline_config import Architecture, BaselineConfig, BaselinesConfig
from swin_unetr.preprocess_config import IntensityConfig as IntensityConfig
from swin_unetr.preprocess_config import PreprocessConfig as PreprocessConfig
from swin_unetr.trainer_config import BUDGETS as BUDGETS
from swin_unetr.trainer_config import TrainerConfig as TrainerConfig
from swin_unetr.transfer_config import TransferConfig as TransferConfig

#: Order in which patch merging concatenates the neighbours of a 2x2x2 block.
#: "legacy": MONAI up to 1.4, two neighbours twice, two never; every checkpoint published before 2025.
#: "merging": MONAI from 1.5. "mergingv2": lexicographic, the only one that is defined for other strides.
MergingForm = Literal["legacy", "merging", "mergingv2"]
Triple = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Shape of a Swin UNETR (Hatamizadeh et al., 2201.01266, section 3.1), or a baseline to compare it with.

    The defaults are the published "base" network. Spatial triples are in the order X, Y, Z of the RAS axes.
    """

    #: Channels of the input (modalities).
    in_channels: int = 1
    #: Channels of the output: classes with background (softmax) or regions (sigmoid).
    num_classes: int = 2
    #: Channels after the patch embedding; doubled by every stage.
    feature_size: int = 48
    #: Transformer blocks of each stage; two to five stages.
    depths: tuple[int, ...] = (2, 2, 2, 2)
    #: Attention heads of each stage; each must divide the channels of its stage.
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    #: Attention window in tokens.
    window_size: Triple = (7, 7, 7)
    #: Voxels of a patch (token).
    patch_size: Triple = (2, 2, 2)
    #: Strides of the patch merging after each stage; empty means (2, 2, 2) everywhere.
    merge_strides: tuple[Triple, ...] = ()
    #: Order of the neighbours in patch merging; "legacy" for weights published before 2025.
    merging: MergingForm = "mergingv2"
    #: Hidden channels of the MLP over its input channels.
    mlp_ratio: float = 4.0
    #: Whether queries, keys and values have a bias.
    qkv_bias: bool = True
    #: Dropout after embedding, projection and in the MLP.
    drop_rate: float = 0.0
    #: Dropout of attention weights.
    attn_drop_rate: float = 0.0
    #: Stochastic depth of the last block; grows linearly from 0 at the first.
    drop_path_rate: float = 0.0
    #: Layer-normalise (without parameters) what the encoder hands to the decoder.
    normalize: bool = True
    #: Layer norm after the patch embedding.
    patch_norm: bool = False
    #: Residual convolutions before each stage (SwinUNETR-V2).
    use_v2: bool = False
    #: Recompute the transformer blocks in the backward pass: less memory, about a third more time.
    gradient_checkpointing: bool = False
    #: Which network: "swin_unetr", or a baseline, a network of others to compare with. The options of a baseline are in
    #: `baselines`; of the other fields only `in_channels` and `num_classes` have an effect on it.
    architecture: Architecture = "swin_unetr"
    baselines: BaselinesConfig = field(default_factory=BaselinesConfig)

    def __post_init__(self) -> None:
        if self.architecture not in get_args(Architecture):
            raise ValueError(f"architecture: {self.architecture!r} is not one of {', '.join(get_args(Architecture))}")
        stages = len(self.depths)
        if not 2 <= stages <= 5:
            raise ValueError(f"depths: 2 to 5 stages are supported, got {stages}")
        if len(self.num_heads) != stages:
            raise ValueError(f"num_heads: {len(self.num_heads)} values for {stages} stages in depths")
        if self.merge_strides and len(self.merge_strides) != stages:
            raise ValueError(f"merge_strides: {len(self.merge_strides)} values for {stages} stages in depths")
        for name in ("in_channels", "num_classes", "feature_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be positive, got {getattr(self, name)}")
        for name, triples in (
            ("window_size", (self.window_size,)),
            ("patch_size", (self.patch_size,)),
            ("merge_strides", self.merge_strides),
        ):
            if any(value < 1 for triple in triples for value in triple):
                raise ValueError(f"{name}: values must be positive, got {getattr(self, name)}")
        for stage, heads in enumerate(self.num_heads):
            channels = self.feature_size * 2**stage
            if heads < 1 or channels % heads:
                raise ValueError(f"num_heads: {heads} heads do not divide the {channels} channels of stage {stage}")
        for name in ("drop_rate", "attn_drop_rate", "drop_path_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: must lie in 0..1, got {getattr(self, name)}")
        if self.merging != "mergingv2" and any(strides != (2, 2, 2) for strides in self.strides):
            raise ValueError(f"merging: {self.merging!r} is only defined for strides 2,2,2; use 'mergingv2'")

    @property
    def baseline(self) -> BaselineConfig | None:
        """Options of the baseline that the network is; None for a Swin UNETR."""
        if self.architecture == "swin_unetr":
            return None
        options: BaselineConfig = getattr(self.baselines, self.architecture)
        return options

    @property
    def strides(self) -> tuple[Triple, ...]:
        """Strides of the patch merging after each stage, one triple a stage."""
        return self.merge_strides or ((2, 2, 2),) * len(self.depths)

    @property
    def deepest_width(self) -> int:
        """Channels of the encoder's deepest map."""
        return self.feature_size * (1 << len(self.depths))

    @property
    def size_divisor(self) -> Triple:
        """What each spatial axis of the input must be a multiple of."""
        if self.baseline is not None:
            return self.baseline.size_divisor
        x, y, z = (self.patch_size[axis] * math.prod(s[axis] for s in self.strides) for axis in range(3))
        return x, y, z


#: Weights of a window's voxels where windows overlap.
WindowWeights = Literal["gaussian", "constant"]


@dataclass(frozen=True, kw_only=True)
class InferenceConfig:
    """Sliding window and what is averaged."""

    #: Size of a window in voxels, X, Y, Z.
    roi_size: Triple = (96, 96, 96)
    #: Share of a window that overlaps its neighbour.
    overlap: float = 0.5
    #: Windows in one pass of the network.
    batch_size: int = 1
    #: How overlapping windows are blended: their middle weighs more than their edge, or all alike.
    weights: WindowWeights = "gaussian"
    #: Average over mirror images.
    tta: bool = False
    #: Axes (0, 1, 2 for X, Y, Z) that `tta` mirrors. A fine-tuning sets those that its augmentation mirrored: the
    #: network has not seen others, and gets them wrong.
    mirror_axes: tuple[int, ...] = (0, 1, 2)
    #: Names of structures, two each, whose scores are exchanged in mirror images along X. A fine-tuning with
    #: `augment.exchange_sides` sets those that it exchanged.
    mirror_pairs: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap: must lie in 0..1, 1 excluded, got {self.overlap}")
        if min(self.roi_size) < 1:
            raise ValueError(f"roi_size: must be positive, got {self.roi_size}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size: must be positive, got {self.batch_size}")
        if self.weights not in get_args(WindowWeights):
            raise ValueError(f"weights: {self.weights!r} is not one of {', '.join(get_args(WindowWeights))}")
        if not set(self.mirror_axes) <= {0, 1, 2} or len(set(self.mirror_axes)) != len(self.mirror_axes):
            raise ValueError(f"mirror_axes: must be different ones of 0, 1, 2, got {self.mirror_axes}")
        names = [name for pair in self.mirror_pairs for name in pair]
        if len(set(names)) != len(names):
            raise ValueError(f"mirror_pairs: names must differ, got {self.mirror_pairs}")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with linear warm-up and cosine decay, both in epochs, stepped every optimiser step."""

    #: Learning rate after the warm-up; it then falls to 0 along a cosine.
    learning_rate: float = 1e-4
    #: Decoupled weight decay of AdamW.
    weight_decay: float = 1e-5
    #: Decay all parameters alike, as published. If false, norms, biases and the tables of relative positions are left
    #: out, as in most trainings of transformers.
    decay_all: bool = True
    #: Epochs in which the learning rate rises from 0; may be a fraction. A command that asks for fewer epochs than its
    #: recipe keeps the share, unless it gives this too.
    warmup_epochs: float = 50
    #: The warm-up as a share of the training, such as 0.04, instead of `warmup_epochs`. If None, a training with a
    #: budget of time or steps takes the share that `warmup_epochs` have of `trainer.max_epochs`.
    warmup_share: float | None = None
    #: Norm to which gradients are clipped. If None, they are not clipped.
    gradient_clip: float | None = None

    def __post_init__(self) -> None:
        if self.warmup_share is not None and not 0 <= self.warmup_share < 1:
            raise ValueError(f"warmup_share: must lie in 0..1, 1 excluded, got {self.warmup_share}")

    def warmup_of(self, max_epochs: int) -> float:
        """Share of the training that is its warm-up.

        Args:
            max_epochs: of a training without a budget.

        Raises:
            ValueError: the warm-up is the whole of it.
        """
        if self.warmup_share is not None:
            return self.warmup_share
        if self.warmup_epochs >= max_epochs:
            raise ValueError(
                f"optimizer.warmup_epochs: {self.warmup_epochs:g} leave nothing of the {max_epochs} epochs of "
                "trainer.max_epochs"
            )
        return self.warmup_epochs / max_epochs


#: Equal ways to compute attention: window by window in the cache (CPU), torch's fused kernels, or as it is written.
AttentionPath = Literal["auto", "blockwise", "fused", "explicit"]
#: Memory layout of the convolutional part; "unchanged" takes maps as they come.
MemoryLayout = Literal["auto", "channels_last", "contiguous", "unchanged"]


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """Ways to compute the same function faster; "auto" takes what was measured to be fastest on the device."""

    #: One switch for all of them: false computes everything as it is written.
    fast: bool = True
    #: How attention is computed: "blockwise", window by window in the cache (for CPUs); "fused", by torch's fused
    #: kernels; "explicit", as it is written. "auto" chooses by device and size.
    attention: AttentionPath = "auto"
    #: Memory layout of the convolutions; "unchanged" takes maps as they come. "auto" chooses by device and type.
    memory_layout: MemoryLayout = "auto"
    #: Compile the network by `torch.compile`: a minute or more at the start of a training. "default" is the same as
    #: true; "reduce-overhead" also captures the steps as CUDA graphs. "auto" is false: no gain where it was measured.
    compile: Literal["auto", "default", "reduce-overhead"] | bool = "auto"
    #: Update all weights in one kernel; "auto" does so if the precision needs no scaler of gradients.
    fused_optimizer: Literal["auto"] | bool = "auto"
    #: Multiply float32 with 10 bits of mantissa on GPUs that can: true everywhere, false nowhere, "convolutions" only
    #: in convolutions. "auto" is "convolutions", as in torch, if the GPU can.
    tf32: Literal["auto", "convolutions"] | bool = "auto"
    #: What to compute a second time in the backward pass rather than keep: "none", "encoder" (its transformer stages),
    #: "all", or parts by their names, such as [encoder.stages.0, decoder.3]. "auto" takes as little as `memory` makes
    #: necessary, and without `memory` what `network.gradient_checkpointing` says. Gradients are the same to the bit.
    recompute: Literal["auto", "none", "encoder", "all"] | tuple[str, ...] = "auto"
    #: Memory that a training may take, such as "8GB": of the GPU, or on a CPU by the whole process. It is for
    #: `recompute` "auto".
    memory: str | None = None

    def __post_init__(self) -> None:
        if self.memory is not None and self.recompute != "auto":
            raise ValueError(f"memory: is for recompute 'auto', not {self.recompute!r}; leave one of them out")


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Which sub-volumes of a scan a training step sees."""

    #: Size of a crop in voxels, X, Y, Z; a scan that is smaller is padded with zeros, its label with background.
    crop_size: Triple = (96, 96, 96)
    #: "random": anywhere. "positive_negative": the centre on a structure or on background, by `positive`:`negative`.
    #: "classes": the same, but with each structure of a scan equally often, however small it is.
    scheme: Literal["random", "positive_negative", "classes"] = "random"
    #: Weight of crops whose centre lies on a structure, against `negative`.
    positive: float = 1.0
    #: Weight of crops whose centre lies on background.
    negative: float = 1.0
    #: For "classes": structures that are rarer in the training scans are cropped at more often, in proportion to their
    #: share of the voxels to the power of minus this. 0: all that a scan has equally often; 1: as often as they are
    #: rare. 0.25 to 0.5 are moderate.
    rarity_power: float = 0.0
    #: Crops taken from a scan each time it is visited.
    crops_per_scan: int = 1
    #: Scans of one batch; the network sees scans times crops.
    scans_per_batch: int = 1
    #: Processes that read crops, and without an accelerator change them; 0 does it in the main process.
    num_workers: int = 0

    def __post_init__(self) -> None:
        for name in ("crops_per_scan", "scans_per_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be positive, got {getattr(self, name)}")
        if min(self.crop_size) < 1:
            raise ValueError(f"crop_size: must be positive, got {self.crop_size}")
        if min(self.positive, self.negative) < 0 or self.positive + self.negative == 0:
            raise ValueError(f"positive: shares must not be negative nor both 0: {self.positive}:{self.negative}")
        if not 0 <= self.rarity_power <= 2:
            raise ValueError(f"rarity_power: must lie in 0..2, got {self.rarity_power}")
        if self.rarity_power and self.scheme != "classes":
            raise ValueError(
                f"rarity_power: is for scheme classes, not {self.scheme}; set it to 0, or change the scheme"
            )
        if self.num_workers < 0:
            raise ValueError(f"num_workers: must not be negative, got {self.num_workers}")
