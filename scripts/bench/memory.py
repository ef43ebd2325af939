"""Measures the memory and the time of `predict` on large scans, under a limit, each in its own process.

    python scripts/bench/memory.py --scan CT.nii.gz [--output DIR] [--size 512 512 400] [--classes 14 117]
                                   [--max-memory 4GB] [--feature-size 48] [--roi-size 96 96 96] [--overlap 0.5]
                                   [--parts classes series labels monai]

The scan is a real CT tiled to the size, with voxels of 0.8 x 0.8 x 1.5 mm; the models have random weights (seeded) and
work at 1.5 mm. Four questions: how much memory does the whole command take for each number of classes; how do time and
memory grow with the voxels (four sizes, with a plot); are the labels those of a run without a limit (on a crop, under
a limit that makes tiles necessary); and how much would MONAI take (its transforms, `SwinUNETR`,
`sliding_window_inference`, `Invertd`), measured on growing sizes until the free memory is not enough, and continued
in a straight line. `--parts` measures some of them; those of an earlier run in the same output folder stay.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from memory_children import CHILDREN

from swin_unetr.files import write_json
from swin_unetr.provenance import written_by

#: Slices of the crop on which labels are compared, as a share of the whole.
CROP = 0.2
SERIES = (0.25, 0.5, 0.75)
#: MONAI's sizes, as shares of the whole, smallest first.
MONAI_SHARES = (0.05, 0.1, 0.2, 0.4)


def main() -> None:
    """Make scans and models, run every child, print and write the results after each part."""
    arguments = _parser().parse_args()
    if arguments.child:
        print(json.dumps(CHILDREN[arguments.child](arguments)))
        return
    path = arguments.output / "bench_memory.json" if arguments.output else None
    report = json.loads(path.read_text()) if path and path.is_file() else {}
    with tempfile.TemporaryDirectory(dir=arguments.work) as name:
        run = Runs(arguments, Path(name))
        for part in arguments.parts:
            started = time.time()
            found = PARTS[part](run, arguments)
            made = {**written_by(), "seconds": time.time() - started}
            report[part] = {"results": found, **made}
            if path:
                write_json(path, report)
    if path and {"classes", "series"} <= report.keys():
        whole = next(iter(report["classes"]["results"].values()))
        _plot([*report["series"]["results"], whole], path.with_suffix(".png"))


class Runs:
    """Runs children of this script on scans and models that are made when they are first needed."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.arguments, self.folder = arguments, folder

    def __call__(self, child: str, classes: int, share: float) -> dict[str, Any]:
        """The result of a child, for a number of classes and a share of the slices."""
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


def measure_classes(run: Runs, arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole scan, for each number of classes."""
    found = {}
    for classes in arguments.classes:
        found[str(classes)] = run("predict", classes, 1.0)
        print(f"{classes} classes: {_words(found[str(classes)])}", flush=True)
    return found


def measure_series(run: Runs, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Fewer slices, with the first number of classes."""
    found = []
    for share in SERIES:
        found.append(run("predict", arguments.classes[0], share))
        print(f"{found[-1]['voxels'] / 1e6:.1f} million voxels: {_words(found[-1])}", flush=True)
    return found


def compare_labels(run: Runs, arguments: argparse.Namespace) -> dict[str, Any]:
    """With a limit and without, on a crop."""
    found = {}
    for classes in arguments.classes:
        found[str(classes)] = each = run("compare", classes, CROP)
        print(f"{classes} classes, crop of {each['voxels'] / 1e6:.1f} million voxels: {each['words']}", flush=True)
    return found


def measure_monai(run: Runs, arguments: argparse.Namespace) -> dict[str, Any]:
    """MONAI on growing sizes; the whole by the straight line through the largest two."""
    found = {}
    for classes in arguments.classes:
        measured: list[dict[str, Any]] = []
        not_done = None
        for share in MONAI_SHARES:
            each = run("monai", classes, share)
            if "peak_bytes" not in each:
                not_done = each["voxels"]
                break
            measured.append(each)
        line = _line(run, measured)
        found[str(classes)] = {"measured": measured, "did_not_fit": not_done, **line}
        words = ", ".join(f"{one['voxels'] / 1e6:.1f} million voxels {_words(one)}" for one in measured)
        if not_done:
            words += f"; {not_done / 1e6:.1f} million did not fit into the free memory"
        if line:
            words += f"; computed for the whole (not run), at least {line['computed_peak_bytes'] / 1e9:.0f} GB"
        print(f"MONAI, {classes} classes: {words}", flush=True)
    return found


def _line(run: Runs, measured: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The peak for the whole scan; too low if the small sizes were padded to a window."""
    if len(measured) < 2:
        return {}
    small, large = measured[-2:]
    slope = (large["peak_bytes"] - small["peak_bytes"]) / (large["voxels"] - small["voxels"])
    return {"computed_peak_bytes": large["peak_bytes"] + slope * (int(np.prod(run.arguments.size)) - large["voxels"])}


PARTS = {"classes": measure_classes, "series": measure_series, "labels": compare_labels, "monai": measure_monai}


def _words(result: dict[str, Any]) -> str:
    return f"{result['seconds']:.1f} s, at most {result['peak_bytes'] / 1e9:.2f} GB"


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
    add("--output", type=Path, help="folder for bench_memory.json and .png; without it, nothing is written")
    add("--work", type=Path, help="folder for scans, models and results while it runs; the system's by default")
    add("--size", type=int, nargs=3, default=(512, 512, 400), help="voxels along X, Y, Z")
    add("--classes", type=int, nargs="+", default=(14, 117), help="numbers of classes, with background")
    add("--max-memory", default="4GB")
    add("--feature-size", type=int, default=48)
    add("--roi-size", type=int, nargs=3, default=(96, 96, 96))
    add("--overlap", type=float, default=0.5)
    add("--backend", default="auto")
    add("--precision", default="auto")
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    add("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    add("--of", nargs=5, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
