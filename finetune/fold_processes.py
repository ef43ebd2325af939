"""Trains folds in processes of their own, several at a time: each on a GPU, or with its share of the cores.

Each process is the plain command `swin-unetr finetune --fold K`, so that it can be stopped, killed and resumed like any
other training; all of them share one store of preprocessed scans.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

import torch

from swin_unetr.errors import ConfigError
from swin_unetr.machine import cores
from swin_unetr.signals import Terminated, ending_with_this

_POLL_SECONDS = 0.2


def slots(parallel: int, accelerator: str) -> list[dict[str, str]]:
    """The environment variables of each process that may run at a time.

    Args:
        parallel: processes at a time.
        accelerator: Lightning's name of the accelerator that they train on.

    Raises:
        ConfigError: more processes than GPUs.
    """
    if accelerator not in ("cpu", "mps") and torch.cuda.is_available():
        listed = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = listed.split(",") if listed else [str(index) for index in range(torch.cuda.device_count())]
        if parallel == 1:
            return [{}]  # one training, on as many devices as it asks for
        if parallel > len(devices):
            raise ConfigError(f"parallel: {parallel} folds at a time, but {len(devices)} GPUs; each fold takes one")
        return [{"CUDA_VISIBLE_DEVICES": device} for device in devices[:parallel]]
    share = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // parallel))
    return [{"OMP_NUM_THREADS": share}] * parallel


class FoldProcesses:
    """Runs commands, one per fold, several at a time; the signals that stop this process are passed on to them.

    Args:
        commands: arguments by fold.
        environments: one for each that may run at a time; see `slots`.
        logs: folder of their output. If None, it goes to the terminal.
    """

    def __init__(
        self, commands: Mapping[int, Sequence[str]], environments: Sequence[Mapping[str, str]], logs: Path | None
    ) -> None:
        self._waiting = deque(commands.items())
        self._free = list(environments)
        self._logs = logs
        self._running: dict[int, tuple[subprocess.Popen[bytes], Mapping[str, str]]] = {}
        #: The latest signal, how many there were, and how many each fold was sent.
        self._stopped: int | None = None
        self._signals = 0
        self._sent: dict[int, int] = {}

    def run(self) -> dict[int, str]:
        """Run all of them.

        Returns:
            Why folds failed, by fold.

        Raises:
            KeyboardInterrupt: Ctrl-C; on SIGTERM `Terminated`. The processes have written their checkpoints and ended.
        """
        failures: dict[int, str] = {}
        signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        before = {number: signal.signal(number, self._stop) for number in signals}
        try:
            while self._running or (self._waiting and self._stopped is None):
                while self._waiting and self._free and self._stopped is None:
                    self._start(*self._waiting.popleft())
                self._pass_on()
                for fold, (process, slot) in list(self._running.items()):
                    if (code := process.poll()) is not None:
                        del self._running[fold]
                        self._free.append(slot)
                        failures.update(self._end(fold, code))
                time.sleep(_POLL_SECONDS)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self._stopped is not None:
            raise KeyboardInterrupt if self._stopped == signal.SIGINT else Terminated
        return failures

    def _end(self, fold: int, code: int) -> dict[int, str]:
        """Say that a fold has ended; gives what went wrong, if anything did."""
        if self._stopped is not None and code:
            print(f"fold {fold}: stopped", flush=True)
            return {}
        if self._logs is None:
            return {fold: f"exit code {code}"} if code else {}
        log = self._logs / f"fold_{fold}.txt"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        words = f"exit code {code}: {lines[-1] if lines else 'no output'} ({log})"
        print(f"fold {fold}: {words if code else 'done'}", flush=True)
        return {fold: words} if code else {}

    def _start(self, fold: int, command: Sequence[str]) -> None:
        slot = self._free.pop(0)
        command = ending_with_this(command)  # saves, and is not trained twice when the cross-validation is resumed
        options = {"env": {**os.environ, **slot}, "start_new_session": True}  # Ctrl-C reaches it through this process
        if self._logs is None:
            process = subprocess.Popen(command, **options)  # type: ignore[call-overload]
        else:
            log = self._logs / f"fold_{fold}.txt"
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as file:
                process = subprocess.Popen(command, stdout=file, stderr=file, **options)  # type: ignore[call-overload]
            print(f"fold {fold}: started; its output is in {log}", flush=True)
        self._running[fold] = process, slot

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Note the signal only: a process may be starting that this handler does not know yet."""
        self._stopped = number
        self._signals += 1

    def _pass_on(self) -> None:
        """Send each process the signals that it was not sent: a second Ctrl-C stops it at once."""
        for fold, (process, _) in self._running.items():
            for _ in range(self._signals - self._sent.get(fold, 0)):
                if self._stopped is not None:
                    process.send_signal(self._stopped)
            self._sent[fold] = self._signals
