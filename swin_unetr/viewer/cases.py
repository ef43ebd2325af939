"""Which files to look at: those of the command line, or those of an evaluation's report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swin_unetr.config_io import from_dict, read_yaml
from swin_unetr.datasets.decathlon import DESCRIPTION, read_decathlon_task
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.evaluation.inputs.label_tasks import find_labels, parse_labels
from swin_unetr.tasks import Task
from swin_unetr.viewer.scene import CaseFiles
from transforms.io import read_label_names


def case_of_files(
    images: Sequence[Path],
    references: Sequence[Path],
    predictions: Sequence[Path],
    *,
    task: str | None = None,
    names: Sequence[str] | None = None,
) -> CaseFiles:
    """A case from the paths of a command line.

    Args:
        images: scans on one grid.
        references: label maps.
        predictions: label maps to compare with the first reference.
        task: what the labels mean, as `evaluate` takes it. If None, taken from what lies beside the files.
        names: label values by name instead, `NAME=VALUE`.

    Raises:
        ConfigError: a task that does not exist.
        DataError: a file that does not exist.
    """
    for path in (*images, *references, *predictions):
        if not path.exists():
            raise DataError(f"{path}: no such file; check the path")
    meaning = find_labels(parse_labels(names), images[0], None).task if names else _task(task, references, predictions)
    window = _window(Path(task)) if task else None
    modality = meaning.modality if meaning is not None and meaning.name != "labels" else None
    return CaseFiles(
        images[0].name, tuple(images), tuple(references), tuple(predictions), meaning, meaning, modality, window
    )


def _task(task: str | None, references: Sequence[Path], predictions: Sequence[Path]) -> Task | None:
    if task is not None:
        return find_labels(task, Path(task), None).task
    for path in (*predictions, *references):
        description = path.absolute().parent.parent / DESCRIPTION
        if description.is_file():
            return read_decathlon_task(description)
        try:
            return find_labels(None, path, None).task
        except ConfigError:
            if names := read_label_names(path):
                return find_labels({name: (value,) for value, name in names.items()}, path, None).task
    return None


def _window(task: Path) -> tuple[float, float] | None:
    """The window that a model folder scales CT by: the first channel that has one."""
    for path in (task, task / "model.json", task / "best" / "model.json"):
        if path.is_file() and path.suffix == ".json":
            preprocess = read_yaml(path).get("preprocess") or {}
            for intensity in ((preprocess.get("intensity_of") or {}).values(), [preprocess.get("intensity") or {}]):
                for of in intensity:
                    if of.get("scheme") in ("hu_window", "hu_zscore"):
                        low, high = of["window"]
                        return float(low), float(high)
    return None


def cases_of_report(folder: Path) -> dict[str, CaseFiles]:
    """The cases of a folder that `evaluate` wrote, by id.

    Raises:
        DataError: no results.json there, or one that names no files.
    """
    path = folder / "results.json"
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); give the --output folder of an evaluation") from error
    entries = results.get("cases", {}).get("files") or results.get("files")
    if not isinstance(entries, dict) or not entries:
        raise DataError(f"{path}: names no files of its cases; evaluate again with this version")
    reference_task, prediction_task = (
        from_dict(Task, results[key], source=str(path)) if results.get(key) else None
        for key in ("reference_task", "prediction_task")
    )
    modality = reference_task.modality if reference_task is not None and reference_task.name != "labels" else None
    return {
        case: CaseFiles(
            case,
            _paths(entry, "image"),
            _paths(entry, "reference"),
            _paths(entry, "prediction"),
            reference_task,
            prediction_task,
            modality,
        )
        for case, entry in entries.items()
    }


def _paths(entry: Mapping[str, Any], key: str) -> tuple[Path, ...]:
    value = entry.get(key)
    return tuple(Path(item) for item in ([value] if isinstance(value, str) else value or []))
