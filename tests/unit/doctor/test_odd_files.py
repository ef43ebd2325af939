"""What the doctor says of files that are read after all, or that are of another kind than their place says."""

import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from ct_samples import Sample, make_sample
from planted import patch

from swin_unetr.doctor.diagnosis import Diagnosis, diagnose
from swin_unetr.planning.fingerprint import fingerprint
from transforms.io import read_labels

CASES = 6
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def compressed_without_gz(s: Sample) -> None:
    s.image().rename(s.root / "images" / f"{s.name}.nii")


def pointer_of_git_lfs(s: Sample) -> None:
    s.image().write_text(POINTER)


def picture_of_two_dimensions(s: Sample) -> None:
    s.image(s.hu[..., 9])


def picture_in_colours(s: Sample) -> None:
    s.image(np.zeros(s.hu.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")]), end=".nii")


def link_in_a_loop(s: Sample) -> None:
    path = s.root / "images" / f"{s.name}.nii.gz"
    path.symlink_to(path.name)


def link_to_nothing(s: Sample) -> None:
    (s.root / "images" / f"{s.name}.nrrd").symlink_to("elsewhere.nrrd")


def sform_of_zeros(s: Sample) -> None:
    patch(s.image(end=".nii"), 280, bytes(48))


def sform_without_the_voxel_size(s: Sample) -> None:
    affine = s.affine / np.append(np.linalg.norm(s.affine[:3, :3], axis=0), 1)
    patch(s.image(end=".nii"), 280, affine[:3].astype("<f4").tobytes())


def quaternion_longer_than_one(s: Sample) -> None:
    turned = np.diag([-9.0, 9, 9, 1])[:, [0, 2, 1, 3]]  # by 180 degrees about (0, 1, 1)
    patch(s.image(end=".nii", affine=turned), 256, np.array([0, 0.70710701, 0.70710701], "<f4").tobytes())


def beyond_float32(s: Sample) -> None:
    s.image(np.where(s.hu == s.hu.max(), 1e300, s.hu), end=".nii")


def unit_that_no_scan_has(s: Sample) -> None:
    small = np.diag([1e-9, 1e-9, 1e-9, 1]) @ s.affine
    s.image(end=".nii", affine=small, header=lambda image: image.header.set_xyzt_units("meter"))


def samples(root: Path) -> list[Sample]:
    return [make_sample(f"case_{index}", root, index) for index in range(CASES)]


def codes(root: Path) -> tuple[set[str], Diagnosis]:
    found = diagnose(root, tolerance_mm=0.05, workers=1)
    return {finding.code for finding in found.findings}, found


@pytest.mark.parametrize(("dtype", "slope"), [(np.uint8, 1 / 255), (np.int16, 3.0000001)])
def test_labels_that_their_header_scales_are_labels(tmp_path: Path, dtype: type, slope: float) -> None:
    for sample in samples(tmp_path):
        sample.image()
        mask = (sample.labels == 1).astype(dtype)
        path = sample.label(mask * dtype(255) if slope < 1 else mask, end=".nii")
        content = bytearray(path.read_bytes())
        struct.pack_into("<2f", content, 112, slope, 0)
        path.write_bytes(bytes(content))
    found, diagnosis = codes(tmp_path)
    assert found == set()
    values = {of.value for case in diagnosis.survey.cases if case.label for of in case.label.values}
    assert values == ({1} if slope < 1 else {3})
    assert set(np.unique(read_labels(tmp_path / "labels" / "case_0.nii").array)) == {0, *values}


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (compressed_without_gz, "misnamed"),
        (pointer_of_git_lfs, "stand-in"),
        (picture_of_two_dimensions, "picture"),
        (picture_in_colours, "picture"),
        (link_in_a_loop, "broken-link"),
        (link_to_nothing, "broken-link"),
        (sform_of_zeros, "sform-unusable"),
        (sform_without_the_voxel_size, "sform-unusable"),
        (quaternion_longer_than_one, "qform-rounded"),
        (unit_that_no_scan_has, "no-grid"),
        (beyond_float32, "not-finite"),
    ],
)
def test_an_odd_file_is_found_by_its_name(tmp_path: Path, spoil: Callable[[Sample], None], code: str) -> None:
    for sample in samples(tmp_path):
        sample.image()
    spoil(make_sample("odd", tmp_path, CASES))
    _, diagnosis = codes(tmp_path)
    assert {finding.code for finding in diagnosis.findings if finding.file and finding.file.stem[:3] == "odd"} == {code}
    assert not [finding for finding in diagnosis.findings if finding.file and "case" in finding.file.name]


@pytest.mark.parametrize("folder", ["images", ""])
def test_a_folder_of_label_maps_without_scans(tmp_path: Path, folder: str) -> None:
    for sample in samples(tmp_path / "data"):
        sample.write(folder, sample.labels, ".nii.gz")
    found, diagnosis = codes(tmp_path / "data")
    assert found == {"label-as-image"}
    assert "even areas of whole numbers" in diagnosis.findings[0].words


def test_segmentations_of_slicer_are_the_labels_of_their_scans(tmp_path: Path) -> None:
    for sample in samples(tmp_path):
        sample.image(end=".nrrd")
        whole = sitk.ReadImage(str(sample.label(end=".nrrd")))
        (tmp_path / "labels" / f"{sample.name}.nrrd").unlink()
        box = [(int(places.min()), int(np.ptp(places)) + 1) for places in np.nonzero(sample.labels)]
        part = sitk.RegionOfInterest(whole, [size for _, size in box], [start for start, _ in box])
        for number in (1, 2, 3):
            part.SetMetaData(f"Segment{number - 1}_LabelValue", str(number))
            part.SetMetaData(f"Segment{number - 1}_Name", f"organ {number}")
        sitk.WriteImage(part, str(tmp_path / "labels" / f"{sample.name}.seg.nrrd"), True)
    found, diagnosis = codes(tmp_path)
    assert found == set()
    summary = fingerprint(diagnosis.survey)
    assert (summary.cases, summary.left_out) == (CASES, ())
    assert {of.name for of in summary.task.targets if of.labels[0] <= 3} == {"organ 1", "organ 2", "organ 3"}


def test_notes_are_in_the_survey_that_is_kept(tmp_path: Path) -> None:
    for sample in samples(tmp_path):
        sample.image(header=lambda image: image.header.set_xyzt_units("micron"))
        sample.label()
    found, diagnosis = codes(tmp_path)
    assert found == {"units"}
    again = diagnose(tmp_path, tolerance_mm=0.05, workers=1, known=diagnosis.survey)
    assert again.findings == diagnosis.findings
    assert nibabel.load(tmp_path / "images" / "case_0.nii.gz").header.get_xyzt_units()[0] == "micron"
