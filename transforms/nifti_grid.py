"""Where the header of a NIfTI file puts its voxels: sform, qform, voxel size and unit, checked against each other.

The first usable one decides, as in the standard: the sform, then the qform, then the voxel size alone. A form is
skipped if it is damaged, or if it has the default size of 1 x 1 x 1 and the voxel size is another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from swin_unetr.words import by
from transforms.note import Note

Affine = NDArray[np.float64]

#: A quaternion's b, c, d may exceed length 1 by rounding; nibabel refuses more than this, other programs do not.
_ROUNDED, _MOST_ROUNDED = 3.6e-7, 1e-3
#: Largest relative difference of two voxel sizes that count as the same.
_SAME_SIZE = 1e-2
#: If sform and qform put corners further apart than this, they disagree, mm.
_FORMS_MM = 1.0
#: Axes that differ from a right angle by more than this are sheared, which no qform can express; degrees.
_SHEAR_DEGREES = 0.5
#: Voxels and longest side of a volume, mm, from light-sheet microscopy to a whole body.
_VOXEL_MM, _SIDE_MM = (0.0015, 25.0), (1.0, 2500.0)
#: A smaller voxel size is a rounding error.
_SMALLEST_MM3 = 1e-9
NOWHERE = (
    "its header's affine places voxels nowhere (voxel size 0 or NaN); write the true voxel size and position into the "
    "header"
)
_UNITS = {1: ("metre", 1e3), 3: ("micron", 1e-3)}


class NoGridError(ValueError):
    """A header does not say where its voxels are; the words follow the name of the file."""


def place(header: Any, shape: Sequence[int], base: Affine) -> tuple[Affine, tuple[Note, ...]]:
    """Decide where the voxels lie.

    Args:
        header: fields as they are in the file, by their names in the standard.
        shape: voxels along X, Y, Z.
        base: affine from the voxel size alone.

    Returns:
        Voxel index to RAS millimetres, 4x4, and what is odd.

    Raises:
        NoGridError: no form is sound, or the unit gives an impossible size.
    """
    notes: list[Note] = []
    sizes = np.array(header["pixdim"][1:4], np.float64)
    sized = bool(np.isfinite(sizes).all() and (sizes != 0).all())
    if not sized or (sizes < 0).any():
        notes.append(Note("spacing-impossible", f"the header's voxel size is {by(sizes, 4)}"))
    sizes = np.abs(sizes)
    qform = _qform(header, sizes, notes) if sized and header["qform_code"] > 0 else None
    affine, is_sform = _chosen(header, sizes, sized, qform, base, notes)
    factor = _factor(header, affine, shape, notes)
    if is_sform and qform is not None and not _sheared(affine):
        apart = factor * _apart(affine, qform, shape)
        if apart > _FORMS_MM:
            notes.append(
                Note("forms-disagree", f"qform and sform put corners up to {apart:.3g} mm apart; the sform is used")
            )
    millimetres = affine.copy()
    millimetres[:3] *= factor
    if abs(np.linalg.det(millimetres[:3, :3])) < _SMALLEST_MM3:
        raise NoGridError(NOWHERE)
    return millimetres, tuple(notes)


def _chosen(
    header: Any, sizes: NDArray[np.float64], sized: bool, qform: Affine | None, base: Affine, notes: list[Note]
) -> tuple[Affine, bool]:
    """The affine in the header's unit, and whether it is the unchanged sform."""
    if header["sform_code"] > 0:
        sform = np.eye(4)
        sform[:3] = [header[f"srow_{axis}"] for axis in "xyz"]
        if is_sound(sform):
            return _with_spacing(sform, sizes, sized, qform, notes)
        if qform is not None:
            what = "empty" if not sform[:3, :3].any() else "damaged"
            notes.append(Note("sform-unusable", f"the sform is {what} although its code is set; the qform is used"))
            return qform, False
    elif qform is not None:
        return qform, False
    elif header["qform_code"] <= 0 and sized:
        notes.append(Note("no-orientation", "neither qform nor sform is set"))
        return base, False
    raise NoGridError(NOWHERE)


def _with_spacing(
    sform: Affine, sizes: NDArray[np.float64], sized: bool, qform: Affine | None, notes: list[Note]
) -> tuple[Affine, bool]:
    """A sound sform, unless its spacing is the default and the header's voxel size is another one."""
    spacing = np.linalg.norm(sform[:3, :3], axis=0)
    if not sized or np.allclose(spacing, sizes, rtol=_SAME_SIZE, atol=0):
        return sform, True
    if np.allclose(spacing, 1, rtol=1e-4):
        words = f"the sform has lost the voxel size (1 x 1 x 1, the header says {by(sizes, 4)})"
        if qform is not None:
            notes.append(Note("sform-unusable", f"{words}; the qform is used"))
            return qform, False
        notes.append(Note("sform-unusable", f"{words}; the header's voxel size is used"))
        mended = sform.copy()
        mended[:3, :3] *= sizes
        return mended, False
    if not _sheared(sform):
        words = (
            f"the sform has voxels of {by(spacing, 4)}, the header's voxel size is {by(sizes, 4)}; the sform is used"
        )
        notes.append(Note("forms-disagree", words))
        return sform, False
    return sform, True


def _qform(header: Any, sizes: NDArray[np.float64], notes: list[Note]) -> Affine | None:
    """The affine from quaternion, voxel size and offset; None if they are damaged."""
    b, c, d = (float(header[f"quatern_{name}"]) for name in "bcd")
    rest = 1.0 - (b * b + c * c + d * d)
    offset = [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
    if not rest >= -_MOST_ROUNDED or not np.isfinite(offset).all():
        return None
    if rest < -_ROUNDED:
        notes.append(Note("qform-rounded", f"the qform's quaternion is longer than 1 by {-rest:.1g}; it was shortened"))
    affine = np.eye(4)
    rotation = Rotation.from_quat([b, c, d, np.sqrt(max(rest, 0.0))]).as_matrix()
    affine[:3, :3] = rotation * sizes * (1, 1, -1 if header["pixdim"][0] == -1 else 1)
    affine[:3, 3] = offset
    return affine if is_sound(affine) else None


def _factor(header: Any, affine: Affine, shape: Sequence[int], notes: list[Note]) -> float:
    """Millimetres of the header's unit of length, which is used if it gives a size that a scan can have."""
    unit = int(header["xyzt_units"]) & 7
    if unit not in _UNITS:
        return 1.0
    name, factor = _UNITS[unit]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    side = float((spacing * shape).max())
    if _plausible(factor * spacing, factor * side):
        notes.append(Note("units", f"the voxel size is in {name}s; converted to {by(factor * spacing, 4)} mm"))
        return factor
    words = f"the header's unit is {name}, which makes the longest side {factor * side:.3g} mm"
    if _plausible(spacing, side):
        notes.append(Note("units", f"{words}; its numbers are taken as mm"))
        return 1.0
    raise NoGridError(f"{words}, and mm make it {side:.3g} mm; write the true voxel size and unit into the header")


def _plausible(spacing: NDArray[np.float64], side: float) -> bool:
    low, high = _VOXEL_MM
    return bool(spacing.min() >= low and spacing.max() <= high and _SIDE_MM[0] <= side <= _SIDE_MM[1])


def is_sound(affine: Affine) -> bool:
    """Whether its axes span the space, relative to their lengths, in any unit."""
    if not np.isfinite(affine).all():
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool((lengths > 0).all() and abs(np.linalg.det(affine[:3, :3] / np.maximum(lengths, 1e-300))) > 1e-6)


def _sheared(affine: Affine) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs((axes.T @ axes)[np.triu_indices(3, 1)]).max() > np.sin(np.radians(_SHEAR_DEGREES)))


def _apart(one: Affine, other: Affine, shape: Sequence[int]) -> float:
    """Largest distance between the corners of two grids."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    apart = corners @ (one - other)[:3, :3].T + (one - other)[:3, 3]
    return float(np.linalg.norm(apart, axis=1).max())
