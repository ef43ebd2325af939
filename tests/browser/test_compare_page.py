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


LONG = "non-enhancing_tumour_core_and_surrounding_oedema_of_the_left_hemisphere"


@pytest.fixture(scope="module")
def long_names(tmp_path_factory):
    """Two visits of each of three patients; the second method invents a structure in the last patient; long names."""
    folder = tmp_path_factory.mktemp("long")
    for index in range(6):
        labels = np.zeros((16, 14, 12), np.uint8)
        labels[2:8, 3:9, 3:9] = 1
        labels[10:14, 4:10, 3:9] = 0 if index > 3 else 2
        invented = np.roll(labels, 1, axis=1)
        invented[10:12, 4:6, 3:5] = 2
        for name, array in (("ref", labels), ("a", np.roll(labels, index % 2, axis=0)), ("b", invented)):
            (folder / name).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / name / f"P{index // 2}_visit{index % 2}.nii.gz")
    methods = [str(folder / name) for name in "ab"]
    names = ["nnU-Net_ResEnc_L_fullres_3d_fold_all_postprocessed", "swin-unetr_planned_from_a_pretrained_encoder_of_ct"]
    labels = ["--labels", "liver=1", f"{LONG}=2", "--names", *names, "--metrics", "dice", "hd95_mm"]
    arguments = ["--reference", str(folder / "ref"), *labels]
    assert main(["compare", *methods, *arguments, "--output", str(folder / "out")]) == 0
    return folder / "out"


@pytest.mark.parametrize("width", [400, 1280])
def test_long_names_are_whole_and_inside_the_chart(width, long_names, browser):
    page = browser()
    page.open(long_names / "compare.html", width=width)
    page.wait("return document.body.dataset.ready === 'yes'", 10)
    shown = page.run(
        "const svg = document.querySelector('#plot svg').getBoundingClientRect();"
        "return [...document.querySelectorAll('#plot svg text')].map(t => { const r = t.getBoundingClientRect();"
        "return [t.textContent, r.left >= svg.left - 1 && r.right <= svg.right + 1,"
        "r.top >= svg.top - 1 && r.bottom <= svg.bottom + 1]; })"
    )
    assert LONG in [text for text, _, _ in shown]
    assert all(across and along for _, across, along in shown)
    result = json.loads((long_names / "compare.json").read_text())
    sides = page.run("return document.querySelector('#plot .sides').textContent")
    assert sides == f"← {result['methods'][1]} better{result['methods'][0]} better →"
    assert page.run("return document.documentElement.scrollWidth") <= width


def test_an_invented_structure_and_patients_are_on_the_page(long_names, browser):
    page = browser()
    page.open(long_names / "compare.html")
    page.wait("return document.body.dataset.ready === 'yes'", 10)
    choose(page, "metric", "dice")
    choose(page, "structure", LONG)
    table = {name: number(numbers[2][1]) for name, numbers in cells(page, "cases")}
    assert (table["P2_visit0"], table["P2_visit1"]) == (1, 1)  # a correct rejection against an invention
    keys = {key: value for _, numbers in cells(page, "differences") for key, value, _ in numbers}
    assert (keys["pairs"], keys["patients"]) == ("6", "3")
    choose(page, "metric", "hd95_mm")
    assert "2 × ∞" in page.run("return document.querySelector('#plot').textContent")
    keys = {key: value for _, numbers in cells(page, "differences") for key, value, _ in numbers}
    assert keys["second_infinite"] == "1"
    assert "first_infinite" not in keys  # there is none
    assert "Differences of 3 patients cannot reach" in page.run("return document.querySelector('#few').textContent")
    assert page.run("return document.querySelector('#scoring h2').textContent") == "How cases are scored"
