"""The rows of the overview, from made facts."""

from __future__ import annotations

import pytest
from surveys import case, image, intensities, survey_of

from swin_unetr.doctor.overview import channels, counted, grids, spread, structures
from swin_unetr.tasks import Target, Task, brats


def test_volumes_of_structures_over_the_cases() -> None:
    task = Task(
        name="t",
        modality="CT",
        channels=("CT",),
        targets=(Target(name="liver", labels=(1,), write_as=1), Target(name="ghost", labels=(5,), write_as=5)),
    )
    rows = structures(survey_of(case(0, {1: 1500.0}), case(1, {1: 900.0, 7: 3.0}), case(2), task=task))
    assert [(row.name, row.values) for row in rows] == [("liver", (1,)), ("ghost", (5,)), ("label 7", (7,))]
    assert rows[0].volumes_ml == {"case0": 1500.0, "case1": 900.0}
    assert rows[0].spread == (900, 1200, 1500)
    assert rows[1].spread is None  # in the task, in no case
    assert rows[2].volumes_ml == {"case1": 3.0}


def test_a_region_has_the_volume_of_all_its_values() -> None:
    rows = structures(survey_of(case(0, {1: 1.0, 2: 20.0, 4: 300.0}), task=brats("brats2021")))
    assert {row.name: row.volumes_ml["case0"] for row in rows} == {"TC": 301.0, "WT": 321.0, "ET": 300.0}


def test_channels_are_medians_between_the_extremes() -> None:
    several = [
        case(number, images=(image("a", intensities(low, high), intensities(0, 1)),))
        for number, (low, high) in enumerate([(-1000, 300), (-900, 400), (-2000, 3000)])
    ]
    task = Task(name="t", modality="MR", channels=("T1",), targets=(Target(name="liver", labels=(1,), write_as=1),))
    first, second = channels(survey_of(*several, task=task))
    assert (first.name, second.name) == ("T1", "channel 1")  # the task does not name the second
    assert (first.all.low, first.all.high) == (-2000, 3000)
    assert first.all.percentiles[0] == -1000
    assert first.all.percentiles[-1] == 400
    assert channels(survey_of()) == ()


def test_sizes_in_words() -> None:
    thick = image("b", shape=(40, 60, 20), spacing_mm=(1.0, 1.0, 5.0), orientation="LPS")
    rows = dict(grids(survey_of(case(0), case(1, images=(thick,)), case(2))))
    assert rows["shape"] == "40 × 50 (50–60) × 30 (20–30)"
    assert rows["voxel size, mm"] == "1 × 1 × 1 (1–5)"
    assert rows["orientation"] == "RAS (2), LPS (1)"
    assert rows["stored as"] == "int16"
    assert grids(survey_of()) == ()


@pytest.mark.parametrize(
    ("values", "expected"), [([], None), ([3.0], (3, 3, 3)), ([5, 1, 2, 4], (1, 3, 5)), ([2, 9, 1], (1, 2, 9))]
)
def test_smallest_median_and_largest(values: list[float], expected: tuple[float, float, float] | None) -> None:
    assert spread(values) == expected


def test_the_most_frequent_comes_first() -> None:
    assert counted(["a", "b", "b"]) == "b (2), a (1)"
    assert counted(["a", "a"]) == "a"
    assert counted([]) == ""
