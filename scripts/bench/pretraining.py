"""Times steps of pre-training against the published method on the same machine, in one run.

    python scripts/bench/pretraining.py [--output DIR] [--device cpu] [--size 96 96 96] [--feature-size 48] [--batch 2]
        [--precision float32] [--recipes ct_paper ct] [--steps 3]

"published" is the method as its code does it (`published_pretraining.py`): Python loops over samples and blocks, an
encoder pass for each view, MONAI's encoder. The others are our recipes, at the same size. Each runs in its own process,
on one thread unless OMP_NUM_THREADS is set, on the same batch of noise in memory: the time of the disk is not included.
A step makes the views, runs the network, computes the losses, runs the backward pass and steps the optimiser; "outside"
the network are views and losses. A sub-volume is one crop of a scan; the published method makes two views of it, a
recipe as many as its `views`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from published_pretraining import PublishedNetwork, PublishedViews, loss_of, make_views
from torch import Tensor, nn
from training_variants import PRECISIONS, clocks, device_name

from pretrain.config import PretrainConfig
from pretrain.module import Outputs, PretrainModule
from pretrain.recipes import find_recipe
from pretrain.views import Views
from swin_unetr.config_io import load
from swin_unetr.files import write_json
from swin_unetr.networks import choose_fast_paths
from swin_unetr.provenance import written_by

PUBLISHED = "published"
#: Parts of a step, in order; the first and the third are outside the network.
PARTS = ("views", "forward", "losses", "backward", "optimiser")


class Method(Protocol):
    """The parts of a step that are timed separately."""

    network: nn.Module

    def views(self, batch: dict[str, Tensor]) -> Any:
        """The inputs of the encoder, and the targets."""

    def outputs(self, views: Any) -> Any:
        """The outputs of encoder and heads."""

    def loss(self, outputs: Any, views: Any) -> Tensor:
        """The sum of all tasks."""


class Published:
    """The published method.

    Args:
        feature_size: channels of the first stage.
        device: of the network.
    """

    def __init__(self, feature_size: int, device: str) -> None:
        self.network: nn.Module = PublishedNetwork(feature_size).to(device)
        self._rng = random.Random(0)

    def views(self, batch: dict[str, Tensor]) -> PublishedViews:
        """Both views, with loops."""
        return make_views(batch["image"], self._rng)

    def outputs(self, views: PublishedViews) -> list[tuple[Tensor, Tensor, Tensor]]:
        """One pass for each view."""
        return [self.network(seen) for seen in views.seen]

    def loss(self, outputs: list[tuple[Tensor, Tensor, Tensor]], views: PublishedViews) -> Tensor:
        """The three tasks, weights 1."""
        return loss_of(outputs, views)


class Ours:
    """A recipe of ours, at the size of the benchmark.

    Args:
        recipe: its name or file.
        arguments: sizes and device.
    """

    def __init__(self, recipe: str, arguments: argparse.Namespace) -> None:
        torch.manual_seed(0)
        config = load(PretrainConfig, find_recipe(recipe))
        config = replace(
            config,
            network=replace(config.network, feature_size=arguments.feature_size),
            scans=replace(
                config.scans, crop_size=tuple(arguments.size), scans_per_batch=arguments.batch, crops_per_scan=1
            ),
        )
        self._module = PretrainModule(config).to(arguments.device)
        choose_fast_paths(self._module.network, config.speed)
        self._generator = torch.Generator(arguments.device).manual_seed(0)
        self.network: nn.Module = self._module.network

    def views(self, batch: dict[str, Tensor]) -> Views:
        """All views at once."""
        views: Views = self._module.make_views(batch, self._generator)
        return views

    def outputs(self, views: Views) -> Outputs:
        """One pass for all views."""
        outputs: Outputs = self.network(views)
        return outputs

    def loss(self, outputs: Outputs, views: Views) -> Tensor:
        """The tasks of the recipe, with their weights."""
        total: Tensor = self._module.losses(outputs, views)[0]
        return total


def main() -> None:
    """Run what was asked for, print a table, write bench_pretraining.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/bench_pretraining"), help="folder of the JSON")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, nargs=3, default=(96, 96, 96), metavar=("X", "Y", "Z"))
    parser.add_argument("--feature-size", type=int, default=48)
    parser.add_argument("--batch", type=int, default=2, help="sub-volumes of a step, of as many scans")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--recipes", nargs="+", default=["ct_paper", "ct"], help="recipes of pretrain: names or files")
    parser.add_argument("--steps", type=int, default=3, help="timed steps, after one that is not; the median counts")
    parser.add_argument("--method", help=argparse.SUPPRESS)  # the processes of the benchmark
    arguments = parser.parse_args()
    if any(extent % 32 for extent in arguments.size) or arguments.size[1] != arguments.size[2]:
        parser.error("--size: multiples of 32, and Y = Z, which the published method turns")
    if max(arguments.size) < 64 or arguments.batch < 2:
        parser.error("--size, --batch: the published method needs two tokens in the bottleneck and two sub-volumes")
    if arguments.method is not None:
        print(json.dumps(measured(arguments)))
        return
    rows = compared(arguments)
    facts = {
        **written_by(),
        "threads": torch.get_num_threads(),
        "device": device_name(arguments),
        "results": rows,
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_json(arguments.output / "bench_pretraining.json", facts)
    print(f"written: {arguments.output / 'bench_pretraining.json'}")


def compared(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All methods, as ratios to the published one."""
    size = "x".join(map(str, arguments.size))
    print(f"{size} voxels, feature size {arguments.feature_size}, batch {arguments.batch}, {arguments.precision}")
    print(f"{'':12}{'s/step':>9}{'/s':>9}{'faster':>9}{'GB':>8}{'outside':>9}  parts, s")
    rows: list[dict[str, Any]] = []
    for method in (PUBLISHED, *arguments.recipes):
        # The arguments as given, so that every process gets the same; of a repeated option the last counts.
        command = [sys.executable, __file__, *sys.argv[1:], "--method", method]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        row: dict[str, Any] = {"method": method, **json.loads(done.stdout.splitlines()[-1])}
        row["sub_volumes_per_s"] = arguments.batch / row["step_s"]
        row["speed_ratio"] = (rows[0] if rows else row)["step_s"] / row["step_s"]
        rows.append(row)
        parts = ", ".join(f"{name} {seconds:.3g}" for name, seconds in row["parts_s"].items())
        numbers = f"{row['step_s']:9.3f}{row['sub_volumes_per_s']:9.3f}{row['speed_ratio']:9.2f}{row['memory_gb']:8.2f}"
        print(f"{Path(method).stem:12}{numbers}{row['outside']:9.2%}  {parts}", flush=True)
    return rows


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time, memory and parts of one method."""
    torch.manual_seed(0)
    published = arguments.method == PUBLISHED
    method: Method = (
        Published(arguments.feature_size, arguments.device) if published else Ours(arguments.method, arguments)
    )
    optimizer = torch.optim.AdamW(method.network.parameters(), lr=1e-4)
    batch = {
        "image": torch.rand(arguments.batch, 1, *arguments.size).to(arguments.device),
        "scan": torch.arange(arguments.batch, device=arguments.device),
    }
    clock, peak = clocks(arguments.device)
    whole: list[float] = []
    parts: list[list[float]] = []
    # On a GPU, reading the clock waits for it, so separate steps are timed in parts and as a whole.
    for number in range(2 * arguments.steps + 1):
        started = clock()
        loss, marks = step(method, optimizer, batch, arguments, clock if number > arguments.steps else float)
        if number > arguments.steps:
            parts.append([after - before for before, after in pairwise((started, *marks))])
        elif number:
            whole.append(clock() - started)
    assert loss.isfinite()
    of_parts = dict(zip(PARTS, map(statistics.median, zip(*parts, strict=True)), strict=True))
    return {
        "step_s": statistics.median(whole),
        "memory_gb": peak(),
        "outside": (of_parts["views"] + of_parts["losses"]) / sum(of_parts.values()),
        "parts_s": of_parts,
        "parameters": sum(parameter.numel() for parameter in method.network.parameters()),
    }


def step(
    method: Method,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, Tensor],
    arguments: argparse.Namespace,
    clock: Callable[[], float],
) -> tuple[Tensor, list[float]]:
    """One step: its loss, and the time after each of its parts."""
    with torch.no_grad():
        views = method.views(batch)
    marks = [clock()]
    with torch.autocast(arguments.device, torch.bfloat16, enabled=arguments.precision == "bfloat16"):
        outputs = method.outputs(views)
        marks.append(clock())
        loss = method.loss(outputs, views)
    marks.append(clock())
    torch.autograd.backward(loss)
    marks.append(clock())
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach(), [*marks, clock()]


if __name__ == "__main__":
    main()
