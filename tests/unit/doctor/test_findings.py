"""The table of defects: what it says, that the code finds each of them, and nothing that it does not name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from swin_unetr.doctor.diagnosis import _CAUSES, sorted_findings, without_consequences
from swin_unetr.doctor.findings import KINDS, Finding

#: What makes a finding, or something that becomes one; its code is the first argument, or the one of this name.
MAKERS = ("Finding", "finding", "Note", "NoteFacts", "Obstacle", "Problem")


@pytest.fixture(scope="module")
def trees(project_root: Path) -> list[ast.Module]:
    folders = [project_root / name for name in ("swin_unetr/doctor", "swin_unetr/survey", "transforms")]
    files = [path for folder in folders for path in folder.rglob("*.py") if path.name != "findings.py"]
    return [ast.parse(path.read_text()) for path in [*files, project_root / "finetune" / "trial.py"]]


def codes_made(trees: list[ast.Module]) -> Iterator[str]:
    for node in (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if getattr(node.func, "id", None) in MAKERS:
            given = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "code")]
            yield from (of.value for of in given if isinstance(of, ast.Constant) and isinstance(of.value, str))


def test_every_code_that_is_made_is_in_the_table(trees) -> None:
    made = set(codes_made(trees))
    assert len(made) > 30
    assert made <= KINDS.keys()


def test_every_kind_in_the_table_is_found_by_something(trees) -> None:
    words = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert KINDS.keys() <= words


def test_every_kind_says_what_to_do() -> None:
    for code, kind in KINDS.items():
        assert kind.severity in ("error", "warning")
        assert code == code.lower().replace(" ", "-")
        for text in (kind.title, kind.remedy):
            assert text
            assert text.strip(" .\n") == text
    finding = Finding("constant", "all -1000", Path("a.nii"), "a")
    kind = KINDS["constant"]
    assert (finding.severity, finding.title, finding.remedy) == (kind.severity, kind.title, kind.remedy)


def test_causes_and_consequences_are_kinds() -> None:
    assert _CAUSES.keys() | set().union(*_CAUSES.values()) <= KINDS.keys()
    assert not [code for code, consequences in _CAUSES.items() if code in consequences]


@pytest.mark.parametrize(
    ("cause", "consequence"), [(cause, one) for cause, of in sorted(_CAUSES.items()) for one in sorted(of)]
)
def test_a_consequence_is_left_out_for_its_case_alone(cause: str, consequence: str) -> None:
    mine, other = Finding(cause, "", case="a"), Finding(consequence, "", case="b")
    of_all = Finding(consequence, "")
    assert without_consequences([mine, Finding(consequence, "", case="a"), other, of_all]) == [mine, other, of_all]
    assert without_consequences([other]) == [other]


def test_what_concerns_no_case_explains_nothing() -> None:
    whole, case = Finding("constant", ""), Finding("intensity-outlier", "", case="a")
    assert without_consequences([whole, case, Finding("intensity-outlier", "")]) == [
        whole,
        case,
        Finding("intensity-outlier", ""),
    ]


def test_errors_come_first_then_by_code_case_and_file() -> None:
    findings = [
        Finding("units", "", Path("a"), "a"),
        Finding("unreadable", "", Path("b"), "b"),
        Finding("constant", "", Path("z"), "b"),
        Finding("constant", "", Path("a"), "b"),
        Finding("constant", "", None, "a"),
        Finding("class-absent", ""),
    ]
    expected = [findings[place] for place in (4, 3, 2, 1, 5, 0)]
    assert list(sorted_findings(findings)) == expected
    assert list(sorted_findings(findings[::-1])) == expected
