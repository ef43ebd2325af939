"""Classic DICOM slices made here: what they say of themselves is what counts, and what they do not say is refused."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import write_object, write_plane
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    BasicTextSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    RTDoseStorage,
    RTStructureSetStorage,
    SegmentationStorage,
    UltrasoundMultiFrameImageStorage,
)

from swin_unetr.datasets import Case
from swin_unetr.doctor.findings import KINDS
from swin_unetr.errors import DataError
from swin_unetr.survey.case import Reading, read_case
from transforms.io import dicom_problems, read_file, read_header
from transforms.io_dicom import dicom_verdict
from transforms.verdict import RefusedError

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def planes(count: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(2).integers(0, 3000, (count, 5, 6), dtype=np.uint16)


def write_series(folder: Path, count: int = 6, **attributes: Any) -> np.ndarray[Any, Any]:
    """Slices 2.5 mm apart; gives the values in HU, X x Y x Z."""
    stored = planes(count)
    for index in range(count):
        write_plane(folder / f"{index:03d}.dcm", stored[index], (0, 0, 2.5 * index), **attributes)
    return np.moveaxis(stored.astype(int), 0, -1) - 1024


def refused(path: Path, *, has_image: bool = True) -> str:
    with pytest.raises(DataError) as error:
        read_file(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 700
    with pytest.raises(DataError):
        read_header([path])
    assert bool(dicom_problems(path)) == has_image
    return message


def test_pixels_without_a_size(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", spacing=None)
    message = refused(tmp_path / "ct")
    assert "000.dcm gives no size of its pixels (no PixelSpacing): export it again" in message
    assert "the same for 5 more files" in message
    write_series(tmp_path / "xr", spacing=None, ImagerPixelSpacing=[0.7, 0.8])
    assert "(no PixelSpacing) (ImagerPixelSpacing is that at the detector)" in refused(tmp_path / "xr")
    write_series(tmp_path / "zero", spacing=(0, 0))
    assert "gives no size of its pixels" in refused(tmp_path / "zero")


@pytest.mark.parametrize("attribute", ["ImagePositionPatient", "ImageOrientationPatient"])
def test_slices_without_a_place(tmp_path: Path, attribute: str) -> None:
    write_series(tmp_path / "ct", **{attribute: None})
    assert f"gives no place in the patient (no {attribute})" in refused(tmp_path / "ct")


def test_axes_that_are_not_at_right_angles_and_a_slope_of_0(tmp_path: Path) -> None:
    write_series(tmp_path / "a", orientation=(1, 0, 0, 0.1, 1, 0))
    assert "not at right angles" in refused(tmp_path / "a")
    write_series(tmp_path / "b", RescaleSlope="0")
    assert "scales its values by 0" in refused(tmp_path / "b")


@pytest.mark.parametrize(
    ("attributes", "thickness", "name"),
    [
        ({"SliceThickness": "5"}, 5, "SliceThickness"),
        ({"SpacingBetweenSlices": "6.5"}, 6.5, "SpacingBetweenSlices"),
        ({"SliceThickness": "5", "SpacingBetweenSlices": "6.5"}, 5, "SliceThickness"),
    ],
)
def test_a_single_slice_is_as_thick_as_it_says(
    tmp_path: Path, attributes: dict[str, str], thickness: float, name: str
) -> None:
    path = write_plane(tmp_path / "ct" / "a.dcm", planes(1)[0], (0, 0, 0), **attributes)
    for where in (path, path.parent):
        assert read_file(where).geometry.spacing_mm == pytest.approx((0.7, 0.8, thickness))
        (note,) = dicom_verdict(where).notes
        assert note.words == f"is a single slice; its third axis is {thickness:g} mm, by its {name}"


def test_a_single_slice_without_a_thickness(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", 1)
    assert "is a single slice that gives no SliceThickness" in refused(tmp_path / "ct")


@pytest.mark.parametrize(
    ("keyword", "values", "named"),
    [
        ("EchoTime", ("20", "80"), "EchoTime (20, 80)"),
        ("AcquisitionNumber", ("1", "2"), "AcquisitionNumber (1, 2)"),
        ("TemporalPositionIdentifier", ("1", "2"), "TemporalPositionIdentifier (1, 2)"),
        ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]), "(ORIGINAL/PRIMARY/M, ORIGINAL/"),
    ],
)
def test_two_volumes_in_one_series(tmp_path: Path, keyword: str, values: Sequence[Any], named: str) -> None:
    stored = planes(10)
    for index in range(10):
        attributes = {keyword: values[index % 2], "AcquisitionTime": f"12{index:02d}00"}
        write_plane(tmp_path / "mr" / f"{index}.dcm", stored[index], (0, 0, 3 * (index // 2)), **attributes)
    message = refused(tmp_path / "mr")
    assert f"{tmp_path / 'mr'}: holds 2 whole volumes, by " in message
    assert named in message
    assert "move the files of each into its own folder" in message
    assert "remove" not in message


def test_thick_and_thin_slices_of_one_scan(tmp_path: Path) -> None:
    for thickness, count in ((1, 20), (5, 4)):
        for index in range(count):
            path = tmp_path / "ct" / f"{thickness}_{index}.dcm"
            write_plane(path, planes(1)[0], (0, 0, thickness * index), SliceThickness=str(thickness))
    assert "holds 2 whole volumes, by SliceThickness (1, 5)" in refused(tmp_path / "ct")


def test_volumes_that_no_attribute_tells_apart(tmp_path: Path) -> None:
    for index in range(10):
        write_plane(tmp_path / "mr" / f"{index}.dcm", planes(1)[0], (0, 0, 3 * (index // 2)))
    assert "holds 2 slices at each of 5 places, and no attribute says which belong together" in refused(tmp_path / "mr")


def test_one_slice_that_was_taken_again_is_no_volume(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", AcquisitionNumber="1")
    write_plane(tmp_path / "ct" / "again.dcm", planes(1)[0], (0, 0, 5), AcquisitionNumber="2")
    assert "lies where" in (message := refused(tmp_path / "ct"))
    assert "volumes" not in message


def test_parts_of_a_scan_in_two_acquisitions_are_one_scan(tmp_path: Path) -> None:
    for index in range(8):
        number = {"AcquisitionNumber": str(1 + index // 4)}
        write_plane(tmp_path / "ct" / f"{index}.dcm", planes(1)[0], (0, 0, 2.0 * (index + index // 4)), **number)
    assert "1 missing between them" in refused(tmp_path / "ct")


@pytest.mark.parametrize(
    ("sop_class", "modality", "name"),
    [
        (RTStructureSetStorage, "RTSTRUCT", "a set of contours (RTSTRUCT)"),
        (SegmentationStorage, "SEG", "a segmentation (SEG)"),
        (BasicTextSRStorage, "SR", "a report (SR)"),
        (GrayscaleSoftcopyPresentationStateStorage, "PR", "a presentation state (PR)"),
        (KeyObjectSelectionDocumentStorage, "KO", "a selection of key images (KO)"),
        (RTDoseStorage, "RTDOSE", "a dose (RTDOSE)"),
    ],
)
def test_objects_without_an_image(tmp_path: Path, sop_class: str, modality: str, name: str) -> None:
    voxels = write_series(tmp_path / "ct")
    path = write_object(tmp_path / "ct" / "z.dcm", sop_class, modality)
    np.testing.assert_array_equal(read_file(tmp_path / "ct").array[0], voxels)
    assert dicom_problems(tmp_path / "ct") == ()
    (note,) = dicom_verdict(tmp_path / "ct").notes
    assert note.code in KINDS
    assert (note.code, note.words, note.path) == ("passed-by", f"is {name}, not a slice; it was skipped", path)
    assert read_file(tmp_path / "ct").notes == (note,)
    code = {"SEG": "segmentation", "RTSTRUCT": "contours"}.get(modality, "other-object")
    assert refused(path, has_image=False).startswith(f"{path}: is {name}, not a scan; give the ")
    (tmp_path / "alone").mkdir()
    path = path.rename(tmp_path / "alone" / path.name)
    assert f": holds {name}, not a scan; give the " in refused(path.parent, has_image=False)
    for where in (path, path.parent):
        with pytest.raises(RefusedError, match=re.escape(name)) as error:
            dicom_verdict(where)
        assert error.value.code == code
        facts = read_case(Reading(Case(id="x", images=(where,))))
        assert [(problem.code, problem.path) for problem in facts.problems] == [(code, where)]
        assert code in KINDS


def test_files_with_several_frames_of_no_place(tmp_path: Path) -> None:
    frames = np.zeros((3, 5, 6), np.uint16)
    path = write_plane(
        tmp_path / "us.dcm", frames, (0, 0, 0), sop_class=UltrasoundMultiFrameImageStorage, NumberOfFrames=3
    )
    assert "holds 3 frames without a place for each" in refused(path)


def test_slices_without_preamble_and_suffix_are_among_the_others(tmp_path: Path) -> None:
    stored = planes(12)
    for index in range(12):
        bare = index % 4 == 3
        name = f"IM{index:04d}" if bare else f"{index:03d}.dcm"
        write_plane(tmp_path / "ct" / name, stored[index], (0, 0, 2.0 * index), preamble=not bare)
    (tmp_path / "ct" / "VERSION").write_text("1\n")
    volume = read_file(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array[0], np.moveaxis(stored.astype(int), 0, -1) - 1024)
    (note,) = dicom_verdict(tmp_path / "ct").notes
    assert (note.words, note.path) == ("is not DICOM; it was left out", tmp_path / "ct" / "VERSION")


def test_directions_across_a_rounding_edge_are_one_series(tmp_path: Path) -> None:
    stored = planes(6)
    for index in range(6):
        slant = 0.0004995 + 2e-6 * (index % 2)
        orientation = (1, slant, 0, -slant, 1, 0)
        write_plane(tmp_path / "ct" / f"{index}.dcm", stored[index], (0, 0, 2.0 * index), orientation=orientation)
    np.testing.assert_array_equal(read_file(tmp_path / "ct").array[0], np.moveaxis(stored.astype(int), 0, -1) - 1024)
    write_plane(tmp_path / "ct" / "9.dcm", stored[0], (0, 0, 12), orientation=(1, 0.05, 0, -0.05, 1, 0))
    assert "9.dcm has another orientation" in refused(tmp_path / "ct")


@pytest.mark.parametrize("modality", ["CT", "PT"])
@pytest.mark.parametrize(
    ("dtype", "bits", "slope", "intercept"),
    [
        (np.uint16, 16, "1", "-1024"),
        (np.uint16, 12, "1", "-1024"),
        (np.int16, 16, "1", "0"),
        (np.uint16, 16, "0.37", "5"),
        (np.uint16, 12, "2", "-2000"),
        (np.int16, 16, "1.0000001", "-3.5"),
    ],
)
def test_values_with_a_unit_do_not_depend_on_their_display(
    tmp_path: Path, modality: str, dtype: Any, bits: int, slope: str, intercept: str
) -> None:
    stored = np.array([[0, 1, 2, 3], [1000, 1024, 4094, 4095]], dtype)
    if dtype is np.int16:
        stored[0] = -32768, -1, 32767, -1024
    sop_class = PositronEmissionTomographyImageStorage if modality == "PT" else "1.2.840.10008.5.1.4.1.1.2"
    of = {"Modality": modality, "RescaleSlope": slope, "RescaleIntercept": intercept, "SliceThickness": "2"}
    volumes = []
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        path = tmp_path / f"{photometric}.dcm"
        pixels = {"PhotometricInterpretation": photometric, "BitsStored": bits, "HighBit": bits - 1}
        write_plane(path, stored, (0, 0, 0), sop_class=sop_class, **of, **pixels)
        volumes.append(read_file(path))
        np.testing.assert_array_equal(volumes[-1].array[0, :, :, 0], stored * float(slope) + float(intercept))
    assert volumes[0].array.dtype == volumes[1].array.dtype


def test_inverted_values_without_a_unit_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "mr", sop_class=MRImageStorage, Modality="MR", PhotometricInterpretation="MONOCHROME1")
    assert "has inverted grey values (MONOCHROME1)" in refused(tmp_path / "mr")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 4)] * 3),
    tilt=st.floats(-0.4, 0.4),
    order=st.permutations(range(4)),
)
def test_any_orientation_spacing_tilt_and_order(
    tmp_path_factory: pytest.TempPathFactory,
    angles: tuple[float, float, float],
    spacing: tuple[float, float, float],
    tilt: float,
    order: Sequence[int],
) -> None:
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one, other = [index for index in range(3) if index != axis]
        step, cosine, sine = np.eye(3), np.cos(angle), np.sin(angle)
        step[[one, one, other, other], [one, other, one, other]] = cosine, -sine, sine, cosine
        turn = turn @ step
    folder, stored = tmp_path_factory.mktemp("ct"), planes(4)
    third = turn[:, 2] * spacing[2] + turn[:, 1] * tilt
    starts = [np.array([5.0, -60.0, 30.0]) + third * k for k in range(4)]

    def digits(values: Any) -> list[float]:
        return [float(f"{value:.10f}") for value in values]

    for name, k in zip("abcd", order, strict=True):
        orientation = digits((*turn[:, 0], *turn[:, 1]))
        sizes = digits((spacing[1], spacing[0]))
        write_plane(folder / name, stored[k], digits(starts[k]), orientation=orientation, spacing=sizes)
    volume = read_file(folder)
    np.testing.assert_array_equal(volume.array[0], np.moveaxis(stored.astype(int), 0, -1) - 1024)
    for index in np.ndindex(5, 6, 4):
        truth = starts[index[2]] + turn[:, :2] @ (np.array(index[:2]) * spacing[:2])
        np.testing.assert_allclose((TO_RAS @ volume.geometry.affine @ (*index, 1))[:3], truth, atol=1e-5)


def test_a_slice_that_was_not_fetched_is_told(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    (tmp_path / "ct/005.dcm").unlink()  # the last one, which leaves no gap
    (tmp_path / "ct/005.dcm").symlink_to(".git/annex/objects/slice")
    assert "005.dcm is a link that leads nowhere (.git/annex/objects/slice)" in refused(tmp_path / "ct")


def test_slices_need_no_extra(tmp_path: Path) -> None:
    voxels = write_series(tmp_path / "ct")
    np.save(tmp_path / "truth.npy", voxels)
    lines = (
        "import sys, pathlib, numpy",
        "sys.modules['pydicom'] = sys.modules['highdicom'] = None  # an import fails, as where they are not installed",
        "from transforms.io import read_file",
        f"folder = pathlib.Path({str(tmp_path)!r})",
        "assert numpy.array_equal(read_file(folder / 'ct').array[0], numpy.load(folder / 'truth.npy'))",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
