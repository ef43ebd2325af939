"""Measures the memory and the time of `predict` on large scans, under a limit, in processes of their own.

    python scripts/bench_memory.py --scan CT.nii.gz [--output DIR] [--size 512 512 400] [--classes 14 117]
                                   [--max-memory 4GB] [--feature-size 48] [--roi-size 96 96 96] [--overlap 0.5]

The scan is a real CT tiled to the size, with voxels of 0.8 x 0.8 x 1.5 mm; the models have random weights (seeded) and
work at 1.5 mm. Four questions: how much memory does the whole command take for each number of classes; how do time and
memory grow with the voxels (four sizes, with a plot); are the labels those of a run without a limit (on a crop, under
a limit that makes tiles necessary); and how much would MONAI take (its transforms, `SwinUNETR`,
`sliding_window_inference`, `Invertd`), measured on two small sizes and continued in a straight line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPACING_MM = (0.8, 0.8, 1.5)
NETWORK_MM = (1.5, 1.5, 1.5)
WINDOW = (-175.0, 250.0)
#: Slices of the crop on which labels are compared, and of MONAI's two sizes, as shares of the whole.
CROP, MONAI_SHARES = 0.2, (0.1, 0.2)
SERIES = (0.25, 0.5, 0.75, 1.0)


def main() -> None:
    """Make scans and models, run every child, print and write."""
    arguments = _parser().parse_args()
    if arguments.child:
        print(json.dumps(CHILDREN[arguments.child](arguments)))
        return
    started = time.time()
    with tempfile.TemporaryDirectory(dir=arguments.work) as name:
        folder = Path(name)
        run = Runs(arguments, folder)
        report: dict[str, Any] = {"command": shlex.join(sys.argv), **_machine(), "classes": {}}
        for classes in arguments.classes:
            report["classes"][classes] = run("predict", classes, 1.0)
            print(f"{classes} classes: {_words(report['classes'][classes])}", flush=True)
        few = arguments.classes[0]
        report["series"] = [run("predict", few, share) for share in SERIES[:-1]] + [report["classes"][few]]
        for each in report["series"]:
            print(f"{each['voxels'] / 1e6:.1f} million voxels: {_words(each)}", flush=True)
        report["labels"] = {classes: run("compare", classes, CROP) for classes in arguments.classes}
        for classes, each in report["labels"].items():
            print(f"{classes} classes, crop of {each['voxels'] / 1e6:.1f} million voxels: {each['words']}", flush=True)
        if arguments.monai:
            report["monai"] = {classes: _monai(run, classes) for classes in arguments.classes}
            for classes, each in report["monai"].items():
                print(f"MONAI, {classes} classes: {each['words']}", flush=True)
    report["seconds in all"] = time.time() - started
    if arguments.output:
        from swin_unetr.files import write_json

        write_json(arguments.output / "bench_memory.json", report)
        _plot(report["series"], arguments.output / "bench_memory.png")


class Runs:
    """Runs children of this script on scans and models that are made when they are first wanted."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.arguments, self.folder = arguments, folder

    def __call__(self, child: str, classes: int, share: float) -> dict[str, Any]:
        """What a child says, for a number of classes and a share of the slices."""
        slices = max(round(self.arguments.size[2] * share), 1)
        scan, model = self.folder / f"scan{slices}.nii.gz", self.folder / f"model{classes}"
        if not scan.exists():
            self._child("scan", classes, slices, scan, model)
        if not model.exists():
            self._child("model", classes, slices, scan, model)
        return self._child(child, classes, slices, scan, model)

    def _child(self, child: str, classes: int, slices: int, scan: Path, model: Path) -> dict[str, Any]:
        given = [str(self.folder), str(scan), str(model), str(classes), str(slices)]
        command = [sys.executable, __file__, *sys.argv[1:], "--child", child, "--of", *given]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{child} of {classes} classes and {slices} slices failed with code {done.returncode}")
        result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return result


def make_scan(arguments: argparse.Namespace) -> dict[str, Any]:
    """A real CT, repeated along all axes, turned every other time."""
    from transforms.io import read_stored, write_image

    _, scan, _, _, slices = arguments.of
    source = read_stored([arguments.scan]).array[0].astype(np.int16)
    size = (*arguments.size[:2], int(slices))
    affine = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    write_image(Path(scan), tiled(source, size), affine)
    return {}


def tiled(source: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """A volume of another size: the source repeated along all axes, turned every other time."""
    indices = []
    for length, wanted in zip(source.shape, size, strict=True):
        there_and_back = np.concatenate([np.arange(length), np.arange(length)[::-1]])
        indices.append(np.resize(there_and_back, wanted))
    result = np.empty(size, source.dtype, order="F")
    for index, plane in enumerate(indices[2]):
        result[:, :, index] = source[:, :, plane][np.ix_(indices[0], indices[1])]
    return result


def make_model(arguments: argparse.Namespace) -> dict[str, Any]:
    """A model folder with random weights, opened once: what a backend makes of a model is kept from then on."""
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
    """The command, as a user gives it; this process's time and peak."""
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
    from swin_unetr.inference.budget import Budget
    from transforms.io import read_stored

    _, scan, model, _, _ = arguments.of
    predictor = Predictor(Path(model), backend=arguments.backend, precision=arguments.precision)
    prepared = predictor.prepare(read_stored([Path(scan)]))
    free = predictor.plan(prepared)
    unlimited = predictor.segment_prepared(prepared, plan=free).labels
    tight, limit = free, free.bytes
    while len(tight.tiles) == 1:  # the first that cuts: the least memory would mean many times the windows
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
    """MONAI as its tutorials do it: probabilities of the whole scan, resampled back, argmax."""
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

    folder, scan, _, classes, slices = arguments.of
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
    started = time.time()
    with torch.inference_mode(), _prints_to_stderr():
        values = steps({"image": scan})
        values["pred"] = sliding_window_inference(
            values["image"][None], tuple(arguments.roi_size), 1, network, overlap=arguments.overlap, mode="gaussian"
        )[0].softmax(dim=0)
        back = Invertd("pred", steps, orig_keys="image", nearest_interp=False)(values)
        SaveImage(output_dir=folder, output_postfix="monai", separate_folder=False, print_log=False)(
            back["pred"].argmax(dim=0, keepdim=True)
        )
    voxels = arguments.size[0] * arguments.size[1] * int(slices)
    return {"voxels": voxels, "seconds": time.time() - started, "peak_bytes": peak_bytes()}


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


def _monai(run: Runs, classes: int) -> dict[str, Any]:
    """Measured on two small sizes; the whole by the straight line through them."""
    small, larger = (run("monai", classes, share) for share in MONAI_SHARES)
    whole = int(np.prod(run.arguments.size))
    slope = (larger["peak_bytes"] - small["peak_bytes"]) / max(larger["voxels"] - small["voxels"], 1)
    computed = larger["peak_bytes"] + slope * (whole - larger["voxels"])
    words = (
        f"measured {small['peak_bytes'] / 1e9:.2f} GB for {small['voxels'] / 1e6:.1f} and "
        f"{larger['peak_bytes'] / 1e9:.2f} GB for {larger['voxels'] / 1e6:.1f} million voxels; computed from these "
        f"(not run): {computed / 1e9:.1f} GB for {whole / 1e6:.1f} million"
    )
    return {"measured": [small, larger], "computed_peak_bytes": computed, "words": words}


def _words(result: dict[str, Any]) -> str:
    return f"{result['seconds']:.1f} s, at most {result['peak_bytes'] / 1e9:.2f} GB"


def _machine() -> dict[str, Any]:
    from swin_unetr.provenance import commit, versions

    return {
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "commit": commit(),
        "versions": versions(),
    }


class _prints_to_stderr:  # noqa: N801  # reads as a statement
    """What is printed goes to stderr: stdout is for the result."""

    def __enter__(self) -> None:
        self.before, sys.stdout = sys.stdout, sys.stderr

    def __exit__(self, *_: object) -> None:
        sys.stdout = self.before


def _plot(series: Sequence[dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (time_axes, memory_axes) = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    voxels = [each["voxels"] / 1e6 for each in series]
    for axes, values, label in (
        (time_axes, [each["seconds"] for each in series], "seconds, file to file"),
        (memory_axes, [each["peak_bytes"] / 1e9 for each in series], "peak memory, GB"),
    ):
        axes.plot(voxels, values, "o-")
        axes.set(xlabel="million voxels", ylabel=label, xlim=(0, None), ylim=(0, None))
    figure.savefig(path, dpi=120)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--scan", type=Path, required=True, help="a CT, tiled to the size")
    add("--output", type=Path, help="folder for bench_memory.json and .png; none writes nothing")
    add("--work", type=Path, help="folder for scans, models and results while it runs; the system's by default")
    add("--size", type=int, nargs=3, default=(512, 512, 400), help="voxels along X, Y, Z")
    add("--classes", type=int, nargs="+", default=(14, 117), help="with background")
    add("--max-memory", default="4GB")
    add("--feature-size", type=int, default=48)
    add("--roi-size", type=int, nargs=3, default=(96, 96, 96))
    add("--overlap", type=float, default=0.5)
    add("--backend", default="auto")
    add("--precision", default="auto")
    add("--monai", action=argparse.BooleanOptionalAction, default=True, help="measure MONAI too")
    add("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    add("--of", nargs=5, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
