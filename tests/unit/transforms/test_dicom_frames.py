"""Enhanced multi-frame files made here: every frame lies where it says, with its own scale, or the file is refused."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from dicom_files import AXIAL, enhanced, save
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, EnhancedPETImageStorage, LegacyConvertedEnhancedCTImageStorage

from swin_unetr.errors import DataError
from transforms.io import dicom_problems, read_file, read_header
from transforms.io_dicom import dicom_verdict

#: RAS millimetres from LPS.
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
ORDER = [0, 4, 1, 5, 2, 6, 3, 7]


def along(heights: Sequence[float], tilt: float = 0.0) -> list[tuple[float, float, float]]:
    return [(-10.0, 20.0 + tilt * height, height) for height in heights]


def frames(count: int, size: tuple[int, int] = (5, 6)) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).integers(0, 4000, (count, *size), dtype=np.uint16)


def refused(made: Dataset, path: Path) -> str:
    save(made, path)
    with pytest.raises(DataError) as error:
        read_file(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    with pytest.raises(DataError):
        read_header([path])
    assert dicom_problems(path)
    return str(error.value)


def test_frames_out_of_order_are_sorted_and_each_has_its_own_scale(tmp_path: Path) -> None:
    stored, slopes, intercepts = frames(8), [1, 2, 4, 5, 10, 20, 25, 0.5], [0, -5, 1, 2, 3, 4, 5, 6]
    made = enhanced(
        stored[ORDER],
        [along(range(0, 24, 3))[k] for k in ORDER],
        slopes=[slopes[k] for k in ORDER],
        intercepts=[intercepts[k] for k in ORDER],
    )
    path = save(made, tmp_path / "mr" / "a.dcm")
    for where in (path, path.parent):
        volume = read_file(where)
        for k in range(8):
            np.testing.assert_allclose(volume.array[0, :, :, k], stored[k] * float(slopes[k]) + intercepts[k])
        affine = [[-0.7, 0, 0, 10], [0, -0.8, 0, -20], [0, 0, 3, 0], [0, 0, 0, 1]]
        np.testing.assert_allclose(volume.geometry.affine, affine, atol=1e-9)
        geometry, channels, dtype = read_header([where])
        assert (geometry.shape, channels, dtype) == ((5, 6, 8), 1, volume.array.dtype)
        assert dicom_verdict(where).kind == "scan"


@pytest.mark.parametrize(
    ("sop_class", "modality"),
    [
        (EnhancedCTImageStorage, "CT"),
        (EnhancedPETImageStorage, "PT"),
        (LegacyConvertedEnhancedCTImageStorage, "CT"),
    ],
)
def test_other_classes_with_inverted_display_keep_their_values(tmp_path: Path, sop_class: str, modality: str) -> None:
    stored = frames(3)
    made = enhanced(stored, along([0, 2, 4]), sop_class=sop_class, modality=modality, intercepts=[-1024] * 3)
    made.PhotometricInterpretation = "MONOCHROME1"
    volume = read_file(save(made, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(volume.array[0], np.moveaxis(stored.astype(int), 0, -1) - 1024)
    assert volume.array.dtype == np.int32


def test_inverted_values_without_a_unit_are_refused(tmp_path: Path) -> None:
    made = enhanced(frames(3), along([0, 2, 4]))
    made.PhotometricInterpretation = "MONOCHROME1"
    assert "inverted grey values (MONOCHROME1)" in refused(made, tmp_path / "a.dcm")


def test_a_gap_inside_a_file(tmp_path: Path) -> None:
    message = refused(enhanced(frames(5), along([0, 3, 6, 12, 15])), tmp_path / "a.dcm")
    assert "frame 4 lies 6 mm from a.dcm frame 3, others 3 mm: 1 missing between them" in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "keyword", "values", "words"),
    [
        ("FrameContentSequence", "TemporalPositionIndex", (1, 2), "by TemporalPositionIndex (1, 2)"),
        ("MREchoSequence", "EffectiveEchoTime", (20.0, 80.0), "by EffectiveEchoTime (20.0, 80.0)"),
        ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", (0.0, 40.0), "TriggerDelayTime (0.0, 40"),
        ("MRDiffusionSequence", "DiffusionBValue", (0.0, 1000.0), "by DiffusionBValue (0.0, 1000.0)"),
    ],
)
def test_two_volumes_in_a_file(tmp_path: Path, group: str, keyword: str, values: Sequence[Any], words: str) -> None:
    groups = [{group: {keyword: values[index % 2]}} for index in range(12)]
    made = enhanced(frames(12), along([3 * (index // 2) for index in range(12)]), groups=groups)
    message = refused(made, tmp_path / "mr" / "a.dcm")
    assert "holds 2 whole volumes, " in message
    assert words in message
    assert "remove" not in message
    with pytest.raises(DataError, match="convert it with dcm2niix"):  # nothing can be moved
        read_file(tmp_path / "mr")


def test_echoes_at_several_times_need_two_attributes(tmp_path: Path) -> None:
    groups = [
        {
            "FrameContentSequence": {"TemporalPositionIndex": index % 3},
            "MREchoSequence": {"EffectiveEchoTime": float(index // 3 % 2)},
        }
        for index in range(24)
    ]
    made = enhanced(frames(24), along([3 * (index // 6) for index in range(24)]), groups=groups)
    message = refused(made, tmp_path / "a.dcm")
    assert "holds 6 whole volumes, by EffectiveEchoTime and TemporalPositionIndex (0.0, 0; 0.0, 1; 0.0, 2;" in message


def test_two_stacks_in_a_file(tmp_path: Path) -> None:
    one = enhanced(frames(6), along([0, 3, 6, 1, 4, 7]), stacks="111222")
    assert "holds 2 whole volumes, by StackID (1, 2)" in refused(one, tmp_path / "a.dcm")
    turned = enhanced(
        frames(6),
        along([0, 3, 6, 9, 1, 2]),
        groups=[{"PlaneOrientationSequence": {"ImageOrientationPatient": list(AXIAL)}}] * 4
        + [{"PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}}] * 2,
    )
    assert "frame 5 has another orientation" in refused(turned, tmp_path / "b.dcm")


def test_frames_without_a_place_or_a_size(tmp_path: Path) -> None:
    made = enhanced(frames(4), along([0, 2, 4, 6]))
    del made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert "a.dcm: gives no size of its pixels (no PixelSpacing)" in refused(made, tmp_path / "a.dcm")
    del made.PerFrameFunctionalGroupsSequence
    assert "holds 4 frames without a place for each" in refused(made, tmp_path / "b.dcm")


@pytest.mark.parametrize("tilt", [0.04, 0.3])
def test_a_tilt_stays_in_the_affine(tmp_path: Path, tilt: float) -> None:
    heights = [0, 4, 8, 12]
    made = enhanced(frames(4), along(heights, tilt))
    volume = read_file(save(made, tmp_path / "a.dcm"))
    for index, height in enumerate(heights):  # the corner of every frame, in RAS
        corner = (10, -(20 + tilt * height), height, 1)
        np.testing.assert_allclose(volume.geometry.affine @ (0, 0, index, 1), corner, atol=1e-6)


def test_a_volume_in_several_files_and_several_volumes_in_files_of_their_own(tmp_path: Path) -> None:
    stored = frames(6)
    save(enhanced(stored[3:], along([6, 8, 10])), tmp_path / "one" / "a.dcm")
    save(enhanced(stored[:3], along([0, 2, 4])), tmp_path / "one" / "b.dcm")
    np.testing.assert_array_equal(read_file(tmp_path / "one").array[0], np.moveaxis(stored, 0, -1))
    for name in "ab":
        save(enhanced(stored, along(range(6))), tmp_path / "two" / f"{name}.dcm")
    with pytest.raises(DataError, match=r"holds 2 whole volumes, each in its own file \(a.dcm, b.dcm\): give one file"):
        read_file(tmp_path / "two")


def test_private_dimensions_are_no_obstacle(tmp_path: Path) -> None:
    stored = frames(4)
    made = enhanced(stored, along([0, 2, 4, 6]))
    made.DimensionIndexSequence[0].DimensionIndexPointer = 0x2005106E
    np.testing.assert_array_equal(read_file(save(made, tmp_path / "a.dcm")).array[0], np.moveaxis(stored, 0, -1))


@pytest.mark.parametrize("missing", ["pydicom", "highdicom"])
def test_without_the_extra_the_install_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    made = enhanced(frames(3), along([0, 2, 4]))
    save(made, tmp_path / "a.dcm")
    monkeypatch.setitem(sys.modules, missing, None)  # an import of it fails, as where it is not installed
    with pytest.raises(DataError, match=r"an Enhanced MR image.* pip install 'swin-unetr\[dicom\]'"):
        read_file(tmp_path / "a.dcm")


@pytest.mark.parametrize("keep", [200, 1500, -40])
def test_damaged_files(tmp_path: Path, keep: int) -> None:
    path = save(enhanced(frames(4), along([0, 2, 4, 6])), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.dcm: .*copy it again"):
        read_file(path)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 4)] * 3),
    order=st.permutations(range(5)),
    signed=st.booleans(),
)
def test_any_orientation_spacing_and_order(
    tmp_path_factory: pytest.TempPathFactory,
    angles: tuple[float, float, float],
    spacing: tuple[float, float, float],
    order: Sequence[int],
    signed: bool,
) -> None:
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one, other = [index for index in range(3) if index != axis]
        step, cosine, sine = np.eye(3), np.cos(angle), np.sin(angle)
        step[[one, one, other, other], [one, other, one, other]] = cosine, -sine, sine, cosine
        turn = turn @ step
    stored = frames(5, (4, 7)).astype(np.int16 if signed else np.uint16) - (2000 if signed else 0)
    positions = [np.array([5.0, -60.0, 30.0]) + turn[:, 2] * spacing[2] * k for k in range(5)]
    made = enhanced(
        stored[list(order)],
        [positions[k] for k in order],
        orientation=[float(f"{value:.10f}") for value in (*turn[:, 0], *turn[:, 1])],
        spacing=[float(f"{spacing[1]:.8f}"), float(f"{spacing[0]:.8f}")],
    )
    path = save(made, tmp_path_factory.mktemp("mr") / "a.dcm")
    volume = read_file(path)
    np.testing.assert_array_equal(volume.array[0], np.moveaxis(stored, 0, -1))
    for index in np.ndindex(4, 7, 5):
        truth = positions[index[2]] + turn[:, :2] @ (np.array(index[:2]) * spacing[:2])
        np.testing.assert_allclose((TO_RAS @ volume.geometry.affine @ (*index, 1))[:3], truth, atol=1e-5)
    # highdicom's own volume, which runs slice x row x column and may run the other way
    theirs = highdicom.imread(path).get_volume()
    ours = volume.array[0].transpose(2, 1, 0)
    corner = theirs.affine @ (0, 0, 0, 1)
    flipped = np.linalg.norm(corner[:3] - positions[0]) > 1e-4
    np.testing.assert_array_equal(theirs.array, ours[::-1] if flipped else ours)
