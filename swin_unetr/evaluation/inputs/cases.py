"""Finds the prediction and the reference of every case that is to be evaluated."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from swin_unetr.batch import Failure
from swin_unetr.datasets import find_layout, is_dataset, read_dataset
from swin_unetr.datasets.brats_layouts import brats_labels, is_brats
from swin_unetr.datasets.listing import images_by_stem, stem, unique
from swin_unetr.datasets.side_files import known_ids
from swin_unetr.errors import DataError
from swin_unetr.files import require
from swin_unetr.suggestions import near_names, nearest
from swin_unetr.tasks import Task, brats
from swin_unetr.words import count

#: Ends the stem of the scores that `predict --save-probabilities` writes beside its label files.
_PROBABILITIES = "_probabilities"


@dataclass(frozen=True)
class Pair:
    """The two label files of a case."""

    case: str
    prediction: Path
    reference: Path


@dataclass(frozen=True)
class References:
    """Where the references lie."""

    path: Path
    #: Label file by the id of its case.
    labels: Mapping[str, Path]
    #: What the data set's layout says of the labels, where it is one and says something.
    task: Task | None = None
    #: Patient by case, as far as the data set says.
    patients: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pairing:
    """What can be compared, and what cannot."""

    pairs: tuple[Pair, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]


def find_predictions(path: Path) -> dict[str, Path]:
    """Label files by case id: the file itself, or those in the folder; hidden files and probabilities are passed over.

    Raises:
        DataError: no such path, no label file in it, or two for the same case.
    """
    if not path.is_dir():
        return {stem(path): _existing(path)}
    files = _label_files(path)
    if not files:
        raise DataError(f"{path}: holds no label file (.nii.gz or .nii); check the path")
    return files


def find_references(path: Path, known: Collection[str]) -> References:
    """The references of a label file, of a folder of label files, or of a data set in a known layout.

    Args:
        path: a file, a folder of label files, or the root (or the list) of a data set.
        known: ids that the predictions have, or that were asked for. A label file that is named after its case, but
            not like it (`label0001` of `img0001`, `<case>_seg`), takes the id from here.

    Raises:
        DataError: no such path, no label file, or two for the same case.
    """
    if not is_dataset(path):
        # Two files are a pair, whatever their names.
        case = next(iter(known)) if len(known) == 1 else _case_of(stem(path), known)
        return References(path, {case: _existing(path)})
    stray = (path / "labelsTr").is_dir()  # files beside the folders of a data set are none of its labels
    if path.is_dir() and not stray and not is_brats(path) and (files := _label_files(path)):
        return References(path, unique((_case_of(name, known), file) for name, file in files.items()))
    if find_layout(path) in ("brats", "plain") and (cases := brats_labels(path)):
        return References(path, cases, brats())
    dataset = read_dataset(path, require_labels=False, with_test=False)
    labels = {case.id: case.label for case in dataset.cases if case.label is not None}
    if not labels:
        verb = "has" if len(dataset.cases) == 1 else "have"
        number = count(len(dataset.cases), "case")
        raise DataError(f"{path}: its {number} (layout {dataset.layout}) {verb} no labels")
    return References(path, labels, dataset.task, dataset.groups)


def pair_cases(
    predictions: Mapping[str, Path], references: References, selected: Iterable[str] | None, predictions_path: Path
) -> Pairing:
    """Pair predictions with references.

    Args:
        predictions: label file by case id.
        references: the references.
        selected: ids asked for; none asks for every reference. Each that lacks a file on a side is a failure.
        predictions_path: where the predictions lie, for messages.

    Raises:
        DataError: not a single case has both.
    """
    labels = references.labels
    wanted = sorted(labels if selected is None else known_ids(selected, labels))
    pairs, failures = [], []
    for case in wanted:
        if case in predictions and case in labels:
            pairs.append(Pair(case, predictions[case], labels[case]))
        elif case in labels:
            failures.append(Failure(case, f"{predictions_path}: has no prediction {case}.nii.gz; predict this case"))
        else:
            near = _near(case, labels)
            failures.append(Failure(case, f"{references.path}: has no label of this case{near}; check the name"))
    if not pairs and not set(wanted) & set(labels):
        raise DataError(
            f"{references.path}: has no label of the wanted cases ({_some(wanted)}); it has those of {_some(labels)}"
        )
    if not pairs:
        near = near_names(wanted, predictions)
        raise DataError(
            f"{predictions_path}: no prediction ({_some(predictions)}) has the name of a wanted case ({_some(wanted)}) "
            f"that has a reference in {references.path}{near}; name the predictions <case id>.nii.gz"
        )
    notes = []
    if selected is None and (extra := sorted(set(predictions) - set(labels))):
        notes.append(f"predictions without a reference, not evaluated ({len(extra)}): {', '.join(extra)}")
    return Pairing(tuple(pairs), tuple(failures), tuple(notes))


def _label_files(folder: Path) -> dict[str, Path]:
    return {name: path for name, path in images_by_stem(folder).items() if not name.endswith(_PROBABILITIES)}


def _existing(path: Path) -> Path:
    require(path)
    return path


def _case_of(name: str, known: Collection[str]) -> str:
    """Id of the case that a label file belongs to; its stem unless only another form of it is known."""
    forms = (name, re.sub(r"[-_]seg$", "", name), re.sub(r"^label(?=\d)", "img", name))
    return next((form for form in forms if form in known), forms[1])


def _near(case: str, ids: Iterable[str]) -> str:
    near = nearest(case, ids)
    return "" if near is None else f" (the nearest name is {near})"


def _some(ids: Iterable[str], most: int = 3) -> str:
    names: Sequence[str] = sorted(ids)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
