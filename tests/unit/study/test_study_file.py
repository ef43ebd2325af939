"""A study file: what it may say, and that every mistake in it is one line that names the field."""

from pathlib import Path

import pytest
import yaml

from swin_unetr.errors import ConfigError
from swin_unetr.study.config import BudgetConfig
from swin_unetr.study.read import parse_folders, read_study

GOOD = {
    "data": {"scans": {"folder": "my_data"}},
    "arms": {"plan": {}, "v2": {"overrides": {"network.use_v2": True}}},
    "budget": {"steps": 100},
}


@pytest.fixture
def write(tmp_path: Path):
    def write(**changes) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**GOOD, **changes}))
        return path

    return write


def test_defaults_and_values_are_read(write) -> None:
    study = read_study(write(labels=[0.1, 1], seeds=[0, 1, 2], prediction={"tta": True}))
    assert (study.reference, study.folds, study.seeds, study.labels) == ("plan", (0,), (0, 1, 2), (0.1, 1.0))
    assert study.arms["plan"].recipe == "plan"
    assert study.arms["v2"].overrides == {"network.use_v2": True}
    assert study.prediction.tta is True
    assert study.data["scans"].num_folds == 5
    assert read_study(write(baseline="v2")).reference == "v2"


def test_folders_come_from_the_command_line_and_from_variables(write, monkeypatch) -> None:
    path = write(data={"a": {"folder": "$WHERE/a", "held_back": ["x"]}, "b": {}})
    monkeypatch.setenv("WHERE", "/scans")
    study = read_study(path, {"b": "here"})
    assert (study.data["a"].folder, study.data["b"].folder) == ("/scans/a", "here")
    assert study.data["a"].held_back == ("x",)
    monkeypatch.delenv("WHERE")
    with pytest.raises(ConfigError, match=r"data.a.folder: the variable \$WHERE"):
        read_study(path, {"b": "here"})
    assert read_study(path, {"a": "there", "b": "here"}).data["a"].folder == "there"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {}}, "data: name at least one"),
        ({"arms": {}}, "arms: name at least one"),
        ({"budget": {}}, "budget: give steps or minutes"),
        ({"budget": {"steps": 1, "minutes": 1}}, "steps or in minutes"),
        ({"budget": {"steps": 0}}, "must be positive"),
        ({"data": {"a b": {"folder": "x"}}}, "'a b' should be letters"),
        ({"data": {"a": {}}}, "data.a.folder: is missing"),
        ({"data": {"a": {"folder": "x", "test": "y", "split": "z"}}}, "give one of them"),
        ({"arms": {"x": {"recipe": "none_such"}}}, "none_such"),
        ({"arms": {"x": {"colour": "red"}}}, "colour"),
        ({"arms": {"x": {"command": "run {output}", "init": "weights"}}}, "another program has no overrides"),
        ({"arms": {"x": {"command": "run {outputs}"}}}, "{outputs} is no placeholder"),
        ({"arms": {"x": {"command": "run {output} {minutes}"}}}, "budget of the study is not in minutes"),
        ({"arms": {"x": {"command": "run {data}"}}}, "{output} is not in it"),
        ({"arms": {"x": {"command": "run '{output}"}}}, "close its quotes"),
        ({"arms": {"x": {"labels": [2]}}}, "shares must lie above 0"),
        ({"baseline": "z"}, "not one of the arms"),
        ({"labels": [0]}, "shares must lie above 0"),
        ({"seeds": [1, 1]}, "each once"),
        ({"folds": [-1]}, "must not be negative"),
        ({"rates": {"values": [1e-3]}}, "two or three"),
        ({"rates": {"values": [1e-3, 1e-2], "share": 0}}, "share: must lie"),
        ({"rates": {"values": [1e-3, -1e-2]}}, "must be positive"),
        ({"prediction": {"overlap": 1}}, "overlap"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file(write, changes, said) -> None:
    path = write(**changes)
    with pytest.raises(ConfigError) as error:
        read_study(path)
    text = str(error.value)
    assert said in text
    assert "\n" not in text


def test_a_folder_needs_a_name_that_the_study_has(write) -> None:
    assert parse_folders(["a=b=c", "d=e"]) == {"a": "b=c", "d": "e"}
    for given in (["a"], ["=b"], ["a="], ["a=b", "a=c"]):
        with pytest.raises(ConfigError, match="data: "):
            parse_folders(given)
    with pytest.raises(ConfigError, match="has no data set 'scan'"):
        read_study(write(), {"scan": "x"})


def test_a_part_of_a_budget_is_at_least_a_step() -> None:
    assert BudgetConfig(steps=10).part(0.25) == BudgetConfig(steps=3)
    assert BudgetConfig(steps=3).part(0.01) == BudgetConfig(steps=1)
    assert BudgetConfig(minutes=30).part(0.1) == BudgetConfig(minutes=3)
    assert [BudgetConfig(steps=3).in_words(), BudgetConfig(minutes=1.5).in_words()] == ["3 steps", "1.5 minutes"]


@pytest.mark.parametrize("name", ["label_efficiency", "levers", "ours_or_nnunet"])
def test_the_studies_that_are_shipped_can_be_read(name, project_root: Path, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(project_root)
    monkeypatch.setenv("SWIN_UNETR_TEST_DATA", str(tmp_path))
    study = read_study(project_root / "scripts" / "studies" / f"{name}.yaml")
    for data in study.data.values():
        for path in (data.task, data.cases):
            assert not isinstance(path, str) or (project_root / path).is_file()
