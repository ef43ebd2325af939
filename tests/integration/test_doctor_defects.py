"""Doctor finds what is planted: a plain folder of CT phantoms, each with one defect, in every file type."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from swin_unetr.doctor.diagnosis import Diagnosis, diagnose
from swin_unetr.phantoms import LABELS, draw_affine, draw_phantom

SIZE = (24, 24, 20)
HEALTHY = 12
TO_LPS = np.diag([-1.0, -1.0, 1.0])


@dataclass
class Sample:
    """A phantom to be spoilt and written: Hounsfield units, labels, affine."""

    name: str
    root: Path
    hu: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]
    affine: np.ndarray[Any, Any]

    @property
    def shifted(self) -> np.ndarray[Any, Any]:
        return self.moved(3.0)

    def moved(self, mm: float) -> np.ndarray[Any, Any]:
        affine = self.affine.copy()
        affine[2, 3] += mm
        return affine

    def image(self, array=None, end: str = ".nii.gz", **keys: Any) -> Path:
        return self.write("images", self.hu if array is None else array, end, **keys)

    def label(self, array=None, end: str = ".nii.gz", **keys: Any) -> Path:
        return self.write("labels", self.labels if array is None else array, end, **keys)

    def write(self, folder: str, array, end: str, affine=None, kind: Any = nib.Nifti1Image, header=None) -> Path:
        path = self.root / folder / f"{self.name}{end}"
        path.parent.mkdir(parents=True, exist_ok=True)
        affine = self.affine if affine is None else affine
        if end in (".nrrd", ".mha", ".mhd"):
            write_itk(path, array, affine)
            return path
        image = (nib.Nifti1Pair if end == ".hdr" else kind)(array, affine)
        image.header.set_xyzt_units("mm")
        image.set_qform(affine, 1)
        image.set_sform(affine, 1)
        if header is not None:
            header(image)
        nib.save(image, path)
        return path


def write_itk(path: Path, array, affine) -> None:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((TO_LPS @ affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((TO_LPS @ affine[:3, 3]).tolist())
    sitk.WriteImage(image, str(path))


def write_dicom(sample: Sample, skip: int = -1, tilt: float = 0.0) -> Path:
    """A series of the phantom; its label on the grid that the series has."""
    folder = sample.root / "images" / sample.name
    folder.mkdir(parents=True)
    spacing = np.linalg.norm(sample.affine[:3, :3], axis=0)
    for z in range(sample.hu.shape[2]):
        if z != skip:
            write_slice(folder / f"{z:03d}.dcm", sample.hu[..., z], spacing, z * spacing[2], tilt=tilt)
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[1, 2] = -tilt * spacing[2]
    sample.label(affine=affine)
    return folder


def write_slice(
    path: Path, plane, spacing, height: float, *, tilt: float = 0.0, series: str = "1", **tags: str
) -> None:
    image = sitk.GetImageFromArray(np.ascontiguousarray(plane.T)[None])
    image.SetSpacing([float(value) for value in spacing])
    uid = f"1.2.3.{sum(path.parent.name.encode())}"
    values = {
        "0008|0060": "CT",
        "0008|0008": "ORIGINAL\\PRIMARY\\AXIAL",
        "0008|0018": f"{uid}.{series}.{path.stem.lstrip('0') or '0'}",
        "0020|000d": uid,
        "0020|000e": f"{uid}.{series}",
        "0020|0032": f"0\\{tilt * height:.6f}\\{height:.6f}",
        "0020|0037": "1\\0\\0\\0\\1\\0",
        **{key.replace("_", "|"): value for key, value in tags.items()},
    }
    for key, value in values.items():
        image.SetMetaData(key, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)


#: Name of a case to its defect's code, the file that must be named, and what plants it.
PLANTED: dict[str, tuple[str, str, Callable[[Sample], Any]]] = {}


def plant(code: str, file: str) -> Callable[[Callable[[Sample], Any]], Callable[[Sample], Any]]:
    def register(function: Callable[[Sample], Any]) -> Callable[[Sample], Any]:
        PLANTED[function.__name__] = code, file.format(function.__name__), function
        return function

    return register


def cut(path: Path, share: float = 0.6) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def patch(path: Path, offset: int, content: bytes) -> None:
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(content)] = content
    path.write_bytes(bytes(whole))


# Files that cannot be read


@plant("unreadable", "images/{}.nii.gz")
def nifti_gz_truncated(s):
    cut(s.image()), s.label()


@plant("unreadable", "images/{}.nii")
def nifti_truncated(s):
    cut(s.image(end=".nii")), s.label()


@plant("unreadable", "images/{}.nii")
def nifti_2_truncated(s):
    cut(s.image(end=".nii", kind=nib.Nifti2Image)), s.label()


@plant("unreadable", "images/{}.nrrd")
def nrrd_truncated(s):
    cut(s.image(end=".nrrd")), s.label()


@plant("unreadable", "images/{}.mha")
def mha_truncated(s):
    cut(s.image(end=".mha")), s.label()


@plant("unreadable", "labels/{}.nii.gz")
def label_truncated(s):
    s.image(), cut(s.label())


@plant("unreadable", "images/{}.nii.gz")
def file_of_no_bytes(s):
    s.image().write_bytes(b""), s.label()


@plant("unreadable", "images/{}.nii")
def text_for_an_image(s):
    s.image(end=".nii").write_text("no image " * 200), s.label()


@plant("unreadable", "images/{}.nii.gz")
def gz_by_its_name_alone(s):
    s.image(end=".nii").rename(s.root / "images" / f"{s.name}.nii.gz"), s.label()


@plant("unreadable", "images/{}.hdr")
def pair_without_its_data(s):
    s.image(end=".hdr").with_suffix(".img").unlink(), s.label()


@plant("unreadable", "images/{}.hdr")
def pair_truncated(s):
    cut(s.image(end=".hdr").with_suffix(".img")), s.label()


@plant("unreadable", "images/{}.mhd")
def mhd_without_its_data(s):
    s.image(end=".mhd").with_suffix(".raw").unlink(), s.label()


@plant("impossible-size", "images/{}.nii")
def nifti_of_enormous_shape(s):
    patch(s.image(end=".nii"), 42, np.array([30000] * 3, "<i2").tobytes()), s.label()


@plant("impossible-size", "images/{}.nii")
def nifti_2_of_enormous_shape(s):
    patch(s.image(end=".nii", kind=nib.Nifti2Image), 24, np.array([2**40] * 3, "<i8").tobytes()), s.label()


@plant("unreadable", "images/{}.nrrd")
def nrrd_of_enormous_shape(s):
    path = s.image(end=".nrrd")
    path.write_bytes(path.read_bytes().replace(b"sizes: 24 24 20", b"sizes: 90000 90000 90000")), s.label()


@plant("dicom-series", "images/{}/012.dcm")
def dicom_without_a_slice(s):
    write_dicom(s, skip=11)


@plant("dicom-series", "images/{}/500.dcm")
def dicom_with_a_slice_twice(s):
    folder = write_dicom(s)
    spacing = np.linalg.norm(s.affine[:3, :3], axis=0)
    write_slice(folder / "500.dcm", s.hu[..., 3], spacing, 3 * spacing[2])


@plant("dicom-series", "images/{}/900.dcm")
def dicom_of_two_series(s):
    folder = write_dicom(s)
    write_slice(folder / "900.dcm", s.hu[..., 3], np.linalg.norm(s.affine[:3, :3], axis=0), 3.0, series="2")


@plant("dicom-series", "images/{}/000.dcm")
def dicom_damaged(s):
    cut(write_dicom(s) / "000.dcm", 0.05)


@plant("sheared", "images/{}")
def dicom_of_a_tilted_gantry(s):
    write_dicom(s, tilt=0.2)


# Grids


@plant("geometry-differs", "labels/{}.nii.gz")
def label_shifted(s):
    s.image(), s.label(affine=s.shifted)


@plant("geometry-differs", "labels/{}.nrrd")
def label_of_another_shape(s):
    s.image(), s.label(s.labels[:, :, :-2], end=".nrrd")


@plant("geometry-differs", "labels/{}.mha")
def label_of_another_spacing(s):
    s.image(), s.label(end=".mha", affine=s.affine @ np.diag([1, 1, 1.1, 1]))


@plant("geometry-differs", "labels/{}.hdr")
def label_of_another_orientation(s):
    s.image(), s.label(end=".hdr", affine=np.diag([-1, -1, 1, 1]) @ s.affine)


@plant("sheared", "images/{}.nii.gz")
def sheared_grid(s):
    shear = np.eye(4)
    shear[1, 2] = 0.3

    def unset(image):
        image.header["qform_code"] = 0

    s.image(affine=shear @ s.affine, header=unset), s.label(affine=shear @ s.affine, header=unset)


@plant("forms-disagree", "images/{}.nii.gz")
def qform_elsewhere(s):
    s.image(header=lambda image: image.set_qform(s.moved(25), 1)), s.label()


@plant("forms-disagree", "images/{}.nii")
def qform_mirrored_in_nifti_2(s):
    mirrored = np.diag([-1, 1, 1, 1]) @ s.affine
    s.image(end=".nii", kind=nib.Nifti2Image, header=lambda image: image.set_qform(mirrored, 1)), s.label()


@plant("no-orientation", "images/{}.nii.gz")
def neither_form(s):
    def unset(image):
        image.set_qform(None, 0), image.set_sform(None, 0)

    s.image(header=unset), s.label(affine=nib.load(s.root / "images" / f"{s.name}.nii.gz").affine)


@plant("units", "images/{}.nii.gz")
def unit_of_micrometres(s):
    s.image(header=lambda image: image.header.set_xyzt_units("micron")), s.label()


@plant("units", "images/{}.nii")
def unit_of_metres_in_nifti_2(s):
    s.image(end=".nii", kind=nib.Nifti2Image, header=lambda image: image.header.set_xyzt_units("meter")), s.label()


@plant("spacing-impossible", "images/{}.nii")
def spacing_of_zero(s):
    patch(s.image(end=".nii"), 88, np.float32(0).tobytes()), s.label()


@plant("spacing-impossible", "images/{}.nii")
def spacing_below_zero(s):
    patch(s.image(end=".nii"), 80, np.float32(-9).tobytes()), s.label()


@plant("spacing-extreme", "images/{}.mha")
def spacing_in_metres(s):
    small = np.diag([1e-3, 1e-3, 1e-3, 1]) @ s.affine
    s.image(end=".mha", affine=small), s.label(affine=small)


@plant("spacing-outlier", "images/{}.nrrd")
def spacing_of_another_kind(s):
    small = np.diag([0.2, 0.2, 0.2, 1]) @ s.affine
    s.image(end=".nrrd", affine=small), s.label(affine=small)


@plant("size-outlier", "images/{}.nii.gz")
def only_a_corner_of_the_scan(s):
    s.image(s.hu[:, :, 9:13]), s.label(s.labels[:, :, 9:13])


@plant("one-slice", "images/{}.nii.gz")
def a_single_slice(s):
    s.image(s.hu[:, :, 9:10]), s.label(s.labels[:, :, 9:10])


@plant("wrong-dimensions", "images/{}.nii.gz")
def a_series_in_time(s):
    s.image(np.stack([s.hu, s.hu + 1, s.hu], axis=-1)), s.label()


@plant("wrong-dimensions", "labels/{}.nii.gz")
def label_of_four_axes(s):
    s.image(), s.label(np.stack([s.labels == 1, s.labels == 2], axis=-1).astype(np.uint8))


# Intensities


@plant("not-finite", "images/{}.nii.gz")
def nan_in_nifti(s):
    hu = s.hu.astype(np.float32)
    hu[3, 4, 5] = np.nan
    s.image(hu), s.label()


@plant("not-finite", "images/{}.mha")
def infinity_in_mha(s):
    hu = s.hu.astype(np.float32)
    hu[:2] = np.inf
    s.image(hu, end=".mha"), s.label()


@plant("constant", "images/{}.nrrd")
def nothing_but_air(s):
    s.image(np.full_like(s.hu, -1000), end=".nrrd"), s.label()


@plant("not-hounsfield", "images/{}.nii.gz")
def rescale_not_applied(s):
    s.image(s.hu + 1024), s.label()


@plant("not-hounsfield", "images/{}.nrrd")
def normalised_to_one(s):
    s.image(((s.hu + 1024) / 4095).astype(np.float32), end=".nrrd"), s.label()


@plant("not-hounsfield", "images/{}.mha")
def eight_bits_of_a_window(s):
    s.image((np.clip((s.hu + 175) / 425, 0, 1) * 255).astype(np.uint8), end=".mha"), s.label()


@plant("not-hounsfield", "images/{}.hdr")
def hundredfold_in_a_pair(s):
    s.image(s.hu.astype(np.int32) * 100, end=".hdr"), s.label()


@plant("padding", "images/{}.nii.gz")
def padded_far_below_air(s):
    hu = s.hu.copy()
    hu[:2, :2] = -9999
    s.image(hu), s.label()


@plant("label-as-image", "images/{}.nii.gz")
def label_in_place_of_the_image(s):
    s.image(s.labels), s.label()


# Labels


@plant("label-not-finite", "labels/{}.nii.gz")
def nan_in_a_label(s):
    labels = s.labels.astype(np.float32)
    labels[0, 0, 0] = np.nan
    s.image(), s.label(labels)


@plant("label-not-integer", "labels/{}.nii.gz")
def label_resampled_linearly(s):
    labels = s.labels.astype(np.float32)
    labels[12, 12, 8:11] += 0.25
    s.image(), s.label(labels)


@plant("label-not-integer", "labels/{}.nrrd")
def label_of_halves_in_nrrd(s):
    labels = s.labels.astype(np.float32)
    labels[5, 5, 5] = 1.5
    s.image(), s.label(labels, end=".nrrd")


@plant("label-negative", "labels/{}.mha")
def label_below_zero(s):
    labels = s.labels.astype(np.int16)
    labels[0, 0, 0] = -1
    s.image(), s.label(labels, end=".mha")


@plant("label-unknown", "labels/{}.nii.gz")
def label_that_no_one_knows(s):
    labels = s.labels.copy()
    labels[10:12, 10:12, 10] = 99
    s.image(), s.label(labels)


@plant("label-empty", "labels/{}.nii.gz")
def label_of_nothing(s):
    s.image(), s.label(np.zeros_like(s.labels))


@plant("label-full", "labels/{}.hdr")
def label_without_background(s):
    s.image(), s.label(np.maximum(s.labels, 1), end=".hdr")


@plant("label-not-map", "labels/{}.nii.gz")
def image_in_place_of_the_label(s):
    s.image(), s.label(s.hu + 1024 + np.arange(SIZE[0], dtype=np.int16)[:, None, None] * 40)


@plant("label-outside-body", "labels/{}.nii.gz")
def label_in_the_air(s):
    labels = np.zeros_like(s.labels)
    labels[:3, :3, 2:18] = 1
    s.image(), s.label(labels)


@plant("label-flipped", "labels/{}.nii.gz")
def label_left_for_right(s):
    s.image(), s.label(s.labels[::-1])


@plant("label-flipped", "labels/{}.nrrd")
def label_front_to_back(s):
    s.image(), s.label(s.labels[:, ::-1], end=".nrrd")


@plant("label-flipped", "labels/{}.mha")
def label_upside_down(s):
    s.image(end=".mha"), s.label(s.labels[:, :, ::-1], end=".mha")


@plant("sides-swapped", "labels/{}.nii.gz")
def both_left_for_right(s):
    s.image(s.hu[::-1]), s.label(s.labels[::-1])


@plant("label-volume", "labels/{}.nii.gz")
def liver_of_a_voxel(s):
    labels = s.labels.copy()
    labels[labels == 1] = 0
    labels[tuple(np.argwhere(s.labels == 1)[0])] = 1
    s.image(), s.label(labels)


# The list


@plant("label-missing", "images/{}.nii.gz")
def image_without_a_label(s):
    s.image()


@plant("unused-file", "labels/{}.nii.gz")
def label_without_an_image(s):
    s.label()


@plant("duplicate-id", "images/{}.nrrd")
def one_case_in_two_files(s):
    s.image(), s.image(s.hu + 1, end=".nrrd"), s.label()


@plant("duplicate", "images/{}.mha")
def same_scan_in_another_format(s):
    source = nib.load(s.root / "images" / "healthy_00.nii.gz")
    s.image(np.asarray(source.dataobj), end=".mha", affine=source.affine), s.label(affine=source.affine)


@plant("duplicate-label", "labels/{}.nrrd")
def same_label_as_another_scan(s):
    source = nib.load(s.root / "labels" / "healthy_00.nii.gz")
    s.image(affine=source.affine), s.label(np.asarray(source.dataobj), end=".nrrd", affine=source.affine)


TASK = "name: abdomen\nmodality: CT\nchannels: [CT]\ntargets:\n" + "".join(
    f"  - {{name: {name}, labels: [{value}], write_as: {value}}}\n" for value, name in enumerate((*LABELS, "ghost"), 1)
)


@functools.cache
def drawn(index: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng([7, index])
    affine = draw_affine(SIZE, rng, lps=index % 2 == 1, oblique=False)
    return (*draw_phantom(affine, SIZE, rng), affine)


def make_sample(name: str, root: Path, index: int) -> Sample:
    """One of a dozen phantoms (an odd one is stored in LPS) with noise of its own; no two are the same."""
    hu, labels, affine = drawn(index % 12)
    rng = np.random.default_rng([8, index])
    labels = labels.copy()
    labels[tuple(rng.choice(np.argwhere(labels == 1), 3).T)] = 0
    return Sample(name, root, hu + rng.integers(-3, 4, SIZE, np.int16), labels, affine)


@pytest.fixture(scope="module")
def diagnosis(tmp_path_factory) -> Diagnosis:
    root = tmp_path_factory.mktemp("doctor") / "ct"
    kinds = (".nii.gz", ".nrrd", ".mha", ".hdr", ".nii")
    for index in range(HEALTHY):
        sample = make_sample(f"healthy_{index:02d}", root, index)
        end = kinds[index % len(kinds)]
        sample.image(end=end), sample.label(end=end if end != ".nii" else ".nii.gz")
    for index, (name, (_, _, function)) in enumerate(sorted(PLANTED.items()), HEALTHY):
        function(make_sample(name, root, 2 * index + 1 if name.startswith("dicom") else 2 * index))
    write_dicom(make_sample("healthy_dicom", root, 999))
    (root / "task.yaml").write_text(TASK)
    return diagnose(root, tolerance_mm=0.05, workers=1)


def found(diagnosis: Diagnosis) -> dict[str, set[str]]:
    """File below the root to codes."""
    codes: dict[str, set[str]] = {}
    for finding in diagnosis.findings:
        file = "" if finding.file is None else finding.file.relative_to(diagnosis.survey.root).as_posix()
        codes.setdefault(file, set()).add(finding.code)
    return codes


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_a_planted_defect_is_found(diagnosis, name: str) -> None:
    code, file, _ = PLANTED[name]
    assert code in found(diagnosis).get(file, set())


def test_at_least_forty_are_planted() -> None:
    assert len(PLANTED) >= 40
    ends = {Path(file).suffix for _, file, _ in PLANTED.values()}
    assert ends >= {".gz", ".nii", ".nrrd", ".mha", ".hdr", ".dcm"}


def test_nothing_else_is_found(diagnosis) -> None:
    planted = {(file, code) for code, file, _ in PLANTED.values()}
    others = {(file, code) for file, codes in found(diagnosis).items() for code in codes} - planted
    print(sorted(others), [(f.file, f.words) for f in diagnosis.findings if "healthy" in str(f.file)])
    assert others == OTHERS
    assert not [finding for finding in diagnosis.findings if "healthy" in str(finding.file)]


#: What follows from what was planted.
OTHERS: set[tuple[str, str]] = {("", "class-absent")}
