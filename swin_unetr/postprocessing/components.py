"""Removes connected components from a label map, by rules of each structure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, generate_binary_structure, label

from swin_unetr.model_description import ComponentRule
from swin_unetr.tasks import Target, Task

Labels = NDArray[np.integer[Any]]

#: Most bytes that `clean` holds for each voxel of a label map: two masks, and numbers of components.
BYTES_PER_VOXEL = 7
_NEIGHBOURS_26 = generate_binary_structure(3, 3)
#: A volume that is below a bound only by rounding counts as reaching it.
_ROUNDING = 1 + 1e-9


@dataclass(frozen=True, eq=False)
class Components:
    """The connected components of a structure."""

    #: Where they are in the label map.
    box: tuple[slice, ...]
    #: Number of the component of every voxel of the box, from 1; 0 outside.
    numbers: NDArray[np.int32]
    #: Voxels of each component, (components,).
    voxels: NDArray[np.int64]


def find_components(labels: Labels, values: Collection[int]) -> Components | None:
    """The components of `label in values`; None if there is no such voxel.

    Args:
        labels: label values, X x Y x Z.
        values: label values of the structure.
    """
    mask = mask_of(labels, values)
    # Labels of a file lie in memory with X fastest; transposed, they are read in order.
    found = find_objects(mask.T.view(np.uint8), max_label=1)[0]
    if found is None:
        return None
    box = found[::-1]
    numbers, count = label(mask[box], _NEIGHBOURS_26)
    return Components(box, numbers, np.bincount(numbers.ravel(), minlength=count + 1)[1:])


def mask_of(labels: Labels, values: Collection[int]) -> NDArray[np.bool_]:
    """Where a label map holds one of the values."""
    mask: NDArray[np.bool_] = np.isin(labels, list(values)) if len(values) > 1 else labels == next(iter(values))
    return mask


def kept(voxels: NDArray[np.int64], rule: ComponentRule, voxel_mm3: float) -> NDArray[np.bool_]:
    """Which components a rule keeps, of their sizes in voxels, (components,); of equally large ones the first."""
    stay: NDArray[np.bool_] = voxels * (voxel_mm3 * _ROUNDING) >= rule.min_volume_mm3
    if rule.largest_only and voxels.size:
        stay &= np.arange(voxels.size) == voxels.argmax()
    return stay


def clean(labels: Labels, rules: Sequence[ComponentRule], task: Task, voxel_mm3: float) -> dict[str, int]:
    """Remove components from a label map, in place.

    What is removed becomes background. Of nested regions the outer ones come first, and what lies within a removed
    component goes with it. A removed component inside another region gets the value of that region: enhancing tumour
    that is removed becomes tumour core.

    Args:
        labels: label values as predicted, X x Y x Z.
        rules: of some of the task's structures.
        task: what the values mean.
        voxel_mm3: volume of a voxel.

    Returns:
        Voxels that were removed, by structure; for those with a rule.
    """
    by_name = {rule.structure: rule for rule in rules}
    removed = {}
    for index in task.painting_order:
        target = task.targets[index]
        if (rule := by_name.get(target.name)) is None:
            continue
        removed[target.name] = 0
        components = find_components(labels, target.labels)
        if components is None:
            continue
        stay = kept(components.voxels, rule, voxel_mm3)
        removed[target.name] = int(components.voxels[~stay].sum())
        if removed[target.name]:
            gone = np.append(False, ~stay)[components.numbers]
            inside = labels[components.box]
            inside[gone] = _left_over(inside[gone], target, task)
    return removed


def within(task: Task, outer: Target) -> tuple[Target, ...]:
    """The target itself and, of nested regions, those that lie in it."""
    return tuple(target for target in task.targets if set(target.labels) <= set(outer.labels))


def _left_over(values: Labels, gone: Target, task: Task) -> Labels:
    """What voxels of a removed region become: the value of the innermost other region that holds them."""
    inside = within(task, gone)
    left = np.zeros_like(values)
    for index in task.painting_order:
        target = task.targets[index]
        if target not in inside:
            left[mask_of(values, target.labels)] = target.write_as
    return left
