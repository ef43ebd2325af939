"""What is kept of a cell: values to the bit, undefined and infinite ones too; and that other settings are refused."""

import math
from pathlib import Path

import pytest

from swin_unetr.errors import ConfigError, DataError
from swin_unetr.study.cells import Cell
from swin_unetr.study.curves import curve_of_peer
from swin_unetr.study.fairness import check_same_cases
from swin_unetr.study.results import (
    CellFailure,
    Result,
    begin,
    folder_of,
    read_failure,
    read_result,
    refuse_changed,
    write_failure,
    write_result,
)

CELL = Cell(data="d", arm="a", fold=0, seed=1, labels=0.125)
RESULT = Result(
    training=("c", "d"),
    test=("e",),
    values={"dice": {"e": {"x": 1 / 3, "y": math.nan}}, "hd95_mm": {"e": {"x": math.inf, "y": 0.1}}},
    steps=3,
    seconds=1.5,
    rate=0.001,
    tried={"0.001": 0.5, "0.01": -math.inf},
    curve=((1, 0.5, 0.25), (3, 1.5, 0.75)),
)


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, CELL)
    assert folder.name == "d,a,fold0,seed1,labels12.5"
    assert read_result(folder) is None
    write_result(folder, RESULT)
    found = read_result(folder)
    assert found is not None
    assert math.isnan(found.values["dice"]["e"].pop("y"))  # type: ignore[attr-defined]
    defined = {**RESULT.values, "dice": {"e": {"x": 1 / 3}}}
    assert found.values == defined
    assert (found.training, found.curve, found.tried, found.rate) == (
        RESULT.training, RESULT.curve, RESULT.tried, RESULT.rate,
    )  # fmt: skip
    (folder / "result.json").write_text("{}")
    with pytest.raises(DataError, match="remove its folder"):
        read_result(folder)


def test_finished_cells_keep_to_their_settings_and_unfinished_ones_are_set_aside(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, CELL)
    begin(folder, {"budget": 1, "arm": "x"})
    write_failure(folder, CellFailure(cause="no scans", log="log.txt", tail=("a",)))
    assert read_failure(folder) == CellFailure(cause="no scans", log="log.txt", tail=("a",))
    refuse_changed(tmp_path, {CELL: {"budget": 2, "arm": "x"}})  # it failed: it may be tried otherwise
    (folder / "weights").write_text("an hour's work")
    begin(folder, {"budget": 1, "arm": "x"})  # the same: goes on
    assert (folder / "weights").is_file()
    assert read_failure(folder) is None
    begin(folder, {"budget": 2, "arm": "x"})
    assert not (folder / "weights").exists()
    assert (folder.with_name(f"{folder.name}.before-1") / "weights").is_file()
    write_result(folder, RESULT)
    refuse_changed(tmp_path, {CELL: {"budget": 2, "arm": "x"}})
    with pytest.raises(ConfigError, match="was made with another budget and arm; give the changed arm a new name"):
        refuse_changed(tmp_path, {CELL: {"budget": 3, "arm": "y"}})


def test_arms_with_other_cases_are_not_compared() -> None:
    from dataclasses import replace

    other = Cell(data="d", arm="b", fold=0, seed=1, labels=0.125)
    check_same_cases({CELL: RESULT, other: RESULT})
    check_same_cases({CELL: RESULT, replace(other, seed=2): replace(RESULT, training=("c", "f"))})
    for changed in (replace(RESULT, training=("c", "f")), replace(RESULT, test=("f",))):
        with pytest.raises(DataError, match=r"b on d, fold 0, seed 1, 12\.5 % of the labels: had other cases than a"):
            check_same_cases({CELL: RESULT, other: changed})


def test_the_curve_of_another_program(tmp_path: Path) -> None:
    assert curve_of_peer(tmp_path) == []
    (tmp_path / "curve.csv").write_text("step,seconds,dice\n10,1.5,0.25\n20,3,\n")
    first, second = curve_of_peer(tmp_path)
    assert first == (10, 1.5, 0.25)
    assert second[:2] == (20, 3.0)
    assert math.isnan(second[2])
    (tmp_path / "curve.csv").write_text("iteration,time\n1,2\n")
    with pytest.raises(DataError, match="should have the columns step, seconds and dice"):
        curve_of_peer(tmp_path)
