"""Scans and models for the benchmark of prediction: real voxels, random weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Spacing

from swin_unetr.checkpoints import save_model
from swin_unetr.config import InferenceConfig, IntensityConfig, NetworkConfig, PreprocessConfig
from swin_unetr.model_description import ModelDescription
from swin_unetr.networks import build_network
from swin_unetr.tasks import BTCV, Task, brats
from transforms.io import read_image, write_channels, write_image

DATA = Path(os.environ.get("SWIN_UNETR_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
BRATS_SIZE = (240, 240, 155)


def make_scan(name: str, path: Path, crop: tuple[int, int, int] | None) -> tuple[int, ...]:
    """Write a scan ("ct", "brats", or a file), and return its voxels along X, Y, Z; `crop` takes its middle."""
    if name == "ct":
        source = read_image([DATA / "ct" / "volumes" / "torso_3mm.nii.gz"])
        image = MetaTensor(
            torch.from_numpy(source.array.astype(np.float32)), affine=torch.tensor(source.geometry.affine)
        )
        fine = Spacing((1.5, 1.5, 1.5), mode="bilinear", padding_mode="border")(image)
        voxels, affine = fine.numpy().round().astype(np.int16), fine.affine.numpy()
    elif name != "brats":
        source = read_image([Path(name)])
        voxels, affine = source.array, source.geometry.affine
    else:
        folder = DATA / "brats2013" / "brats_2013_pat0001_1"
        two = read_image([folder / f"{folder.name}_{modality}.nii.gz" for modality in ("flair", "t1ce")])
        both = np.concatenate((two.array, two.array[:, ::-1]))
        voxels, affine = np.zeros((4, *BRATS_SIZE), np.float32), two.geometry.affine
        spans = [min(have, room) for have, room in zip(both.shape[1:], BRATS_SIZE, strict=True)]
        voxels[_middle(BRATS_SIZE, spans)] = both[_middle(both.shape[1:], spans)]
    if crop is not None:
        voxels = voxels[_middle(voxels.shape[1:], crop)]
    geometry = write_image(path, voxels[0], affine)
    if len(voxels) > 1:
        write_channels(path, voxels, geometry)
    return tuple(voxels.shape[1:])


def _middle(shape: Sequence[int], spans: Sequence[int]) -> tuple[slice, ...]:
    """All channels, and the middle of every axis."""
    inside = [min(span, extent) for span, extent in zip(spans, shape, strict=True)]
    starts = [(extent - span) // 2 for span, extent in zip(inside, shape, strict=True)]
    return (slice(None), *(slice(start, start + span) for start, span in zip(starts, inside, strict=True)))


def make_model(name: str, folder: Path, feature_size: int, inference: InferenceConfig) -> None:
    """A model with random weights: 14 classes of BTCV at 1.5 mm, or the three regions of BraTS."""
    task: Task = BTCV if name == "ct" else brats()
    hounsfield = IntensityConfig(scheme="hu_window") if name == "ct" else IntensityConfig()
    spacing = (1.5, 1.5, 1.5) if name == "ct" else None
    torch.manual_seed(0)
    network = build_network(
        NetworkConfig(in_channels=len(task.channels), num_classes=task.num_classes, feature_size=feature_size)
    )
    description = ModelDescription(
        kind="segmentation",
        network=network.config,
        task=task,
        preprocess=PreprocessConfig(spacing_mm=spacing, intensity=hounsfield),
        inference=inference,
    )
    save_model(network, folder, description=description)
