"""Plants: grids that are impossible, unlike each other or unlike those of other cases."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from planted import patch, plant


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
