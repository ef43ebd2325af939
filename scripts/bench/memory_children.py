"""The measurements of bench/memory.py: each function runs in its own process, and its result is printed as JSON."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
from numpy.typing import NDArray

SPACING_MM = (0.8, 0.8, 1.5)
NETWORK_MM = (1.5, 1.5, 1.5)
WINDOW = (-175.0, 250.0)
#: Share of the free memory that MONAI may take: with more, the system would kill any process.
MONAI_LIMIT = 0.9


def make_scan(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write a real CT, repeated along all axes, every other copy mirrored."""
    from transforms.io import read_stored, write_image

    _, scan, _, _, slices = arguments.of
    source = read_stored([arguments.scan]).array[0].astype(np.int16)
    size = (*arguments.size[:2], int(slices))
    affine = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    write_image(Path(scan), tiled(source, size), affine)
    return {}


def tiled(source: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """A volume of another size: the source repeated along all axes, every other copy mirrored."""
    indices = []
    for length, wanted in zip(source.shape, size, strict=True):
        there_and_back = np.concatenate([np.arange(length), np.arange(length)[::-1]])
        indices.append(np.resize(there_and_back, wanted))
    result = np.empty(size, source.dtype, order="F")
    for index, plane in enumerate(indices[2]):
        result[:, :, index] = source[:, :, plane][np.ix_(indices[0], indices[1])]
    return result


def make_model(arguments: argparse.Namespace) -> dict[str, Any]:
    """A model folder with random weights, opened once, so that a backend has prepared its form of the model."""
    import torch

    from swin_unetr import Predictor
    from swin_unetr.checkpoints import save_model
    from swin_unetr.config import InferenceConfig, IntensityConfig, NetworkConfig, PreprocessConfig
    from swin_unetr.model_description import ModelDescription
    from swin_unetr.networks import build_network
    from swin_unetr.tasks import Task, exclusive

    _, _, model, classes, _ = arguments.of
    torch.manual_seed(0)
    task = Task(
        name="bench",
        modality="CT",
        channels=("CT",),
        targets=exclusive(tuple(f"class {index}" for index in range(1, int(classes)))),
    )
    network = NetworkConfig(in_channels=1, num_classes=int(classes), feature_size=arguments.feature_size)
    description = ModelDescription(
        kind="segmentation",
        network=network,
        task=task,
        preprocess=PreprocessConfig(
            spacing_mm=NETWORK_MM, intensity=IntensityConfig(scheme="hu_window", window=WINDOW)
        ),
        inference=InferenceConfig(roi_size=tuple(arguments.roi_size), overlap=arguments.overlap),
    )
    save_model(build_network(network), Path(model), description=description)
    Predictor(Path(model), backend=arguments.backend, precision=arguments.precision)
    return {}


def run_predict(arguments: argparse.Namespace) -> dict[str, Any]:
    """The command, as a user gives it; time and peak of this process."""
    from swin_unetr.cli import main as command

    folder, scan, model, classes, slices = arguments.of
    output = Path(folder) / f"results{classes}-{slices}"
    options = ["--max-memory", arguments.max_memory, "--backend", arguments.backend, "--precision", arguments.precision]
    started = time.time()
    with _prints_to_stderr():
        code = command(["predict", model, scan, "--output", str(output), "--overwrite", *options])
    if code:
        raise SystemExit(code)
    record = json.loads(next(output.glob("scan*.json")).read_text())
    voxels = arguments.size[0] * arguments.size[1] * int(slices)
    return {"voxels": voxels, "seconds": time.time() - started, "peak_bytes": peak_bytes(), "record": record}


def run_compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Labels without a limit against those under one that makes tiles necessary."""
    from swin_unetr import Predictor
    from swin_unetr.errors import ConfigError
    from swin_unetr.inference.engine.budget import Budget
    from transforms.io import read_stored

    _, scan, model, _, _ = arguments.of
    predictor = Predictor(Path(model), backend=arguments.backend, precision=arguments.precision)
    prepared = predictor.prepare(read_stored([Path(scan)]))
    free = predictor.plan(prepared)
    unlimited = predictor.segment_prepared(prepared, plan=free).labels
    tight, limit = free, free.bytes
    while len(tight.tiles) == 1:  # the first limit that makes tiles: the smallest limit would multiply the windows
        limit = int(limit * 0.97)
        try:
            budget = Budget(predictor.ensemble, predictor.compute.device, limit)
            tight = budget.plan(prepared, with_probabilities=False, reserve=0)
        except ConfigError:
            break
    labels = predictor.segment_prepared(prepared, plan=tight).labels
    differing = int(np.count_nonzero(labels != unlimited))
    return {
        "voxels": labels.size,
        "differing": differing,
        "values": len(np.unique(labels)),
        "unlimited": str(free),
        "limited": str(tight),
        "words": f"{differing} voxels differ; without a limit: {free}; under one: {tight}",
    }


def run_monai(arguments: argparse.Namespace) -> dict[str, Any]:
    """MONAI within the free memory; no peak if that is not enough."""
    voxels = arguments.size[0] * arguments.size[1] * int(arguments.of[-1])
    if sys.platform == "linux":
        free = int(psutil.virtual_memory().available * MONAI_LIMIT)
        resource.setrlimit(resource.RLIMIT_DATA, (free, free))
    started = time.time()
    try:
        _monai(arguments)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            return {"voxels": voxels}
        raise
    return {"voxels": voxels, "seconds": time.time() - started, "peak_bytes": peak_bytes()}


def _monai(arguments: argparse.Namespace) -> None:
    """As in its tutorials: probabilities of the whole scan, resampled back, argmax."""
    import torch
    from monai.inferers import sliding_window_inference
    from monai.networks.nets import SwinUNETR
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        Invertd,
        LoadImaged,
        Orientationd,
        SaveImage,
        ScaleIntensityRanged,
        Spacingd,
    )

    folder, scan, _, classes, _ = arguments.of
    low, high = WINDOW
    steps = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
            Spacingd("image", pixdim=NETWORK_MM, mode="bilinear"),
            ScaleIntensityRanged("image", a_min=low, a_max=high, b_min=0, b_max=1, clip=True),
        ]
    )
    torch.manual_seed(0)
    network = SwinUNETR(in_channels=1, out_channels=int(classes), feature_size=arguments.feature_size).eval()
    with torch.inference_mode(), _prints_to_stderr():
        values = steps({"image": scan})
        values["pred"] = sliding_window_inference(
            values["image"][None], tuple(arguments.roi_size), 1, network, overlap=arguments.overlap, mode="gaussian"
        )[0].softmax(dim=0)
        back = Invertd("pred", steps, orig_keys="image", nearest_interp=False)(values)
        SaveImage(output_dir=folder, output_postfix="monai", separate_folder=False, print_log=False)(
            back["pred"].argmax(dim=0, keepdim=True)
        )


CHILDREN = {
    "scan": make_scan,
    "model": make_model,
    "predict": run_predict,
    "compare": run_compare,
    "monai": run_monai,
}


def peak_bytes() -> int:
    """The most memory that this process has held, mapped files included.

    Linux counts what the parent held at the fork into a child's `ru_maxrss`; VmHWM is the child's own.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class _prints_to_stderr:  # noqa: N801  # reads as a statement
    """Send printed text to stderr: stdout is for the result."""

    def __enter__(self) -> None:
        self.before, sys.stdout = sys.stdout, sys.stderr

    def __exit__(self, *_: object) -> None:
        sys.stdout = self.before
