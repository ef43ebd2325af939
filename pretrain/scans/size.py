"""How large the cache of some scans becomes, told from their headers before it is written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pretrain.scans.blocks import blocked_bytes
from swin_unetr.config import PreprocessConfig
from swin_unetr.datasets import Case
from swin_unetr.errors import ConfigError, DataError
from transforms.content import AXIS_OF_LETTER
from transforms.geometry import Geometry
from transforms.io import NIFTI_SUFFIXES, read_geometry

#: Scans of formats that are read whole for their size alone are looked at in so many samples.
_SAMPLES = 8


def cache_bytes(cases: Sequence[Case], config: PreprocessConfig, workers: int) -> int:
    """Bytes that the scans take as blocks, at most: the crop to the foreground is not counted.

    NIfTI headers are read of all scans; of other formats some are read, and the rest is told by the size of the files.
    Scans that cannot be read count nothing.
    """
    headed = [case for case in cases if case.images[0].name.lower().endswith(NIFTI_SUFFIXES)]
    others = [case for case in cases if case not in set(headed)]
    with ThreadPoolExecutor(workers) as pool:
        exact = sum(pool.map(lambda case: _bytes(case, config), headed))
    samples = others[:: max(1, len(others) // _SAMPLES)][:_SAMPLES]
    sampled = [(_bytes(case, config), _on_disk(case)) for case in samples]
    ratio = sum(size for size, _ in sampled) / max(1, sum(disk for _, disk in sampled))
    return exact + round(ratio * sum(map(_on_disk, others)))


def check_space(folder: Path, needed: int) -> int:
    """Bytes that are free on the disk of a folder.

    Raises:
        ConfigError: fewer than are needed.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ConfigError(
            f"{folder}: the cache takes up to {in_words(needed)} and {in_words(free)} are free; choose another "
            "--cache, or a larger preprocess.spacing_mm"
        )
    return free


def in_words(size: float) -> str:
    """Bytes as people read them."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _bytes(case: Case, config: PreprocessConfig) -> int:
    try:
        geometry = read_geometry(case.images[0])
    except DataError:
        return 0
    return blocked_bytes(_channels(case, geometry), _shape(geometry, config))


def _channels(case: Case, geometry: Geometry) -> int:
    stored: tuple[int, ...] = () if geometry.nifti_header is None else geometry.nifti_header.get_data_shape()
    return stored[3] if len(stored) > 3 else len(case.images)


def _shape(geometry: Geometry, config: PreprocessConfig) -> list[int]:
    """Voxels along the stored axes after resampling."""
    if config.spacing_mm is None:
        return list(geometry.shape)
    wanted = [config.spacing_mm[AXIS_OF_LETTER[letter]] for letter in geometry.orientation]
    lengths = zip(geometry.shape, geometry.spacing_mm, wanted, strict=True)
    return [max(1, round(voxels * source / target)) for voxels, source, target in lengths]


def _on_disk(case: Case) -> int:
    files = (file for image in case.images for file in (image.iterdir() if image.is_dir() else [image]))
    return sum(file.stat().st_size for file in files if file.is_file())
