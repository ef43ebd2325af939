"""Plants: intensities and labels that are wrong."""

from __future__ import annotations

import numpy as np
from ct_samples import SIZE
from planted import plant

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
