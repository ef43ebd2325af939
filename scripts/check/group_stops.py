"""Stops real commands as `timeout`, SLURM and Ctrl-C do, with a signal to every process, and runs what they print.

Used by `kills.py --part stops`. Each attempt is the command `swin-unetr finetune` or `swin-unetr pretrain`, with
two processes that read data, in a process group of its own, which gets SIGTERM after a random time. The next attempt is
the command that the stopped one has printed.
"""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
import yaml
from safetensors.torch import load_file

from swin_unetr.phantoms import make_phantoms

_GO_ON = "to go on: "
#: Configuration of a pre-training on phantoms of 32 x 32 x 24 voxels that takes some seconds.
TINY_PRETRAINING: dict[str, Any] = {
    "network": {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]},
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "scans": {"crop_size": [16, 16, 16], "visits_per_epoch": 4, "num_workers": 2, "cache_workers": 1},
    "optimizer": {"learning_rate": 0.001, "warmup_epochs": 1},
    "trainer": {"validate_every": 2, "accelerator": "cpu"},
}


@dataclass
class Stops:
    """The result of stopping one command.

    Args:
        command: arguments without --output.
        folder: of the runs.
    """

    command: list[str]
    folder: Path
    stops: int = 0
    runs: int = 0
    #: Stops during the training itself.
    in_training: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0
    epochs: int = 0

    def undisturbed(self) -> None:
        """Run the command to its end, and measure the time."""
        started = time.monotonic()
        code, text = self.attempt([*self.command, "--output", str(self.folder / "undisturbed")], None)
        if code:
            raise SystemExit(f"the undisturbed run failed:\n{text}")
        self.seconds = time.monotonic() - started
        self.steps = global_step(self.folder / "undisturbed")
        self.epochs = reported_epochs(text)

    def one_run(self, stops: int, generator: random.Random) -> None:
        """One run from start to end, through stops."""
        run = self.folder / f"run-{self.runs:02d}"
        self.runs += 1
        command = [*self.command, "--output", str(run)]
        while True:
            limit = generator.uniform(0, self.seconds) if self.stops < stops else None
            code, text = self.attempt(command, limit)
            if code == 0:
                break
            if code == -signal.SIGTERM and not text:  # before Python had begun
                continue
            self.stops += 1
            done, saved = reported_epochs(text), global_step(run) * self.epochs / self.steps
            self.in_training += bool(done)
            self.expect(code == 128 + signal.SIGTERM, f"{run}: exit code {code}\n{text}")
            self.expect(saved >= done, f"{run}: {done} epochs done, {saved:.1f} saved\n{text}")
            for word in ("Traceback", "memory", "DataLoader"):
                self.expect(word not in text, f"{run}: talks of {word}\n{text}")
            lines = [line.removeprefix(_GO_ON) for line in text.splitlines() if line.startswith(_GO_ON)]
            if not lines:
                self.wrong.append(f"{run}: does not say how to go on\n{text}")
                return
            command = shlex.split(lines[-1])[1:]
        for name in ("best", "last"):
            ours, theirs = (
                load_file(place / name / "model.safetensors") for place in (run, self.folder / "undisturbed")
            )
            same = ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
            self.expect(same, f"{run / name}: another model than undisturbed")

    def attempt(self, arguments: list[str], limit: float | None) -> tuple[int, str]:
        """Run the command in its own process group, with SIGTERM after some seconds; returns exit code and output."""
        log = self.folder / "output.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "swin_unetr", *arguments],
                stdout=file,
                stderr=file,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGTERM)
                code = process.wait()
        time.sleep(1.0)
        if _left_of_group(process.pid):
            self.wrong.append(f"{shlex.join(arguments)}: has left processes behind")
        return code, log.read_text()

    def expect(self, holds: bool, otherwise: str) -> None:
        """Note a fault if a condition does not hold."""
        if not holds:
            self.wrong.append(otherwise)


def check_stops(folder: Path, stops: int, seed: int, epochs: int, finetuning: dict[str, Any]) -> list[str]:
    """Stop fine-tunings and pre-trainings; returns the faults.

    Args:
        folder: for everything that is written.
        stops: how many for each command.
        seed: of the moments of the stops.
        epochs: of each run.
        finetuning: recipe of a fine-tuning that takes some seconds.
    """
    data = make_phantoms(folder / "data", cases=6, held_back=0, size=(32, 32, 24))
    finetuning = {**finetuning, "sampling": {**finetuning["sampling"], "num_workers": 2}}
    wrong = []
    for name, recipe, options in (("finetune", finetuning, ["--fold", "0"]), ("pretrain", TINY_PRETRAINING, [])):
        file = folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump({**recipe, "trainer": {**recipe["trainer"], "max_epochs": epochs}}))
        count = Stops([name, "--config", str(file), "--data", str(data), *options], folder / name)
        count.undisturbed()
        generator = random.Random(seed)
        while count.stops < stops and not count.wrong:
            count.one_run(stops, generator)
        print(
            f"{name}: {count.stops} group SIGTERMs with two workers in a run of {count.steps} steps and "
            f"{count.seconds:.1f} s, {count.in_training} of them after the first epoch; "
            f"{len(count.wrong)} wrong; final models "
            f"{'differ, or were not reached' if count.wrong else 'equal those of the undisturbed run, bit for bit'}",
            flush=True,
        )
        print(*count.wrong, sep="\n", flush=True)
        wrong += count.wrong
    return wrong


def reported_epochs(text: str) -> int:
    """The number of epochs that a command has reported as done."""
    lines = [line.split()[1] for line in text.splitlines() if line.startswith("epoch ")]
    return int(lines[-1].split("/")[0]) if lines else 0


def global_step(run: Path) -> int:
    """Steps in the checkpoint from which a run would go on; 0 without a checkpoint."""
    for name in ("last.ckpt", "previous.ckpt"):
        if (file := run / "checkpoints" / name).is_file():
            return int(torch.load(file, weights_only=True)["global_step"])
    return 0


def _left_of_group(group: int) -> list[int]:
    """The processes of a process group that still run; one that has ended and that nobody waited for does not."""
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process.pid)
    return left
