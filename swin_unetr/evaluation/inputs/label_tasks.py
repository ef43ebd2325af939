"""Which task the labels of an evaluation belong to: from an argument, from what predicted, from the data set."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from swin_unetr.config_io import read_yaml
from swin_unetr.datasets import read_sound_cases
from swin_unetr.datasets.decathlon import DESCRIPTION as DECATHLON
from swin_unetr.datasets.decathlon import read_decathlon_task
from swin_unetr.datasets.description import task_from
from swin_unetr.datasets.faults import first_look
from swin_unetr.datasets.listing import images_by_stem, stem
from swin_unetr.datasets.side_files import plain
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.evaluation.inputs.reading import Labels
from swin_unetr.tasks import BRATS_AFTER_TREATMENT, BRATS_CONVENTIONS, BTCV, Target, Task, brats

#: A task, its name or the path of something that holds one, or label values by name.
TaskArgument = Task | str | Path | Mapping[str, int | Sequence[int]] | None

#: `--task brats`: the convention of each side is inferred from its label values.
ANY_BRATS = "brats"
#: Tasks by the names that `--task` takes, beside `ANY_BRATS`.
NAMED_TASKS = {BTCV.name: BTCV, **{name: brats(name) for name in (*BRATS_CONVENTIONS, BRATS_AFTER_TREATMENT)}}

#: JSON that `predict` writes beside its label files for all of them; each case has a `<case id>.json` too.
_PREDICTIONS_JSON = "predictions.json"


class NoTaskError(ConfigError):
    """Neither the predictions nor the references say what the labels mean, and the user does not either."""


def find_labels(argument: TaskArgument, predictions: Path, of_dataset: Task | None) -> Labels:
    """What the labels mean: what the argument says, else what the predictions and the data set say.

    A named year of BraTS, or a `Task`, holds for both sides unchanged. A BraTS task from a file only names the
    regions: the label values of each side are inferred from the data, as under `brats`. If predictions and data set
    name the same structures with other values, or the predictions name more, each side keeps its own values.

    Args:
        argument: see `evaluate`.
        predictions: the folder of predictions, or the file; JSON beside them may hold their task.
        of_dataset: what the layout of the references says.

    Raises:
        NoTaskError: no task is found.
        ConfigError: an unknown name, or predictions and data set that contradict each other.
        DataError: a file that should hold a task and does not.
    """
    if isinstance(argument, Task):
        return Labels(argument, source=f"task {argument.name}")
    if isinstance(argument, Mapping):
        return Labels(_task_of_labels(argument), source="label values given by name")
    if argument is not None and str(argument) == ANY_BRATS:
        return Labels(brats(), source=ANY_BRATS, told_from_data=True)
    if isinstance(argument, str) and argument in NAMED_TASKS:
        return Labels(NAMED_TASKS[argument], source=argument)
    if argument is not None:
        return _labels(_task_at(Path(argument)), source=str(argument))
    of_predictions, source = _task_beside(predictions)
    if of_predictions and of_dataset and not _compatible(of_predictions, of_dataset):
        if (matched := _by_name(of_predictions, of_dataset, source)) is not None:
            return matched
        raise ConfigError(
            f"task: {source} says {_labels_of(of_predictions)}, the data set of the references says "
            f"{_labels_of(of_dataset)}; say which holds with --task or --labels"
        )
    if of_predictions:
        return _labels(of_predictions, source=source)
    if of_dataset:
        return _labels(of_dataset, source="the data set of the references")
    raise NoTaskError(
        f"task: neither {predictions} nor the references say what the labels mean; give --task "
        f"{'|'.join((ANY_BRATS, *NAMED_TASKS))}|MODEL_DIR|dataset.json, or --labels NAME=VALUE ..."
    )


def parse_labels(items: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Label values by name from `NAME=VALUE` or, for a region of several values, `NAME=VALUE,VALUE`.

    Raises:
        ConfigError: another form, or a name twice.
    """
    labels: dict[str, tuple[int, ...]] = {}
    for item in items:
        match = re.fullmatch(r"(.+)=(\d+(?:,\d+)*)", item)
        if match is None or match[1] in labels:
            raise ConfigError(f"labels: {item!r} should be NAME=VALUE, each name once, such as liver=1 or tumour=1,3")
        labels[match[1]] = tuple(map(int, match[2].split(",")))
    return labels


def _task_of_labels(labels: Mapping[str, int | Sequence[int]]) -> Task:
    """A task for evaluation alone: nested regions are allowed, modality and channels mean nothing."""
    values = {name: (value,) if isinstance(value, int) else tuple(value) for name, value in labels.items()}
    try:
        targets = tuple(Target(name=name, labels=of, write_as=next(iter(of), 0)) for name, of in values.items())
        return Task(name="labels", modality="MR", channels=("image",), targets=targets, activation="sigmoid")
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _labels(task: Task, source: str) -> Labels:
    """A task from a file."""
    return Labels(task, source, told_from_data=task.name in BRATS_CONVENTIONS)


def _task_at(path: Path) -> Task:
    """The task of a model folder, a run folder, a model.json, dataset.json or task.yaml, or of a data set's folder."""
    if not path.exists():
        raise ConfigError(
            f"task: {path} is not a file or folder, nor the name of a task ({', '.join((ANY_BRATS, *NAMED_TASKS))})"
        )
    if path.name == DECATHLON:
        return read_decathlon_task(path)
    candidates = [path] if path.is_file() else [path / folder / "model.json" for folder in ("", "best", "fold_0/best")]
    for candidate in candidates:
        if candidate.is_file():
            return _task_in(candidate)
    task = read_sound_cases(path, with_test=True)[0].task
    if task is None:
        raise DataError(f"{path}: says nothing of what the labels mean; give --labels NAME=VALUE ...")
    return task


def _task_beside(predictions: Path) -> tuple[Task | None, str]:
    """The task in the JSON beside predictions, and the path of that JSON; None and "" if there is no such JSON."""
    folder = predictions if predictions.is_dir() else predictions.parent
    run = folder / _PREDICTIONS_JSON
    if run.is_file():
        return _task_in(run), str(run)
    with first_look():
        names = sorted(images_by_stem(folder)) if predictions.is_dir() else [stem(predictions)]
    for case in (folder / f"{name}.json" for name in names):
        if case.is_file() and isinstance(labels := read_yaml(case).get("labels"), dict):
            # A case's record has only the label values; the regions of BraTS are recognised by their names.
            regions = {target.name for target in brats().targets}
            return (brats() if set(labels) == regions else _task_of_labels(labels)), str(case)
    return None, ""


def _task_in(path: Path) -> Task:
    """The task in a file that is one, or holds one under the key "task"."""
    values = read_yaml(path)
    task: Any = values if "targets" in values else values.get("task")
    if not isinstance(task, dict):
        raise DataError(f"{path}: holds no task; give a model folder, a dataset.json, or --labels NAME=VALUE ...")
    return task_from(task, source=str(path))


def _compatible(one: Task, other: Task) -> bool:
    return _labels_of(one) == _labels_of(other) or {one.name, other.name} <= set(BRATS_CONVENTIONS)


def _by_name(predicted: Task, expected: Task, source: str) -> Labels | None:
    """Each side with its own label values, as a model of several data sets needs it; None if names do not match.

    Args:
        predicted: the task of the predictions, which has every structure of the references.
        expected: the task of the data set of the references.
        source: of the first, for the report.
    """
    spelt = {plain(target.name): target.name for target in expected.targets}
    names = [spelt.get(plain(target.name), target.name) for target in predicted.targets]
    if len(set(names)) < len(names) or not set(spelt.values()) <= set(names):
        return None
    targets = tuple(replace(target, name=name) for target, name in zip(predicted.targets, names, strict=True))
    others = [name for name in names if name not in spelt.values()]
    note = f"structures of the predictions that the references do not name, not evaluated: {', '.join(others)}"
    return Labels(
        replace(predicted, targets=targets),
        source=f"{source} for the predictions, the data set of the references for these; matched by name",
        reference=expected,
        notes=(note,) if others else (),
    )


def _labels_of(task: Task) -> str:
    """The label values of a task in words, whatever their order."""
    targets = sorted(task.targets, key=lambda target: (target.labels, target.name))
    return ", ".join(f"{target.name}={','.join(map(str, target.labels))}" for target in targets)
