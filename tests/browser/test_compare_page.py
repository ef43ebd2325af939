"""The page of a comparison in a browser: its numbers, its order, its filters, and that it asks nobody for anything."""

from __future__ import annotations

import json
import math

import nibabel as nib
import numpy as np
import pytest

from swin_unetr.cli import main

NASTY = "<img src=x onerror=alert(1)>&</script>"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """Three methods on six cases; one lacks a case, one misses a structure (infinite distances); names are markup."""
    folder = tmp_path_factory.mktemp("compare")
    generator = np.random.default_rng(0)
    for index in range(6):
        labels = np.zeros((24, 20, 16), np.uint8)
        labels[3:12, 4:12, 3:12] = 1
        labels[14:20, 5:15, 4:13] = 0 if index == 4 else 2
        torn = np.where(generator.random(labels.shape) < 0.05, 0, labels)
        made = {"ref": labels, "a": np.roll(labels, index % 3, axis=0), "b": np.roll(torn, 2, axis=1), "c": torn}
        made["c"] = np.where((labels == 2) & (index == 0), 0, torn)
        for name, array in made.items():
            (folder / name).mkdir(exist_ok=True)
            if (name, index) != ("b", 3):
                image = nib.Nifti1Image(array.astype(np.uint8), np.diag([1, 1, 2, 1]))
                nib.save(image, folder / name / f"case {index} <b>.nii.gz")
    methods = [str(folder / name) for name in "abc"]
    arguments = ["--reference", str(folder / "ref"), "--labels", "liver=1", f"{NASTY}=2", "--names", "A <i>", "B", "C"]
    assert main(["compare", *methods, *arguments, "--output", str(folder / "out <i>")]) == 1
    return folder / "out <i>"


def cells(page, table):
    """Per row that has numbers: the first cell's text, and [key, value, text] of every number."""
    return page.run(
        "return [...document.querySelectorAll('#' + arguments[0] + ' tr')].filter(r => r.querySelector('[data-value]'))"
        ".map(r => [r.cells[0].textContent, [...r.querySelectorAll('[data-value]')].map(c => "
        "[c.dataset.key || c.dataset.place, c.dataset.value, c.textContent])])",
        table,
    )


def choose(page, name, value):
    page.run(
        "const s = document.querySelector('#' + arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event(arguments[0] === 'query' ? 'input' : 'change'))",
        name,
        value,
    )


def number(text):
    """Of a `data-value`: NaN where it is empty."""
    return float(text) if text else math.nan


def json_number(value):
    return math.nan if value is None else float(value)


@pytest.fixture
def opened(comparison, browser):
    page = browser()
    page.open(comparison / "compare.html")
    page.wait("return document.body.dataset.ready === 'yes'", 10)
    return page, json.loads((comparison / "compare.json").read_text())


def test_every_number_is_that_of_the_json(opened, comparison):
    page, result = opened
    for metric in result["metrics"]:
        choose(page, "metric", metric["name"])
        for index, pair in enumerate([("A <i>", "B"), ("A <i>", "C"), ("B", "C")]):
            choose(page, "pair", str(index))
            expected = [
                item
                for item in result["differences"]
                if (item["metric"], item["first"], item["second"]) == (metric["name"], *pair)
            ]
            shown = cells(page, "differences")
            assert [name for name, _ in shown] == [item["structure"] for item in expected]
            for (_, numbers), item in zip(shown, expected, strict=True):
                keys = [key for key, _, _ in numbers]
                assert {"pairs", "mean", "ci_low", "ci_high", "median", "first_wins", "ties", "p", "p_holm"} <= set(
                    keys
                )
                for key, value, text in numbers:
                    assert number(value) == pytest.approx(json_number(item[key]), nan_ok=True, rel=0, abs=0), key
                    if key == "mean" and value:
                        digits = metric["digits"]
                        assert float(text.replace("−", "-")) == pytest.approx(float(value), abs=0.51 * 10**-digits)
    for ranking in result["rankings"]:
        table = page.run(
            "return [...document.querySelectorAll(`[data-scheme='${arguments[0]}'] tbody tr`)].map(r => "
            "[r.cells[0].textContent, [...r.querySelectorAll('[data-value]')].map(c => Number(c.dataset.value))])",
            ranking["scheme"],
        )
        assert table == [
            [place["method"], [place["place"], place["mean_rank"], *place["stability"]]] for place in ranking["places"]
        ]
    assert page.run("return document.querySelectorAll('b, i, img').length") == 0
    assert (page.complaints(), page.strangers()) == ([], [])
    assert page.requests() == [(comparison / "compare.html").as_uri()]


def test_points_and_cases_are_differences_of_the_values(opened):
    page, result = opened
    values = result["values"]["hd95_mm"]

    def delta(structure, case):
        a, c = (json_number(values[structure][name][result["cases"].index(case)]) for name in ("A <i>", "C"))
        return 0 if a == c else a - c

    choose(page, "metric", "hd95_mm")
    choose(page, "pair", "1")
    for structure in result["structures"]:
        choose(page, "structure", structure)
        points = page.run(
            "return [...document.querySelectorAll('#plot .point')].map(p => [p.dataset.case, Number(p.dataset.value)])"
        )
        by_hand = {case: delta(structure, case) for case in result["cases"]}
        finite = {case: value for case, value in by_hand.items() if math.isfinite(value)}
        assert dict(points) == pytest.approx(finite)
        # A and C and their difference, by case; a structure in neither mask has none.
        table = cells(page, "cases")
        assert {name: number(numbers[2][1].replace("Infinity", "inf")) for name, numbers in table} == pytest.approx(
            {case: value for case, value in by_hand.items() if not math.isnan(value)}
        )
    assert "1 × ∞" in page.run("return document.querySelector('#plot').textContent")


def test_sorting_and_filters(opened):
    page, result = opened
    choose(page, "metric", "dice")

    def sort(table, title):
        page.run(
            "[...document.querySelectorAll(`#${arguments[0]} thead button`)].find(b => b.textContent === arguments[1])"
            ".click()",
            table,
            title,
        )
        return cells(page, table)

    for descending in (False, True):
        means = [float(numbers[1][1]) for _, numbers in sort("differences", "Mean difference")]
        assert means == sorted(means, reverse=descending)
        liver = [number(numbers[1][1]) for _, numbers in sort("cases", "liver")]
        assert liver == sorted(liver, reverse=descending)
    choose(page, "query", "CASE 2")
    assert [name for name, _ in cells(page, "cases")] == ["case 2 <b>"]
    assert page.run("return new Set([...document.querySelectorAll('#plot .point')].map(p => p.dataset.case)).size") == 1
    choose(page, "query", "")
    choose(page, "structure", NASTY)
    assert [name for name, _ in cells(page, "differences")] == [NASTY]
    lacking = page.run("return document.querySelector('#lacking').textContent")
    assert "B lacks 1 of 6 cases" in lacking
    assert result["lacking"]["B"][0]["message"] in lacking
    hashes = page.run("return document.querySelector('#hashes').textContent")
    assert result["sha256"]["C"]["case 0 <b>"]["prediction"] in hashes


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_nothing_sticks_out(width, comparison, browser):
    page = browser()
    page.open(comparison / "compare.html", width=width)
    page.wait("return document.body.dataset.ready === 'yes'", 10)
    assert page.run("return document.documentElement.scrollWidth") <= width
    plot = page.run("const b = document.querySelector('#plot svg').getBoundingClientRect(); return [b.left, b.right]")
    assert 0 <= plot[0] < plot[1] <= width
