"""The page of a diagnosis in a browser: its defects and cases, its filter, and that it asks nobody for anything."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from swin_unetr.cli import main

NASTY = "<img src=x onerror=alert(1)>"


def test_the_page_says_what_the_json_says(phantom_data: Path, tmp_path: Path, browser) -> None:
    root, output = tmp_path / "data", tmp_path / "out"
    shutil.copytree(phantom_data, root)
    for folder in ("imagesTr", "labelsTr"):
        (root / folder / "phantom_001.nii.gz").rename(root / folder / f"{NASTY}.nii.gz")
    text = (root / "dataset.json").read_text().replace("phantom_001", NASTY)
    (root / "dataset.json").write_text(text)
    broken = root / "imagesTr" / f"{NASTY}.nii.gz"
    broken.write_bytes(broken.read_bytes()[:3000])
    assert main(["doctor", str(root), "--output", str(output), "--no-machine", "--workers", "1"]) == 1

    page = browser()
    page.open(output / "doctor.html")
    page.wait("return document.body.dataset.ready === 'yes'", 10)
    findings = json.loads((output / "diagnosis.json").read_text())["findings"]
    shown = page.run("return [...document.querySelectorAll('[data-code] li')].map(item => item.dataset.file)")
    assert shown == [f"imagesTr/{NASTY}.nii.gz"]
    assert [of["code"] for of in findings] == page.run(
        "return [...document.querySelectorAll('[data-code]')].map(item => item.dataset.code)"
    )
    cases = "return [...document.querySelectorAll('#cases tbody tr')].map(row => row.dataset.case)"
    assert page.run(cases) == sorted([NASTY, *(f"phantom_00{index}" for index in (0, 2, 3, 4, 5))])
    page.run("document.getElementById('only').click()")
    assert page.run(cases) == [NASTY]
    assert page.run("return document.querySelectorAll('#volumes circle').length") == 30
    assert not page.strangers()
    assert not page.complaints()
