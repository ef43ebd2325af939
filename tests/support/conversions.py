"""Small data sets to convert, and what must be the same after it."""

from pathlib import Path
from typing import Any

import numpy as np

from swin_unetr.conversion.run import Conversion, convert
from swin_unetr.datasets import Dataset
from transforms.geometry import Geometry, Volume
from transforms.io import read_file, write_volume

SUFFIXES = ("nii.gz", "nii", "nrrd", "mha")
TARGETS = ("decathlon", "nnunet", "plain")
#: Oblique, anisotropic and sheared; the second kind of grid is one slice thick.
AFFINE = np.array([[0.7, 0.1, 0.3, -40], [-0.1, 0.75, 0.2, 55.5], [0, -0.05, 5, 310.25], [0, 0, 0, 1]], np.float32)
SHAPES = ((6, 5, 7), (6, 5, 1))


def scan(shape: tuple[int, int, int], dtype: str = "int16", channels: int = 1, seed: int = 0) -> Volume:
    values = np.random.default_rng(seed).integers(0, 100, (channels, *shape))
    return Volume((values / 8 if dtype[0] == "f" else values).astype(dtype), Geometry(shape, AFFINE.astype(np.float64)))


def labels(shape: tuple[int, int, int], *values: int) -> Volume:
    array = np.random.default_rng(1).choice((0, *values), (1, *shape)).astype(np.uint8)
    return Volume(array, Geometry(shape, AFFINE.astype(np.float64)))


def voxels(dataset: Dataset) -> dict[str, tuple[list[np.ndarray[Any, Any]], np.ndarray[Any, Any] | None, list[Any]]]:
    """Channels, label and affines by case."""
    found = {}
    for case in dataset.cases:
        volumes = [read_file(path) for path in case.images]
        label = read_file(case.label) if case.label else None
        affines = [volume.geometry.affine for volume in [*volumes, *filter(None, [label])]]
        found[case.id] = [of for volume in volumes for of in volume.array], label and label.array, affines
    return found


def require_same(one: Dataset, other: Dataset, *, tolerance_mm: float = 1e-12) -> None:
    before, after = voxels(one), voxels(other)
    assert list(before) == list(after)
    for name, (channels, label, affines) in before.items():
        assert len(channels) == len(after[name][0])
        for was, became in zip(channels, after[name][0], strict=True):
            assert was.dtype == became.dtype
            np.testing.assert_array_equal(was, became)
        assert (label is None) == (after[name][1] is None)
        if label is not None:
            assert after[name][1].dtype == label.dtype
            np.testing.assert_array_equal(label, after[name][1])
        for affine in after[name][2]:
            np.testing.assert_allclose(affine, affines[0], rtol=0, atol=tolerance_mm)


def files(folder: Path) -> dict[str, int]:
    """Inode of every file, by its path."""
    return {str(path.relative_to(folder)): path.stat().st_ino for path in sorted(folder.rglob("*")) if path.is_file()}


def write_plain(folder: Path, suffix: str, dtype: str = "int16", channels: int = 1) -> Path:
    """A plain data set of two cases, thick and thin, and one without a label."""
    root = folder / f"plain-{suffix}-{dtype}"
    for index, shape in enumerate(SHAPES):
        write_volume(root / "images" / f"c{index}.{suffix}", scan(shape, dtype, channels, seed=index))
        write_volume(root / "labels" / f"c{index}.{suffix}", labels(shape, 1, 2))
    write_volume(root / "imagesTs" / f"t.{suffix}", scan(SHAPES[0], dtype, channels, seed=9))
    names = ", ".join(f"m{number}" for number in range(channels))
    (root / "task.yaml").write_text(
        f"name: two\nmodality: MR\nchannels: [{names}]\n"
        "targets:\n- {name: one, labels: [1], write_as: 1}\n- {name: two, labels: [2], write_as: 2}\n"
    )
    return root


def run(source: Path, to: str, output: Path, **arguments: Any) -> Conversion:
    report = convert(source, output, to=to, workers=1, **arguments)  # type: ignore[arg-type]
    assert not report.failures
    return report
