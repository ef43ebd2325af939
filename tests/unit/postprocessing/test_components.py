"""Components and what taking them out does: by hand, and the table against the label maps themselves."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, generate_binary_structure, label

from swin_unetr.model_description import ComponentRule
from swin_unetr.postprocessing.components import clean, find_components
from swin_unetr.postprocessing.effect import tabulate
from swin_unetr.tasks import Task, brats, exclusive

TWO = Task(name="two", modality="CT", channels=("CT",), targets=exclusive(("a", "b")), ignore_label=9)


def rule(structure: str, **values) -> ComponentRule:
    return ComponentRule(structure=structure, **values)


def blocks() -> np.ndarray:
    """Structure a with 8, 2 and 1 voxels, the last touching the second by a corner; b with 4 voxels."""
    labels = np.zeros((12, 6, 6), np.uint8, order="F")
    labels[:2, :2, :2] = 1
    labels[6:8, 0, 0] = 1
    labels[8, 1, 1] = 1
    labels[4, 2:6, 5] = 2
    return labels


def test_corners_join_components() -> None:
    components = find_components(blocks(), (1,))
    assert components is not None
    assert sorted(components.voxels.tolist()) == [3, 8]
    assert find_components(blocks(), (7,)) is None


@pytest.mark.parametrize(
    ("values", "removed"),
    [
        ({}, 0),
        ({"largest_only": True}, 3),
        ({"min_volume_mm3": 6.0}, 0),  # three voxels of 2 mm^3 do not lie below it
        ({"min_volume_mm3": 6.1}, 3),
        ({"min_volume_mm3": 100.0}, 11),
        ({"min_volume_mm3": 100.0, "largest_only": True}, 11),
    ],
)
def test_rules_by_hand(values, removed: int) -> None:
    labels = blocks()
    assert clean(labels, [rule("a", **values)], TWO, 2.0) == {"a": removed}
    assert int((labels == 1).sum()) == 11 - removed
    assert int((labels == 2).sum()) == 4


def test_what_lies_in_a_removed_region_goes_with_it_and_the_rest_is_left_to_the_region_around() -> None:
    task = brats()
    labels = np.zeros((10, 8, 8), np.uint8)
    labels[1:7, 1:7, 1:7] = 2  # whole tumour
    labels[2:5, 2:5, 2:5] = 1  # core
    labels[3, 3, 3] = 4  # enhancing
    labels[9, 0, 0] = 4  # enhancing by itself: a whole tumour, a core and an enhancing one
    small = labels.copy()
    assert clean(small, [rule("ET", min_volume_mm3=2.0)], task, 1.0) == {"ET": 2}
    assert (small[3, 3, 3], small[9, 0, 0]) == (1, 1)
    assert ((small != labels).sum(), (small == 2).sum()) == (2, (labels == 2).sum())
    core = labels.copy()
    assert clean(core, [rule("TC", largest_only=True)], task, 1.0) == {"TC": 1}
    assert (core[3, 3, 3], core[9, 0, 0]) == (4, 2)
    whole = labels.copy()
    assert clean(whole, [rule("ET", min_volume_mm3=2.0), rule("WT", largest_only=True)], task, 1.0) == {
        "WT": 1,
        "ET": 1,
    }
    assert (whole[3, 3, 3], whole[9, 0, 0]) == (1, 0)


@pytest.mark.parametrize("task", [TWO, brats()], ids=["classes", "regions"])
@pytest.mark.parametrize("values", [{"largest_only": True}, {"min_volume_mm3": 9.0}])
def test_the_table_tells_what_the_maps_would_give(task: Task, values) -> None:
    rng = np.random.default_rng(0)
    prediction, reference = (random_labels(rng, task) for _ in range(2))
    if task.ignore_label is not None:
        reference[:5] = task.ignore_label
    for target in task.targets:
        structures = [each for each in task.targets if set(each.labels) <= set(target.labels)]
        table = tabulate(prediction, reference, task, target, 1.5)
        cleaned = prediction.copy()
        assert clean(cleaned, [rule(target.name, **values)], task, 1.5)[target.name] > 0
        counts = reference != task.ignore_label if task.ignore_label else np.ones(reference.shape, bool)
        for labels, taken in ((prediction, rule(target.name)), (cleaned, rule(target.name, **values))):
            dice = [
                dice_of(np.isin(labels, each.labels) & counts, np.isin(reference, each.labels)) for each in structures
            ]
            assert table.dice(taken) == pytest.approx(np.mean(dice))
            found = [
                bool((labels_of_component & np.isin(labels, each.labels) & counts).any())
                for each in structures
                for labels_of_component in components_of(np.isin(reference, each.labels))
            ]
            assert table.found(taken).tolist() == found
            assert len(found) > len(structures)


def test_a_rule_spares_a_reference_that_it_would_not_change() -> None:
    table = tabulate(np.zeros_like(blocks()), blocks(), TWO, TWO.targets[0], 2.0)
    assert sorted(table.lesions[0].tolist()) == [3, 8]
    assert table.spares_reference(rule("a", min_volume_mm3=6.0))
    assert not table.spares_reference(rule("a", min_volume_mm3=6.1))
    assert not table.spares_reference(rule("a", largest_only=True))
    assert table.found(rule("a")).tolist() == [False, False]
    nothing = tabulate(blocks(), np.zeros_like(blocks()), TWO, TWO.targets[0], 2.0)
    assert nothing.spares_reference(rule("a", largest_only=True))
    assert nothing.found(rule("a")).tolist() == []


def test_what_is_rightly_left_out_counts_one() -> None:
    nothing = np.zeros((4, 4, 4), np.uint8)
    invented = nothing.copy()
    invented[0, 0, 0] = 1
    table = tabulate(invented, nothing, TWO, TWO.targets[0], 1.0)
    assert (table.dice(rule("a")), table.dice(rule("a", min_volume_mm3=2.0))) == (0.0, 1.0)
    assert tabulate(nothing, nothing, TWO, TWO.targets[0], 1.0).dice(rule("a", largest_only=True)) == 1.0
    assert tabulate(nothing, invented, TWO, TWO.targets[0], 1.0).dice(rule("a")) == 0.0


def random_labels(rng: np.random.Generator, task: Task) -> np.ndarray:
    """Blobs of every structure, several of each."""
    field = gaussian_filter(rng.normal(size=(24, 20, 16)), 1.2)
    labels = np.zeros(field.shape, np.uint8)
    for step, index in enumerate(task.painting_order):
        labels[field > (0.05 + 0.08 * step)] = task.targets[index].write_as
    return labels


def components_of(mask: np.ndarray) -> list[np.ndarray]:
    numbers, count = label(mask, generate_binary_structure(3, 3))
    return [numbers == number for number in range(1, count + 1)]


def dice_of(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * int((one & other).sum()) / int(one.sum() + other.sum())
