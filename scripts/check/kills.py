"""Kills preprocessing and training at random moments, continues them, and compares with undisturbed runs.

    python scripts/check/kills.py --part training --kills 20
    python scripts/check/kills.py --part preprocessing --kills 20
    python scripts/check/kills.py --part stops --kills 10

On phantoms and a tiny network, on the CPU. Each attempt is a process of its own that is ended by SIGKILL after a random
time. Of training it is shown that every step has, to the last bit, the loss of the undisturbed run, that no attempt
starts before the last checkpoint, and that the models of the end are the same; of preprocessing, that the files of the
end are the same, that what was done before a kill is not done again, and that nothing half-written is left. Stops are
SIGTERMs to all processes of `finetune` and of `pretrain` with workers: of each it is shown that it ends with 143, that
every epoch is saved, that the command which it prints goes on, and that the final models are the same. The exit code
is 0 where all of that holds.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # the same order of additions in every process, and a fork without threads

import torch
from group_stops import check_stops, global_step
from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors.torch import load_file

import finetune.run
import swin_unetr.training.resume_point
from finetune.config import FinetuneConfig
from pretrain.scans.cache import cache_scans
from pretrain.scans.find import find_scans
from swin_unetr.config import PreprocessConfig
from swin_unetr.config_io import from_dict
from swin_unetr.phantoms import make_phantoms
from swin_unetr.store.scan_file import SUFFIX

#: A training on phantoms of 32 x 32 x 24 voxels that takes some seconds.
TINY: dict[str, Any] = {
    "network": {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]},
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "sampling": {"crop_size": [16, 16, 16], "crops_per_scan": 2},
    "augment": {"intensity_shift_probability": 1.0},
    "optimizer": {"learning_rate": 0.01, "warmup_epochs": 1},
    "trainer": {"max_epochs": 6, "validate_every": 2, "accelerator": "cpu", "ema_decay": 0.9},
    "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
    "validation_overlap": 0.0,
    "num_folds": 3,
}
#: Kills come after up to this share of the time that the undisturbed run takes.
SHARE = 0.4


class StepLog(Callback):  # type: ignore[misc]  # Lightning is untyped here
    """Writes epoch, batch and loss of every step to a file, at once."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A line of JSON; the loss with all its bits."""
        line = [trainer.current_epoch, batch_idx, trainer.global_step, float(outputs["loss"]).hex()]
        os.write(self._file, json.dumps(line).encode() + b"\n")


@dataclass
class Count:
    """The cost of the kills."""

    kills: int = 0
    #: Steps, or scans, that were repeated because of a kill; the largest of all kills.
    most_repeated: int = 0
    repeated: int = 0
    wrong: list[str] = field(default_factory=list)

    def repeat(self, number: int) -> None:
        """Note the cost of one kill."""
        self.repeated += number
        self.most_repeated = max(self.most_repeated, number)

    def expect(self, holds: bool, otherwise: str) -> None:
        """Note a fault if a condition does not hold."""
        if not holds:
            self.wrong.append(otherwise)


def main() -> int:
    """Run one part, or all, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("training", "preprocessing", "both", "stops"), default="both")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=6, help="epochs of the training that is killed")
    parser.add_argument("--scans", type=int, default=12, help="to preprocess")
    parser.add_argument("--folder", type=Path, help="for everything that is written; else a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if arguments.part == "stops":
            wrong = check_stops(folder / "stops", arguments.kills, arguments.seed, arguments.epochs, TINY)
            return 1 if wrong else 0
        wrong = []
        if arguments.part != "preprocessing":
            wrong += check_training(folder / "training", arguments.kills, arguments.seed, arguments.epochs)
        if arguments.part != "training":
            wrong += check_preprocessing(folder / "preprocessing", arguments.kills, arguments.seed, arguments.scans)
    print(*wrong, sep="\n")
    return 1 if wrong else 0


def check_training(folder: Path, kills: int, seed: int, epochs: int) -> list[str]:
    """Kill trainings; returns the faults."""
    data = make_phantoms(folder / "data", cases=6, held_back=0, size=(32, 32, 24))
    values = {**TINY, "trainer": {**TINY["trainer"], "max_epochs": epochs}}
    config = from_dict(FinetuneConfig, values, source="check_kills")

    def train(run: Path) -> None:
        module: Any = finetune.run
        build = module.build_trainer
        log = StepLog(run.with_suffix(".steps"))
        module.build_trainer = lambda *given, callbacks, **named: build(*given, callbacks=[*callbacks, log], **named)
        swin_unetr.training.resume_point.SAVE_EVERY_SECONDS = 0.3  # within epochs too, in a run of seconds
        finetune.run.finetune(config, data=data, output=run, resume=True)

    whole = folder / "undisturbed"
    duration = timed(train, whole)
    losses = {(epoch, batch): loss for epoch, batch, _, loss in steps_of(whole)}
    count, generator = Count(), random.Random(seed)
    while count.kills < kills:
        run = folder / f"after-kill-{count.kills:02d}"
        _train_through_kills(train, run, kills, duration, generator, count)
        logged = steps_of(run)
        count.expect({step[:2] for step in logged} == set(losses), f"{run}: other steps than undisturbed")
        different = [step[:2] for step in logged if step[3] != losses[step[0], step[1]]]
        count.expect(not different, f"{run}: other losses than undisturbed at (epoch, batch) {different}")
        for name in ("best", "last"):
            ours, theirs = (load_file(place / name / "model.safetensors") for place in (run, whole))
            same = ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
            count.expect(same, f"{run / name}: another model than undisturbed")
        count.expect(table(run) == table(whole), f"{run / 'metrics.csv'}: another table than undisturbed")
        count.expect(not list(run.rglob(".partial-*")), f"{run}: half-written files are left")
    print(
        f"training: {count.kills} kills of a run of {len(losses)} steps and {duration:.1f} s; steps trained twice: "
        f"{count.repeated} in all, {count.most_repeated} at most for one kill; losses of all steps and the final "
        f"models {'differ' if count.wrong else 'equal those of the undisturbed run, bit for bit'}"
    )
    return count.wrong


def _train_through_kills(
    train: Callable[[Path], None], run: Path, kills: int, duration: float, generator: random.Random, count: Count
) -> None:
    """One run from start to end, through kills."""
    while True:
        before = len(steps_of(run))
        saved = global_step(run)
        limit = generator.uniform(0, SHARE * duration) if count.kills < kills else None
        code = attempt(train, run, limit)
        new = steps_of(run)[before:]
        if new:
            count.expect(new[0][2] == saved + 1, f"{run}: went on at step {new[0][2]} from a checkpoint of {saved}")
        if code == 0:
            return
        if code != -signal.SIGKILL:
            count.wrong.append(f"{run}: ended with {code}; see {run.with_suffix('.log')}")
            count.kills = kills
            return
        count.kills += 1
        if new:
            count.repeat(new[-1][2] - global_step(run))


def check_preprocessing(folder: Path, kills: int, seed: int, scans: int) -> list[str]:
    """Kill the preprocessing of scans into blocks on disk; returns the faults."""
    data = make_phantoms(folder / "data", cases=scans, held_back=0, size=(48, 48, 32))
    config = PreprocessConfig(spacing_mm=(4.0, 4.0, 4.0))

    def preprocess(cache: Path) -> None:
        cache_scans(find_scans([data]), config, cache, workers=2)

    whole = folder / "undisturbed"
    duration = timed(preprocess, whole)
    count, generator = Count(), random.Random(seed)
    while count.kills < kills:
        cache = folder / f"after-kill-{count.kills:02d}"
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            done = finished(cache)
            code = attempt(preprocess, cache, generator.uniform(0, SHARE * duration) if count.kills < kills else None)
            kept = finished(cache)
            count.repeat(sum(kept.get(name) != time for name, time in done.items()))
            count.kills += code == -signal.SIGKILL
        count.expect(code == 0, f"{cache}: ended with {code}; see {cache.with_suffix('.log')}")
        count.expect(contents(cache) == contents(whole), f"{cache}: other files than undisturbed")
        if code:
            break
    print(
        f"preprocessing: {count.kills} kills of {scans} scans in {duration:.1f} s; finished scans done again: "
        f"{count.repeated}; files of the end {'differ' if count.wrong else 'equal those of the undisturbed run'}"
    )
    return [*count.wrong, *([f"{count.repeated} finished scans were done again"] if count.repeated else [])]


def attempt(work: Callable[[Path], None], folder: Path, limit: float | None) -> int:
    """Work in a forked process, which is killed after some seconds; returns its exit code, or minus the signal."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if not child:
        code = 1
        try:
            with folder.with_suffix(".log").open("a") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
                work(folder)
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    end = None if limit is None else time.monotonic() + limit
    while True:
        done, status = os.waitpid(child, 0 if end is None else os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if end is not None and time.monotonic() >= end:
            os.kill(child, signal.SIGKILL)
            end = None
        time.sleep(0.005)


def timed(work: Callable[[Path], None], folder: Path) -> float:
    """Seconds of the undisturbed work."""
    start = time.monotonic()
    if attempt(work, folder, None):
        raise SystemExit(f"the undisturbed run failed:\n{folder.with_suffix('.log').read_text()}")
    return time.monotonic() - start


def steps_of(run: Path) -> list[tuple[int, int, int, str]]:
    """Epoch, batch, number and loss of all steps that a run has logged, in the order in which they were trained."""
    log = run.with_suffix(".steps")
    return [tuple(json.loads(line)) for line in log.read_text().splitlines()] if log.is_file() else []


def table(run: Path) -> list[dict[str, str]]:
    """`metrics.csv` without the times."""
    with (run / "metrics.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if key not in ("seconds", "loader_share")}
            for row in csv.DictReader(file)
        ]


def finished(cache: Path) -> dict[str, int]:
    """Scans in a store under their final names, and when they were written."""
    return {file.name: file.stat().st_mtime_ns for file in cache.glob(f"*/[!.]*{SUFFIX}")}


def contents(cache: Path) -> dict[str, bytes | set[bytes]]:
    """All files of a cache, half-written ones too; of the list of contents its lines in any order."""
    files = {str(file.relative_to(cache)): file.read_bytes() for file in cache.rglob("*") if file.is_file()}
    return {name: set(data.splitlines()) if name.endswith(".jsonl") else data for name, data in files.items()}


if __name__ == "__main__":
    if not hasattr(os, "fork"):
        raise SystemExit("this check needs a system that can fork")
    raise SystemExit(main())
