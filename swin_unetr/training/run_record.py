"""`run.json`: what was run, with which versions, on which machine, for how long, and its results."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from swin_unetr import provenance
from swin_unetr.errors import DataError
from swin_unetr.files import write_json
from swin_unetr.provenance import commit, now, versions

#: Name of the file in a run folder.
RECORD = "run.json"


class RunRecord:
    """The record of one run folder; a resumed run adds a session to it.

    Args:
        path: `run.json`.
        facts: what holds for the whole run: configuration, seed, data, split.
    """

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self._path = path
        sessions = read_record(path).get("sessions", []) if path.is_file() else []
        self._session: dict[str, Any] = {
            "command": list(sys.argv),
            "started": now(),
            "status": "running",
            "versions": versions(),
            "machine": machine(),
            "commit": commit(),
        }
        self.values: dict[str, Any] = {**facts, "sessions": [*sessions, self._session]}
        write_json(path, self.values)

    def close(self, status: str, **results: Any) -> None:
        """Write how the session ended, and the results of the run so far.

        Args:
            status: "finished", "stopped" or "failed".
            results: values for the top level of the record.
        """
        self._session.update(status=status, ended=now())
        self.values.update(results)
        write_json(self._path, self.values)


def read_record(path: Path) -> dict[str, Any]:
    """The values of a `run.json`.

    Raises:
        DataError: it cannot be read.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is not a record of a run; choose another --output") from error
    if not isinstance(values, dict):
        raise DataError(f"{path}: is not a record of a run; choose another --output")
    return values


def machine() -> dict[str, Any]:
    """The machine: its name, system, processor and accelerators."""
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    cudnn: Any = torch.backends.cudnn  # untyped
    return {
        "host": platform.node(),
        **provenance.machine(),
        "threads": torch.get_num_threads(),
        "gpus": devices,
        "cuda": torch.version.cuda,
        "cudnn": cudnn.version() if devices else None,
    }
