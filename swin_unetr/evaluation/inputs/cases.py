"""Finds the prediction and the reference of every case that is to be evaluated."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from swin_unetr.batch import Failure
from swin_unetr.datasets import find_layout, is_dataset, read_dataset
from swin_unetr.datasets.brats_layouts import brats_labels, is_brats
from swin_unetr.datasets.faults import first_look, noting
from swin_unetr.datasets.listing import images_by_stem, stem, unique
from swin_unetr.datasets.side_files import known_ids
from swin_unetr.errors import DataError
from swin_unetr.evaluation.inputs.looked_for import Labelled, beside_labels, of_dataset
from swin_unetr.files import require
from swin_unetr.suggestions import near_names, nearest
from swin_unetr.tasks import Task, brats
from swin_unetr.words import count

#: End the stems of what `predict` writes beside its label files: --save-probabilities, --uncertainty-map.
_NO_LABELS = ("_probabilities", "_uncertainty")


@dataclass(frozen=True)
class Pair:
    """The two label files of a case."""

    case: str
    prediction: Path
    reference: Path


@dataclass(frozen=True)
class Predictions:
    """Where the predictions lie."""

    path: Path
    #: Label file by the id of its case.
    labels: Mapping[str, Path]
    #: Cases for which it is not clear which file is the prediction, and why.
    faults: Mapping[str, str] = field(default_factory=dict)

    @property
    def cases(self) -> set[str]:
        """Ids of the cases that have a prediction, or several."""
        return {*self.labels, *self.faults}


@dataclass(frozen=True)
class References:
    """Where the references lie."""

    path: Path
    #: Label file by the id of its case.
    labels: Mapping[str, Path]
    #: Cases whose reference cannot be found, such as those with two label files, and why.
    faults: Mapping[str, str] = field(default_factory=dict)
    #: What the data set's layout says about the labels. If None, nothing, or it is not a data set.
    task: Task | None = None
    #: Patient by case, as far as the data set says.
    patients: Mapping[str, str] = field(default_factory=dict)
    #: What is said of the structures that were looked for in each case.
    labelled: Labelled = field(default_factory=Labelled)


@dataclass(frozen=True)
class Pairing:
    """What can be compared, and what cannot."""

    pairs: tuple[Pair, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]


def find_predictions(path: Path) -> Predictions:
    """Label files by case id: the file itself, or those in the folder; hidden files and probabilities are ignored.

    A case with two files is a fault of this case.

    Raises:
        DataError: no such path, or no label file in it.
    """
    if not path.is_dir():
        return Predictions(path, {stem(path): _existing(path)})
    with noting() as noted:
        files = _label_files(path)
    faults = _by_case(noted)
    if not files and not faults:
        raise DataError(f"{path}: holds no label file (.nii.gz or .nii); check the path")
    return Predictions(path, files, faults)


def find_references(path: Path, known: Collection[str]) -> References:
    """The references of a label file, of a folder of label files, or of a data set in a known layout.

    A case with two label files, or one that the data set cannot list, is a fault of this case.

    Args:
        path: a file, a folder of label files, or the root (or the list) of a data set.
        known: ids that the predictions have, or that were asked for. A label file whose name is derived from
            that of its case (`label0001` of `img0001`, `<case>_seg`) takes the id from here.

    Raises:
        DataError: no such path, not one label file without a fault, or a fault of the whole data set.
    """
    with noting() as noted:
        try:
            found = _references(path, known)
        except DataError as error:
            raise (noted or [error])[0] from error
    if of_all := next((fault for fault in noted if fault.case is None), None):
        raise of_all
    faults = _by_case(noted, lambda name: _case_of(name, known))
    return replace(found, labels={case: of for case, of in found.labels.items() if case not in faults}, faults=faults)


def pair_cases(predictions: Predictions, references: References, selected: Iterable[str] | None) -> Pairing:
    """Pair predictions with references.

    Args:
        predictions: the predictions.
        references: the references.
        selected: ids asked for. Each that has no file on a side, or two, is a failure. If None, every reference is
            asked for.

    Raises:
        DataError: not a single case has one file on both sides.
    """
    referenced = {*references.labels, *references.faults}
    wanted = sorted(referenced if selected is None else known_ids(selected, referenced))
    pairs, failures = [], []
    for case in wanted:
        if fault := _fault(case, predictions, references):
            failures.append(Failure(case, fault))
        else:
            pairs.append(Pair(case, predictions.labels[case], references.labels[case]))
    if not pairs:
        raise _nothing_to_pair(wanted, predictions, references)
    notes = []
    if selected is None and (extra := sorted(predictions.cases - referenced)):
        notes.append(f"predictions without a reference, not evaluated ({len(extra)}): {', '.join(extra)}")
    return Pairing(tuple(pairs), tuple(failures), tuple(notes))


def _fault(case: str, predictions: Predictions, references: References) -> str | None:
    """Why a case cannot be paired; None if it can."""
    if faults := [side.faults[case] for side in (predictions, references) if case in side.faults]:
        return "; ".join(faults)
    if case not in references.labels:
        return f"{references.path}: has no label of this case{_near(case, references.labels)}; check the name"
    if case not in predictions.labels:
        return f"{predictions.path}: has no prediction {case}.nii.gz; predict this case"
    return None


def _nothing_to_pair(wanted: Collection[str], predictions: Predictions, references: References) -> DataError:
    """Why not a single case can be paired."""
    both = {*predictions.faults, *references.faults}
    if faulty := [case for case in wanted if case in both]:
        return DataError(f"no case can be evaluated; {_fault(faulty[0], predictions, references)}")
    labels = references.labels
    if not set(wanted) & set(labels):
        return DataError(
            f"{references.path}: has no label of the wanted cases ({_some(wanted)}); it has those of {_some(labels)}"
        )
    near = near_names(wanted, predictions.labels)
    return DataError(
        f"{predictions.path}: no prediction ({_some(predictions.cases)}) has the name of a wanted case "
        f"({_some(wanted)}) that has a reference in {references.path}{near}; name the predictions <case id>.nii.gz"
    )


def _references(path: Path, known: Collection[str]) -> References:
    """See `find_references`; faults of single cases are errors, unless within `noting`."""
    if not is_dataset(path):
        # Two files are a pair, whatever their names.
        case = next(iter(known)) if len(known) == 1 else _case_of(stem(path), known)
        return References(path, {case: _existing(path)}, labelled=beside_labels(path.parent, [case]))
    stray = (path / "labelsTr").is_dir()  # files beside the folders of a data set are not its labels
    if path.is_dir() and not stray and not _is_brats(path) and (files := _label_files(path)):
        labels = unique((_case_of(name, known), file) for name, file in files.items())
        return References(path, labels, labelled=beside_labels(path, labels))
    if find_layout(path) in ("brats", "plain") and (cases := brats_labels(path)):
        return References(path, cases, task=brats(), labelled=beside_labels(path, cases))
    dataset = read_dataset(path, require_labels=False, with_test=False)
    labels = {case.id: case.label for case in dataset.cases if case.label is not None}
    if not labels:
        verb = "has" if len(dataset.cases) == 1 else "have"
        number = count(len(dataset.cases), "case")
        raise DataError(f"{path}: its {number} (layout {dataset.layout}) {verb} no labels")
    return References(path, labels, task=dataset.task, patients=dataset.groups, labelled=of_dataset(dataset))


def _is_brats(path: Path) -> bool:
    with first_look():
        return is_brats(path)


def _by_case(faults: Iterable[DataError], case_of: Callable[[str], str] = str) -> dict[str, str]:
    """The words of the faults by case, whose id is `case_of` the name of its file; probabilities are left out."""
    words: dict[str, list[str]] = {}
    for fault in faults:
        if fault.case is not None and not fault.case.endswith(_NO_LABELS):
            words.setdefault(case_of(fault.case), []).append(str(fault))
    return {case: "; ".join(dict.fromkeys(of)) for case, of in words.items()}


def _label_files(folder: Path) -> dict[str, Path]:
    return {name: path for name, path in images_by_stem(folder).items() if not name.endswith(_NO_LABELS)}


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
