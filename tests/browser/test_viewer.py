"""The viewer in a real browser: what it draws, what its controls change, whom it talks to."""

from __future__ import annotations

import io
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swin_unetr.viewer.cases import case_of_files, cases_of_report
from swin_unetr.viewer.server import ViewerServer, has_niivue
from transforms.io import read_labels, write_labels

needs_niivue = pytest.mark.skipif(not has_niivue(), reason="NiiVue is not here; `make viewer` fetches it from npm")
#: WebGL without a graphics card.
WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")


@contextmanager
def served(server: ViewerServer) -> Iterator[ViewerServer]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def shifted(phantom_data: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """Scan, reference, and a prediction that is the reference two voxels away."""
    scan, reference = (phantom_data / folder / "phantom_000.nii.gz" for folder in ("imagesTr", "labelsTr"))
    labels = read_labels(reference)
    write_labels(tmp_path / "prediction.nii.gz", np.roll(labels.array[0], 2, axis=0), labels.geometry)
    return scan, reference, tmp_path / "prediction.nii.gz"


@pytest.fixture
def server(shifted: tuple[Path, Path, Path], tmp_path: Path) -> Iterator[ViewerServer]:
    """A report of two cases, the second of which has lost its scan."""
    scan, reference, prediction = map(str, shifted)
    files = {
        "one": {"image": scan, "reference": reference, "prediction": prediction},
        "two": {"image": str(tmp_path / "gone.nii.gz"), "reference": reference, "prediction": prediction},
    }
    (tmp_path / "results.json").write_text(json.dumps({"files": files}))
    (tmp_path / "report.html").write_text(
        "<!doctype html><link rel=icon href='data:,'><title>r</title><a href='view.html?case=one'>one</a>"
    )
    with served(ViewerServer(cases_of_report(tmp_path), report=tmp_path / "report.html")) as running:
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


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_other_formats_channels_and_grids(suffix, shifted, tmp_path):
    import nibabel as nib
    import SimpleITK

    from swin_unetr.viewer.scene import open_scene

    scan, reference, prediction = shifted
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(scan)), str(tmp_path / f"scan{suffix}"))
    scene = open_scene(case_of_files([tmp_path / f"scan{suffix}"], [reference], [prediction]))
    assert scene.description["notes"] == []  # on one grid, though written by another library

    image = nib.load(scan)
    channels = np.stack([image.get_fdata(), 2 * image.get_fdata()], axis=-1)
    nib.save(nib.Nifti1Image(channels.astype(np.float32), image.affine), tmp_path / "two.nii.gz")
    scene = open_scene(case_of_files([tmp_path / "two.nii.gz"], [reference], []))
    assert [scan["name"] for scan in scene.description["scans"]] == ["two.nii.gz, channel 1", "two.nii.gz, channel 2"]

    labels = nib.load(prediction)
    coarse = nib.Nifti1Image(
        np.asarray(labels.dataobj)[::2].astype(np.uint8), labels.affine @ np.diag([2.0, 1.0, 1.0, 1.0])
    )
    nib.save(coarse, tmp_path / "coarse.nii.gz")
    scene = open_scene(case_of_files([scan], [reference], [tmp_path / "coarse.nii.gz"]))
    (note,) = scene.description["notes"]
    assert "coarse.nii.gz lies on another grid" in note
    assert "nearest voxel" in note


def test_names_of_labels_come_from_the_command_or_from_beside_the_files(shifted):
    from swin_unetr.viewer.scene import open_scene

    scan, reference, prediction = shifted
    case = case_of_files([scan], [reference], [prediction], names=["liver=1", "spleen=2"])
    names = [entry["name"] for entry in open_scene(case).description["classes"]]
    assert names[:2] == ["liver", "spleen"]
    assert all(name.startswith("label ") for name in names[2:])

    # A prediction that was copied away from what lies beside it still says what its labels mean.
    like = read_labels(prediction)
    (prediction.parent / "elsewhere").mkdir()
    alone = prediction.parent / "elsewhere" / "alone.nii.gz"
    write_labels(alone, like.array[0], like.geometry, {1: "left atrium", 2: "right atrium"})
    names = [entry["name"] for entry in open_scene(case_of_files([scan], [], [alone])).description["classes"]]
    assert names[:2] == ["left atrium", "right atrium"]


def status(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_only_the_listed_files_are_served_and_only_to_who_knows_the_way(server):
    base = server.url.removesuffix("report.html")
    assert server.server_address[0] == "127.0.0.1"
    assert status(server.url) == 200
    assert status(base + "case.json?case=one") == 200
    assert status(server.url, Host="attacker.example") == 403
    assert status(server.url.replace(server.secret, "x")) == 404
    for name in ("results.json", "../results.json", "%2e%2e/results.json", "case.json?case=three", "gone.nii.gz", ""):
        assert status(base + name) == 404, name


def test_errors_are_told_apart_and_volumes_lie_on_the_scan(shifted):
    from swin_unetr.viewer.overlays import error_map

    errors = error_map(np.array([0, 1, 2, 1], np.uint8), np.array([1, 0, 1, 1], np.uint8), 2)
    assert errors.tolist() == [1, 3, 5, 0]
    scan, reference, prediction = shifted
    case = case_of_files([scan], [reference], [prediction])
    from swin_unetr.viewer.scene import open_scene

    scene = open_scene(case)
    assert [layer["kind"] for layer in scene.description["layers"]] == ["reference", "prediction", "errors"]
    assert scene.description["notes"] == []
    assert {entry["name"] for entry in scene.description["classes"]} == {
        target.name for target in case.reference_task.targets
    }
