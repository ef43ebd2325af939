"""Trains, segments and evaluates real data by the project's own commands, one after the other.

    python scripts/reproduce_figures.py --data ../shared/data --output runs/figures [--only hippocampus brats ct]

Every step is a command line that is printed before it runs; anybody can run it alone. What is measured goes to
`trained.json` in the output folder, with the machine beside it: for docs/figures.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from swin_unetr.files import write_json
from swin_unetr.provenance import written_by

#: Small enough for two CPU cores: the published recipes are made for several GPUs. A crop of 64 voxels often misses the
#: tumour, and Dice alone learns little from such a crop: hence crops on the tumour, and cross-entropy with Dice.
BRATS_SMALL = (
    "--num_folds 4 --network.feature_size 16 --network.num_heads [2,4,8,16] --network.window_size [4,4,4]"
    " --sampling.crop_size [64,64,64] --sampling.crops_per_scan 2 --inference.roi_size [64,64,64]"
    " --sampling.scheme positive_negative --sampling.positive 3 --loss.cross_entropy 1"
    " --optimizer.learning_rate 1e-3 --optimizer.warmup_epochs 2 --trainer.max_epochs 60"
    " --trainer.validate_every 30 --trainer.precision bf16-mixed"
)
CT_SMALL = (
    "--network.feature_size 16 --network.num_heads [2,4,8,16] --network.window_size [4,4,4]"
    " --preprocess.spacing_mm [3,3,3] --sampling.crop_size [64,64,32] --inference.roi_size [64,64,32]"
    " --optimizer.learning_rate 1e-3 --optimizer.warmup_epochs 2 --trainer.max_epochs 100"
    " --trainer.validate_every 100 --trainer.precision bf16-mixed"
)


def main() -> None:
    """Run what was asked for, and write trained.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the real data")
    parser.add_argument("--output", type=Path, default=Path("runs/figures"), help="folder of runs and trained.json")
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=list(FIGURES))
    arguments = parser.parse_args()
    path = arguments.output / "trained.json"
    figures: dict[str, Any] = json.loads(path.read_text())["results"] if path.is_file() else {}
    for name in arguments.only:
        figures[name] = FIGURES[name](arguments.data, arguments.output / name)
        write_json(path, {**written_by(), "results": figures})
    print(json.dumps(figures, indent=2))


def hippocampus(data: Path, output: Path) -> dict[str, Any]:
    """Decathlon task 4, fold 0 of 5, by the shipped recipe."""
    return held_back_fold(data / "Task04_Hippocampus", output, "--config hippocampus")


def brats(data: Path, output: Path) -> dict[str, Any]:
    """BraTS 2013, two modalities: train on three cases, test on the fourth, regions and all."""
    return held_back_fold(data / "brats2013", output, f"--config brats {BRATS_SMALL}", "--task brats")


def held_back_fold(scans: Path, output: Path, recipe: str, task: str = "") -> dict[str, Any]:
    """Train without fold 0, segment its cases from their files, evaluate them."""
    training = command(f"finetune {recipe} --data {scans} --fold 0 --output {output}/run --resume auto")
    fold = f"--folds {output}/run/folds.json --fold 0"
    prediction = command(f"predict {output}/run {scans} --output {output}/predictions {fold}")
    command(f"evaluate {output}/predictions {scans} {task} --output {output}/report {fold}")
    return {"training_s": training, "prediction_s": prediction, **dice(output / "report")}


def ct(data: Path, output: Path) -> dict[str, Any]:
    """One torso CT with 41 structures: train on it, then segment all CTs, including the tilted head."""
    folder = output / "data"
    for part, name in (("images", "torso_sm_ct.nii.gz"), ("labels", "torso_sm_totalseg117.nii.gz")):
        (folder / part).mkdir(parents=True, exist_ok=True)
        link = folder / part / "torso.nii.gz"
        if not link.exists():
            link.symlink_to((data / "ct/labelled" / name).resolve())
    training = command(
        f"finetune --config btcv --data {folder} --layout plain --fold all --output {output}/run --resume auto "
        + CT_SMALL
    )
    prediction = command(f"predict {output}/run {data}/ct/volumes --output {output}/predictions")
    command(f"predict {output}/run {folder}/images --output {output}/training_case")
    command(f"evaluate {output}/training_case {folder}/labels --task {output}/run --output {output}/report")
    grids = {path.name: same_grid(path, output / "predictions" / path.name) for path in volumes(data)}
    return {"training_s": training, "prediction_s": prediction, "same_grid": grids, **dice(output / "report")}


FIGURES = {"hippocampus": hippocampus, "brats": brats, "ct": ct}


def command(line: str) -> float:
    """Run one command of the project; returns its seconds, and ends the script if it fails."""
    words = [sys.executable, "-m", "swin_unetr", *shlex.split(line)]
    print(f"$ swin-unetr {line}", flush=True)
    start = time.monotonic()
    subprocess.run(words, check=True)
    return round(time.monotonic() - start, 1)


def dice(report: Path) -> dict[str, Any]:
    """Mean Dice per structure, and over structures, from a report."""
    results = json.loads((report / "results.json").read_text())
    means = {row["structure"]: row["mean"] for row in results["summary"] if row["metric"] == "dice"}
    return {"cases": len(results["cases"]["evaluated"]), "dice": means}


def volumes(data: Path) -> list[Path]:
    """Every unlabelled CT."""
    return sorted((data / "ct/volumes").glob("*.nii.gz"))


def same_grid(source: Path, written: Path) -> bool:
    """Whether a prediction has its source's shape and, bit for bit, its affine."""
    import numpy as np

    from transforms.io import read_geometry

    one, other = read_geometry(source), read_geometry(written)
    return one.shape == other.shape and bool(np.array_equal(one.affine, other.affine))


if __name__ == "__main__":
    main()
