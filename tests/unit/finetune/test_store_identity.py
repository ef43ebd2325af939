"""A store gives a scan for the files and the preprocessing that it was made for, and for no others."""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import finetune.scans
from finetune.scans import ScansOnDisk
from swin_unetr.config import IntensityConfig, PreprocessConfig
from swin_unetr.datasets.case import Case
from swin_unetr.tasks import Task, exclusive

TASK = Task(name="t", modality="CT", channels=("CT",), targets=exclusive(("one", "two")))
PREPROCESS = PreprocessConfig(intensity=IntensityConfig(scheme="hu_window", window=(0, 100)), crop_foreground=False)
SHAPE = (9, 8, 7)


def voxels(seed: int, high: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, SHAPE).astype(np.uint8)


def write(folder: Path, suffix: str, number: int = 2) -> list[Case]:
    folder.mkdir(exist_ok=True)
    cases = []
    for case in range(number):
        image, label = (folder / f"{part}{case}{suffix}" for part in ("image", "label"))
        kind = nib.Nifti1Pair if suffix == ".hdr" else nib.Nifti1Image
        nib.save(kind(voxels(case, 100), np.eye(4)), image)
        nib.save(kind(voxels(case + 10, 3), np.eye(4)), label)
        cases.append(Case(id=f"case{case}", images=(image,), label=label))
    return cases


def opened(cases: list[Case], store: Path) -> ScansOnDisk:
    scans = ScansOnDisk(cases, TASK, PREPROCESS, store)
    assert scans.prepare() == []
    return scans


def correct(path: Path, how: str) -> np.ndarray:
    """Shift the labels of an uncompressed file, whose size stays."""
    stat, image = path.stat(), nib.load(path)
    labels = np.roll(np.asanyarray(image.dataobj), 3, 0)
    raw = bytearray(path.read_bytes())
    raw[-labels.size :] = labels.tobytes(order="F")
    target = path.with_name("corrected") if how == "replaced" else path
    with target.open("wb" if how == "replaced" else "r+b") as file:
        file.write(raw)
    if how != "overwritten":
        os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    target.replace(path)
    return labels


@pytest.mark.skipif(sys.platform == "win32", reason="has no time of the last change of anything")
@pytest.mark.parametrize("how", ["time kept", "replaced", "overwritten"])
def test_a_label_corrected_in_place_is_learnt_from(tmp_path: Path, how: str, capsys) -> None:
    cases = write(tmp_path / "data", ".nii")
    opened(cases, tmp_path / "store")
    assert cases[0].label is not None
    labels = correct(cases[0].label, how)
    capsys.readouterr()
    scans = opened(cases, tmp_path / "store")
    assert "store: 1 of 2 scans to preprocess" in capsys.readouterr().out
    np.testing.assert_array_equal(scans[0]["label"][0], labels)


def test_scans_with_equal_headers_are_told_apart_by_their_voxels(tmp_path: Path) -> None:
    scans = opened(write(tmp_path / "data", ".hdr", number=3), tmp_path / "store")
    for case in range(3):
        np.testing.assert_array_equal(scans[case]["label"][0], voxels(case + 10, 3))
        np.testing.assert_allclose(scans[case]["image"][0] * 100, voxels(case, 100), atol=1e-2)


def test_moved_copied_and_linked_data_are_not_preprocessed_again(tmp_path: Path, capsys, monkeypatch) -> None:
    opened(write(tmp_path / "data", ".nii"), tmp_path / "store")
    capsys.readouterr()
    monkeypatch.setattr(finetune.scans, "_preprocessed", None)

    def cases(folder: str) -> list[Case]:
        return [
            Case(
                id=f"case{n}", images=(tmp_path / folder / f"image{n}.nii",), label=tmp_path / folder / f"label{n}.nii"
            )
            for n in range(2)
        ]

    shutil.copytree(tmp_path / "data", tmp_path / "copied")
    opened(cases("copied"), tmp_path / "store")
    (tmp_path / "data").rename(tmp_path / "moved")
    opened(cases("moved"), tmp_path / "store")
    os.link(tmp_path / "moved" / "label0.nii", tmp_path / "link")  # another time of the last change of anything
    opened(cases("moved"), tmp_path / "store")
    assert capsys.readouterr().out == ""


def test_a_file_that_is_changed_while_it_is_read_is_not_kept(tmp_path: Path, monkeypatch) -> None:
    cases = write(tmp_path / "data", ".nii")
    assert cases[0].label is not None
    preprocessed = finetune.scans._preprocessed

    def slow(steps: object, case: Case) -> dict[str, torch.Tensor]:
        assert cases[0].label is not None
        if case is cases[0]:
            correct(cases[0].label, "time kept")
        return preprocessed(steps, case)

    with monkeypatch.context() as patched:
        patched.setattr(finetune.scans, "_preprocessed", slow)
        (problem,) = ScansOnDisk(cases, TASK, PREPROCESS, tmp_path / "store").prepare()
    assert str(problem) == f"{cases[0].images[0]}: was changed while it was read; start again"
    scans = opened(cases, tmp_path / "store")
    np.testing.assert_array_equal(scans[0]["label"][0], np.roll(voxels(10, 3), 3, 0))


def test_what_changes_no_voxel_shares_a_store_and_what_does_has_its_own(tmp_path: Path) -> None:
    cases = write(tmp_path / "data", ".nii")
    opened(cases, tmp_path / "store")
    renamed = replace(TASK, name="other", targets=exclusive(("uno", "due")))
    merged = replace(TASK, targets=(replace(TASK.targets[0], labels=(1, 2)),))
    with_more = replace(TASK, other_labels=(3,))
    for task, stores in ((renamed, 1), (merged, 2), (with_more, 3)):
        assert ScansOnDisk(cases, task, PREPROCESS, tmp_path / "store").prepare() == []
        assert len(list((tmp_path / "store").glob("*/way.json"))) == stores
