"""Times real training with a shipped recipe on real scans: fast against as written, and against an earlier version.

    python scripts/bench/recipe.py --data DIR [--config hippocampus] [--epochs 3] [--against CHECKOUT] [--output DIR]

Trains from the same seed with `swin-unetr finetune`, each time in its own process and one after the other, so that the
seconds are those of one machine in one hour; the fastest epoch except the first counts. "as written" is
`--speed.fast false`; with --against, the code in another checkout of this repository trains, too. It also reports the
peak of the memory, the share of the time in which the step waited for its data, and the losses, which show whether all
train the same thing. It uses one thread unless OMP_NUM_THREADS is set. Writes JSON.
"""

from __future__ import annotations

import argparse
import csv
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from swin_unetr.files import write_json
from swin_unetr.provenance import written_by

PROJECT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Train each way, print a table, write bench_recipe.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="labelled data set")
    parser.add_argument("--config", default="hippocampus", help="recipe of finetune")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of each training; it validates after the last")
    parser.add_argument("--against", type=Path, help="another checkout of this repository, such as an earlier one")
    parser.add_argument("--output", type=Path, default=Path("runs/bench_recipe"), help="folder of runs and JSON")
    arguments = parser.parse_args()
    if arguments.epochs < 2:
        parser.error("--epochs: at least 2, since the first is not counted")
    ways: dict[str, tuple[Path, list[str]]] = {
        "fast": (PROJECT, []),
        "as written": (PROJECT, ["--speed.fast", "false"]),
    }
    if arguments.against is not None:
        ways["other checkout"] = (arguments.against.resolve(), [])
    rows: list[dict[str, Any]] = []
    print(f"{'':16}{'s/epoch':>9}{'steps':>7}{'slower':>8}{'GB':>7}{'waiting':>9}  losses")
    for name, (checkout, options) in ways.items():
        row = {"way": name, "commit": commit_of(checkout), **trained(arguments, checkout, options, name)}
        row["times_fast"] = row["epoch_s"] / (rows[0] if rows else row)["epoch_s"]
        rows.append(row)
        waiting = "-" if row["waiting"] is None else f"{row['waiting']:.1%}"
        losses = ", ".join(f"{loss:.4f}" for loss in row["losses"])
        print(f"{name:16}{row['epoch_s']:9.1f}{row['steps']:7d}{row['times_fast']:8.2f}", end="")
        print(f"{row['memory_gb']:7.2f}{waiting:>9}  {losses}", flush=True)
    write_json(arguments.output / "bench_recipe.json", {**written_by(), "results": rows})
    print(f"written: {arguments.output / 'bench_recipe.json'}")


def trained(arguments: argparse.Namespace, checkout: Path, options: list[str], name: str) -> dict[str, Any]:
    """One training, with the code of a checkout."""
    folder = arguments.output / name.replace(" ", "_")
    shutil.rmtree(folder, ignore_errors=True)
    epochs = str(arguments.epochs)
    command = [sys.executable, "-m", "swin_unetr", "finetune", "--config", arguments.config, *options]
    command += ["--data", str(arguments.data.resolve()), "--fold", "0", "--output", str(folder.resolve())]
    command += ["--trainer.max_epochs", epochs, "--trainer.validate_every", epochs]
    log = arguments.output / f"{folder.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # PYTHONPATH comes before the installed checkout.
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.Popen(
            command, stdout=file, stderr=file, cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout)}
        )
        _, status, usage = os.wait4(done.pid, 0)
    if status:
        raise SystemExit(f"{shlex.join(command)}: failed, see {log}")
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        epochs_done = [row for row in csv.DictReader(file) if row["train/loss"]]
    later = min(epochs_done[1:], key=lambda row: float(row["seconds"]))
    return {
        "epoch_s": float(later["seconds"]),
        "steps": int(epochs_done[0]["step"]),
        "memory_gb": usage.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20),
        "waiting": float(later["loader_share"]) if later.get("loader_share") else None,
        "losses": [float(row["train/loss"]) for row in epochs_done],
    }


def commit_of(checkout: Path) -> str:
    """The current commit of a checkout."""
    done = subprocess.run(["git", "-C", checkout, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
