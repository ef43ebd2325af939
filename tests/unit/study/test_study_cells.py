"""The matrix of a study, the cases of each cell, and the configuration that its training gets."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.config import FinetuneConfig
from swin_unetr.config_io import from_dict
from swin_unetr.errors import ConfigError
from swin_unetr.inference.batch.parts import deal
from swin_unetr.study.cells import cells_of
from swin_unetr.study.config import ArmConfig, BudgetConfig, StudyConfig
from swin_unetr.study.recipes import config_of, plan_arguments, recipe_of, with_overrides
from swin_unetr.study.splits import labelled, of_curve, of_search

RECIPE = {
    "network": {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]},
    "sampling": {"crop_size": [16, 16, 16], "scans_per_batch": 2},
    "optimizer": {"learning_rate": 0.01, "warmup_epochs": 1},
    "trainer": {"max_epochs": 4, "validate_every": 1, "early_stop_patience": 3},
    "inference": {"roi_size": [32, 32, 24]},
}
CONFIG = from_dict(FinetuneConfig, RECIPE, source="test")


def study_of(**values) -> StudyConfig:
    given = {"data": {"a": {"folder": "a"}, "b": {"folder": "b"}}, "arms": {"x": {}, "y": {"labels": [0.1]}}, **values}
    return from_dict(StudyConfig, given, source="test")


def test_the_matrix_has_every_cell_once_and_seeds_come_last() -> None:
    cells = cells_of(study_of(folds=[0, 1], seeds=[0, 1, 2], labels=[0.5, 1.0]), {"a": 5, "b": 1})
    # x: 2 shares, y: its own one; a has 2 folds of 5, b a single one; 3 seeds.
    assert len(cells) == len({cell.id for cell in cells}) == (2 + 1) * (2 + 1) * 3
    assert {cell.fold for cell in cells if cell.data == "b"} == {0}
    assert {cell.labels for cell in cells if cell.arm == "y"} == {0.1}
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    assert str(cells[0]) == "y on a, fold 0, seed 0, 10 % of the labels"


def test_parts_are_disjoint_and_together_all_cells() -> None:
    cells = cells_of(study_of(seeds=[0, 1, 2]), {"a": 5, "b": 5})
    parts = [deal(cells, (number, 4)) for number in range(1, 5)]
    assert sorted(cell.id for part in parts for cell in part) == sorted(cell.id for cell in cells)


def test_shares_are_nested_and_differ_between_seeds() -> None:
    training = sorted(f"case{number}" for number in range(166))
    shares = [set(labelled(training, share, 0, {})) for share in (0.1, 0.25, 0.5, 1.0)]
    assert [len(share) for share in shares] == [17, 42, 83, 166]
    for small, large in itertools.pairwise(shares):
        assert small < large
    assert labelled(training, 0.1, 1, {}) != labelled(training, 0.1, 0, {})
    assert len(labelled(training, 0.0001, 0, {})) == 1


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=30),
    st.lists(st.floats(0.01, 1), min_size=2, max_size=2),
    st.integers(0, 3),
)
def test_no_case_is_lost_doubled_or_torn_from_its_patient(patients, shares, seed) -> None:
    training = [f"case{number:02d}" for number in range(len(patients))]
    groups = {case: f"p{of}" for case, of in zip(training, patients, strict=True) if of}  # 0: not known
    small, large = (labelled(training, share, seed, groups) for share in sorted(shares))
    assert set(small) <= set(large) <= set(training)
    for chosen in (small, large):  # all scans of a patient, or none
        assert not {groups.get(case, case) for case in chosen} & {
            groups.get(case, case) for case in training if case not in chosen
        }
    parts = of_search(large, groups)
    if parts is None:
        assert len({groups.get(case, case) for case in large}) == 1
        return
    inner, validation = parts
    assert sorted([*inner, *validation]) == list(large)
    assert inner
    assert validation
    assert not {groups.get(case, case) for case in inner} & {groups.get(case, case) for case in validation}


def test_the_cases_of_the_curves_are_spread_over_the_test_cases() -> None:
    test = [f"case{number:02d}" for number in range(10)]
    assert of_curve(test, 5) == ("case00", "case02", "case04", "case06", "case08")
    assert of_curve(test, 20) == tuple(test)


def test_overrides_change_single_fields_and_leave_the_recipe_as_it_was(tmp_path: Path) -> None:
    values = {"network": {"use_v2": False, "depths": [1, 1]}, "num_folds": 3}
    changed = with_overrides(values, {"network.use_v2": True, "augment.gamma_probability": 0.3, "num_folds": 2}, "x")
    assert changed == {
        "network": {"use_v2": True, "depths": [1, 1]}, "num_folds": 2, "augment": {"gamma_probability": 0.3},
    }  # fmt: skip
    assert values == {"network": {"use_v2": False, "depths": [1, 1]}, "num_folds": 3}
    with pytest.raises(ConfigError, match="num_folds is no group of fields"):
        with_overrides(values, {"num_folds.x": 1}, "x")
    arm = ArmConfig(recipe="hippocampus", overrides={"network.use_v2": True})
    assert recipe_of("v2", arm, None).network.use_v2
    with pytest.raises(ConfigError, match=r"arms.v2.overrides: .*use_v3"):
        recipe_of("v2", ArmConfig(recipe="hippocampus", overrides={"network.use_v3": True}), None)


@pytest.mark.parametrize(("budget", "limits"), [({"steps": 1000}, (1000, None)), ({"minutes": 1.5}, (None, "90.000s"))])
def test_a_training_has_the_budget_of_the_study_and_not_that_of_its_recipe(budget, limits, tmp_path: Path) -> None:
    recipe = from_dict(
        FinetuneConfig, {**RECIPE, "trainer": {"max_time": "1h", "early_stop_patience": 3}}, source="test"
    )
    config = config_of(recipe, BudgetConfig(**budget), points=8, seed=2, store=tmp_path, rate=0.5)
    found = config.trainer
    assert (found.max_steps, found.max_time, found.validations) == (*limits, 8)
    assert (found.seed, found.early_stop_patience) == (2, None)
    assert (config.optimizer.learning_rate, config.store) == (0.5, str(tmp_path))
    assert plan_arguments(BudgetConfig(**budget)) in (["--steps", "1000"], ["--time", "90.000s"])
    assert config_of(CONFIG, BudgetConfig(**budget), points=1, seed=0, store=tmp_path).optimizer.learning_rate == 0.01
