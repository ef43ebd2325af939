"""The rules of the doctor on made facts: each just on either side of its bound."""

from __future__ import annotations

from dataclasses import replace

import pytest
from surveys import case, fit, image, label, survey_of

from swin_unetr.doctor.geometry import geometry_findings
from swin_unetr.doctor.labels import label_findings
from swin_unetr.survey.facts import Survey
from swin_unetr.tasks import Target, Task

TASK = Task(
    name="t",
    modality="CT",
    channels=("CT",),
    targets=(Target(name="liver", labels=(1,), write_as=1), Target(name="spleen", labels=(2,), write_as=2)),
)
ORGANS = {1: 1500.0, 2: 200.0}


def found(survey: Survey, tolerance_mm: float = 0.05) -> set[tuple[str | None, str]]:
    findings = [*label_findings(survey), *geometry_findings(survey, tolerance_mm)]
    return {(finding.case, finding.code) for finding in findings}


def test_sound_cases() -> None:
    assert found(survey_of(*(case(number, ORGANS, fit=fit()) for number in range(8)), task=TASK)) == set()


@pytest.mark.parametrize(("volume", "odd"), [(1500 * 9.9, False), (1500 * 10.1, True), (1500 / 10.1, True)])
@pytest.mark.parametrize("others", [3, 4, 9])
def test_a_volume_unlike_the_others(volume: float, odd: bool, others: int) -> None:
    cases = [case(number, ORGANS) for number in range(others)]
    survey = survey_of(*cases, case(99, {**ORGANS, 1: volume}), task=TASK)
    assert found(survey) == ({("case99", "label-volume")} if odd and others >= 4 else set())


def test_volumes_that_differ_everywhere_accuse_nobody() -> None:
    cases = [case(number, {1: 1.5 * 4.0**number, 2: 200}) for number in range(9)]
    assert found(survey_of(*cases, task=TASK)) == set()


@pytest.mark.parametrize(("gain", "flipped"), [(0.24, False), (0.26, True)])
@pytest.mark.parametrize("axis", range(3))
def test_a_mirrored_label(gain: float, flipped: bool, axis: int) -> None:
    mirrored = [0.0, 0.0, 0.0]
    mirrored[axis] = 1.0 + gain
    survey = survey_of(case(0, ORGANS, fit=fit(1.0, tuple(mirrored))), task=TASK)  # type: ignore[arg-type]
    assert found(survey) == ({("case0", "label-flipped")} if flipped else set())
    if flipped:
        (finding,) = label_findings(survey)
        assert ("left and right", "front and back", "top and bottom")[axis] in finding.words


@pytest.mark.parametrize(("outside", "wrong"), [(0.49, False), (0.51, True), (None, False)])
def test_a_label_in_the_air(outside: float | None, wrong: bool) -> None:
    survey = survey_of(case(0, ORGANS, fit=fit(outside_body=outside)), task=TASK)
    assert found(survey) == ({("case0", "label-outside-body")} if wrong else set())


def sided(number: int, liver_mm: float, spleen_mm: float, body_mm: float = 0.0):
    where = label(f"l{number}", ORGANS, {1: liver_mm + body_mm, 2: spleen_mm + body_mm})
    return case(number, label=where, fit=fit(body_centre_mm=(body_mm, 0.0, 0.0)))


def test_a_case_whose_organs_lie_on_the_other_side() -> None:
    """Wherever the body lies in the scanner."""
    cases = [sided(number, 60, -70, body_mm=40.0 * number) for number in range(8)]
    assert found(survey_of(*cases, sided(99, -60, 70, body_mm=-500), task=TASK)) == {("case99", "sides-swapped")}
    assert found(survey_of(*cases, sided(99, -60, -70), task=TASK)) == set()  # only one of two: an odd anatomy
    assert found(survey_of(*cases[:3], sided(99, -60, 70), task=TASK)) == set()  # too few others to tell


def test_values_that_the_task_does_not_know_and_a_class_that_nobody_has() -> None:
    survey = survey_of(case(0, {1: 5.0, 9: 1.0}), task=TASK)
    assert found(survey) == {("case0", "label-unknown"), (None, "class-absent")}
    assert found(replace(survey, task=None)) == set()


def test_an_empty_label_and_one_without_background() -> None:
    x, y, z = label("l", ORGANS).shape
    full = case(1, {1: x * y * z / 1000, 2: 0.0})
    assert found(survey_of(case(0, {}), full, case(2, ORGANS), task=TASK)) == {
        ("case0", "label-empty"),
        ("case1", "label-full"),
    }


@pytest.mark.parametrize(("spacing", "code"), [(0.051, None), (0.049, "spacing-extreme"), (20.1, "spacing-extreme")])
def test_extreme_voxel_sizes(spacing: float, code: str | None) -> None:
    odd = case(0, images=(image("a", spacing_mm=(1.0, 1.0, spacing)),))
    assert {code for _, code in found(survey_of(odd))} == ({code} if code else set())


@pytest.mark.parametrize(("moved_mm", "apart"), [(0.04, False), (0.06, True)])
def test_a_label_beside_its_image(moved_mm: float, apart: bool) -> None:
    rows = image("a").affine
    moved = ((*rows[0][:3], moved_mm), *rows[1:])
    survey = survey_of(case(0, label=label("l", ORGANS, affine=moved)), task=TASK)
    assert found(survey) == ({("case0", "geometry-differs")} if apart else set())
    assert found(survey, tolerance_mm=0.1) == set()


def test_a_slice_distance_unlike_the_others_whatever_the_order_of_the_axes() -> None:
    """A scan that stores S-I first has the same voxel size in the directions of the patient."""
    usual = {"spacing_mm": (1.0, 1.0, 5.0)}
    turned = ((0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (5.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    cases = [case(number, images=(image(f"a{number}", **usual),)) for number in range(6)]
    same = image("t", affine=turned, spacing_mm=(5.0, 1.0, 1.0), shape=(30, 40, 50))
    assert found(survey_of(*cases, case(8, images=(same,)))) == set()
    odd = image("o", spacing_mm=(1.0, 1.0, 16.0), shape=(40, 50, 9))
    assert found(survey_of(*cases, case(9, images=(odd,)))) == {("case9", "spacing-outlier")}
