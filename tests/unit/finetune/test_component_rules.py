"""Which rules about components are learnt: where they help for sure, and not from noise."""

from pathlib import Path

import numpy as np
import pytest

from finetune.component_rules import LEAST_BETTER, choose_rule, learn_rules
from swin_unetr.evaluation.cases import Pair
from swin_unetr.model_description import ComponentRule
from swin_unetr.postprocessing.effect import ComponentTable
from swin_unetr.tasks import Task, exclusive
from transforms.geometry import Geometry
from transforms.io import write_labels

ONE = Task(name="one", modality="CT", channels=("CT",), targets=exclusive(("organ",)))


def table(*components: tuple[int, int], missed: int = 0) -> ComponentTable:
    """Components as (voxels, voxels of them that are right); voxels of 1 mm^3."""
    voxels, right = (np.array([component[side] for component in components], np.int64) for side in (0, 1))
    return ComponentTable(1.0, voxels, voxels[None], right[None], np.array([right.sum() + missed]))


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
    assert choose_rule("organ", [helped] * 12 + [hurt] * 4)[0] is None  # three times as many, but the mean is unsure
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
