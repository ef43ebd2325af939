"""A plan for pre-training: which recipe suits some scans and a machine, and why.

Grid, crop and network are chosen as for fine-tuning on the same scans (`swin_unetr.planning`); the task is masked
modelling alone, as in the recipe `ct`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch

from pretrain.config import PretrainConfig
from pretrain.planning import PLAN
from pretrain.planning.step import pretraining_footprint, seconds_of_step
from swin_unetr.config_io import from_dict
from swin_unetr.machine import size_in_words
from swin_unetr.planning.choices import Choice, as_recipe, recipe_text
from swin_unetr.planning.fingerprint import BACKGROUND_OF_ZEROS, ChannelPrint, ScanPrint
from swin_unetr.planning.fit import Fitted, Setting, fit, smaller_fit
from swin_unetr.planning.footprint import Footprint
from swin_unetr.planning.length import Asked, Length
from swin_unetr.planning.network_choices import grid_choices, network_choices
from swin_unetr.planning.shape import Shape
from swin_unetr.planning.target import EFFORTS, PlanTarget
from swin_unetr.words import by, count

#: Cubes that a crop should have at least, so that what is left says something about what is masked.
_FEWEST_CUBES = 27
#: Batches that an epoch should have.
_FEWEST_BATCHES = 10
#: Rate for 16 features (our hippocampus recipe); it falls with the width (2203.03466).
_RATE, _RATE_FEATURES = 1e-3, 16
#: Hounsfield units of the published pre-training on CT (2111.14791) and of our recipe for it.
_CT_WINDOW = [-1000, 1000]


@dataclass(frozen=True)
class PretrainPlan:
    """What was chosen for some scans on a machine."""

    data: ScanPrint
    machine: PlanTarget
    fitted: Fitted
    choices: tuple[Choice, ...]
    length: Length

    def recipe(self) -> PretrainConfig:
        """The plan as a configuration."""
        return from_dict(PretrainConfig, as_recipe(self.choices), source=PLAN)

    def text(self) -> str:
        """The recipe as YAML, with the reason of every choice beside it."""
        return recipe_text(self.headline(), self.choices)

    def headline(self) -> Iterator[str]:
        """What was planned for, and what the training takes."""
        yield f"Plan to pre-train on {self.data.root.name}: {count(self.data.cases, 'scan')}"
        where = "process" if self.machine.device == "cpu" else "GPU (modelled, not measured)"
        yield (
            f"A training step takes {size_in_words(self.fitted.needs)} of the {where}; "
            f"{size_in_words(self.machine.memory)} may be taken"
        )
        if self.data.left_out:
            yield f"Left out, since they cannot be read: {', '.join(self.data.left_out)}"

    def table(self) -> str:
        """The main choices, a line each."""
        values = {choice.path: choice.value for choice in self.choices}
        setting = self.fitted.setting
        length = f"{self.length.steps:,} steps"
        rows = [
            ("voxels", f"{by(values['preprocess.spacing_mm'])} mm"),
            ("intensities", ", ".join(map(str, values["preprocess.intensity"].values()))),
            ("crop", f"{by(setting.shape.crop)}, {setting.batch} of them a batch"),
            (
                "network",
                f"{setting.features} features, {len(setting.shape.strides)} stages, patch {by(setting.shape.patch)}, "
                f"window {by(setting.shape.window)}",
            ),
            ("task", f"cubes of {values['proxies.masked']['cube']} voxels are masked"),
            ("training", length if self.length.field == "max_steps" else f"{self.length.value}, about {length}"),
        ]
        return "\n".join(f"  {name:12} {value}" for name, value in rows)


def make_plan(
    data: ScanPrint,
    machine: PlanTarget,
    *,
    max_time: str | None = None,
    max_steps: int | None = None,
) -> PretrainPlan:
    """Choose everything.

    Args:
        data: the scans in short.
        machine: this machine.
        max_time: time that the training may take; steps are timed here for it. If this and `max_steps` are None, the
            plan says how many steps it makes.
        max_steps: steps that it makes.

    Raises:
        ConfigError: the memory is too little for anything.
    """

    @lru_cache
    def trace(setting: Setting) -> Footprint:
        return pretraining_footprint(_step_of(setting, data, machine))

    def seconds(fitted: Fitted) -> float:
        return seconds_of_step(_step_of(fitted.setting, data, machine), torch.device(machine.device))

    effort, fitted = EFFORTS[machine.device], fit(data, machine, trace)
    if max_time is None and max_steps is None:
        length = Length(effort.steps, "max_steps", effort.steps, effort.words)
    else:
        asked = Asked(max_time, max_steps, seconds)
        fitted, length = asked.choose(fitted, lambda times: smaller_fit(fitted, data, machine, trace, times), effort)
    choices = (
        *network_choices(fitted),
        *grid_choices(data, fitted, "scans.crop_size"),
        *_intensity(data),
        *_others(data, fitted, machine, length),
    )
    return PretrainPlan(data, machine, fitted, choices, length)


def _step_of(setting: Setting, data: ScanPrint, machine: PlanTarget) -> PretrainConfig:
    """A configuration whose training step takes what the plan's will take."""
    shape = setting.shape
    network = shape.network(setting.features, gradient_checkpointing=setting.gradient_checkpointing)
    values = {
        "network": {
            "in_channels": len(data.channels),
            "feature_size": network.feature_size,
            "depths": list(network.depths),
            "num_heads": list(network.num_heads),
            "patch_size": list(network.patch_size),
            "merge_strides": [list(stride) for stride in network.merge_strides],
            "window_size": list(network.window_size),
            "gradient_checkpointing": network.gradient_checkpointing,
        },
        "scans": {"crop_size": list(shape.crop), "scans_per_batch": setting.batch, "crops_per_scan": 1},
        "views": 1,
        "proxies": _tasks(shape),
        "optimizer": {"warmup_share": 0.04},
        "trainer": {"precision": _precision(machine)},
    }
    return from_dict(PretrainConfig, values, source=PLAN)


def _tasks(shape: Shape) -> dict[str, dict[str, float]]:
    off = {"weight": 0.0}
    masked = {"weight": 1.0, "cube": cube_of(shape), "share": 0.6}
    return {"inpainting": off, "rotation": off, "contrastive": off, "masked": masked}


def cube_of(shape: Shape) -> int:
    """Edge of the cubes that are masked: the largest of which a crop has enough."""
    for cube in (16, 8, 4, 2):
        if math.prod(math.ceil(size / cube) for size in shape.crop) >= _FEWEST_CUBES:
            return cube
    return max(shape.patch)


def _precision(machine: PlanTarget) -> str:
    return "bf16-mixed" if machine.bfloat16 else "32-true"


def _intensity(data: ScanPrint) -> Iterator[Choice]:
    each = {of.name: _scheme(of) for of in data.channels}
    schemes = [of["scheme"] for of in each.values()]
    if len(set(map(str, each.values()))) == 1:
        ct = schemes[0] == "hu_window"
        share = min(of.zero_share for of in data.channels)
        words = "CT: as in the published pre-training" if ct else "no air of a CT: z-scores of each scan"
        yield Choice("preprocess.intensity", each[data.channels[0].name], words)
        crop = ct or share >= BACKGROUND_OF_ZEROS
        why = "the air around the patient is left out" if ct else f"{share:.0%} of a scan's voxels are 0"
        yield Choice("preprocess.crop_foreground", crop, why)
        return
    yield Choice("preprocess.intensity", {"scheme": "zscore"}, "for channels that are not numbered below; here all are")
    yield Choice("preprocess.intensity_of", each, "channels with the air of a CT in Hounsfield units, others z-scored")
    yield Choice("preprocess.crop_foreground", True, "what is empty in all channels is left out")


def _scheme(channel: ChannelPrint) -> dict[str, object]:
    if channel.like_ct:
        return {"scheme": "hu_window", "window": _CT_WINDOW}
    return {"scheme": "zscore_nonzero" if channel.zero_share >= BACKGROUND_OF_ZEROS else "zscore"}


def _others(data: ScanPrint, fitted: Fitted, machine: PlanTarget, length: Length) -> Iterator[Choice]:
    setting = fitted.setting
    visits = max(1, math.ceil(_FEWEST_BATCHES * setting.batch / data.cases))
    yield Choice("scans.scans_per_batch", setting.batch, "crops of a batch, each of another scan if there are enough")
    yield Choice("scans.crops_per_scan", 1, "unlike crops in a batch")
    yield Choice("scans.visits_per_epoch", visits, f"an epoch has at least {_FEWEST_BATCHES} batches")
    yield Choice("views", 1, "masked modelling needs one view")
    for name, values in _tasks(setting.shape).items():
        why = f"the largest cube of which a crop has {_FEWEST_CUBES}" if values["weight"] else "as in recipe ct"
        yield Choice(f"proxies.{name}", values, why)
    rate = float(f"{_RATE * _RATE_FEATURES / setting.features:.2g}")
    yield Choice("optimizer.learning_rate", rate, f"{_RATE:g} at {_RATE_FEATURES} features, less for wider networks")
    yield Choice("optimizer.warmup_share", 0.04, "of the training")
    yield Choice("optimizer.gradient_clip", 1.0, "as in our recipes")
    yield length.choice()
    yield Choice("trainer.precision", _precision(machine), "what this machine multiplies natively")
