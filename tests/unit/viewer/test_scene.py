"""What the viewer shows of a case: its scans, layers, names and notes."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from viewing import Paths, shifted_prediction

from swin_unetr.errors import DataError
from swin_unetr.viewer.cases import case_of_files
from swin_unetr.viewer.overlays import error_map
from swin_unetr.viewer.scene import CaseFiles, open_scene
from transforms.io import read_labels, write_labels


@pytest.fixture
def shifted(phantom_data: Path, tmp_path: Path) -> Paths:
    return shifted_prediction(phantom_data, tmp_path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_other_formats_channels_and_grids(suffix, shifted, tmp_path):
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


def test_errors_are_told_apart_and_volumes_lie_on_the_scan(shifted):
    errors = error_map(np.array([0, 1, 2, 1], np.uint8), np.array([1, 0, 1, 1], np.uint8), 2)
    assert errors.tolist() == [1, 3, 5, 0]
    scan, reference, prediction = shifted
    case = case_of_files([scan], [reference], [prediction])
    scene = open_scene(case)
    assert [layer["kind"] for layer in scene.description["layers"]] == ["reference", "prediction", "errors"]
    assert scene.description["notes"] == []
    assert {entry["name"] for entry in scene.description["classes"]} == {
        target.name for target in case.reference_task.targets
    }


def test_volumes_are_on_the_grid_of_the_scan(shifted: Paths) -> None:
    scan, reference, prediction = shifted
    scene = open_scene(case_of_files([scan], [reference], [prediction]))
    grid = nib.load(scan)
    named = [layer["url"] for layer in scene.description["layers"]]
    assert set(scene.volumes) == {*named, *(entry["url"] for entry in scene.description["scans"])}
    for name in named:
        content = scene.volumes[name]
        assert not isinstance(content, Path)
        image = nib.Nifti1Image.from_bytes(content())
        assert image.shape == grid.shape
        np.testing.assert_allclose(image.affine, grid.affine, atol=1e-4)
    first = scene.volumes[scene.description["scans"][0]["url"]]
    assert first == scan  # as it is, since the page reads it as we do


def test_labels_alone_are_shown_on_black(shifted: Paths) -> None:
    _, reference, _ = shifted
    scene = open_scene(CaseFiles("alone", references=(reference,)))
    (scan,) = scene.description["scans"]
    content = scene.volumes[scan["url"]]
    assert not isinstance(content, Path)
    assert not np.asarray(nib.Nifti1Image.from_bytes(content()).dataobj).any()
    assert [layer["kind"] for layer in scene.description["layers"]] == ["reference"]


def test_a_case_without_files() -> None:
    with pytest.raises(DataError, match="nothing: no file to show"):
        open_scene(CaseFiles("nothing"))
