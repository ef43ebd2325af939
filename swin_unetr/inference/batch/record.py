"""Files of a prediction, and the JSON that says how they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from swin_unetr.batch import BatchReport
from swin_unetr.config_io import to_dict
from swin_unetr.datasets import Case
from swin_unetr.file_stamps import bytes_hash, file_stamps
from swin_unetr.files import remove_partial, write_json
from swin_unetr.inference.backends.compute import Compute
from swin_unetr.inference.batch.parts import Part
from swin_unetr.inference.engine.method import short_hash
from swin_unetr.inference.engine.models import Ensemble
from swin_unetr.provenance import now, versions
from swin_unetr.tasks import Task

#: Record of the whole run; `evaluate` takes the task from it.
PREDICTIONS_JSON = "predictions.json"


def run_record_path(output: Path, part: Part | None) -> Path:
    """Record of a run; of a part of one, its own."""
    name = PREDICTIONS_JSON if part is None else f"predictions.part-{part[0]}-of-{part[1]}.json"
    return output / name


def labels_path(output: Path, case: str) -> Path:
    """Label file of a case."""
    return output / f"{case}.nii.gz"


def record_path(output: Path, case: str) -> Path:
    """Record of a case. Written last: a case that has one is done."""
    return output / f"{case}.json"


def uncertainty_path(output: Path, case: str) -> Path:
    """Uncertainty of each voxel of a case."""
    return output / f"{case}_uncertainty.nii.gz"


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
        options: what else decides on the labels or says how they were made.
        part: of the batch that this run does.
    """

    def __init__(
        self,
        output: Path,
        ensemble: Ensemble,
        compute: Compute,
        inputs: Sequence[Path],
        options: Mapping[str, Any] | None = None,
        part: Part | None = None,
    ) -> None:
        self.output = output
        #: What decides on the labels, and a key of it.
        self.method: dict[str, Any] = {**ensemble.method(), "precision": compute.precision}
        self.method["skip_empty"] = (options or {}).get("skip_empty", True)
        self.key = short_hash(self.method)
        self._part = part
        method = {"models": ensemble.facts(), "precision": compute.precision, **(options or {})}
        if ensemble.postprocess:
            method["postprocess"] = [asdict(rule) for rule in ensemble.postprocess]
        self._how = _plain(method)
        self._labels = _labels(ensemble.task)
        self._machine: dict[str, Any] = {
            "device": _device_name(compute),
            "backend": compute.backend,
            "window_seconds": dict(compute.window_seconds),
            "backends": ensemble.backends(),
            "versions": versions(),
        }
        #: The part of the record that all parts of a run share.
        self._way = {"key": self.key, "method": self.method, **self._how}
        self._run: dict[str, Any] = {
            "task": to_dict(ensemble.task),
            "inputs": [str(path.absolute()) for path in inputs],
            "started": now(),
        }

    def will_write(self, cases: Sequence[Case], *, with_probabilities: bool, with_uncertainty: bool = False) -> None:
        """Name the cases in the record of the run, so that their files are known as ours if it is killed."""
        self._run["writes"] = {"cases": [case.id for case in cases], "probabilities": with_probabilities}
        if with_uncertainty:
            self._run["writes"]["uncertainty"] = True

    def write_case(
        self,
        case: Case,
        sources: Sequence[Mapping[str, Any]],
        facts: Mapping[str, Any],
        *,
        with_probabilities: bool = False,
    ) -> None:
        """Record how the result of a case was made.

        Args:
            case: which.
            sources: its files as they were when they were read, by `source_files`.
            facts: about this case: its plan, windows, and seconds by phase.
            with_probabilities: whether they were written too.
        """
        record = {
            "case": case.id,
            **_names(self.output, case, with_probabilities),
            "key": self.key,
            "method": self.method,
            "sources": list(sources),
            "labels": self._labels,
            **self._how,
            **self._machine,
            **facts,
            "written": now(),
        }
        write_json(record_path(self.output, case.id), record)

    def write_run(self, status: str, report: BatchReport, seconds: float) -> None:
        """Record the state of the run.

        Args:
            status: "running", "finished" or "stopped".
            report: the cases done and failed.
            seconds: since the start.
        """
        record = {
            "status": status,
            **self._run,
            **self._way,
            **self._machine,
            "part": None if self._part is None else "/".join(map(str, self._part)),
            "seconds": round(seconds, 3),
            "cases": report.done,
            "failures": [vars(failure) for failure in report.failures],
            "warnings": report.warnings,
        }
        write_json(run_record_path(self.output, self._part), record)
        if self._part is not None:  # the same from every part
            name = run_record_path(self.output, self._part).name
            records = name.replace(f"part-{self._part[0]}-", "part-*-")
            whole = {"status": "in parts", "task": self._run["task"], **self._way, "records": records}
            write_json(self.output / PREDICTIONS_JSON, whole)

    def warnings_of(self, case: Case) -> tuple[str, ...]:
        """The warnings in the record of an existing result."""
        try:
            record = json.loads(record_path(self.output, case.id).read_text(encoding="utf-8"))
            return tuple(map(str, record.get("warnings", ())))
        except (OSError, ValueError, TypeError, AttributeError):
            return ()

    def is_done(
        self, case: Case, *, with_probabilities: bool, with_uncertainty: bool = False, judged_by: str | None = None
    ) -> bool:
        """Whether a case has results that were made from the same files in the same way.

        Args:
            case: which.
            with_probabilities: whether its probabilities are wanted too.
            with_uncertainty: whether its uncertainty map is wanted too.
            judged_by: key of the calibrations by which it is to be judged. If None, it need not be.
        """
        results = [labels_path(self.output, case.id)]
        if with_probabilities:
            results.append(probabilities_path(self.output, case.id))
        if with_uncertainty:
            results.append(uncertainty_path(self.output, case.id))
        if not all(path.is_file() for path in results):
            return False
        try:
            record = json.loads(record_path(self.output, case.id).read_text(encoding="utf-8"))
            if record["key"] != self.key:
                return False
            if judged_by is not None and record.get("judged_by") != judged_by:
                return False
            asked = self._how.get("accumulate", "auto")
            if asked not in ("auto", record.get("accumulate", "float32")):
                return False
            return len(record["sources"]) == len(case.images) and all(map(_unchanged, case.images, record["sources"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return False  # no record, or not one of ours


def source_files(case: Case) -> list[dict[str, Any]]:
    """The files of a case, with facts by which a change of them is noticed.

    Returns:
        For each: its path, bytes, time of modification in nanoseconds, stamp, and the hash of its bytes. If it has
        several parts (DICOM, a header and its voxels): the sum of the bytes, the latest time, and stamp and hash of
        all parts. A file that is missing has only its path.
    """
    return [_stamp(path) for path in case.images]


def clear_partial(output: Path, case: str) -> None:
    """Remove the half-written files of a case that a killed process has left."""
    for of in (labels_path, record_path, probabilities_path, uncertainty_path):
        path = of(output, case)
        remove_partial(path)


def _stamp(path: Path) -> dict[str, Any]:
    try:
        stamps = file_stamps(path)
        return {
            "path": str(path.absolute()),
            "bytes": sum(size for _, size, *_ in stamps),
            "modified": max(modified for _, _, modified, *_ in stamps),
            "stamp": short_hash(stamps),
            "hash": bytes_hash(path),
        }
    except (OSError, ValueError):  # an empty folder has no latest file
        return {"path": str(path.absolute())}


def _unchanged(path: Path, recorded: Mapping[str, Any]) -> bool:
    """Whether a file is the one of a record: by its stamp, and where that is another by its bytes."""
    if recorded["path"] != str(path.absolute()):
        return False
    return bool(recorded["stamp"] == short_hash(file_stamps(path)) or recorded["hash"] == bytes_hash(path))


def _names(output: Path, case: Case, with_probabilities: bool) -> dict[str, str | None]:
    probabilities = probabilities_path(output, case.id).name if with_probabilities else None
    return {"prediction": labels_path(output, case.id).name, "probabilities": probabilities}


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
