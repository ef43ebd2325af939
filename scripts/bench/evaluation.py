"""Times `evaluate` with all its metrics against MONAI's Dice, HD95 and surface Dice on the same case, in one run.

    python scripts/bench/evaluation.py [--output DIR] [--size 512 512 200] [--repeats 3]

The case is made here: 14 structures of the size of organs in a torso, voxels of 0.75 x 0.75 x 2.5 mm, a prediction
whose outlines wander by some millimetres, with islands. Every side reads the two files and computes in its own process,
so that its peak memory can be measured; the values must agree before anything is printed. MONAI is run in two ways: all
classes as one one-hot tensor, as its metrics are meant to be used, and class by class, which takes less memory. Ours
runs in one thread, MONAI with torch's default number of threads unless OMP_NUM_THREADS is set.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_unetr import evaluate
from swin_unetr.files import write_json
from swin_unetr.provenance import written_by
from transforms.io import read_labels, write_image

SPACING_MM = (0.75, 0.75, 2.5)
FULL_SIZE = (512, 512, 200)
TOLERANCE_MM = 2.05  # no distance that occurs: MONAI rounds distances to float32
#: Centre as a share of the scan, radii in mm in a scan of the full size; smaller scans have smaller ones.
STRUCTURES = {
    "liver": ((0.33, 0.45, 0.55), (75, 65, 60)),
    "right lung": ((0.30, 0.50, 0.82), (55, 70, 85)),
    "left lung": ((0.70, 0.50, 0.82), (55, 70, 85)),
    "stomach": ((0.66, 0.60, 0.60), (38, 33, 42)),
    "spleen": ((0.78, 0.36, 0.60), (26, 36, 48)),
    "right kidney": ((0.33, 0.33, 0.40), (26, 26, 55)),
    "left kidney": ((0.68, 0.33, 0.40), (26, 26, 55)),
    "pancreas": ((0.52, 0.52, 0.46), (55, 13, 15)),
    "gallbladder": ((0.36, 0.64, 0.45), (14, 15, 24)),
    "bladder": ((0.50, 0.58, 0.08), (38, 34, 32)),
    "aorta": ((0.53, 0.37, 0.50), (11, 11, 220)),
    "vena cava": ((0.46, 0.38, 0.45), (12, 9, 180)),
    "oesophagus": ((0.50, 0.42, 0.80), (8, 8, 90)),
    "right adrenal gland": ((0.40, 0.38, 0.50), (10, 5, 14)),
}
SIDES = ("ours", "monai", "monai by class")
#: How far MONAI's values may be from ours. Its percentile is torch's in float32: among 10 000 or more distances, the
#: rank is wrong by up to 0.001, and so is the place between two neighbouring distances.
AGREEMENT = {"dice": 1e-6, "hd95_mm": 1e-4, "nsd": 1e-6}


def main() -> None:
    """Make the case, run every side, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="folder for bench_evaluation.json; without it, nothing is written")
    parser.add_argument("--size", type=int, nargs=3, default=FULL_SIZE, help="voxels along X, Y, Z")
    parser.add_argument("--repeats", type=int, default=3, help="runs of ours; the median counts. MONAI runs once")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--case", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(run_side(arguments.side, arguments.case)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_case(Path(folder), tuple(arguments.size))
        results = {side: measured(side, Path(folder), arguments.repeats if side == "ours" else 1) for side in SIDES}
    report = {
        **written_by(),
        "size": list(arguments.size),
        "spacing_mm": list(SPACING_MM),
        "largest_difference": check_agreement(results),
        "results": results,
    }
    print_table(report)
    if arguments.output:
        write_json(arguments.output / "bench_evaluation.json", report)


def make_case(folder: Path, size: tuple[int, ...]) -> None:
    """Write reference.nii.gz and prediction.nii.gz."""
    affine = np.diag([*SPACING_MM, 1.0])
    for name, seed in (("reference", 0), ("prediction", 1)):
        write_image(folder / f"{name}.nii.gz", draw(size, np.random.default_rng(seed), seed > 0), affine)


def draw(size: tuple[int, ...], rng: np.random.Generator, moved: bool) -> NDArray[np.uint8]:
    """Label values (X,Y,Z): wavy ellipsoids, with islands if they are a prediction."""
    labels = np.zeros(size, np.uint8, order="F")
    extent, scale = np.array(SPACING_MM) * size, np.divide(size, FULL_SIZE)
    for value, (place, radii) in enumerate(STRUCTURES.values(), 1):
        centre = place * extent + rng.normal(0, 1.0, 3) * moved
        _ellipsoid(labels, value, centre, scale * radii * (1 + rng.normal(0, 0.02, 3) * moved), rng)
        if moved:
            _ellipsoid(labels, value, centre + scale * rng.normal(0, 60, 3), rng.uniform(3, 8, 3), rng)
    return labels


def _ellipsoid(
    labels: NDArray[np.uint8],
    value: int,
    centre: NDArray[np.float64],
    radii: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Paint an ellipsoid (mm) whose outline waves by some per cent."""
    spacing = np.array(SPACING_MM)
    low = np.clip(np.floor((centre - 1.2 * radii) / spacing), 0, np.array(labels.shape) - 1).astype(int)
    high = np.clip(np.ceil((centre + 1.2 * radii) / spacing), low + 1, labels.shape).astype(int)
    box = tuple(map(slice, low, high))
    axes = [(np.arange(*ends) * mm - c) / r for *ends, mm, c, r in zip(low, high, spacing, centre, radii, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    waves = 0.04 * sum(np.sin(4 * axis + rng.uniform(0, 6)) for axis in (x, y, z))
    labels[box][x**2 + y**2 + z**2 <= 1 + waves] = value


def measured(side: str, folder: Path, repeats: int) -> dict[str, Any]:
    """Run one side several times, each in its own process; returns the run with the median time."""
    command = [sys.executable, __file__, "--side", side, "--case", str(folder)]
    runs = []
    for _ in range(repeats):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    runs.sort(key=lambda run: float(run["seconds"]))
    return {**runs[len(runs) // 2], "all_seconds": [run["seconds"] for run in runs]}


def run_side(side: str, folder: Path) -> dict[str, Any]:
    """Time from files to values, peak of memory in GB, values by metric; libraries are imported before."""
    paths = folder / "prediction.nii.gz", folder / "reference.nii.gz"
    if side == "ours":
        task = {name: value for value, name in enumerate(STRUCTURES, 1)}
        started = time.perf_counter()
        result = evaluate(*paths, task=task, tolerance_mm=TOLERANCE_MM)
        seconds = time.perf_counter() - started
        values: dict[str, list[float]] = {metric.name: [] for metric in result.metrics}
        for row in result.rows:
            values[row.metric].append(row.value)
    else:
        import torch  # noqa: F401  # the time of imports is not measured
        from monai import metrics  # noqa: F401

        started = time.perf_counter()
        values = _monai(*paths, by_class=side == "monai by class")
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"seconds": seconds, "peak_gb": peak, "values": values}


def _monai(prediction: Path, reference: Path, by_class: bool) -> dict[str, list[float]]:
    import torch
    from monai import metrics

    labels = [torch.from_numpy(np.asarray(read_labels(path).array[0])) for path in (prediction, reference)]
    classes = list(range(1, len(STRUCTURES) + 1))
    values: dict[str, list[float]] = {"dice": [], "hd95_mm": [], "nsd": []}
    for some in [[value] for value in classes] if by_class else [classes]:
        one_hot = [torch.stack([side == value for value in some])[None] for side in labels]
        measures: dict[str, tuple[Any, dict[str, Any]]] = {
            "dice": (metrics.DiceMetric(include_background=True), {}),
            "hd95_mm": (
                metrics.HausdorffDistanceMetric(include_background=True, percentile=95),
                {"spacing": SPACING_MM},
            ),
            "nsd": (
                metrics.SurfaceDiceMetric(class_thresholds=[TOLERANCE_MM] * len(some), include_background=True),
                {"spacing": SPACING_MM},
            ),
        }
        for name, (metric, options) in measures.items():
            values[name] += metric(*one_hot, **options)[0].tolist()
    return values


def check_agreement(results: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The largest difference from MONAI by metric.

    Raises:
        SystemExit: it is larger than `AGREEMENT`.
    """
    largest = {}
    for name, limit in AGREEMENT.items():
        ours = np.array(results["ours"]["values"][name])
        largest[name] = max(float(np.abs(ours - results[side]["values"][name]).max()) for side in SIDES[1:])
        if not largest[name] <= limit:
            raise SystemExit(f"{name} differs from MONAI's by up to {largest[name]:g}")
    return largest


def print_table(report: dict[str, Any]) -> None:
    """Seconds, gigabytes and ratios."""
    ours = report["results"]["ours"]
    print(f"{'x'.join(map(str, report['size']))}, {len(STRUCTURES)} structures; {report['machine']['processor']}")
    print(f"{'side':16}{'metrics':>22}{'seconds':>10}{'ratio':>8}{'peak GB':>10}{'ratio':>8}")
    for side in SIDES:
        of = report["results"][side]
        metrics = f"all {len(of['values'])}" if side == "ours" else "Dice, HD95, NSD"
        times, memory = of["seconds"] / ours["seconds"], of["peak_gb"] / ours["peak_gb"]
        print(f"{side:16}{metrics:>22}{of['seconds']:10.2f}{times:8.1f}{of['peak_gb']:10.2f}{memory:8.1f}")
    print("largest difference: " + ", ".join(f"{name} {of:.1e}" for name, of in report["largest_difference"].items()))


if __name__ == "__main__":
    main()
