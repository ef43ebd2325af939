"""Which rules about components are learnt: where they help for sure, and not from noise."""

from pathlib import Path

import numpy as np
import pytest

from finetune.component_rules import LEAST_BETTER, choose_rule, learn_rules
from swin_unetr.evaluation.inputs.cases import Pair
from swin_unetr.model_description import ComponentRule
from swin_unetr.postprocessing.effect import ComponentTable
from swin_unetr.tasks import Task, exclusive
from transforms.geometry import Geometry
from transforms.io import write_labels

ONE = Task(name="one", modality="CT", channels=("CT",), targets=exclusive(("organ",)))


def table(*components: tuple[int, int], missed: int = 0) -> ComponentTable:
    """Components as (voxels, voxels of them that are right) of one organ that hangs together; voxels of 1 mm^3."""
    voxels, right = (np.array([component[side] for component in components], np.int64) for side in (0, 1))
    size = np.array([right.sum() + missed])
    organ = size[size > 0]
    touched = right[None] > 0 if len(organ) else np.zeros((0, len(voxels)), bool)
    return ComponentTable(1.0, voxels, voxels[None], right[None], size, (organ,), (touched,))


def metastases(found: list[int], missed: list[int] = [], invented: list[int] = []) -> ComponentTable:  # noqa: B006
    """Lesions that are found to the voxel, others that are missed, and components where nothing is; sizes in voxels."""
    voxels = np.array([*found, *invented], np.int64)
    right = np.array([*found, *[0] * len(invented)], np.int64)
    lesions = np.array([*found, *missed], np.int64)
    touched = np.zeros((len(lesions), len(voxels)), bool)
    touched[np.arange(len(found)), np.arange(len(found))] = True
    return ComponentTable(1.0, voxels, voxels[None], right[None], lesions.sum()[None], (lesions,), (touched,))


def test_what_helps_in_every_case_is_learnt_and_no_more_than_that() -> None:
    # The organ, 1000 voxels, and an invented part of 20: Dice 2000/2020, and 1 without it. 30 mm^3 is the least bound
    # that removes it; keeping the largest component alone would do the same, and then has nothing left to gain.
    rule, tried = choose_rule("organ", [table((1000, 1000), (20, 0))] * 5)
    assert rule is not None
    assert (rule.min_volume_mm3, rule.largest_only) == (30.0, False)
    assert rule.reason.startswith("mean Dice 0.9901 -> 1.0000 (+0.0099, 95 % interval +0.0099 to +0.0099) over 5")
    assert [trial.rule.largest_only for trial in tried] == [False] * 5 + [True, True]
    assert tried[0].gain == pytest.approx(0.0)  # 10 mm^3 removes nothing
    assert tried[5].gain == pytest.approx(1 - 2000 / 2020)


def test_both_kinds_where_each_helps() -> None:
    # An invented part as large as organs are elsewhere, which no bound tells from them; and small scans of nothing.
    cases = [table((2000, 2000), (1500, 0))] * 8 + [table((15, 0))] * 8 + [table((1400, 1400))] * 4
    rule, _ = choose_rule("organ", cases)
    assert rule is not None
    assert (rule.min_volume_mm3, rule.largest_only) == (30.0, True)
    assert rule.reason.count("mean Dice") == 2


def test_too_few_cases_too_little_gain_and_too_many_worse_are_no_reason() -> None:
    helped = table((1000, 1000), (20, 0))
    assert choose_rule("organ", [helped] * (LEAST_BETTER - 1))[0] is None
    assert choose_rule("organ", [table((1000, 1000), (1, 0))] * 50)[0] is None  # 0.0005
    hurt = table((1000, 1000), (20, 20))
    assert choose_rule("organ", [helped] * 9 + [hurt] * 4)[0] is None
    worse = table((1000, 1000), (28, 28))
    assert choose_rule("organ", [helped] * 12 + [worse] * 4)[0] is None  # three times as many, but the mean is unsure
    assert choose_rule("organ", [helped] * 24 + [hurt])[0] is not None
    assert choose_rule("organ", [table((1000, 1000))] * 30)[0] is None


def test_no_bound_is_above_what_organs_measure() -> None:
    # The predictions are shreds, of which removing the smaller ones helps; the organ has 200 mm^3.
    rule, tried = choose_rule("organ", [table((290, 20), (250, 0), missed=180)] * 10)
    assert max(trial.rule.min_volume_mm3 for trial in tried) == 100
    assert rule is not None
    assert (rule.min_volume_mm3, rule.largest_only) == (0, True)


def test_noise_is_not_learnt() -> None:
    learnt = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        cases = [
            table((1000, 1000), *((int(size), int(size * rng.integers(2))) for size in rng.integers(5, 400, 3)))
            for _ in range(30)
        ]
        # The organ is half of what a part adds or takes: removing it is as often right as wrong.
        learnt += choose_rule("organ", cases)[0] is not None
    assert learnt == 0


def test_reads_the_files_of_the_cases(tmp_path: Path) -> None:
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    pairs = []
    for case in range(LEAST_BETTER):
        reference = np.zeros((12, 10, 8), np.uint8)
        reference[1:7, 1:7, 1:6] = 1
        prediction = reference.copy()
        prediction[10:, 8:, 7] = 1  # 4 voxels of 2 mm^3
        paths = [tmp_path / f"{name}{case}.nii.gz" for name in ("prediction", "reference")]
        for path, labels in zip(paths, (prediction, reference), strict=True):
            write_labels(path, labels, Geometry(shape=reference.shape, affine=affine), {1: "organ"})
        pairs.append(Pair(str(case), *paths))
    rules, tried = learn_rules(pairs, ONE)
    assert [(rule.structure, rule.min_volume_mm3, rule.largest_only) for rule in rules] == [("organ", 10.0, False)]
    assert [trial.rule.min_volume_mm3 for trial in tried] == [10, 30, 100, 300, 0, 10]
    assert str(rules[0]) == "organ: components below 10 mm^3 are removed"
    assert str(ComponentRule(structure="a", largest_only=True, min_volume_mm3=5)) == (
        "a: the largest component alone is kept, and components below 5 mm^3 are removed"
    )


def test_metastases_are_not_taken_out_for_a_better_dice() -> None:
    # Six lesions, five of which are small, and small inventions that cost more Dice than the small lesions have.
    patient = metastases([2000, 25, 20, 15, 12, 11], invented=[28, 28, 28, 28])
    without = patient.dice(ComponentRule(structure="m"))
    assert all(patient.dice(ComponentRule(structure="m", min_volume_mm3=bound)) > without for bound in (30, 100))
    rule, tried = choose_rule("m", [patient] * 20)
    assert rule is None
    # The smallest lesion has 11 mm^3.
    assert {(each.rule.min_volume_mm3, each.rule.largest_only) for each in tried} == {(10.0, False)}
    assert {(each.lesions, each.found, each.lost) for each in tried} == {(120, 120, 0)}


def test_a_rule_that_loses_one_lesion_of_many_patients_is_refused() -> None:
    # In 39 of 40 patients the rule removes an invention; in one it would remove a lesion that was found.
    helped = metastases([1000], invented=[25])
    rule, _ = choose_rule("m", [helped] * 40)
    assert rule is not None
    assert "finds 40 of 40 components of the references, as before" in rule.reason
    rule, tried = choose_rule("m", [helped] * 39 + [metastases([1000, 25])])
    assert rule is None
    (bounded,) = (each for each in tried if each.rule.min_volume_mm3 == 30)
    assert (bounded.better, bounded.worse, bounded.lost, bounded.helps) == (39, 1, 1, False)


def test_small_lesions_that_this_model_misses_forbid_a_bound_too() -> None:
    # Recall would not fall, since none of the small ones is found; a better model finds them.
    rule, tried = choose_rule("m", [metastases([1000], missed=[20], invented=[25])] * 20)
    assert rule is None
    assert [each.rule.min_volume_mm3 for each in tried] == [10]


def test_one_patient_with_many_scans_counts_once() -> None:
    helped = table((1000, 1000), (20, 0))
    patients = [str(index // 5) for index in range(4 * 5)]
    assert choose_rule("organ", [helped] * 20)[0] is not None
    rule, tried = choose_rule("organ", [helped] * 20, patients)
    assert rule is None  # four patients
    assert {(each.patients, each.better) for each in tried if each.gain} == {(4, 4)}
    # Two scans of a patient, one better and one worse: by their mean the patient is better.
    pair = [helped, table((1000, 1000), (20, 12))]
    mixed = choose_rule("organ", pair * 6, [str(index // 2) for index in range(12)])[1]
    (bounded,) = (each for each in mixed if (each.rule.min_volume_mm3, each.rule.largest_only) == (30, False))
    assert (bounded.patients, bounded.better, bounded.worse) == (6, 6, 0)
