"""`swin-unetr convert`: whatever file type goes in, voxels and affines come out as they were."""

import json
import shutil
from itertools import product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from conversions import AFFINE, SHAPES, SUFFIXES, TARGETS, require_same, run, scan, write_plain

from swin_unetr.conversion.run import convert
from swin_unetr.datasets import read_dataset
from transforms.io import read_file, write_volume


@pytest.mark.parametrize(("before", "after"), list(product(SUFFIXES, SUFFIXES)))
def test_every_file_type_and_back(tmp_path: Path, before: str, after: str) -> None:
    source = write_plain(tmp_path, before)
    to = TARGETS[(SUFFIXES.index(before) + SUFFIXES.index(after)) % 3]
    there = run(source, to, tmp_path / "there", file_type=after)
    back = run(tmp_path / "there", "plain", tmp_path / "back", file_type=before)
    paths = (source, tmp_path / "there", tmp_path / "back")
    one, two, three = (read_dataset(path, require_labels=False) for path in paths)
    assert (two.layout, three.layout) == (to, "plain")
    require_same(one, two)
    require_same(one, three, tolerance_mm=0 if before.startswith("nii") else 1e-12)  # float32 rounds the last bit away
    assert two.task == three.task == one.task
    assert set(there.files) == set(back.files) == {"linked" if before == after else "written"}


@pytest.mark.parametrize("suffix", ["mha", "nrrd", "nii.gz"])
def test_stored_types_are_kept(tmp_path: Path, suffix: str) -> None:
    for dtype in ("int8", "uint8", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"):
        write_volume(tmp_path / "in" / f"{dtype}.nii", scan(SHAPES[0], dtype))
    run(tmp_path / "in", "plain", tmp_path / "out", file_type=suffix)
    one, two = (read_dataset(tmp_path / name, require_labels=False) for name in ("in", "out"))
    require_same(one, two)
    assert {case.id for case in two.cases} == {str(read_file(case.images[0]).array.dtype) for case in two.cases}


@pytest.mark.parametrize("suffix", ["nii.gz", "mha"])
def test_channels_are_split_and_joined(tmp_path: Path, suffix: str) -> None:
    source = write_plain(tmp_path, "nii.gz", "float32", channels=3)
    run(source, "nnunet", tmp_path / "split", file_type=suffix)
    run(tmp_path / "split", "decathlon", tmp_path / "joined", file_type="nrrd")
    one, split, joined = (
        read_dataset(path, require_labels=False) for path in (source, tmp_path / "split", tmp_path / "joined")
    )
    assert [len(of.cases[0].images) for of in (one, split, joined)] == [1, 3, 1]
    require_same(one, split)
    require_same(one, joined)
    assert json.loads((tmp_path / "split" / "dataset.json").read_text())["channel_names"]["2"] == "m2"
    assert json.loads((tmp_path / "joined" / "dataset.json").read_text())["tensorImageSize"] == "4D"


def test_nifti_pairs_of_both_versions_and_scaled_numbers(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 100, SHAPES[0]).astype(">i2")
    for name, kind in {"one": nibabel.Nifti1Pair, "two": nibabel.Nifti2Pair}.items():
        image = kind(stored, AFFINE)
        image.header.set_slope_inter(0.5, -3)
        image.header.set_qform(np.diag([1.0, 1, 1, 1]), 1)
        (tmp_path / "pairs").mkdir(exist_ok=True)
        nibabel.save(image, tmp_path / "pairs" / f"{name}.hdr")
    run(tmp_path / "pairs", "plain", tmp_path / "single")
    run(tmp_path / "pairs", "plain", tmp_path / "mha", file_type="mha")
    for name, kind in {"one": nibabel.Nifti1Image, "two": nibabel.Nifti2Image}.items():
        image = nibabel.load(tmp_path / "single" / "images" / f"{name}.nii.gz")
        assert type(image) is kind
        np.testing.assert_array_equal(image.dataobj.get_unscaled(), stored)
        assert (image.dataobj.slope, image.dataobj.inter) == (0.5, -3)
        np.testing.assert_array_equal(image.get_qform(), np.eye(4))  # beside the sform, as it was
        np.testing.assert_array_equal(image.affine, AFFINE)
        mha = read_file(tmp_path / "mha" / "images" / f"{name}.mha")
        np.testing.assert_array_equal(mha.array[0], stored * 0.5 - 3.0)


def test_a_dicom_series(test_data: Path, tmp_path: Path) -> None:
    series = sorted((test_data / "ct" / "dicom_series").iterdir(), key=lambda path: path.name)[:3]
    for path in series:
        (tmp_path / "scans" / "one").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "scans" / "one" / path.name)
    before = read_dataset(tmp_path / "scans", require_labels=False)
    run(tmp_path / "scans", "plain", tmp_path / "mha", file_type="mha")
    require_same(before, read_dataset(tmp_path / "mha", require_labels=False))
    assert run(tmp_path / "scans", "plain", tmp_path / "mha", file_type="mha").files == {"kept": 1}
    shutil.copy(series[0], tmp_path / "scans" / "one" / "again")
    report = convert(tmp_path / "scans", tmp_path / "other", to="plain", workers=1)
    assert f"again lies where {series[0].name} does" in report.failures[0].message


def test_crops_of_real_scans(test_data: Path, tmp_path: Path) -> None:
    """Oblique, sheared and ordinary headers of real scanners, cut down."""
    for path in sorted((test_data / "ct" / "volumes").glob("*.nii.gz")):
        image = nibabel.load(path)
        crop = image.slicer[:20, -24:, 3:9] if image.ndim == 3 else image
        (tmp_path / "real").mkdir(exist_ok=True)
        nibabel.save(crop, tmp_path / "real" / path.name)
    before = read_dataset(tmp_path / "real", require_labels=False)
    for suffix in ("mha", "nrrd"):
        run(tmp_path / "real", "plain", tmp_path / suffix, file_type=suffix)
        run(tmp_path / suffix, "plain", tmp_path / f"{suffix}-back")
        require_same(before, read_dataset(tmp_path / suffix, require_labels=False), tolerance_mm=1e-10)
        require_same(before, read_dataset(tmp_path / f"{suffix}-back", require_labels=False), tolerance_mm=1e-4)


def test_simpleitk_reads_what_was_written(tmp_path: Path) -> None:
    """An oracle that is not our own reader."""
    source = write_plain(tmp_path, "nii.gz", "float32")
    run(source, "plain", tmp_path / "out", file_type="nrrd")
    image = sitk.ReadImage(str(tmp_path / "out" / "images" / "c0.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), scan(SHAPES[0], "float32").array[0])
    corner = np.array(image.TransformIndexToPhysicalPoint((3, 2, 6))) * (-1, -1, 1)
    np.testing.assert_allclose(corner, (AFFINE @ (3, 2, 6, 1))[:3], atol=1e-4)
