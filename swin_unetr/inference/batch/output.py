"""The folder of the results: no file that `predict` did not write is replaced, and no two methods are mixed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from swin_unetr.datasets import Case
from swin_unetr.errors import ConfigError
from swin_unetr.files import real_path
from swin_unetr.inference.batch.parts import Part
from swin_unetr.inference.batch.queue import QUEUE
from swin_unetr.inference.batch.record import (
    Records,
    labels_path,
    probabilities_path,
    record_path,
    run_record_path,
    uncertainty_path,
)
from swin_unetr.inference.batch.triage import TRIAGE, is_triage
from swin_unetr.inference.engine.method import differences
from swin_unetr.words import count

#: Folders of a data set, into which results may not go: its layout would be taken for another.
_OF_DATASETS = ("imagesTr", "labelsTr", "imagesTs")


def check_output(
    output: Path,
    cases: Sequence[Case],
    *,
    with_probabilities: bool,
    with_uncertainty: bool = False,
    with_triage: bool = False,
    part: Part | None = None,
) -> None:
    """Look at every path that will be written, before anything starts.

    Args:
        output: folder of the results.
        cases: that will be segmented.
        with_probabilities: whether they are written too.
        with_uncertainty: whether uncertainty maps are written too.
        with_triage: whether triage.csv is written too.
        part: of the batch.

    Raises:
        ConfigError: it is the folder of a data set, two results have one path, or a file there is not of `predict`;
            names it.
    """
    if any((output / name).is_dir() for name in _OF_DATASETS):
        raise ConfigError(f"output: {output} holds a data set, which results would mix with; name another folder")
    if (output / QUEUE).exists() and not (output / QUEUE).is_dir():
        raise _foreign(output / QUEUE)
    runs = [run_record_path(output, None), run_record_path(output, part)]
    taken: dict[Path, str] = {path: "the record of the run" for path in runs}
    known: list[dict[str, Any]] = []
    for path in runs:
        run = read_run(path)
        if os.path.lexists(path) and run is None:
            raise _foreign(path)
        known += [run] if run else []
    if with_triage and (output / TRIAGE).exists() and not is_triage(output / TRIAGE):
        raise _foreign(output / TRIAGE)
    sources = {real_path(path) for case in cases for path in case.images}
    for case in cases:
        record, ours = record_path(output, case.id), written_for(output, case, known)
        wanted = [record, labels_path(output, case.id)]
        wanted += [probabilities_path(output, case.id)] if with_probabilities else []
        wanted += [uncertainty_path(output, case.id)] if with_uncertainty else []
        for path in wanted:
            if path in taken:
                raise ConfigError(
                    f"output: {path} would be a result of {case.id!r} and also {taken[path]}; predict them into "
                    "different folders"
                )
            taken[path] = f"a result of {case.id!r}"
            if os.path.lexists(path) and (path.name not in ours or real_path(path) in sources):
                raise _foreign(path)


def check_method(records: Records, cases: Iterable[Case], *, overwrite: bool) -> list[str]:
    """Refuse to mix results of different methods in one folder.

    Args:
        records: of the run that is about to begin.
        cases: of that run.
        overwrite: whether results of others may be replaced.

    Returns:
        What to say of results that stay, for people.

    Raises:
        ConfigError: there are results of another method; says in what it differs, and the remedy.
    """
    output = records.output
    runs = [run for path in sorted(output.glob("predictions*.json")) if (run := read_run(path))]
    others = [run for run in runs if run.get("key") != records.key and _has_results(run)]
    if not any(run.get("key") == records.key for run in runs):  # else results of others are about to be renewed
        found = (read_case_record(output, case.id) for case in cases)
        others += [record for record in found if record and record.get("key") != records.key]
    if not others:
        return []
    if not overwrite:
        raise ConfigError(
            f"output: {output} holds results of {in_words(others[0], records)}; name another --output, or renew them "
            "with --overwrite"
        )
    mine = {case.id for case in cases}
    stay = sorted({case for run in others for case in run.get("cases", ()) if case not in mine})
    if not stay:
        return []
    listed = stay[0] + (", ..." if len(stay) > 1 else "")
    return [f"kept in {output}: {count(len(stay), 'result')} of {in_words(others[0], records)}: {listed}"]


def in_words(other: dict[str, Any], records: Records) -> str:
    """How another method differs from that of this run."""
    if "key" not in other:
        return "an older version, whose records do not say all that decided on the labels"
    different = differences(records.method, other["method"]) if isinstance(other.get("method"), dict) else []
    return f"another method (different: {', '.join(different)})" if different else "another method"


def read_run(path: Path) -> dict[str, Any] | None:
    """The record of a run; None if `predict` wrote none."""
    record = _read(path)
    return record if record is not None and {"status", "task", "models"} <= record.keys() else None


def read_case_record(output: Path, case: str) -> dict[str, Any] | None:
    """The record of a case; None if `predict` wrote none."""
    record = _read(record_path(output, case))
    ours = record is not None and record.get("case") == case
    return record if ours and record and record.get("prediction") == labels_path(output, case).name else None


def written_for(output: Path, case: Case, runs: Iterable[dict[str, Any]]) -> set[str]:
    """Names of the files that `predict` has written for a case, as the records say.

    Args:
        output: folder of the results.
        case: which.
        runs: records of runs; they name the results of a killed process, which have no record of their own.
    """
    labels, probabilities = labels_path(output, case.id).name, probabilities_path(output, case.id).name
    uncertainty = uncertainty_path(output, case.id).name
    record = read_case_record(output, case.id)
    if record is not None:  # older versions did not say whether there are probabilities
        names = {record_path(output, case.id).name, labels}
        names |= {probabilities} if record.get("probabilities", probabilities) else set()
        return names | ({uncertainty} if record.get("uncertainty") else set())
    found: set[str] = set()
    for run in runs:
        writes = run.get("writes") or {"cases": run.get("cases", ()), "probabilities": True}
        if case.id in writes["cases"]:
            found |= {labels, probabilities} if writes["probabilities"] else {labels}
            found |= {uncertainty} if writes.get("uncertainty") else set()
    return found


def _has_results(run: dict[str, Any]) -> bool:
    """Whether it has made any; a part that is running, or was killed, may have."""
    return bool(run.get("cases")) or (run["status"] == "running" and run.get("part") is not None)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _foreign(path: Path) -> ConfigError:
    return ConfigError(f"output: {path} was not written by predict and is kept; name another folder")
