"""Times training steps of this network against MONAI's `SwinUNETR` with the same weights, in one run.

    python scripts/bench/training.py [--output DIR] [--device cpu] [--feature-size 24] [--size 64 64 64] [--batch 1]
    python scripts/bench/training.py --feature-size 48 --size 96 96 96 --size 128 128 128 --batch 1 2 4 --device cuda
    python scripts/bench/training.py --by-part
    python scripts/bench/training.py --curves 200 --size 64 32 32 --feature-size 12

Every variant runs in its own process, so that its peak memory can be measured, on one thread unless OMP_NUM_THREADS is
set; a variant that needs more memory than is free is named, and the others go on. Its gradients are compared with those
of MONAI's network in float64, if that fits; our variants add one change at a time. The time of each part is given with
its floor: convolutions, attention and linears at the speed of this machine's largest matrix product in the same
precision, norms and activations at the speed of its memory. With --curves N, both train for N steps from the same
weights on the same data, and the losses are compared; for comparison, the difference of MONAI's own losses in bfloat16
from those in float32 shows the effect of rounding. With --by-part, each line has one more part of our network that is
computed a second time in the backward pass rather than kept (`speed.recompute`). Writes JSON and a picture.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # torch's profiler announces itself

import psutil  # type: ignore[import-untyped]
import torch
from training_pictures import draw_curves, draw_parts, draw_table
from training_variants import (
    ALL,
    GRAPHS,
    PRECISIONS,
    RECOMPUTED,
    VARIANTS,
    device_name,
    floors,
    losses,
    measured,
    reference,
)

from swin_unetr.device import native_precisions
from swin_unetr.files import write_json
from swin_unetr.machine import parse_size, size_in_words
from swin_unetr.provenance import written_by

#: The jobs of a child process.
CHILDREN = {"floors": floors, "reference": reference, "measured": measured, "losses": losses}
#: Parts of the messages of torch and Python when no memory is left.
SHORT_OF_MEMORY = ("can't allocate memory", "not enough memory", "MemoryError", "CUDA out of memory", "bad_alloc")


def main() -> None:
    """Run what was asked for, print tables, write bench_training.json and a picture as they grow."""
    arguments = parse()
    if arguments.child is not None:
        if arguments.device == "cpu" and sys.platform == "linux" and arguments.child != "floors":
            # fails before the system kills another process
            resource.setrlimit(resource.RLIMIT_DATA, (parse_size(arguments.memory),) * 2)
        print(json.dumps(CHILDREN[arguments.child](arguments)))
        return
    measure, name, draw = compared, "bench_training", draw_table
    if arguments.curves:
        measure, name, draw = curves, "bench_training_curves", draw_curves
    elif arguments.by_part:
        measure, name, draw = by_part, "bench_training_by_part", draw_parts
    facts = {
        **written_by(),
        "threads": torch.get_num_threads(),
        "device": device_name(arguments),
    }
    path = arguments.output / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    table = []
    for row in measure(arguments):
        table.append(row)
        write_json(path, {**facts, "results": table})  # keeps the results of a stopped benchmark
    draw(table, path.with_suffix(".png"))
    print(f"written: {path} and {path.with_suffix('.png').name}")


def parse() -> argparse.Namespace:
    """The command line, with defaults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/bench_training"), help="folder of the JSON")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, nargs=3, action="append", metavar=("X", "Y", "Z"), help="may be repeated")
    parser.add_argument("--feature-size", type=int, default=24)
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument(
        "--precision", nargs="+", choices=PRECISIONS, help="by default those that the device does not emulate"
    )
    parser.add_argument("--variants", nargs="+", choices=ALL, help="MONAI first; by default those of the device")
    parser.add_argument("--by-part", action="store_true", help="time and memory if parts are computed a second time")
    parser.add_argument(
        "--memory", help="the most that a process may take on a CPU, such as 8GB; by default what is free"
    )
    parser.add_argument("--steps", type=int, default=5, help="timed steps; the fastest counts")
    parser.add_argument("--curves", type=int, metavar="STEPS", help="compare loss curves instead")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)  # the processes of the benchmark
    parser.add_argument("--variant", choices=ALL, help=argparse.SUPPRESS)
    parser.add_argument("--truth", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.size = arguments.size or [[64, 64, 64]]
    native = native_precisions(arguments.device)
    arguments.precision = arguments.precision or [name for name in PRECISIONS if name in native]
    usual = VARIANTS if arguments.device == "cpu" else {**VARIANTS, **GRAPHS}
    arguments.variants = arguments.variants or (["ours, auto", *RECOMPUTED] if arguments.by_part else list(usual))
    return arguments


def compared(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All variants in all sizes, batches and precisions, each as a ratio to MONAI under the same conditions."""
    speeds = {name: in_process(arguments, "floors", precision=name) for name in arguments.precision}
    for size, batch in product(arguments.size, arguments.batch):
        with tempfile.TemporaryDirectory() as folder:
            truth = Path(folder) / "gradients.pt"
            work = in_process(arguments, "reference", size=size, batch=batch, truth=truth)["work"]
            for precision in arguments.precision:
                case = {"precision": precision, "size": size, "batch": batch}
                yield from of_one_case(arguments, case, floor_of(work, speeds[precision]), truth)


def of_one_case(
    arguments: argparse.Namespace, case: dict[str, Any], floor: dict[str, float], truth: Path
) -> Iterator[dict[str, Any]]:
    """All variants of one size, batch and precision."""
    print(f"\n{case['precision']}, {case['size']}, feature size {arguments.feature_size}, batch {case['batch']}")
    print(f"{'':26}{'s/step':>8}{'faster':>8}{'GB':>8}{'ratio':>8}{'error':>9}{'calls':>8}  parts, s")
    print(f"{'floor':26}{sum(floor.values()):8.2f}{'':41}  {in_words(floor)}", flush=True)
    base: dict[str, Any] = {}
    for variant in arguments.variants:
        known = truth if truth.is_file() else None
        row = in_process(arguments, "measured", variant=variant, truth=known, **case) | {"floor_s": floor}
        base = base or row
        if "step_s" in row and "step_s" in base:
            row["speed_ratio"] = base["step_s"] / row["step_s"]
            row["memory_ratio"] = row["memory_gb"] / base["memory_gb"]
        print(line(row), flush=True)
        yield row


def floor_of(work: dict[str, float], speed: dict[str, float]) -> dict[str, float]:
    """The least seconds that the parts of a step can take."""
    return {
        part: count / speed["values_per_s" if part == "norms and activations" else "operations_per_s"]
        for part, count in work.items()
    }


def line(row: dict[str, Any]) -> str:
    """A row of the table in the terminal."""
    if "failed" in row:
        return f"{row['variant']:26}  {row['failed']}"
    numbers = [row.get(name) for name in ("step_s", "speed_ratio", "memory_gb", "memory_ratio")]
    cells = "".join(f"{'-':>8}" if number is None else f"{number:8.2f}" for number in numbers)
    error = f"{row['gradient_error']:9.0e}" if "gradient_error" in row else f"{'-':>9}"
    return f"{row['variant']:26}{cells}{error}{row['operations']:8d}  {in_words(row['parts_s'])}"


def in_words(parts: dict[str, float]) -> str:
    """Seconds of each part."""
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items())


def by_part(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Time and peak memory of our network; in each line, one more part is computed a second time."""
    for size, batch, precision in product(arguments.size, arguments.batch, arguments.precision):
        print(f"\n{precision}, {size}, feature size {arguments.feature_size}, batch {batch}: s/step, GB")
        for variant in arguments.variants:
            row = in_process(arguments, "measured", variant=variant, precision=precision, size=size, batch=batch)
            print(f"{variant:26}", row.get("failed") or f"{row['step_s']:8.2f}{row['memory_gb']:8.2f}", flush=True)
            yield row


def curves(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Losses of MONAI's network and ours, step by step."""
    exact: list[float] = []
    for precision in arguments.precision:
        case = {"precision": precision, "size": arguments.size[0], "batch": arguments.batch[0]}
        found = {
            name: in_process(arguments, "losses", variant=name, **case)["losses"] for name in ("MONAI", "ours, auto")
        }
        row = {"precision": precision, **differences(found["MONAI"], found["ours, auto"])}
        if exact:
            row["monai_by_rounding"] = differences(exact, found["MONAI"])
        exact = exact or found["MONAI"]
        print("largest relative difference of the losses and their level at the end:", row, flush=True)
        yield {**row, "losses": found}


def differences(theirs: list[float], ours: list[float]) -> dict[str, float]:
    """Differences of two curves of losses."""
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


def in_process(arguments: argparse.Namespace, child: str, **case: Any) -> dict[str, Any]:
    """Run one job in its own process; returns the case and its result, or "failed" if memory was short."""
    command = [sys.executable, __file__, "--child", child, "--device", arguments.device]
    command += ["--feature-size", str(arguments.feature_size), "--steps", str(arguments.steps)]
    command += ["--curves", str(arguments.curves)] if arguments.curves else []
    command += ["--by-part"] if arguments.by_part else []
    for name, value in case.items():
        if value is not None:
            command += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    memory = arguments.memory or f"{psutil.virtual_memory().available}B"
    done = subprocess.run([*command, "--memory", memory], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    if done.returncode and not any(words in done.stderr for words in SHORT_OF_MEMORY):
        raise SystemExit(f"{shlex.join(command)}\n{done.stderr}")
    facts = {name: value for name, value in case.items() if name != "truth"}
    if done.returncode and not lines:
        return {**facts, "failed": f"needs more than {size_in_words(parse_size(memory))} of memory"}
    return {**facts, **json.loads(lines[-1])}


if __name__ == "__main__":
    main()
