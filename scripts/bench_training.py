"""Times training steps of this network against MONAI's `SwinUNETR` with the same weights, in one run.

    python scripts/bench_training.py [--output DIR] [--device cpu] [--feature-size 24] [--size 64 64 64] [--batch 1]
    python scripts/bench_training.py --feature-size 48 --size 96 96 96 --size 128 128 128 --batch 1 2 4 --device cuda
    python scripts/bench_training.py --curves 200 --size 64 32 32 --feature-size 12

Every variant runs in a process of its own, so that the peak of its memory is its own, on one thread unless
OMP_NUM_THREADS says otherwise. Before it is timed, its gradients are compared with those of MONAI's network in float64;
the variants of ours add one thing at a time. "floor" is the time that the arithmetic alone would take at the speed of
this machine's largest matrix product in the same precision. With --curves, both train for so many steps from the same
weights on the same data, and the losses are compared; beside stands how far MONAI's own in bfloat16 lie from its own in
float32, which is what rounding alone does. Writes JSON and a picture.
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
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # torch's profiler announces itself

import torch
from monai.networks.nets import SwinUNETR as MonaiSwinUNETR
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from training_pictures import draw_curves, draw_table

from swin_unetr.checkpoints import export_monai_weights
from swin_unetr.config import NetworkConfig, SpeedConfig
from swin_unetr.files import write_json
from swin_unetr.networks import build_network, choose_fast_paths
from swin_unetr.provenance import commit, versions

NUM_CLASSES = 14
#: MONAI as its tutorials train it: its fused attention is off while gradients are on, so it has no faster setting but
#: the compiler. Ours: one thing more in each line, and what "auto" takes.
VARIANTS: dict[str, SpeedConfig | None] = {
    "MONAI": None,
    "ours, as written": SpeedConfig(fast=False),
    "+ attention": SpeedConfig(memory_layout="unchanged"),
    "+ memory layout": SpeedConfig(attention="auto", memory_layout="channels_last"),
    "ours, auto": SpeedConfig(),
    "ours, compiled": SpeedConfig(compile=True),
}
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
#: Which part of the time an operation belongs to, by its name; the first that fits.
PARTS = {
    "convolutions": ("conv",),
    "attention and linears": ("mm", "attend", "attention", "exp2", "softmax", "linear", "amax"),
    "norms and activations": ("norm", "relu", "gelu", "Normalise"),
}


def main() -> None:
    """Run what was asked for, print tables, write bench_training.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/bench_training"), help="folder of the JSON")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, nargs=3, action="append", metavar=("X", "Y", "Z"), help="may be repeated")
    parser.add_argument("--feature-size", type=int, default=24)
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="MONAI first")
    parser.add_argument("--steps", type=int, default=5, help="timed steps; the fastest counts")
    parser.add_argument("--curves", type=int, metavar="STEPS", help="compare loss curves instead")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)  # the processes of the benchmark
    arguments = parser.parse_args()
    arguments.size = arguments.size or [[64, 64, 64]]
    if arguments.variant is not None:
        print(json.dumps((losses if arguments.curves else measured)(arguments)))
        return
    table = curves(arguments) if arguments.curves else compared(arguments)
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
    name = "bench_training_curves.json" if arguments.curves else "bench_training.json"
    path = arguments.output / name
    write_json(path, facts)
    (draw_curves if arguments.curves else draw_table)(table, path.with_suffix(".png"))
    print(f"written: {path} and {path.with_suffix('.png').name}")


def compared(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All variants in all sizes, batches and precisions, each as a ratio to MONAI in the same."""
    rows = []
    for size, batch, precision in product(arguments.size, arguments.batch, arguments.precision):
        base: dict[str, Any] = {}
        print(f"\n{precision}, {size}, feature size {arguments.feature_size}, batch {batch}")
        print(f"{'':18}{'s/step':>8}{'faster':>8}{'GB':>8}{'ratio':>8}{'floor':>8}{'error':>9}{'calls':>8}  parts, s")
        for variant in arguments.variants:
            row = in_process(arguments, variant, precision, size, batch)
            base = base or row
            row |= {"speed_ratio": base["step_s"] / row["step_s"], "memory_ratio": row["memory_gb"] / base["memory_gb"]}
            rows.append(row)
            numbers = (row["step_s"], row["speed_ratio"], row["memory_gb"], row["memory_ratio"], row["floor_s"])
            parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in row["parts_s"].items())
            print(f"{variant:18}" + "".join(f"{number:8.2f}" for number in numbers), end="")
            print(f"{row['gradient_error']:9.0e}{row['operations']:8d}  {parts}", flush=True)
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
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    facts = {"variant": variant, "precision": precision, "size": size, "batch": batch}
    return {**facts, **json.loads(done.stdout.splitlines()[-1])}


def network_of(variant: str, feature_size: int) -> nn.Module:
    """The network of a variant; all have the same weights."""
    torch.manual_seed(0)
    ours = build_network(NetworkConfig(in_channels=1, num_classes=NUM_CLASSES, feature_size=feature_size))
    speed = VARIANTS[variant]
    if speed is not None:
        choose_fast_paths(ours, speed)
        return ours
    form = {"downsample": ours.config.merging, "use_v2": ours.config.use_v2}
    theirs: nn.Module = MonaiSwinUNETR(in_channels=1, out_channels=NUM_CLASSES, feature_size=feature_size, **form)
    theirs.load_state_dict(export_monai_weights(ours), strict=True)
    return theirs


def batch_of(arguments: argparse.Namespace, seed: int) -> tuple[Tensor, Tensor]:
    """Blurred noise, and its quantiles as labels: something that can be learnt, the same for both networks."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(arguments.batch[0], 1, *arguments.size[0], generator=generator)
    image = 10 * F.avg_pool3d(noise, 9, stride=1, padding=4)
    labels = torch.bucketize(image[:, 0], torch.linspace(-1, 1, NUM_CLASSES - 1))
    return image.to(arguments.device), labels.to(arguments.device)


def gradients(network: nn.Module, image: Tensor, labels: Tensor, precision: torch.dtype) -> Tensor:
    """Loss of one batch, its gradients left in the parameters."""
    with torch.autocast(image.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
        logits = network(image)
    loss = F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)
    torch.autograd.backward(loss)
    return loss.detach()


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Error, time, memory and parts of one variant."""
    (precision,) = (PRECISIONS[name] for name in arguments.precision)
    image, labels = batch_of(arguments, 0)
    network = network_of(arguments.variant, arguments.feature_size).to(arguments.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    clock, peak = clocks(arguments.device)
    times = []
    for step in range(arguments.steps + 1):
        started = clock()
        loss = gradients(network, image, labels, precision)
        if step == 0:
            found = {name: value.grad.double().cpu() for name, value in named(network)}
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(clock() - started)
    assert loss.isfinite()
    memory = peak()  # before the profiler, and the truth in float64, take theirs
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        gradients(network, image, labels, precision)
    events = trace.key_averages()
    parts = dict.fromkeys([*PARTS, "rest"], 0.0)
    for event in events:
        fits = (part for part, words in PARTS.items() if any(word in event.key for word in words))
        parts[next(fits, "rest")] += event.self_cpu_time_total / 1e6
    del network, optimizer
    truth = network_of("MONAI", arguments.feature_size).double().to(arguments.device)
    with FlopCounterMode(display=False) as counter:
        gradients(truth, image.double(), labels, torch.float64)
    wanted = {name: value.grad.cpu() for name, value in named(truth)}
    speed = product_speed(precision, arguments.device, clock)
    return {
        "step_s": min(times[1:]),
        "memory_gb": memory,
        "gradient_error": gradient_error(found, wanted, arguments),
        "operations": sum(event.count for event in events if event.key.startswith("aten::")),
        "floor_s": counter.get_total_flops() / speed,
        "parts_s": {name: round(seconds, 3) for name, seconds in parts.items()},
    }


def named(network: nn.Module) -> list[tuple[str, Any]]:
    """Parameters that have a gradient."""
    return [(name, value) for name, value in network.named_parameters() if value.grad is not None]


def gradient_error(found: dict[str, Tensor], wanted: dict[str, Tensor], arguments: argparse.Namespace) -> float:
    """|found - wanted| / |wanted| over all parameters; ours are renamed to MONAI's by way of its state dict."""
    if VARIANTS[arguments.variant] is not None:
        carrier = network_of(arguments.variant, arguments.feature_size).double()
        with torch.no_grad():
            for name, value in carrier.named_parameters():
                value.copy_(found[name]) if name in found else value.zero_()
        exported = export_monai_weights(carrier)  # type: ignore[arg-type]  # the variant is ours
        found = {name: exported[name] for name in wanted}
    difference = sum(float((found[name] - value).square().sum()) for name, value in wanted.items())
    return float((difference / sum(float(value.square().sum()) for value in wanted.values())) ** 0.5)


def losses(arguments: argparse.Namespace) -> dict[str, Any]:
    """Losses of training for so many steps, another batch in each."""
    (precision,) = (PRECISIONS[name] for name in arguments.precision)
    network = network_of(arguments.variant, arguments.feature_size).to(arguments.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    values = []
    for step in range(arguments.curves):
        values.append(float(gradients(network, *batch_of(arguments, step), precision)))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return {"losses": values}


def clocks(device: str) -> tuple[Callable[[], float], Callable[[], float]]:
    """Seconds so far, and the peak of the memory in GB. On the CPU: processor time, whatever else the machine does."""
    if device == "cpu":
        single = torch.get_num_threads() == 1
        return (
            time.process_time if single else time.perf_counter,
            lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20),
        )

    def now() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return now, lambda: torch.cuda.max_memory_allocated() / 2**30


def product_speed(precision: torch.dtype, device: str, clock: Callable[[], float]) -> float:
    """Operations a second of a large matrix product."""
    extent = 2048 if device == "cpu" else 8192
    matrix = torch.randn(extent, extent, device=device).to(precision)
    times = []
    for _ in range(5):
        started = clock()
        matrix @ matrix
        times.append(clock() - started)
    return 2 * extent**3 / min(times[1:])


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
