"""Numbers of classes, errors and centres on made label maps."""

from __future__ import annotations

import numpy as np
import pytest

from swin_unetr.tasks import Target, Task, brats
from swin_unetr.viewer.overlays import CONFUSED, INVENTED, MISSED, centres_mm, error_map, number_classes
from transforms.geometry import Geometry


def maps(*values: list[int]) -> list[np.ndarray]:
    return [np.array(of, np.uint16).reshape(-1, 1, 1) for of in values]


def test_one_numbering_for_label_maps_of_two_tasks() -> None:
    """The same structure has another value in each of them."""
    one, two = (
        Task(
            name=name,
            modality="CT",
            channels=("CT",),
            targets=tuple(Target(name=of, labels=(value,), write_as=value) for of, value in named.items()),
        )
        for name, named in (("one", {"liver": 1, "spleen": 2}), ("two", {"spleen": 7, "liver": 5, "aorta": 6}))
    )
    classes, (first, second) = number_classes(maps([0, 1, 2, 9], [0, 5, 7, 7]), [one, two])
    assert [entry.name for entry in classes] == ["liver", "spleen", "label 9"]  # no aorta: it occurs in neither
    assert len({entry.colour for entry in classes}) == 3
    assert first.ravel().tolist() == [0, 1, 2, 3]
    assert second.ravel().tolist() == [0, 1, 2, 2]


def test_a_voxel_of_nested_regions_counts_for_the_innermost() -> None:
    classes, (numbered,) = number_classes(maps([0, 1, 2, 4]), [brats("brats2021")])
    assert [classes[number - 1].name for number in numbered.ravel() if number] == ["TC", "WT", "ET"]


def test_values_without_a_task_are_classes_by_their_values() -> None:
    classes, (numbered,) = number_classes(maps([10, 0, 2]), [None])
    assert [entry.name for entry in classes] == ["label 2", "label 10"]
    assert numbered.ravel().tolist() == [2, 0, 1]


@pytest.mark.parametrize("number", [1, 84, 85, 86, 300])
def test_errors_of_many_classes_do_not_overflow(number: int) -> None:
    """Three times the classes fit into the type of the map, also about 256."""
    values = list(range(number + 1))
    classes, (reference, prediction) = number_classes(maps(values, [*values[:-1], 0]), [None, None])
    errors = error_map(prediction, reference, len(classes))
    assert errors.ravel().tolist() == [0] * number + [MISSED * number + number]
    assert error_map(reference, prediction, len(classes)).ravel()[-1] == INVENTED * number + number


def test_a_confused_voxel_counts_for_the_class_of_the_reference() -> None:
    _, (reference, prediction) = number_classes(maps([1, 2], [2, 1]), [None, None])
    assert error_map(prediction, reference, 2).ravel().tolist() == [CONFUSED * 2 + 1, CONFUSED * 2 + 2]


def test_a_centre_is_a_voxel_of_its_structure() -> None:
    """The middle of a ring is not in the ring; positions are in RAS millimetres."""
    ring = np.zeros((7, 7, 3), np.uint8)
    ring[1:6, 1:6, 1] = 2
    ring[2:5, 2:5, 1] = 0
    affine = np.array([[-2.0, 0, 0, 10], [0, 0, 3, 20], [0, 4, 0, 30], [0, 0, 0, 1]])
    found = centres_mm(ring, Geometry(ring.shape, affine))
    assert list(found) == [2]
    x, y, z = np.linalg.solve(affine, [*found[2], 1])[:3].round(6)
    assert ring[int(x), int(y), int(z)] == 2
