"""Phantoms: small CT-like scans of an abdomen with labelled organs, to try everything on without a download.

A phantom is drawn in millimetres of the patient (RAS: x to the right, y to the front, z to the head) and sampled on
the grid of its file, whatever the orientation and voxel size of that grid are. It is no anatomy to learn from: it
gives every step that a real scan goes through something to do. Right and left kidney, and aorta and vena
cava, differ by their place alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swin_unetr.config_io import CommandParser
from swin_unetr.errors import ConfigError
from swin_unetr.files import write_json
from swin_unetr.words import count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Triple = tuple[float, float, float]

#: Names of the label values 1, 2, ...
LABELS = ("liver", "spleen", "right kidney", "left kidney", "aorta")


@dataclass(frozen=True)
class Blob:
    """An ellipsoid of one tissue."""

    centre_mm: Triple
    radii_mm: Triple
    #: Mean in Hounsfield units.
    hu: float
    #: Index into `LABELS` plus one; 0 is not labelled.
    label: int = 0


#: Half the length of what runs through the whole picture.
_LONG = 1000.0
#: Painted in this order: later ones cover earlier ones.
ANATOMY = (
    Blob((0, 0, 0), (168, 120, _LONG), -100),  # skin and the fat below it
    Blob((0, 0, 0), (150, 103, _LONG), 50),  # muscle
    Blob((0, 12, 0), (132, 84, _LONG), -90),  # fat around the organs
    Blob((78, -5, 150), (54, 72, 75), -820),  # right lung
    Blob((-78, -5, 150), (54, 72, 75), -820),  # left lung
    Blob((-55, 42, 40), (46, 36, 38), 30),  # stomach
    Blob((-55, 62, 45), (26, 11, 20), -950),  # air in it
    Blob((45, 45, -70), (36, 28, 30), 35),  # bowel
    Blob((-35, 50, -80), (40, 26, 32), 35),
    Blob((0, 30, -120), (60, 34, 26), 35),
    Blob((20, 40, 55), (62, 36, 32), 110, 1),  # left lobe of the liver
    Blob((76, 8, 42), (56, 66, 60), 110, 1),  # right lobe
    Blob((-98, -22, 48), (26, 42, 42), 125, 2),
    Blob((62, -42, -38), (27, 26, 50), 185, 3),
    Blob((-62, -42, -22), (27, 26, 50), 185, 4),
    Blob((0, -66, 0), (23, 24, _LONG), 320),  # spine
    Blob((20, -26, 0), (13, 10, _LONG), 150),  # inferior vena cava
    Blob((-12, -28, 0), (12, 12, _LONG), 220, 5),
)


def draw_phantom(
    affine: NDArray[np.float64], size: tuple[int, int, int], rng: np.random.Generator
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """A scan of a new patient on a given grid.

    Args:
        affine: 4x4, voxel to RAS millimetres.
        size: voxels along the stored axes.
        rng: draws the patient and the scanner's noise.

    Returns:
        Hounsfield units and label values, both of shape `size`.
    """
    import numpy as np
    from scipy.ndimage import gaussian_filter

    voxels = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    points = _into_patient(voxels @ affine[:3, :3].T + affine[:3, 3], rng)
    hu = np.full(size, -1000.0)
    labels = np.zeros(size, np.uint8)
    contrast = {label: rng.uniform(-15, 15) for label in range(len(LABELS) + 1)}
    for blob in ANATOMY:
        centre = np.add(blob.centre_mm, rng.uniform(-5, 5, 3))
        radii = np.multiply(blob.radii_mm, rng.uniform(0.9, 1.1, 3))
        inside = (((points - centre) / radii) ** 2).sum(-1) <= 1
        hu[inside] = blob.hu + contrast[blob.label]
        labels[inside] = blob.label
    texture = gaussian_filter(rng.normal(0, 1, size), 1.5)
    hu = gaussian_filter(hu, 0.5) + 12 * texture / texture.std() + rng.normal(0, 12, size)
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16), labels


def _into_patient(points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Points of the scanner (..., 3) in the patient's frame: pose, stature and a smooth deformation, in mm."""
    import numpy as np

    turned = (points - rng.uniform(-10, 10, 3)) @ _rotation(rng.uniform(-6, 6, 3))
    upright = turned / rng.uniform(0.9, 1.1, 3)
    bent: NDArray[np.float64] = upright.copy()
    for _ in range(3):
        wave = rng.normal(0, 1, 3)
        wave *= 2 * np.pi / rng.uniform(120, 240) / np.linalg.norm(wave)
        bent += rng.uniform(-4, 4, 3) * np.sin(upright @ wave + rng.uniform(0, 2 * np.pi))[..., None]
    return bent


def _rotation(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """3x3 rotation about x, then y, then z."""
    from scipy.spatial.transform import Rotation

    matrix: NDArray[np.float64] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return matrix


def draw_affine(
    size: tuple[int, int, int], rng: np.random.Generator, *, lps: bool, oblique: bool
) -> NDArray[np.float64]:
    """A grid around the abdomen: square pixels, slices of another thickness.

    Args:
        size: voxels along the stored axes.
        rng: draws voxel size, obliquity and the place of the origin.
        lps: stored to the left, the back and the head; otherwise RAS.
        oblique: turned by up to 6 degrees against the scanner's axes.
    """
    import numpy as np

    pixel, slice_thickness = rng.uniform(350, 390) / min(size[:2]), rng.uniform(220, 320) / size[2]
    axes = np.diag([pixel, pixel, slice_thickness])
    if lps:
        axes[:2] *= -1
    tilt = rng.uniform(-6, 6, 3)
    affine = np.eye(4)
    affine[:3, :3] = _rotation(tilt) @ axes if oblique else axes
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(size) - 1) / 2) + rng.uniform(-8, 8, 3)
    return affine


def make_phantoms(
    output: Path, *, cases: int = 12, held_back: int = 4, size: tuple[int, int, int] = (64, 64, 48), seed: int = 0
) -> Path:
    """Write a data set in the layout of the Medical Segmentation Decathlon.

    Every second case is stored in LPS, every third a little oblique. Case `k` of a seed is the same however many
    there are.

    Args:
        output: a new or empty folder.
        cases: labelled cases in `imagesTr` and `labelsTr`, listed in `dataset.json`.
        held_back: cases in `imagesTs`; their labels lie in `labelsTs`, for evaluation.
        size: voxels along the stored axes.
        seed: the same seed gives the same files.

    Returns:
        `output`.

    Raises:
        ConfigError: `output` is not empty, or a number that makes no sense.
    """
    import numpy as np

    from transforms.io import write_image, write_labels

    if min(size) < 8 or cases < 1 or held_back < 0:
        raise ConfigError("phantoms: size must be at least 8 voxels, cases at least 1 and held-back at least 0")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"{output}: is not an empty folder; name a new one or remove it")
    names = {value: name for value, name in enumerate(LABELS, 1)}
    for index in range(cases + held_back):
        rng = np.random.default_rng([seed, index])
        affine = draw_affine(size, rng, lps=index % 2 == 1, oblique=index % 3 == 2)
        hu, labels = draw_phantom(affine, size, rng)
        part = "Tr" if index < cases else "Ts"
        image_path = output / f"images{part}" / _file_name(index)
        geometry = write_image(image_path, hu, affine)
        write_labels(output / f"labels{part}" / image_path.name, labels, geometry, names)
    write_json(output / "dataset.json", _description(cases, held_back))
    return output


def _file_name(index: int) -> str:
    return f"phantom_{index:03d}.nii.gz"


def _description(cases: int, held_back: int) -> dict[str, object]:
    """`dataset.json` of the Decathlon."""
    training = [
        {"image": f"./imagesTr/{_file_name(index)}", "label": f"./labelsTr/{_file_name(index)}"}
        for index in range(cases)
    ]
    return {
        "name": "Phantoms",
        "description": "CT-like phantoms of an abdomen, made by swin-unetr",
        "licence": "Apache-2.0",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {"0": "background", **{str(value): name for value, name in enumerate(LABELS, 1)}},
        "numTraining": cases,
        "numTest": held_back,
        "training": training,
        "test": [f"./imagesTs/{_file_name(index)}" for index in range(cases, cases + held_back)],
    }


def main(argv: Sequence[str]) -> int:
    """The command `swin-unetr phantoms`."""
    parser = CommandParser(prog="swin-unetr phantoms", description="Make a small labelled data set (CT-like).")
    parser.add_argument(
        "--output", type=Path, required=True, help="a new folder, for a data set in the Decathlon's layout"
    )
    parser.add_argument("--cases", type=int, default=12, help="labelled cases to train on")
    parser.add_argument("--held-back", type=int, default=4, help="cases in imagesTs, with labels in labelsTs")
    parser.add_argument("--size", type=int, nargs=3, default=[64, 64, 48], help="voxels along X, Y, Z")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same files")
    args = parser.parse_args(list(argv))
    x, y, z = args.size
    make_phantoms(args.output, cases=args.cases, held_back=args.held_back, size=(x, y, z), seed=args.seed)
    cases = count(args.cases, "case")
    print(f"{args.output}: {cases} to train on, {args.held_back} held back; labels: {', '.join(LABELS)}")
    return 0
