"""The largest training that fits: crop, features, batch and checkpointing within the memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from swin_unetr.errors import ConfigError
from swin_unetr.machine import size_in_words
from swin_unetr.planning.fingerprint import ScanPrint
from swin_unetr.planning.footprint import Footprint
from swin_unetr.planning.grid import Grid, coarser_grid, faster_grid, target_grid
from swin_unetr.planning.shape import Shape, shapes
from swin_unetr.planning.target import EFFORTS, Effort, PlanTarget

#: Fewest voxels of a crop: a smaller one shows too little. A smaller scan is taken whole.
FEWEST_VOXELS = 16**3
#: Fewest features of a network.
FEWEST_FEATURES = 8
#: Share of the data set's voxels that a batch may hold (nnU-Net).
_BATCH_SHARE = 0.05


@dataclass(frozen=True)
class Setting:
    """What the memory of a training step depends on, besides the data."""

    shape: Shape
    features: int
    batch: int
    gradient_checkpointing: bool


#: Gives the footprint of a training step.
Trace = Callable[[Setting], Footprint]


@dataclass(frozen=True)
class Fitted:
    """What fits, on which grid."""

    grid: Grid
    setting: Setting
    footprint: Footprint
    #: Bytes that it takes on the machine.
    needs: int
    #: Crop that would be taken if there were memory enough.
    wanted: Shape


def fit(data: ScanPrint, machine: PlanTarget, trace: Trace) -> Fitted:
    """Choose a grid, and the largest training on it.

    Raises:
        ConfigError: not even the smallest fits; gives the least memory that is enough.
    """
    grid = target_grid(data.spacings_mm, data.shapes)
    shape = grid.shape_of(data.median_shape, data.median_spacing_mm)
    fitted = _fit_on(grid, data, machine, trace)
    smallest = min((target.volume_mm3 for target in data.targets if target.cases), default=0.0)
    coarser = coarser_grid(grid, shape, fitted.setting.shape.voxels, smallest)
    if coarser is not None:
        fitted = _fit_on(coarser, data, machine, trace)
    return _enlarge_batch(fitted, data, machine, trace)


def smaller_fit(fitted: Fitted, data: ScanPrint, machine: PlanTarget, trace: Trace, halvings: int) -> Fitted | None:
    """A training whose steps take less time: crops that show as much, on a coarser grid, by a smaller network.

    Args:
        fitted: the training for a person with time.
        data: the data set in short.
        machine: what to train on.
        trace: goes through a training step of a setting.
        halvings: how often the voxels of a crop are halved; from the second time on with three quarters of
            the features.

    Returns:
        What fits; None if a crop would show too little.
    """
    most_voxels = fitted.setting.shape.voxels >> halvings
    if most_voxels < FEWEST_VOXELS:
        return None
    smallest = min((target.volume_mm3 for target in data.targets if target.cases), default=0.0)
    effort = replace(EFFORTS[machine.device], most_voxels=most_voxels)
    if halvings >= 2:
        effort = replace(effort, features=tuple(max(FEWEST_FEATURES, of * 3 // 4) for of in effort.features))
    return _fit_on(faster_grid(fitted.grid, 2.0**halvings, smallest), data, machine, trace, effort)


def _fit_on(grid: Grid, data: ScanPrint, machine: PlanTarget, trace: Trace, effort: Effort | None = None) -> Fitted:
    effort = effort or EFFORTS[machine.device]
    shape = grid.shape_of(data.median_shape, data.median_spacing_mm)
    candidates = list(shapes(shape, grid.spacing_mm, effort.most_voxels))
    wanted = candidates[0]
    attempts = list(_attempts(effort))
    for features, batch, checkpointing, least in attempts if machine.memory > machine.base else ():
        setting = Setting(wanted, features, batch, checkpointing)
        enough = [each for each in candidates if each.voxels >= min(least, wanted.voxels)]
        found = _largest(setting, enough, machine, trace)
        if found is not None:
            return Fitted(grid, *found, wanted)
    features, batch, checkpointing, least = attempts[-1]
    enough = [each for each in candidates if each.voxels >= min(least, wanted.voxels)]
    smallest = Setting(enough[-1], features, batch, checkpointing)
    least_bytes = machine.needs(trace(smallest))
    raise ConfigError(
        f"memory: {size_in_words(machine.memory)} is too little for any training of these scans, which needs at least "
        f"{size_in_words(least_bytes * 1.01)}"
    )


def _attempts(effort: Effort) -> Iterator[tuple[int, int, bool, int]]:
    """Features, crops of a batch, checkpointing, and the voxels that a crop should have, the best first.

    Checkpointing takes a third more time, so it is used only if crops would be small without it. A small network on a
    crop that shows enough is better than a large one on a crop that does not.
    """
    first, *smaller = effort.features
    good, fair, poor = (int(share * effort.most_voxels) for share in (0.4, 0.12, 0.05))
    yield first, effort.batch, False, good
    yield first, effort.batch, True, fair
    yield first, 1, True, fair
    for features in smaller:
        yield features, effort.batch, False, fair
        yield features, effort.batch, True, poor
        yield features, 1, True, poor
    yield effort.features[-1], 1, True, FEWEST_VOXELS


def _largest(
    setting: Setting, candidates: list[Shape], machine: PlanTarget, trace: Trace
) -> tuple[Setting, Footprint, int] | None:
    """The first candidate that fits, with its footprint and what it takes.

    The memory of a step is nearly proportional to its voxels, so most candidates need not be traced.
    """
    most = math.inf
    for shape in candidates:
        if shape.voxels > most:
            continue
        tried = replace(setting, shape=shape)
        footprint = trace(tried)
        needs = machine.needs(footprint)
        if needs <= machine.memory:
            return tried, footprint, needs
        fixed = machine.needs(replace(footprint, peak=footprint.peak - footprint.activations, large=0))
        share = max(0.0, machine.memory - fixed) / max(1, needs - fixed)
        # With a margin: a smaller crop may have fewer stages, and so a smaller network.
        most = max(1.1 * share * shape.voxels, candidates[-1].voxels)
    return None


def _enlarge_batch(fitted: Fitted, data: ScanPrint, machine: PlanTarget, trace: Trace) -> Fitted:
    """Double the batch while memory is left, if the crop need not grow any more."""
    effort, setting = EFFORTS[machine.device], fitted.setting
    voxels = sum(
        math.prod(fitted.grid.shape_of(shape, spacing))
        for shape, spacing in zip(data.shapes, data.spacings_mm, strict=True)
    )
    most = min(effort.most_batch, int(_BATCH_SHARE * voxels / setting.shape.voxels))
    while setting.shape == fitted.wanted and 2 * setting.batch <= most:
        setting = replace(setting, batch=2 * setting.batch)
        footprint = trace(setting)
        needs = machine.needs(footprint)
        if needs > machine.memory:
            break
        fitted = replace(fitted, setting=setting, footprint=footprint, needs=needs)
    return fitted
