"""Part of plans.py: plans for real data, and whether they train."""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from memory_children import SPACING_MM, tiled

from swin_unetr.datasets import read_dataset
from swin_unetr.files import write_json
from transforms.io import read_labels, read_stored, write_image, write_labels

#: Structures of the CT: TotalSegmentator's label values, which the tiled scan keeps.
STRUCTURES = {"spleen": 1, "right kidney": 2, "liver": 5, "aorta": 52}


def check_training(arguments: argparse.Namespace) -> None:
    """Plan for each data set in a small memory, and train on four of its scans for a few epochs."""
    rows = []
    for name, root in data_sets(arguments).items():
        run = arguments.output / name.replace(" ", "_")
        started = time.time()
        shown = swin_unetr("plan", root, "--output", run, "--memory", arguments.max_memory)
        planned = time.time()
        epochs = ["--trainer.max_epochs", arguments.epochs, "--trainer.validate_every", arguments.epochs]
        few = ["--optimizer.warmup_epochs", 0, "--validation_overlap", 0, "--fold", 0]
        few += ["--folds", split_of(root, run.parent / f"{run.name}_folds.json")]
        swin_unetr("finetune", "--data", root, "--output", run, *epochs, *few)
        with (run / "metrics.csv").open(encoding="utf-8") as file:
            losses = [float(row["train/loss"]) for row in csv.DictReader(file)]
        rows.append({"data": name, "plan": shown, "losses": losses, "plan_s": planned - started})
        print(
            f"{name}: planned in {planned - started:.0f} s, {arguments.epochs} epochs in {time.time() - planned:.0f} s"
        )
        print(shown, f"  losses       {', '.join(f'{loss:.3f}' for loss in losses)}\n", sep="\n", flush=True)
    write_json(arguments.output / "plans.json", rows)


def data_sets(arguments: argparse.Namespace) -> dict[str, Path]:
    """Hippocampus, BraTS, and a large CT that is made from a small one."""
    ct = arguments.output / "large_ct"
    if not (ct / "dataset.json").is_file():
        make_ct(arguments.data / "ct" / "labelled", ct, tuple(arguments.size))
    return {
        "Hippocampus": arguments.data / "Task04_Hippocampus",
        "BraTS": arguments.data / "brats2013",
        "large CT": ct,
    }


def make_ct(source: Path, root: Path, size: tuple[int, ...]) -> None:
    """Two cases of the labelled torso, tiled to a size; nnU-Net's layout."""
    image = read_stored([source / "torso_sm_ct.nii.gz"]).array[0]
    label = read_labels(source / "torso_sm_totalseg117.nii.gz").array[0]
    affine = np.diag([*SPACING_MM, 1.0])
    for index in range(2):
        turned = slice(None, None, -1 if index else 1)
        scan = tiled(image[:, :, turned], size).astype("int16")
        geometry = write_image(root / "imagesTr" / f"torso{index}_0000.nii", scan, affine)
        kept = tiled(label[:, :, turned], size).astype("uint8")
        kept[~np.isin(kept, list(STRUCTURES.values()))] = 0
        write_labels(root / "labelsTr" / f"torso{index}.nii", kept, geometry, {v: k for k, v in STRUCTURES.items()})
    labels = {"background": 0, **STRUCTURES}
    facts = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 2, "file_ending": ".nii"}
    write_json(root / "dataset.json", facts)


def compare_hippocampus(arguments: argparse.Namespace) -> None:
    """The automatic plan against the recipe made by hand: fold 0, one after the other, the same epochs."""
    root = arguments.data / "Task04_Hippocampus"
    folder = arguments.output / "hippocampus"
    shown = swin_unetr("plan", root, "--output", folder, "--memory", arguments.max_memory)
    print(shown, flush=True)
    rows = {}
    recipes = {"by hand": ("--config", "hippocampus"), "planned": ("--plan", folder / "plan.yaml")}
    for name, recipe in recipes.items():
        run = folder / name.replace(" ", "_")
        limits = [] if not arguments.short else short_run(root, folder)
        started = time.time()
        swin_unetr("finetune", *recipe, "--data", root, "--output", run, "--fold", 0, *limits)
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        scores = record["best"]["scores"]
        rows[name] = {"seconds": record["seconds"], "wall_s": time.time() - started, "scores": scores}
        dice = scores["val/dice"]
        print(f"{name:10} {record['seconds']:7.1f} s of training, Dice {dice:.4f} in validation", flush=True)
    write_json(folder / "hippocampus.json", rows)


def short_run(root: Path, folder: Path) -> list[Any]:
    """Options for 20 steps: ten batches of two scans, twice."""
    folds = split_of(root, folder / "folds20.json", training=20)
    return ["--folds", folds, "--trainer.max_epochs", 2, "--trainer.validate_every", 2, "--optimizer.warmup_epochs", 0]


def split_of(root: Path, path: Path, training: int = 4) -> Path:
    """A split of some of a data set's cases: one to validate on, the others to train on."""
    cases = [case.id for case in read_dataset(root, require_labels=True).cases]
    write_json(path, {"seed": 0, "folds": [cases[:1], cases[1 : training + 1]]})
    return path


def swin_unetr(command: str, *options: Any) -> str:
    """Run a command in its own process; returns what it prints."""
    arguments = [sys.executable, "-m", "swin_unetr", command, *map(str, options)]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command} failed with code {done.returncode}: {' '.join(arguments)}\n{done.stdout}")
    return done.stdout.strip()
