"""Measures what the signals of a case cost: time and memory of a prediction with and without them, in one run.

    python scripts/bench/trust.py [--output DIR] [--repeats 3] [--shape 160 160 128] [--features 24] [--classes 14]

The scan is smooth noise and the weights are random, so that every voxel is uncertain and every structure large: more
than in a real scan. Each prediction runs in its own process, with and without signals in turn. Labels are compared
first. Time is that of the processor ("cpu") and of the clock ("wall"), without reading and writing; the least of the
repeats counts. Memory is the peak of the process. The file bench_trust.json names the processor.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import zoom

from swin_unetr.checkpoints import save_model
from swin_unetr.config import InferenceConfig, IntensityConfig, NetworkConfig, PreprocessConfig
from swin_unetr.files import write_json
from swin_unetr.inference.predictor import Predictor
from swin_unetr.model_description import ModelDescription
from swin_unetr.networks import build_network
from swin_unetr.provenance import written_by
from swin_unetr.tasks import Task, exclusive
from transforms.geometry import Geometry, Volume


def main() -> None:
    """Make a model, predict with and without signals, compare, print, write bench_trust.json."""
    arguments = _parser().parse_args()
    if arguments.child:
        print(json.dumps(_predict(arguments, signals=arguments.child == "signals")))
        return
    with tempfile.TemporaryDirectory() as folder:
        _make_model(Path(folder), arguments)
        command = [sys.executable, __file__, *sys.argv[1:], "--model", folder, "--child"]
        runs: dict[str, list[dict[str, Any]]] = {"plain": [], "signals": []}
        for repeat in range(arguments.repeats):
            for name, found in runs.items():
                done = subprocess.run([*command, name], check=True, capture_output=True, text=True)
                found.append(json.loads(done.stdout.splitlines()[-1]))
                print(f"{repeat + 1}/{arguments.repeats} {name}: {found[-1]}", flush=True)
    if len({run["labels"] for found in runs.values() for run in found}) > 1:
        raise SystemExit("the labels differ")
    best = {name: {key: min(run[key] for run in of) for key in ("cpu", "wall", "peak_mb")} for name, of in runs.items()}
    ratio = {key: best["signals"][key] / best["plain"][key] for key in ("cpu", "wall")}
    more = best["signals"]["peak_mb"] - best["plain"]["peak_mb"]
    print(
        f"with signals: {ratio['cpu']:.3f} times the processor's time, {ratio['wall']:.3f} times the clock's, "
        f"{more:+.0f} MB"
    )
    settings = {key: getattr(arguments, key) for key in ("shape", "features", "classes", "roi", "backend", "repeats")}
    report = {
        "provenance": written_by(),
        "settings": settings,
        "best": best,
        "ratio": ratio,
        "more_mb": more,
        "runs": runs,
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_json(arguments.output / "bench_trust.json", report)


def _predict(arguments: argparse.Namespace, *, signals: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"device": "cpu", "precision": "float32", "backend": arguments.backend, "cache": False}
    predictor = Predictor(arguments.model, signals=signals, **options)
    shape = tuple(arguments.shape)
    coarse = np.random.default_rng(0).normal(0, 200, [size // 8 for size in shape])
    prepared = predictor.prepare(Volume(zoom(coarse, 8, order=1)[None].astype(np.int16), Geometry(shape, np.eye(4))))
    wall, cpu = time.monotonic(), time.process_time()
    done = predictor.segment_prepared(prepared)
    return {
        "cpu": round(time.process_time() - cpu, 3),
        "wall": round(time.monotonic() - wall, 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "labels": hashlib.sha256(done.labels.tobytes()).hexdigest()[:16],
    }


def _make_model(folder: Path, arguments: argparse.Namespace) -> None:
    torch.manual_seed(0)
    targets = exclusive(map(str, range(1, arguments.classes)))
    task = Task(name="bench", modality="CT", channels=("CT",), targets=targets)
    network = NetworkConfig(num_classes=arguments.classes, feature_size=arguments.features)
    description = ModelDescription(
        kind="segmentation",
        network=network,
        task=task,
        preprocess=PreprocessConfig(spacing_mm=None, intensity=IntensityConfig(scheme="hu_window", window=(-175, 250))),
        inference=InferenceConfig(roi_size=(arguments.roi,) * 3, overlap=0.5),
    )
    save_model(build_network(network), folder, description=description)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--output", type=Path, default=Path("bench"))
    add("--repeats", type=int, default=3)
    add("--shape", type=int, nargs=3, default=(160, 160, 128), help="voxels, multiples of 8")
    add("--features", type=int, default=24)
    add("--classes", type=int, default=14)
    add("--roi", type=int, default=64)
    add("--backend", default="torch")
    add("--model", type=Path, help=argparse.SUPPRESS)
    add("--child", choices=["plain", "signals"], help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
