"""How large a store of some scans becomes, estimated from their headers before it is written."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from swin_unetr.config import PreprocessConfig, Triple
from swin_unetr.datasets import Case
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.store.scan_file import stored_bytes
from swin_unetr.tasks import Task
from transforms.class_places import places_at_most
from transforms.geometry import Geometry
from transforms.grids import Grids
from transforms.io import NIFTI_SUFFIXES, read_geometry
from transforms.labels import target_type

#: How many scans are read of formats whose size is known only after the whole file is read.
_SAMPLES = 8


def store_bytes(cases: Sequence[Case], config: PreprocessConfig, workers: int, task: Task | None = None) -> int:
    """Bytes that the scans take, at most: neither compression nor the crop to the foreground is counted.

    All NIfTI headers are read; of other formats some scans are read, and the rest is estimated by the files' sizes.
    Scans that cannot be read count nothing.

    Args:
        cases: the scans.
        config: spacing.
        workers: headers that are read at a time.
        task: of the labels that are stored, too. If None, no labels are.
    """

    def of_one(case: Case) -> int:
        if (found := _grid(case, config)) is None:
            return 0
        channels, shape = found
        if task is None:
            return stored_bytes(channels, shape)
        targets = len(task.targets)
        return stored_bytes(
            channels,
            shape,
            label_channels=targets if task.activation == "sigmoid" else 1,
            places=places_at_most(targets, math.prod(shape)),
            label_bytes=target_type(task).itemsize,
            classes=targets + 2,
        )

    headed = [case for case in cases if _is_headed(case)]
    others = [case for case in cases if not _is_headed(case)]
    with ThreadPoolExecutor(workers) as pool:
        exact = sum(pool.map(of_one, headed))
    samples = others[:: max(1, len(others) // _SAMPLES)][:_SAMPLES]
    sampled = [(of_one(case), _on_disk(case)) for case in samples]
    ratio = sum(size for size, _ in sampled) / max(1, sum(disk for _, disk in sampled))
    return exact + round(ratio * sum(map(_on_disk, others)))


def most_voxels(cases: Sequence[Case], config: PreprocessConfig) -> int:
    """Voxels of all channels of the largest scan, as stored or as preprocessed; of those whose headers give it."""
    most = 1
    for case in filter(_is_headed, cases):
        for spacing in (config, replace(config, spacing_mm=None)):
            if (found := _grid(case, spacing)) is not None:
                most = max(most, found[0] * math.prod(found[1]))
    return most


def check_space(folder: Path, needed: int, option: str) -> int:
    """Bytes that are free on the disk of an existing folder.

    Args:
        folder: where the scans will be written.
        needed: bytes.
        option: by which the user can choose another folder.

    Raises:
        ConfigError: fewer than are needed.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ConfigError(
            f"{folder}: preprocessed scans take up to {in_words(needed)} and {in_words(free)} are free; choose another "
            f"{option}, or a larger preprocess.spacing_mm"
        )
    return free


def in_words(size: float) -> str:
    """Bytes as people read them."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _is_headed(case: Case) -> bool:
    """Whether the size is known without reading the voxels."""
    return case.images[0].name.lower().endswith(NIFTI_SUFFIXES)


def _grid(case: Case, config: PreprocessConfig) -> tuple[int, Triple] | None:
    """Channels, and voxels along X, Y, Z after resampling; None for what cannot be read."""
    try:
        geometry = read_geometry(case.images[0])
        shape = Grids.uncropped(geometry, config.spacing_mm).prepared_shape
    except DataError:
        return None
    return _channels(case, geometry), shape


def _channels(case: Case, geometry: Geometry) -> int:
    stored: tuple[int, ...] = () if geometry.nifti_header is None else geometry.nifti_header.get_data_shape()
    return stored[3] if len(stored) > 3 else len(case.images)


def _on_disk(case: Case) -> int:
    files = (file for image in case.images for file in (image.iterdir() if image.is_dir() else [image]))
    return sum(file.stat().st_size for file in files if file.is_file())
