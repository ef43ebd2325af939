"""What the header of a file decides: random ones against nibabel, and redundant fields that contradict each other."""

import os
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from swin_unetr.errors import DataError
from transforms.geometry import Geometry
from transforms.io import (
    read_file,
    read_geometry,
    read_image,
    read_label_names,
    read_labels,
    read_verdict,
    write_channels,
    write_labels,
)
from transforms.verdict import RefusedError

SHAPE = (9, 7, 6)
SPACING = np.array([0.7, 0.8, 5.0])
TYPES = (np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64)
#: Where fields lie in a NIfTI-1 header.
SLOPE, UNITS, PIXDIM, QUATERNION, SFORM, INTENT = 112, 123, 80, 256, 280, 68
GRID_FIELDS = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z", "xyzt_units"),
)


def oblique(spacing: NDArray[np.float64] = SPACING, angles: tuple[float, ...] = (10, -20, 30)) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing
    affine[:3, 3] = (-101.3, 55.1, 12.7)
    return affine


def save(
    path: Path, array: Any = None, affine: Any = None, codes: tuple[int, int] = (1, 1), units: str = "mm", **fields: Any
) -> Path:
    """Write with nibabel alone; codes of qform and sform."""
    affine = oblique() if affine is None else affine
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) if array is None else array
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units(units)
    image.set_qform(affine, codes[0])
    image.set_sform(affine, codes[1])
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def patch(path: Path, offset: int, content: bytes) -> Path:
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(content)] = content
    path.write_bytes(bytes(whole))
    return path


def codes_of(path: Path) -> list[str]:
    return [note.code for note in read_verdict(path).notes]


@st.composite
def headers(draw: st.DrawFn) -> dict[str, Any]:
    """A grid and a way of storing that a scan can have."""
    number = st.floats(-1, 1, allow_nan=False)
    unit = draw(st.sampled_from(["mm", "unknown", "micron", "meter"]))
    spacing = np.array([draw(st.floats(0.3, 6)) for _ in range(3)])
    angles = [180 * draw(number) for _ in range(3)]
    mirror = np.diag([draw(st.sampled_from([1, -1])), 1, 1, 1])
    affine = oblique(spacing, tuple(angles)) @ mirror
    affine[:3, 3] = [300 * draw(number) for _ in range(3)]
    factor = {"micron": 1e-3, "meter": 1e3}.get(unit, 1.0)
    affine[:3] /= factor
    return {
        "version": draw(st.sampled_from([1, 2])),
        "affine": affine,
        "factor": factor,
        "unit": unit,
        "codes": (draw(st.integers(0, 4)), draw(st.integers(0, 4))),
        "dtype": draw(st.sampled_from(TYPES)),
        "channels": draw(st.integers(1, 3)),
        "slope": draw(st.sampled_from([None, (1.0, 0.0), (2.0, -1024.0), (0.37, 5.5), (-1.0, 3.0)])),
        "suffix": draw(st.sampled_from([".nii", ".nii.gz", ".hdr"])),
        "seed": draw(st.integers(0, 99)),
    }


@given(of=headers())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_header_is_read_as_nibabel_does_and_written_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, of: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("header")
    path, written, maps = folder / f"scan{of['suffix']}", folder / "labels.nii.gz", folder / "maps.nii"
    rng = np.random.default_rng(of["seed"])
    shape = (*SHAPE, of["channels"])[: 3 + (of["channels"] > 1)]
    array = rng.integers(0, 100, shape).astype(of["dtype"])
    kinds = {".hdr": (nibabel.Nifti1Pair, nibabel.Nifti2Pair)}.get(
        of["suffix"], (nibabel.Nifti1Image, nibabel.Nifti2Image)
    )
    image = kinds[of["version"] - 1](array, of["affine"])
    image.header.set_xyzt_units(of["unit"], "sec")
    image.set_qform(of["affine"], of["codes"][0])
    image.set_sform(of["affine"], of["codes"][1])
    if of["slope"] is not None:
        image.header.set_slope_inter(*of["slope"])
    nibabel.save(image, path)

    theirs = nibabel.load(path)
    expected = theirs.affine.copy()
    expected[:3] *= of["factor"]
    volume = read_file(path)
    verdict = read_verdict(path)
    np.testing.assert_allclose(volume.geometry.affine, expected, rtol=1e-6, atol=1e-6)
    assert verdict.geometry.affine.tobytes() == volume.geometry.affine.tobytes()
    values = np.asanyarray(theirs.dataobj).reshape((*SHAPE, of["channels"]))
    np.testing.assert_allclose(volume.array, np.moveaxis(values, -1, 0), rtol=1e-12)
    assert (verdict.channels, verdict.geometry.shape) == (of["channels"], SHAPE)
    lean = read_file(path, lean=True).array
    assert lean.dtype == verdict.dtype
    np.testing.assert_allclose(lean, volume.array, rtol=1e-6)
    wanted = {"no-orientation"} if of["codes"] == (0, 0) else set()
    wanted |= {"units"} if of["unit"] in ("micron", "meter") else set()
    assert {note.code for note in verdict.notes} == wanted

    write_labels(written, np.ones(SHAPE, np.uint8), volume.geometry)
    write_channels(maps, np.zeros((2, *SHAPE), np.float32), volume.geometry)
    for other in (written, maps):
        header = nibabel.load(other).header
        for field in GRID_FIELDS:
            assert header[field].tolist() == theirs.header[field].tolist(), field
        assert header["pixdim"][:4].tobytes() == theirs.header["pixdim"][:4].tobytes()
        assert read_geometry(other).affine.tobytes() == volume.geometry.affine.tobytes()


def test_a_unit_counts_only_where_it_gives_the_size_of_a_scan(tmp_path: Path) -> None:
    ones, shape = np.zeros((60, 50, 40), np.int16), (60, 50, 40)
    for name, size, unit, spacing in (
        ("mouse", 100.0, "micron", 0.1),
        ("atlas", 25.0, "micron", 0.025),
        ("metres", 0.003, "meter", 3.0),
        ("wrong unit", 1.0, "micron", 1.0),
        ("wrong metre", 2.5, "meter", 2.5),
    ):
        path = save(tmp_path / f"{name}.nii", ones, np.diag([size, size, size, 1]), units=unit)
        verdict = read_verdict(path)
        assert verdict.geometry.spacing_mm == pytest.approx([spacing] * 3), name
        assert [note.code for note in verdict.notes] == ["units"]
        assert unit[:5] in verdict.notes[0].words.replace("metre", "meter")
        written = tmp_path / "written.nii"
        write_labels(written, np.ones(shape, np.uint8), verdict.geometry)
        assert nibabel.load(written).header.get_xyzt_units()[0] == unit
        assert nibabel.load(written).affine[0, 0] == pytest.approx(size)
    for size, unit in ((1e-4, "micron"), (1e5, "meter")):
        path = save(tmp_path / "neither.nii", ones, np.diag([size, size, size, 1]), units=unit)
        with pytest.raises(RefusedError, match="write the true voxel size and unit") as error:
            read_image([path])
        assert error.value.code == "no-grid"


@pytest.mark.parametrize("with_sform", [False, True])
def test_a_quaternion_longer_than_1_by_rounding(tmp_path: Path, with_sform: bool) -> None:
    affine = np.diag([-0.7, 5.0, 0.8, 1])[:, [0, 2, 1, 3]]  # a turn by 180 degrees about (0, 1, 1)
    path = save(tmp_path / "a.nii", affine=affine, codes=(1, int(with_sform)))
    patch(path, QUATERNION, struct.pack("<3f", 0.0, 0.70710701, 0.70710701))
    if not with_sform:
        with pytest.raises(ValueError, match="w2 should be positive"):
            nibabel.load(path)
    geometry = read_geometry(path)
    itk = sitk.ReadImage(str(path))
    assert geometry.spacing_mm == pytest.approx(itk.GetSpacing(), abs=1e-5)
    for voxel in ((0, 0, 0), (8, 6, 5)):
        lps = np.array(itk.TransformIndexToPhysicalPoint(voxel))
        np.testing.assert_allclose((geometry.affine @ (*voxel, 1))[:3], lps * (-1, -1, 1), atol=1e-3)
    assert codes_of(path) == ["qform-rounded"]
    write_labels(tmp_path / "labels.nii", np.ones(SHAPE, np.uint8), geometry)
    raw = [file.read_bytes()[QUATERNION : SFORM + 48] for file in (path, tmp_path / "labels.nii")]
    assert raw[0] == raw[1]


def test_an_sform_that_is_empty_or_damaged_gives_way_to_a_sound_qform(tmp_path: Path) -> None:
    for content, what in ((bytes(48), "empty"), (np.full(12, np.nan, "<f4").tobytes(), "damaged")):
        path = patch(save(tmp_path / "a.nii"), SFORM, content)
        np.testing.assert_allclose(read_geometry(path).affine, oblique(), atol=1e-4)
        (note,) = read_verdict(path).notes
        assert (note.code, note.words) == (
            "sform-unusable",
            f"the sform is {what} although its code is set; the qform is used",
        )
        with pytest.raises(DataError, match="affine places voxels nowhere"):
            read_geometry(patch(save(tmp_path / "b.nii", codes=(0, 1)), SFORM, content))


def test_a_form_that_fell_back_to_1_mm_gives_way_to_what_still_holds_the_size(tmp_path: Path) -> None:
    lost = np.eye(4)[:3].astype("<f4").tobytes()
    with_qform = patch(save(tmp_path / "q.nii"), SFORM, lost)
    np.testing.assert_allclose(read_geometry(with_qform).affine, oblique(), atol=1e-4)
    alone = patch(save(tmp_path / "p.nii", codes=(0, 1)), SFORM, lost)
    np.testing.assert_allclose(read_geometry(alone).affine, np.diag([*SPACING, 1]), atol=1e-6)
    for path in (with_qform, alone):
        (note,) = read_verdict(path).notes
        assert note.code == "sform-unusable"
        assert "lost the voxel size (1 x 1 x 1, the header says 0.7 x 0.8 x 5)" in note.words
    # The other way round, the voxel size is what fell back.
    path = patch(save(tmp_path / "d.nii", codes=(0, 1)), PIXDIM, np.ones(3, "<f4").tobytes())
    np.testing.assert_allclose(read_geometry(path).affine, oblique(), atol=1e-4)
    assert codes_of(path) == ["forms-disagree"]


def test_sizes_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    path = patch(save(tmp_path / "a.nii"), PIXDIM, np.array([0.7, 0.8, 2.5], "<f4").tobytes())
    assert codes_of(path) == ["forms-disagree"]
    np.testing.assert_allclose(read_geometry(path).affine, oblique(), atol=1e-4)
    moved = patch(save(tmp_path / "b.nii"), QUATERNION + 12, np.float32(9).tobytes())
    assert codes_of(moved) == ["forms-disagree"]
    assert "the sform is used" in read_verdict(moved).notes[0].words


@pytest.mark.parametrize("codes", [(1, 0), (0, 0)])
@pytest.mark.parametrize("size", [0.0, np.nan])
def test_a_size_of_nothing_is_not_made_up(tmp_path: Path, codes: tuple[int, int], size: float) -> None:
    path = patch(save(tmp_path / "a.nii", codes=codes), PIXDIM + 8, np.float32(size).tobytes())
    with pytest.raises(RefusedError, match="voxel size 0 or NaN"):
        read_geometry(path)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((122, 101), np.int16), "is a picture of 122 x 101 pixels"),
        (np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]), r"is a colour picture \(RGB, 9 x 7 x 6\)"),
        (np.zeros(SHAPE, np.complex64), r"holds complex numbers \(complex64, 9 x 7 x 6\)"),
        (np.zeros((*SHAPE, 1, 3), np.float32), r"has shape 9 x 7 x 6 x 1 x 3"),
    ],
)
def test_pictures_and_their_like_are_refused_by_their_true_names(tmp_path: Path, array: Any, words: str) -> None:
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    for read in (read_geometry, read_verdict, read_file, read_labels, lambda path: read_image([path])):
        with pytest.raises(RefusedError, match=words):
            read(path)


def test_a_time_series_is_no_set_of_channels_unless_as_many_are_wanted(tmp_path: Path) -> None:
    path, plain = tmp_path / "series.nii", tmp_path / "channels.nii"
    for file, step in ((path, 2.5), (plain, 1.0)):
        image = nibabel.Nifti1Image(np.zeros((*SHAPE, 4), np.float32), np.eye(4))
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = step
        nibabel.save(image, file)
    assert (read_verdict(path).kind, read_verdict(plain).kind) == ("time series", "scan")
    assert read_image([path], channels=4).array.shape == read_image([plain]).array.shape == (4, *SHAPE)
    for channels in (None, 1):
        with pytest.raises(DataError, match="is a time series of 4 volumes where a 3-D scan is wanted"):
            read_image([path], channels=channels)


@pytest.mark.parametrize(("dtype", "slope"), [(np.uint8, 1 / 255), (np.int16, 3.0000001), (np.int16, 2 / 32767)])
def test_labels_that_the_header_scales(tmp_path: Path, dtype: Any, slope: float) -> None:
    largest = 1 if slope > 1 else 2
    labels = np.random.default_rng(0).integers(0, largest + 1, SHAPE)
    stored = np.rint(labels / slope) if slope < 1 else labels
    if slope == 1 / 255:
        stored, labels = 255 * (labels > 0), (labels > 0).astype(int)
    path = save(tmp_path / "a.nii", stored.astype(dtype))
    patch(path, SLOPE, struct.pack("<2f", slope, 0))
    expected = 3 * labels if slope > 1 else labels
    found = read_labels(path)
    np.testing.assert_array_equal(found.array[0], expected)
    assert found.array.dtype == np.uint8


def test_labels_that_a_header_makes_odd_are_told_with_the_cause(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.ones(SHAPE, np.uint8))
    patch(path, SLOPE, struct.pack("<2f", 0.98, 0))
    with pytest.raises(DataError, match=r"multiplies them by 0.98 \(scl_slope\); save the labels as integers"):
        read_labels(path)


def test_kind_and_names_of_a_label_map(tmp_path: Path) -> None:
    write_labels(tmp_path / "ours.nii.gz", np.ones(SHAPE, int), Geometry(SHAPE, np.eye(4)), {1: "spleen"})
    assert read_verdict(tmp_path / "ours.nii.gz").kind == "label map"
    assert read_label_names(tmp_path / "ours.nii.gz") == {1: "spleen"}
    assert read_verdict(save(tmp_path / "coded.nii", intent_code=1002)).kind == "label map"
    assert read_verdict(save(tmp_path / "scan.nii")).kind == "scan"


def slicer(path: Path, labels: NDArray[Any], start: tuple[int, int, int], size: tuple[int, int, int]) -> Path:
    """Part of a label map, as Slicer writes it."""
    whole = sitk.GetImageFromArray(np.ascontiguousarray(labels.T))
    whole.SetSpacing(SPACING.tolist())
    whole.SetOrigin((-12.5, 33.0, 101.0))
    whole.SetDirection(sitk.Euler3DTransform((0, 0, 0), 0.1, 0.2, -0.3).GetMatrix())
    part = sitk.RegionOfInterest(whole, size, start)
    fields = {"ID": "Segment_1", "Name": "liver", "LabelValue": "1", "Layer": "0"}
    for number, name in enumerate(("liver", "left kidney")):
        for key, value in (fields | {"Name": name, "LabelValue": str(number + 1)}).items():
            part.SetMetaData(f"Segment{number}_{key}", value)
    part.SetMetaData("Segmentation_ReferenceImageExtentOffset", " ".join(map(str, start)))
    sitk.WriteImage(part, str(path), True)
    sitk.WriteImage(whole, str(path.with_name("scan.nrrd")))
    return path


def test_a_segmentation_of_slicer_is_put_on_the_grid_of_its_scan(tmp_path: Path) -> None:
    labels = np.zeros((20, 18, 16), np.uint8)
    labels[5:9, 6:10, 7:11], labels[9:12, 6:10, 7:11] = 1, 2
    path = slicer(tmp_path / "p1.seg.nrrd", labels, (4, 5, 6), (9, 7, 8))
    scan = read_geometry(tmp_path / "scan.nrrd")
    assert read_labels(path).geometry.shape == (9, 7, 8)
    placed = read_labels(path, like=scan)
    np.testing.assert_array_equal(placed.array[0], labels)
    assert placed.geometry.difference(scan) is None
    assert read_label_names(path) == {1: "liver", 2: "left kidney"}
    assert read_verdict(path).kind == "label map"
    # What lies beside the voxels of the scan stays where it is.
    between = Geometry(scan.shape, scan.affine @ np.array([[1, 0, 0, 0.4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    assert read_labels(path, like=between).geometry.shape == (9, 7, 8)


def test_segments_that_overlap_are_refused_in_words_that_fit(tmp_path: Path) -> None:
    path = slicer(tmp_path / "p1.seg.nrrd", np.ones((6, 6, 6), np.uint8), (0, 0, 0), (6, 6, 6))
    image = sitk.ReadImage(str(path))
    layers = sitk.Compose(image, image)
    for with_names in (False, True):
        for key in image.GetMetaDataKeys() if with_names else ():
            layers.SetMetaData(key, image.GetMetaData(key))
        sitk.WriteImage(layers, str(path), True)
        with pytest.raises(RefusedError, match="segments that overlap, in several layers") as error:
            read_labels(path)
        assert error.value.code == "layered"


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.mha", "a.hdr"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "run 'git lfs pull'"),
        (b"/annex/objects/SHA256E-s12--00.nii.gz\n", "run 'git annex get'"),
        (b"", r"is empty \(0 bytes\)"),
    ],
)
def test_what_stands_in_for_a_file_is_told(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_image([path])


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    loop, dead = tmp_path / "loop.nii.gz", tmp_path / "dead.nii.gz"
    os.symlink(loop.name, loop)
    os.symlink("elsewhere.nii.gz", dead)
    for path in (loop, dead):
        with pytest.raises(DataError, match="is a link that leads nowhere"):
            read_image([path])


def test_a_header_without_a_voxel_size_is_told(tmp_path: Path) -> None:
    head = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n"
    for field, codes in (("", ["spacing-missing"]), ("spacings: 1 1 2\n", [])):
        (tmp_path / "a.nrrd").write_bytes(f"{head}{field}\n".encode() + bytes(8))
        assert codes_of(tmp_path / "a.nrrd") == codes
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 3, 3), np.uint8)), str(tmp_path / "b.mha"))
    assert codes_of(tmp_path / "b.mha") == []
