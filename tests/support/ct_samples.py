"""Small CT phantoms with labels, written in every file type, to be spoilt by tests."""

from __future__ import annotations

import functools
import locale
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813

from swin_unetr.phantoms import draw_affine, draw_phantom

SIZE = (24, 24, 20)
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
    before = locale.setlocale(locale.LC_ALL)
    writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)  # GDCM's writer leaves "C" behind: text files would be ASCII from then on


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
