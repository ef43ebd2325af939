"""The page of a study in a browser: its numbers are those of study.json, and it fits a telephone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from studies import BROKEN, threshold_arm, write_study

from swin_unetr.cli import main


@pytest.fixture(scope="module")
def study(phantom_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two arms of another program on two shares of the labels and two seeds, and an arm that fails."""
    root = tmp_path_factory.mktemp("study")
    arms = {"threshold": threshold_arm(root), "a long name of an arm".replace(" ", "-"): threshold_arm(root)}
    arms["broken"] = {**BROKEN, "labels": [1]}
    data = {"phantoms": {"folder": str(phantom_data), "held_back": ["phantom_001", "phantom_003", "phantom_004"]}}
    file = write_study(root, arms, data=data, seeds=[0, 1], labels=[0.34, 1])
    assert main(["study", str(file), "--output", str(root / "out")]) == 1
    return root / "out"


def test_every_number_is_that_of_the_json(study: Path, browser) -> None:
    page = browser()
    page.open(study / "study.html")
    page.wait("return document.body.dataset.ready === 'yes'", 10)
    report = json.loads((study / "study.json").read_text())
    for metric in ("dice", "nsd", "hd95_mm"):
        page.run(
            "const s = document.querySelector('#metric'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))",
            metric,
        )
        for structure in ("mean of structures", "liver"):
            page.run(
                "const s = document.querySelector('#structure'); s.value = arguments[0];"
                "s.dispatchEvent(new Event('change'))",
                structure,
            )
            shown = page.run("return [...document.querySelectorAll('#arms [data-key=mean]')].map(c => c.dataset.value)")
            levels = [of for of in report["levels"] if (of["metric"], of["structure"]) == (metric, structure)]
            assert sorted(map(text, [of["mean"] for of in levels])) == sorted(shown)
            shown = page.run("return [...document.querySelectorAll('#gains [data-key]')].map(c => c.dataset.value)")
            gains = [of["difference"] for of in report["gains"]]
            gains = [of["mean"] for of in gains if (of["metric"], of["structure"]) == (metric, structure)]
            assert sorted(map(text, gains)) == sorted(shown)
            assert len(shown) == 2
    assert page.run("return document.querySelectorAll('#runs tbody tr').length") == len(report["cells"]) == 10
    assert "2 trainings failed" in page.run("return document.querySelector('#failures').textContent")
    assert "no licence" in page.run("return document.querySelector('#failures').textContent")
    assert page.run("return document.querySelectorAll('#courses path.course').length") == 2 * 4
    assert page.run("return document.querySelectorAll('#shareplots figure').length") == 2
    assert (page.complaints(), page.strangers()) == ([], [])
    assert page.requests() == [(study / "study.html").as_uri()]


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits(study: Path, browser, width: int) -> None:
    page = browser()
    page.open(study / "study.html", width=width)
    page.wait("return document.body.dataset.ready === 'yes'", 10)
    assert page.run("return document.documentElement.scrollWidth") <= width
    texts = page.run(
        "return [...document.querySelectorAll('svg text')].filter(t => { const b = t.getBoundingClientRect(), "
        "s = t.closest('svg').getBoundingClientRect();"
        "return b.width && (b.right > s.right + 2 || b.left < s.left - 2); })"
        ".map(t => t.textContent)"
    )
    assert texts == []


def text(value: float | None) -> str:
    """As JavaScript writes a number."""
    return "" if value is None else json.dumps(value).removesuffix(".0")
