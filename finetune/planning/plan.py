"""A plan: choices that together are a recipe, and the text that a person reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from finetune.planning.rules import rules
from swin_unetr.machine import size_in_words
from swin_unetr.planning.choices import Choice, recipe_text
from swin_unetr.planning.fingerprint import Fingerprint
from swin_unetr.planning.fit import Fitted, Trace, fit, smaller_fit
from swin_unetr.planning.length import Asked, Length
from swin_unetr.planning.network_choices import grid_choices, network_choices
from swin_unetr.planning.target import EFFORTS, PlanTarget
from swin_unetr.words import by, count


@dataclass(frozen=True)
class Plan:
    """What was chosen for a data set on a machine."""

    data: Fingerprint
    machine: PlanTarget
    fitted: Fitted
    choices: tuple[Choice, ...]
    #: How long it trains, if a person has said it.
    length: Length | None = None

    def text(self) -> str:
        """The recipe as YAML, with the reason of every choice beside it."""
        return recipe_text(self.headline(), self.choices)

    def headline(self) -> Iterator[str]:
        """What was planned for, and what the training takes."""
        data, setting = self.data, self.fitted.setting
        yield f"Plan for {data.root.name}: {count(data.cases, 'case')}, channels {', '.join(data.task.channels)}"
        where = "process" if self.machine.device == "cpu" else "GPU (modelled, not measured)"
        yield (
            f"A training step takes {size_in_words(self.fitted.needs)} of the {where}; "
            f"{size_in_words(self.machine.memory)} may be taken"
        )
        if setting.shape != self.fitted.wanted:
            wanted = " x ".join(map(str, self.fitted.wanted.crop))
            yield f"With more memory the crop would be {wanted}"
        if (validation := self.validation_bytes()) > self.machine.memory:
            yield (
                f"Validating the largest scan takes {size_in_words(validation)}, which is more: make "
                "preprocess.spacing_mm coarser, or train on a machine with more memory"
            )
        if self.data.left_out:
            yield (
                "Left out of the plan, since they cannot be read; mend or remove them before training: "
                f"{', '.join(self.data.left_out)}"
            )

    def validation_bytes(self) -> int:
        """Bytes that validating the largest scan takes: its voxels, their scores, and both label maps by structure."""
        grid, classes = self.fitted.grid, self.data.task.num_classes
        voxels = max(
            math.prod(grid.shape_of(shape, spacing))
            for shape, spacing in zip(self.data.shapes, self.data.spacings_mm, strict=True)
        )
        each = 4 * len(self.data.channels) + 4 * classes + 2 * len(self.data.targets) + 8
        state = self.fitted.footprint.weights + self.fitted.footprint.training_state
        return self.machine.needs(replace(self.fitted.footprint, peak=state, large=0)) + int(each * voxels)

    def table(self) -> str:
        """The main choices, a line each."""
        values = {choice.path: choice.value for choice in self.choices}
        modelled = "" if self.machine.device == "cpu" else " (modelled, not measured)"
        rows = [
            ("voxels", f"{by(values['preprocess.spacing_mm'])} mm"),
            ("intensities", _intensities(values)),
            ("crop", f"{by(values['sampling.crop_size'])}, {self.fitted.setting.batch} of them a batch"),
            ("network", self._network()),
            ("training", f"{self._length(values)}, {self._folds(values['num_folds'])}"),
            ("memory", f"{size_in_words(self.fitted.needs)} of {size_in_words(self.machine.memory)}{modelled}"),
        ]
        return "\n".join(f"  {name:12} {value}" for name, value in rows)

    def _length(self, values: Mapping[str, Any]) -> str:
        if self.length is None:
            return f"{values['trainer.max_epochs']} epochs"
        steps = f"{self.length.steps:,} steps"
        return steps if self.length.field == "max_steps" else f"{self.length.value}, about {steps}"

    def _folds(self, number: int) -> str:
        return f"{number} folds" if self.data.patients > 1 else "on all cases: a single patient has no folds"

    def _network(self) -> str:
        setting = self.fitted.setting
        checkpointing = ", checkpointing" if setting.gradient_checkpointing else ""
        return (
            f"{setting.features} features, {len(setting.shape.strides)} stages, patch {by(setting.shape.patch)}, "
            f"window {by(setting.shape.window)}{checkpointing}"
        )


def make_plan(data: Fingerprint, machine: PlanTarget, trace: Trace, asked: Asked | None = None) -> Plan:
    """Choose everything.

    Args:
        data: the data set in short.
        machine: what to train on.
        trace: goes through a training step of a setting.
        asked: how long a person wants to train. If None, the machine decides.

    Raises:
        ConfigError: the memory is too little for anything.
    """
    fitted, length = fit(data, machine, trace), None
    if asked is not None:
        fitted, length = asked.choose(
            fitted, lambda halvings: smaller_fit(fitted, data, machine, trace, halvings), EFFORTS[machine.device]
        )
    first, *others = rules(data, fitted, machine, length)
    network = [*network_choices(fitted), *grid_choices(data, fitted, "sampling.crop_size")]
    return Plan(data, machine, fitted, (first, *network, *others), length)


def _intensities(values: Mapping[str, Any]) -> str:
    """The scheme; if there are several, each with its channel's name."""
    named = values.get("preprocess.intensity_of") or {"": values["preprocess.intensity"]}
    return "; ".join(f"{name} {', '.join(map(str, of.values()))}".strip() for name, of in named.items())
