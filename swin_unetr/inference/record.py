"""Files of a prediction, and the JSON that says how they came to be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from swin_unetr.batch import BatchReport
from swin_unetr.configuration import to_dict
from swin_unetr.datasets import Case
from swin_unetr.files import write_json
from swin_unetr.inference.device import Compute
from swin_unetr.inference.models import Ensemble
from swin_unetr.provenance import versions
from swin_unetr.tasks import Task

#: Record of the whole run; `evaluate` takes the task from it.
PREDICTIONS_JSON = "predictions.json"


def labels_path(output: Path, case: str) -> Path:
    """Label file of a case."""
    return output / f"{case}.nii.gz"


def record_path(output: Path, case: str) -> Path:
    """Record of a case. Written last: a case that has one is done."""
    return output / f"{case}.json"


def probabilities_path(output: Path, case: str) -> Path:
    """Probabilities of a case."""
    return output / f"{case}_probabilities.nii.gz"


class Records:
    """Writes the records of one run.

    Args:
        output: folder of the results.
        ensemble: the models.
        compute: where they run.
        inputs: the paths that were asked for.
    """

    def __init__(self, output: Path, ensemble: Ensemble, compute: Compute, inputs: Sequence[Path]) -> None:
        self.output = output
        #: What two results must share to be of one making.
        self._method = _plain({"models": ensemble.facts(), "precision": compute.precision})
        self._labels = _labels(ensemble.task)
        self._machine = {"device": _device_name(compute), "versions": versions()}
        self._run = {
            "task": to_dict(ensemble.task),
            "inputs": [str(path.absolute()) for path in inputs],
            "started": _now(),
        }

    def write_case(self, case: Case, seconds: float) -> None:
        """Say how the result of a case came to be."""
        record = {
            "case": case.id,
            "prediction": labels_path(self.output, case.id).name,
            "sources": _sources(case),
            "labels": self._labels,
            **self._method,
            **self._machine,
            "written": _now(),
            "seconds": round(seconds, 3),
        }
        write_json(record_path(self.output, case.id), record)

    def write_run(self, status: str, report: BatchReport, seconds: float) -> None:
        """Say what became of the run so far.

        Args:
            status: "running", "finished" or "stopped".
            report: the cases done and failed.
            seconds: since the start.
        """
        record = {
            "status": status,
            **self._run,
            **self._method,
            **self._machine,
            "seconds": round(seconds, 3),
            "cases": report.done,
            "failures": [vars(failure) for failure in report.failures],
        }
        write_json(self.output / PREDICTIONS_JSON, record)

    def is_done(self, case: Case, *, with_probabilities: bool) -> bool:
        """Whether the results of a case stand already, made from the same files in the same way."""
        results = [labels_path(self.output, case.id)]
        if with_probabilities:
            results.append(probabilities_path(self.output, case.id))
        if not all(path.is_file() for path in results):
            return False
        try:
            record = json.loads(record_path(self.output, case.id).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        same = {"sources": _sources(case), **self._method}
        return isinstance(record, dict) and all(record.get(key) == value for key, value in same.items())


def _sources(case: Case) -> list[str]:
    return [str(path.absolute()) for path in case.images]


def _labels(task: Task) -> dict[str, Any]:
    """Value of each structure; for nested regions, the values of all that lies in it."""
    if task.activation == "softmax":
        return {target.name: target.write_as for target in task.targets}
    written = {target.write_as for target in task.targets}
    return {target.name: sorted(written.intersection(target.labels)) for target in task.targets}


def _device_name(compute: Compute) -> str:
    import torch

    if compute.device.type == "cuda":
        return f"{compute.device} ({torch.cuda.get_device_name(compute.device)})"
    return str(compute.device)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As it will be read back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
