"""Plants: files that cannot be read, and lists that are not right."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from ct_samples import write_dicom, write_slice
from planted import cut, patch, plant

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


@plant("misnamed", "images/{}.nii.gz")
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
