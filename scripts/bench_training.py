"""Times training steps of this network against MONAI's `SwinUNETR` with the same weights, in one run.

    python scripts/bench_training.py [--output DIR] [--device cpu] [--feature-size 24] [--size 64 64 64] [--batch 1]
    python scripts/bench_training.py --feature-size 48 --size 96 96 96 --size 128 128 128 --batch 1 2 4 --device cuda
    python scripts/bench_training.py --by-part
    python scripts/bench_training.py --curves 200 --size 64 32 32 --feature-size 12

Every variant runs in a process of its own, so that the peak of its memory is its own, on one thread unless
OMP_NUM_THREADS says otherwise. Before it is timed, its gradients are compared with those of MONAI's network in float64;
the variants of ours add one thing at a time. "floor" is the time that the arithmetic alone would take at the speed of
this machine's largest matrix product in the same precision. With --curves, both train for so many steps from the same
weights on the same data, and the losses are compared; beside stands how far MONAI's own in bfloat16 lie from its own in
float32, which is what rounding alone does. With --by-part, one part of our network more in each line is computed a
second time in the backward pass rather than kept (`speed.recompute`). Writes JSON and a picture.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # torch's profiler announces itself

import torch
from training_pictures import draw_curves, draw_parts, draw_table
from training_variants import ALL, GRAPHS, PRECISIONS, RECOMPUTED, VARIANTS, losses, measured

from swin_unetr.files import write_json
from swin_unetr.provenance import commit, versions


def main() -> None:
    """Run what was asked for, print tables, write bench_training.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/bench_training"), help="folder of the JSON")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, nargs=3, action="append", metavar=("X", "Y", "Z"), help="may be repeated")
    parser.add_argument("--feature-size", type=int, default=24)
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--variants", nargs="+", choices=ALL, help="MONAI first; by default those of the device")
    parser.add_argument("--by-part", action="store_true", help="time and memory of what is computed a second time")
    parser.add_argument("--steps", type=int, default=5, help="timed steps; the fastest counts")
    parser.add_argument("--curves", type=int, metavar="STEPS", help="compare loss curves instead")
    parser.add_argument("--variant", choices=ALL, help=argparse.SUPPRESS)  # the processes of the benchmark
    arguments = parser.parse_args()
    arguments.size = arguments.size or [[64, 64, 64]]
    usual = VARIANTS if arguments.device == "cpu" else {**VARIANTS, **GRAPHS}
    arguments.variants = arguments.variants or (["ours, auto", *RECOMPUTED] if arguments.by_part else list(usual))
    if arguments.variant is not None:
        print(json.dumps((losses if arguments.curves else measured)(arguments)))
        return
    measure, name, draw = compared, "bench_training", draw_table
    if arguments.curves:
        measure, name, draw = curves, "bench_training_curves", draw_curves
    elif arguments.by_part:
        measure, name, draw = by_part, "bench_training_by_part", draw_parts
    table = measure(arguments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    facts = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": {
            "system": platform.platform(),
            "threads": torch.get_num_threads(),
            "device": device_name(arguments),
        },
        "versions": versions(),
        "commit": commit(),
        "results": table,
    }
    path = arguments.output / f"{name}.json"
    write_json(path, facts)
    draw(table, path.with_suffix(".png"))
    print(f"written: {path} and {path.with_suffix('.png').name}")


def compared(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All variants in all sizes, batches and precisions, each as a ratio to MONAI in the same."""
    rows = []
    for size, batch, precision in product(arguments.size, arguments.batch, arguments.precision):
        base: dict[str, Any] = {}
        print(f"\n{precision}, {size}, feature size {arguments.feature_size}, batch {batch}")
        print(f"{'':26}{'s/step':>8}{'faster':>8}{'GB':>8}{'ratio':>8}{'floor':>8}{'error':>9}{'calls':>8}  parts, s")
        for variant in arguments.variants:
            row = in_process(arguments, variant, precision, size, batch)
            base = base or row
            row |= {"speed_ratio": base["step_s"] / row["step_s"], "memory_ratio": row["memory_gb"] / base["memory_gb"]}
            rows.append(row)
            numbers = (row["step_s"], row["speed_ratio"], row["memory_gb"], row["memory_ratio"], row["floor_s"])
            parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in row["parts_s"].items())
            print(f"{variant:26}" + "".join(f"{number:8.2f}" for number in numbers), end="")
            print(f"{row['gradient_error']:9.0e}{row['operations']:8d}  {parts}", flush=True)
    return rows


def by_part(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Time and peak memory of our network, with one part more computed a second time in each line."""
    rows = []
    for size, batch, precision in product(arguments.size, arguments.batch, arguments.precision):
        print(f"\n{precision}, {size}, feature size {arguments.feature_size}, batch {batch}: s/step, GB")
        for variant in arguments.variants:
            rows.append(in_process(arguments, variant, precision, size, batch))
            print(f"{variant:26}{rows[-1]['step_s']:8.2f}{rows[-1]['memory_gb']:8.2f}", flush=True)
    return rows


def curves(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Losses of MONAI's network and ours, step by step."""
    rows: list[dict[str, Any]] = []
    size, batch = arguments.size[0], arguments.batch[0]
    for precision in arguments.precision:
        found = {
            name: in_process(arguments, name, precision, size, batch)["losses"] for name in ("MONAI", "ours, auto")
        }
        row = {"precision": precision, **differences(found["MONAI"], found["ours, auto"]), "losses": found}
        if rows:
            row["monai_by_rounding"] = differences(rows[0]["losses"]["MONAI"], found["MONAI"])
        rows.append(row)
        told = {name: value for name, value in row.items() if name != "losses"}
        print("largest relative difference of the losses and their level at the end:", told, flush=True)
    return rows


def differences(theirs: list[float], ours: list[float]) -> dict[str, float]:
    """Of two courses of losses."""
    before, after = (torch.tensor(values, dtype=torch.float64) for values in (theirs, ours))
    away = (after - before).abs() / before
    tenth = max(len(away) // 10, 1)
    return {
        "first_tenth": float(away[:tenth].max()),
        "whole": float(away.max()),
        "mean": float(away.mean()),
        "mean_of_last_tenth_monai": float(before[-tenth:].mean()),
        "mean_of_last_tenth_ours": float(after[-tenth:].mean()),
    }


def in_process(
    arguments: argparse.Namespace, variant: str, precision: str, size: list[int], batch: int
) -> dict[str, Any]:
    """Run one variant in a process of its own."""
    command = [sys.executable, __file__, "--variant", variant, "--precision", precision, "--device", arguments.device]
    command += ["--size", *map(str, size), "--feature-size", str(arguments.feature_size)]
    command += ["--batch", str(batch), "--steps", str(arguments.steps)]
    command += ["--curves", str(arguments.curves)] if arguments.curves else []
    command += ["--by-part"] if arguments.by_part else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    facts = {"variant": variant, "precision": precision, "size": size, "batch": batch}
    return {**facts, **json.loads(done.stdout.splitlines()[-1])}


def device_name(arguments: argparse.Namespace) -> str:
    """What ran it."""
    if arguments.device != "cpu":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
