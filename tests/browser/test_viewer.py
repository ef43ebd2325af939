"""The viewer in a real browser: what it draws, what its controls change, whom it talks to."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from viewing import Paths, served, server_of_report, shifted_prediction

from swin_unetr.viewer.cases import case_of_files
from swin_unetr.viewer.server import ViewerServer, has_niivue
from transforms.io import read_labels, write_labels

needs_niivue = pytest.mark.skipif(not has_niivue(), reason="NiiVue is not here; `make viewer` fetches it from npm")
#: WebGL without a graphics card.
WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")


@pytest.fixture
def shifted(phantom_data: Path, tmp_path: Path) -> Paths:
    return shifted_prediction(phantom_data, tmp_path)


@pytest.fixture
def server(shifted: Paths, tmp_path: Path) -> Iterator[ViewerServer]:
    with served(server_of_report(shifted, tmp_path)) as running:
        yield running


def picture(page) -> np.ndarray:
    """The stage as the screen shows it; WebGL keeps nothing to read from the canvas."""
    page.run("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    pixels = np.asarray(Image.open(io.BytesIO(page.driver.get_screenshot_as_png())).convert("RGB")).astype(int)
    left, top, right, bottom = page.run(
        "const b = document.getElementById('stage').getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]"
    )
    return pixels[int(top) : int(bottom), int(left) : int(right)]


def coloured(pixels: np.ndarray) -> int:
    return int((pixels.max(axis=2) - pixels.min(axis=2) > 60).sum())


@needs_niivue
def test_the_viewer_draws_and_its_controls_change_what_is_seen(browser, server):
    page = browser(*WEBGL)
    page.open(server.url)
    page.run("document.querySelector('a').click()")
    assert page.wait("return document.body.dataset.ready", 60) == "errors"
    first = picture(page)
    assert (first.max(axis=2) > 60).mean() > 0.1
    assert coloured(first) > 500

    page.run("const p = document.getElementById('preset'); p.value = 'bone'; p.dispatchEvent(new Event('input'))")
    assert np.abs(picture(page) - first).max(axis=2).astype(bool).mean() > 0.05
    assert page.run("return document.getElementById('width').value") == "1800"

    before = coloured(picture(page))
    page.run("document.getElementById('none').click()")
    without = coloured(picture(page))
    assert without < before / 4
    page.run("document.getElementById('class-1').click()")
    assert without < coloured(picture(page)) <= before

    page.run("document.getElementById('all').click()")
    unmarked = picture(page)
    page.run("document.querySelector('#layer-2 input').click()")
    assert np.abs(picture(page) - unmarked).max(axis=2).astype(bool).any()

    position = page.run("return document.getElementById('position').textContent")
    page.driver.find_element("id", "scan").send_keys("\ue00e")  # Page Up
    assert page.run("return document.getElementById('position').textContent") != position
    assert (page.strangers(), page.complaints()) == ([], [])


@needs_niivue
def test_with_many_classes_what_has_no_error_stays_grey(browser, shifted, tmp_path):
    scan, reference, _ = shifted
    like = read_labels(reference)
    labels = np.zeros(like.array[0].shape, np.uint8)
    for value in range(1, 101):
        labels[8 + value % 10, 8 + value // 10, 8:12] = value
    for name, array in (("reference", labels), ("prediction", np.where(labels == 100, 1, labels))):
        write_labels(tmp_path / f"many_{name}.nii.gz", array, like.geometry)
    case = case_of_files([scan], [tmp_path / "many_reference.nii.gz"], [tmp_path / "many_prediction.nii.gz"])
    with served(ViewerServer({"many": case})) as running:
        page = browser(*WEBGL)
        page.open(running.url)
        assert page.wait("return document.body.dataset.ready", 60) == "errors"
        for box in page.run("return [...document.querySelectorAll('[id^=layer-] > label:first-child input')]"):
            if page.run("return arguments[0].checked", box):
                page.run("arguments[0].click()", box)
        assert coloured(picture(page)) < 50
        page.run("document.querySelector('#layer-2 input').click()")
        assert 0 < coloured(picture(page)) < 5000  # one class of a few voxels is wrong, out of a hundred
    assert (page.strangers(), page.complaints()) == ([], [])


@needs_niivue
def test_the_link_of_a_lesion_goes_there(browser, server):
    page = browser(*WEBGL)
    page.open(server.url.replace("report.html", "view.html?case=one&at=-12.5,10,20"))
    page.wait("return document.body.dataset.ready", 60)
    first = page.run("return document.getElementById('position').textContent")
    page.open(server.url.replace("report.html", "view.html?case=one&at=12.5,10,20"))
    page.wait("return document.body.dataset.ready", 60)
    second = page.run("return document.getElementById('position').textContent")
    assert (first[0], second[0]) == ("L", "R")


@needs_niivue
def test_a_case_whose_file_is_gone_says_so(browser, server):
    page = browser(*WEBGL)
    page.open(server.url.replace("report.html", "view.html?case=two"))
    assert page.wait("return document.body.dataset.ready", 60) == "failed"
    assert "gone.nii.gz: no such file" in page.run("return document.getElementById('message').textContent")
