"""The page of an evaluation in a browser: its numbers, its order, its filters, and that it asks nobody for anything."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from swin_unetr import evaluate
from swin_unetr.tasks import brats

NASTY = "<img src=x onerror=alert(1)>&</script>"


@pytest.fixture
def report(tmp_path):
    """Five cases of which one has a missing structure, one no prediction; a class has markup for a name."""
    generator = np.random.default_rng(0)
    for index in range(5):
        labels = np.zeros((24, 20, 16), np.uint8)
        labels[3:12, 4:12, 3:12] = 1
        labels[14:20, 5:15, 4:13] = 0 if index == 4 else 2
        shifted = np.roll(labels, index, axis=0)
        scan = generator.normal(size=labels.shape).astype(np.float32) + labels
        for folder, array in (("ref", labels), ("pred", shifted), ("img", scan)):
            (tmp_path / folder).mkdir(exist_ok=True)
            if (folder, index) != ("pred", 3):
                nib.save(nib.Nifti1Image(array, np.diag([1, 1, 2, 1])), tmp_path / folder / f"case {index} <b>.nii.gz")
    output = tmp_path / "out <i>"
    task = {"liver": 1, NASTY: 2}
    evaluate(tmp_path / "pred", tmp_path / "ref", task=task, images=tmp_path / "img", output=output, pictures=2)
    return output


def rows(page, table):
    return page.run(
        "return [...document.querySelectorAll('#' + arguments[0] + ' tr')].filter(r => r.querySelector('[data-value]'))"
        ".map(r => [r.cells[0].textContent, [...r.querySelectorAll('[data-value]')].map(c => "
        "[c.dataset.key || c.dataset.structure || c.dataset.metric, c.dataset.value, c.textContent])])",
        table,
    )


def same(text, value):
    return text == ("" if value is None else str(value)) or (value is not None and float(text) == float(value))


def test_the_page_says_what_the_json_says_and_asks_for_nothing(report, browser):
    page = browser()
    page.open(report / "report.html")
    page.wait("return document.body.dataset.ready === 'yes'", 10)
    results = json.loads((report / "results.json").read_text())

    summaries = {item["structure"]: item for item in results["summary"] if item["metric"] == "dice"}
    shown = rows(page, "summary")
    assert [name for name, _ in shown] == ["liver", NASTY, "mean of structures"]
    for name, cells in shown:
        for key, value, text in cells:
            assert same(value, summaries[name][key]), (name, key)
            if value and float(value) % 1:
                assert text == f"{float(value):.3f}"
    values = {(row["case"], row["structure"]): row["value"] for row in results["rows"] if row["metric"] == "dice"}
    cases = rows(page, "cases")
    assert len(cases) == 4
    for case, cells in cases:
        for structure, value, _ in cells[1:]:
            assert same(value, values[case, structure])

    # Worst first, and the case without a prediction is named.
    means = [float(cells[0][1]) for _, cells in cases]
    assert means == sorted(means)
    assert "case 3 <b>" in page.run("return document.querySelector('#failures').textContent")
    assert page.run("return document.querySelectorAll('tr.more .stack img').length") == 2 * 9 * 2
    assert page.run("return [...document.querySelectorAll('.stack img')].every(i => i.complete && i.naturalWidth > 0)")
    hashes = next(iter(results["sha256"].values()))
    assert hashes["prediction"] in page.run("return document.documentElement.textContent")

    def sort(column):
        page.run("document.querySelectorAll('#cases thead button')[arguments[0]].click()", column)
        return [case for case, _ in rows(page, "cases")]

    names = sorted(results["cases"]["evaluated"])
    assert sort(0) == names
    assert sort(0) == names[::-1]
    liver = [float(cells[1][1]) for _, cells in rows(page, "cases")]
    for descending in (False, True):  # the first click: worst first
        sort(2)
        assert [float(cells[1][1]) for _, cells in rows(page, "cases")] == sorted(liver, reverse=descending)

    page.run("const q = document.querySelector('#query'); q.value = 'CASE 2'; q.dispatchEvent(new Event('input'))")
    assert [case for case, _ in rows(page, "cases")] == ["case 2 <b>"]
    assert page.run("return document.querySelectorAll('#distribution .point').length") == 2
    page.run("document.querySelectorAll('#classes input')[1].click()")
    assert [name for name, _ in rows(page, "summary")] == ["liver", "mean of structures"]

    assert page.run("return document.querySelectorAll('b, i, img[src=x]').length") == 0
    assert (page.complaints(), page.strangers()) == ([], [])
    assert page.requests() == [(report / "report.html").as_uri()]


def test_failed_cases_lesions_and_every_measure_are_shown(browser, tmp_path):
    task = brats("brats2023")
    labels = np.zeros((30, 30, 20), np.uint8)
    labels[4:12, 4:12, 4:12], labels[6:10, 6:10, 6:10] = 2, 3
    labels[20:26, 20:26, 10:16] = 3
    missed = np.where(np.arange(30)[:, None, None] > 15, 0, labels)
    for case in ("one", "two"):
        for folder, array in (("ref", labels), ("pred", missed)):
            (tmp_path / folder).mkdir(exist_ok=True)
            if (folder, case) != ("pred", "two"):
                nib.save(nib.Nifti1Image(array.astype(np.uint8), np.eye(4)), tmp_path / folder / f"{case}.nii.gz")
    evaluate(tmp_path / "pred", tmp_path / "ref", task=task, output=tmp_path / "out")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    page = browser()
    page.open(tmp_path / "out" / "report.html", width=1400)
    page.wait("return document.body.dataset.ready === 'yes'", 10)

    failed = page.run("return document.querySelector('#cases tbody').textContent")
    assert failed.startswith("two")
    assert results["cases"]["failed"][0]["message"] in failed
    lesions = page.run(
        "return [...document.querySelectorAll('.lesions tbody tr')]"
        ".map(r => [r.cells[0].textContent, r.cells[1].textContent])"
    )
    assert sorted(lesions) == sorted([item["structure"], item["status"]] for item in results["lesions"])
    assert "missed" in {status for _, status in lesions}
    shown = page.run("return [...document.querySelectorAll('.means [data-metric]')].map(c => c.dataset.metric)")
    assert set(shown) == {row["metric"] for row in results["rows"]}
    # All of them can be seen at once on a usual screen.
    for table in ("overview", "lesion-overview", "summary"):
        width, inside = page.run(
            "const b = document.getElementById(arguments[0]).parentElement; return [b.scrollWidth, b.clientWidth]",
            table,
        )
        assert width <= inside, table
    hashes = page.run("return document.querySelector('#hashes').textContent")
    assert all(digest in hashes for digest in results["sha256"]["one"].values())
    assert page.complaints() == []
