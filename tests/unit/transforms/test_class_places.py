"""Each class is found without a look at the scan: all of a small one, an even sample of a large one."""

import numpy as np
import pytest

from transforms.class_places import class_places, places_at_most
from transforms.crops import ANY, class_mask


@pytest.fixture
def label() -> np.ndarray:
    label = np.random.default_rng(0).choice(4, (1, 20, 30, 40), p=[0.7, 0.2, 0.0999, 0.0001]).astype(np.uint8)
    label[:, 5] = 255
    return label


def test_small_classes_are_kept_whole_and_large_ones_bounded(label) -> None:
    kept = class_places(label, targets=4, most=500)
    masks = [class_mask(label, which) for which in (0, 1, 2, 3, 4, ANY)]
    assert [number for number, _ in kept] == [np.count_nonzero(mask) for mask in masks]
    for mask, (number, places) in zip(masks, kept, strict=True):
        assert len(places) == min(number, 500)
        assert (np.diff(places) > 0).all()
        assert mask.ravel()[places].all()
    assert np.array_equal(kept[3][1], np.flatnonzero(masks[3]))
    assert sum(len(places) for _, places in kept) <= places_at_most(4, label.size, 500)


def test_the_sample_is_even(label) -> None:
    ((_, places), *_) = class_places(label, targets=3, most=2000)
    along = np.unravel_index(places, label.shape[1:])
    for axis, length in enumerate(label.shape[1:]):
        counts = np.bincount(along[axis], minlength=length)
        there = np.arange(length) != 5 if axis == 0 else np.ones(length, bool)
        assert (counts[there] > 0.4 * 2000 / length).all()
    assert not np.array_equal(places, np.flatnonzero(class_mask(label, 0))[:: len(places)][: len(places)])
    assert np.array_equal(places, class_places(label, 3, 2000)[0][1])  # the same for the same label


def test_one_structure_needs_no_list_of_any(label) -> None:
    kept = class_places((label == 1).astype(np.uint8), targets=1)
    assert len(kept) == 2
    assert kept[ANY] is kept[1]
