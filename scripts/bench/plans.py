"""Checks the predictions of `swin-unetr plan` against measurements.

    python scripts/bench/plans.py --memory [--output DIR] [--steps 5] [--only NAME ...]
    python scripts/bench/plans.py --plans [--data ../shared/data] [--output DIR] [--epochs 2] [--max-memory 3GB]
    python scripts/bench/plans.py --hippocampus [--data ../shared/data] [--output DIR] [--short]

--memory: a training step at six configurations, and at three more to which the memory model was not fitted, each in its
own process: the peak of the resident memory against the prediction of the model in another process.
--plans: plans for Hippocampus, BraTS and a CT of 512 x 512 x 400 voxels (made by tiling a small one), and a few epochs
of training with each.
--hippocampus: fold 0 with the automatic plan and with the recipe made by hand, one after the other (a quarter of an
hour each on one core; --short: 20 steps).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

#: Fields of the network and of the batch that make six different training steps.
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "12 features, 64 cubed, batch 2": {"features": 12, "crop": (64, 64, 64), "batch": 2, "stages": 3},
    "24 features, 64 cubed": {"features": 24, "crop": (64, 64, 64)},
    "24 features, 64 cubed, checkpointing, batch 2": {
        "features": 24,
        "crop": (64, 64, 64),
        "batch": 2,
        "network": {"gradient_checkpointing": True},
    },
    "16 features, 96 x 96 x 24, thick slices, bfloat16": {
        "features": 16,
        "crop": (96, 96, 24),
        "heads": 8,
        "precision": "bf16-mixed",
        "network": {
            "patch_size": (2, 2, 1),
            "merge_strides": ((2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
            "window_size": (6, 6, 6),
        },
    },
    "48 features, 48 cubed, three stages": {"features": 48, "crop": (48, 48, 48), "stages": 3},
    "12 features, 96 cubed, 14 classes": {"features": 12, "crop": (96, 96, 96), "classes": 14},
}
#: Others, to which the memory model was not fitted.
HELD_OUT: dict[str, dict[str, Any]] = {
    "32 features, 64 x 64 x 32, bfloat16, batch 2": {
        "features": 32,
        "crop": (64, 64, 32),
        "batch": 2,
        "precision": "bf16-mixed",
    },
    "20 features, 80 cubed, checkpointing, five classes": {
        "features": 20,
        "crop": (80, 80, 80),
        "stages": 3,
        "classes": 5,
        "network": {"gradient_checkpointing": True, "window_size": (5, 5, 5)},
    },
    "the hippocampus's plan": {
        "features": 16,
        "crop": (40, 56, 40),
        "heads": 16,
        "batch": 2,
        "stages": 3,
        "precision": "bf16-mixed",
        "network": {"window_size": (5, 7, 5), "merge_strides": ((2, 2, 2), (2, 2, 2), (1, 1, 1))},
    },
}


def main() -> None:
    """Run what is asked for."""
    arguments = _parser().parse_args()
    if arguments.child:
        print(json.dumps(CHILDREN[arguments.child](arguments)))
        return
    if arguments.memory:
        compare_memory(arguments)
    if arguments.plans:
        from plans_that_train import check_training

        check_training(arguments)
    if arguments.hippocampus:
        from plans_that_train import compare_hippocampus

        compare_hippocampus(arguments)


def compare_memory(arguments: argparse.Namespace) -> None:
    """Measured and predicted, as a table and as JSON."""
    rows = []
    import torch

    from swin_unetr.device import is_native

    native = is_native(torch.device("cpu"), "bfloat16")
    for name in arguments.only or (*CONFIGURATIONS, *HELD_OUT):
        if (
            "precision" in (CONFIGURATIONS | HELD_OUT)[name] and not native
        ):  # emulated, it takes a hundred times as long, and more memory
            print(f"{name:52}left out: this processor does not multiply in bfloat16", flush=True)
            continue
        predicted = _child(arguments, "predict", name)
        measured = _child(arguments, "train", name)
        row = {"configuration": name, **predicted, **measured}
        row["error"] = row["predicted"] / row["measured"] - 1
        rows.append(row)
        print(f"{name:52}{row['predicted'] / 1e9:7.2f} GB predicted{row['measured'] / 1e9:7.2f} GB measured", end="")
        print(f"{row['error']:+8.1%}  {row['predict_seconds']:.0f} s {row['by_step']}", flush=True)
    from swin_unetr.files import write_json
    from swin_unetr.provenance import written_by

    write_json(arguments.output / "memory.json", {**written_by(), "results": rows})


def predict(arguments: argparse.Namespace) -> dict[str, Any]:
    """The prediction of the memory model."""
    config, task = configuration(arguments.of)
    from finetune.planning.memory import training_footprint
    from swin_unetr.planning.this_machine import this_machine

    machine = this_machine(memory=0)
    started = time.process_time()
    footprint = training_footprint(config, task, device="cpu")
    return {
        "base": machine.base,
        "footprint": footprint.peak,
        "large": footprint.large,
        "predicted": machine.needs(footprint),
        "predict_seconds": time.process_time() - started,
    }


def train(arguments: argparse.Namespace) -> dict[str, Any]:
    """A few training steps, with their parts in Lightning's order."""
    config, task = configuration(arguments.of)
    import torch

    from finetune.module import FinetuneModule
    from swin_unetr.networks import build_network, choose_fast_paths

    network = replace(config.network, num_classes=task.num_classes)
    module = FinetuneModule(build_network(network), task, config)
    choose_fast_paths(module.network, config.speed)
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    crops, crop = config.sampling.scans_per_batch, config.sampling.crop_size
    peaks = []
    for _ in range(arguments.steps):
        batch = {
            "image": torch.randn(crops, 1, *crop),
            "label": torch.randint(0, task.num_classes, (crops, 1, *crop), dtype=torch.uint8),
        }
        with torch.autocast("cpu", torch.bfloat16, enabled=config.trainer.precision == "bf16-mixed"):
            loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
    return {"measured": peaks[-1], "by_step": [round(peak / 1e9, 2) for peak in peaks]}


def configuration(name: str) -> tuple[Any, Any]:
    """A recipe and a task. The modules of a training are imported, so that they are in the memory before it begins."""
    import finetune.run  # noqa: F401
    from finetune.config import FinetuneConfig, LossConfig
    from swin_unetr.config import InferenceConfig, NetworkConfig, SamplingConfig, TrainerConfig
    from swin_unetr.tasks import Task, exclusive

    values = (CONFIGURATIONS | HELD_OUT)[name]
    stages, crop = values.get("stages", 4), values["crop"]
    names = tuple(f"class {index}" for index in range(1, values.get("classes", 3)))
    task = Task(name="check", modality="CT", channels=("CT",), targets=exclusive(names))
    network = NetworkConfig(
        feature_size=values["features"],
        depths=(2,) * stages,
        num_heads=tuple(values["features"] // values.get("heads", 4) * 2**stage for stage in range(stages)),
        **values.get("network", {}),
    )
    config = FinetuneConfig(
        network=network,
        sampling=SamplingConfig(crop_size=crop, scans_per_batch=values.get("batch", 1)),
        inference=InferenceConfig(roi_size=crop),
        loss=LossConfig(include_background=False, batch=True),
        trainer=TrainerConfig(precision=values.get("precision", "32-true")),
    )
    return config, task


CHILDREN = {"predict": predict, "train": train}


def _child(arguments: argparse.Namespace, child: str, name: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", child, "--of", name, "--steps", str(arguments.steps)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{child} of {name!r} failed with code {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="measured and predicted memory of training steps")
    parser.add_argument("--steps", type=int, default=5, help="training steps of --memory")
    parser.add_argument(
        "--only", nargs="+", choices=CONFIGURATIONS | HELD_OUT, help="configurations of --memory; all by default"
    )
    parser.add_argument("--plans", action="store_true", help="plans that train")
    parser.add_argument("--hippocampus", action="store_true", help="the plan against the recipe made by hand")
    parser.add_argument("--short", action="store_true", help="20 steps of --hippocampus")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of real data")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of --plans")
    parser.add_argument("--max-memory", default="3GB", help="what --plans and --hippocampus plan for")
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 400), help="voxels of the CT of --plans")
    parser.add_argument("--output", type=Path, default=Path("runs/check_plans"), help="folder of all results")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--of", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
