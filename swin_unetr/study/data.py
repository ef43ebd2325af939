"""The data sets of a study: their cases, which of them are test cases, and the lists that the trainings are given."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from swin_unetr.config_io import to_dict
from swin_unetr.datasets import DESCRIPTION, Case, Dataset, read_dataset
from swin_unetr.datasets.case import Absent
from swin_unetr.datasets.description import read_description
from swin_unetr.datasets.side_files import known_ids, read_names
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.files import write_json, write_text
from swin_unetr.study.config import DataConfig
from swin_unetr.suggestions import listed_with_nearest
from swin_unetr.tasks import Task
from swin_unetr.words import count

#: In the folder of a list: a link to the folder that holds all of its files.
_FILES = "files"


@dataclass(frozen=True, kw_only=True)
class FoldSplit:
    """Ids of the cases of a fold, sorted."""

    training: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """A data set as the study uses it."""

    name: str
    #: The user's folder.
    root: Path
    #: List of all cases with what their labels mean: the data set that the trainings are given.
    folder: Path
    cases: Mapping[str, Case]
    task: Task
    #: What it means that a label file holds no voxel of a structure.
    absent: Absent
    folds: tuple[FoldSplit, ...]

    @property
    def patients(self) -> dict[str, str]:
        """Patient by case, where it is known."""
        return {name: case.group for name, case in self.cases.items() if case.group is not None}

    def of(self, ids: Iterable[str]) -> list[Case]:
        """The cases with these ids, in their order."""
        return [self.cases[name] for name in ids]

    def training_folder(self, fold: int) -> Path:
        """A list of the training cases of a fold alone: all that a plan may look at."""
        folder = self.folder / f"fold_{fold}"
        write_list(folder, self.of(self.folds[fold].training), self.task, self.absent)
        return folder

    def test_images(self, fold: int) -> Path:
        """A folder with links to the images of the test cases, without their labels."""
        folder = self.folder / f"fold_{fold}" / "test_images"
        folder.mkdir(parents=True, exist_ok=True)
        for case in self.of(self.folds[fold].test):
            for number, image in enumerate(case.images):
                ending = f"_{number:04d}" if len(case.images) > 1 else ""
                suffix = "" if image.is_dir() else image.name[len(_stem(image)) :]
                _link(folder / f"{case.id}{ending}{suffix}", image)
        return folder


def open_data(name: str, config: DataConfig, output: Path, store: Path) -> StudyData:
    """Read a data set, settle its test cases, and write the list of its cases.

    Args:
        name: of the data set in the study.
        config: where it lies, and how it is divided.
        output: of the study.
        store: where the values of label files are remembered.

    Raises:
        ConfigError: a fold or a description that cannot be used.
        DataError: no data set, unknown ids, or a patient in training and test.
    """
    folder = output / "data" / name
    given, absent = (None, None) if config.task is None else read_description(Path(config.task))
    read = [
        read_dataset(Path(root), layout=config.layout, require_labels=True, task=given)
        for root in (config.folder, config.test)
        if root is not None
    ]
    dataset = _joined(read, config)
    dataset = replace(dataset, absent=absent or dataset.absent)
    task = _task(dataset, given, folder)
    return _divided(name, config, replace(dataset, task=task), read, folder, store)


def _divided(
    name: str, config: DataConfig, dataset: Dataset, read: Sequence[Dataset], folder: Path, store: Path
) -> StudyData:
    cases = {case.id: case for case in dataset.cases}
    assert dataset.task is not None
    folds: list[tuple[Sequence[str], Sequence[str]]]
    if config.test is not None or config.held_back is not None:
        if config.test is not None:
            test = {case.id for case in read[1].cases} & cases.keys()
        else:
            test = set(_ids(config.held_back, cases, f"data.{name}.held_back"))
        folds = [(sorted(cases.keys() - test), sorted(test))]
    else:
        from finetune.config import FinetuneConfig  # with torch behind the next one
        from finetune.split import deal, read_split
        from swin_unetr.config import TrainerConfig

        recipe = FinetuneConfig(num_folds=config.num_folds, trainer=TrainerConfig(seed=config.split_seed))
        split = (
            deal(dataset, dataset.task, recipe, store)
            if config.split is None
            else read_split(Path(config.split), dataset)
        )
        folds = [split.split(fold) for fold in range(len(split.folds))]
    found = tuple(FoldSplit(training=tuple(training), test=tuple(test)) for training, test in folds)
    for number, fold in enumerate(found):
        _check(f"data.{name}, fold {number}", fold, cases)
    write_list(folder, dataset.cases, dataset.task, dataset.absent)
    return StudyData(
        name=name,
        root=dataset.root,
        folder=folder,
        cases=cases,
        task=dataset.task,
        absent=dataset.absent,
        folds=found,
    )


def write_list(folder: Path, cases: Sequence[Case], task: Task, absent: Absent) -> None:
    """Write `cases.json` and `task.yaml` of some cases, with a link to the folder that holds their files.

    Raises:
        ConfigError: no link can be made there.
    """
    files = [os.path.abspath(path) for case in cases for path in (*case.images, *filter(None, [case.label]))]
    root = os.path.commonpath([os.path.dirname(path) for path in files])
    folder.mkdir(parents=True, exist_ok=True)
    _link(folder / _FILES, Path(root))

    def listed(path: Path) -> str:
        return Path(_FILES, os.path.relpath(os.path.abspath(path), root)).as_posix()

    names = task.channels
    entries = []
    for case in cases:
        images = [listed(path) for path in case.images]
        entry: dict[str, Any] = {"case": case.id}
        entry["image"] = images[0] if len(images) == 1 else dict(zip(names, images, strict=True))
        entry |= {} if case.label is None else {"label": listed(case.label)}
        entry |= {} if case.group is None else {"patient": case.group}
        entry |= {} if case.labelled is None else {"labelled": sorted(case.labelled)}
        entries.append(entry)
    write_json(folder / "cases.json", entries)
    write_text(
        folder / DESCRIPTION, yaml.safe_dump({**to_dict(task), "absent": absent}, sort_keys=False, allow_unicode=True)
    )


def _one_or_all(paths: list[str]) -> str | list[str]:
    """The path of a single file; of several, the list."""
    return paths[0] if len(paths) == 1 else paths


def training_list(cases: Sequence[Case], task: Task) -> dict[str, Any]:
    """The training cases as another program is given them, with absolute paths, and what their labels mean."""
    entries = [
        {
            "case": case.id,
            "image": _one_or_all([str(path.absolute()) for path in case.images]),
            "label": None if case.label is None else str(case.label.absolute()),
            "patient": case.group,
            "labelled": None if case.labelled is None else sorted(case.labelled),
        }
        for case in cases
    ]
    return {"task": to_dict(task), "cases": entries}


def held_back_images(data: Iterable[StudyData], folds: Sequence[int]) -> list[str]:
    """Files of all test cases of the folds that are trained, for `pretrain --exclude`."""
    found: dict[str, None] = {}
    for of in data:
        for number in folds if len(of.folds) > 1 else (0,):
            found |= {str(image.resolve()): None for case in of.of(of.folds[number].test) for image in case.images}
    return list(found)


def _joined(read: Sequence[Dataset], config: DataConfig) -> Dataset:
    """The cases of the data set and of that of the test cases, as far as the study wants them."""
    first = read[0]
    if len(read) > 1:
        twice = sorted({case.id for case in first.cases} & {case.id for case in read[1].cases})
        if twice:
            raise DataError(f"{config.test}: has cases of the same names as {config.folder}: {twice[0]}; rename them")
        if (first.task, first.absent) != (read[1].task, read[1].absent):
            raise DataError(f"{config.test}: its labels do not mean what those of {config.folder} mean; give a task")
    cases = [case for of in read for case in of.cases]
    wanted = _ids(config.cases, {case.id for case in cases}, "cases") if config.cases is not None else None
    kept = [case for case in cases if wanted is None or case.id in set(wanted)]
    return replace(first, cases=tuple(sorted(kept, key=lambda case: case.id)))


def _task(dataset: Dataset, given: Task | None, folder: Path) -> Task:
    """What the labels mean; that of an earlier start, if only the label files show it."""
    if given is not None:
        return given
    if dataset.task is None and (folder / DESCRIPTION).is_file():
        return read_description(folder / DESCRIPTION)[0]
    from swin_unetr.survey.run import survey
    from transforms.infer_task import settle_task

    try:
        return settle_task(dataset)
    except ConfigError:  # nothing says whether it is CT or MR, but the voxels
        found = survey(dataset).task
        if found is None:
            raise
        return found


def _ids(given: Sequence[str] | str | None, known: Iterable[str], where: str) -> tuple[str, ...]:
    """Ids that are listed, or that a file lists."""
    there = set(known)
    names = read_names(Path(given)) if isinstance(given, str) else tuple(given or ())
    found = known_ids(names, there)
    source = given if isinstance(given, str) else where
    if absent := [name for name in found if name not in there]:
        raise DataError(
            f"{source}: names {count(len(absent), 'case')} that the data do not have: "
            f"{listed_with_nearest(absent, sorted(there))}; correct the list"
        )
    if not found:
        raise DataError(f"{source}: lists no case")
    return found


def _check(where: str, fold: FoldSplit, cases: Mapping[str, Case]) -> None:
    """Refuse a fold without training or test cases, and a patient in both."""
    if not fold.training or not fold.test:
        raise ConfigError(f"{where}: has no {'training' if fold.test else 'test'} cases; divide the cases otherwise")
    patients = {cases[name].group for name in fold.training} - {None}
    if torn := [name for name in fold.test if cases[name].group in patients]:
        raise DataError(
            f"{where}: the patient of {torn[0]} ({cases[torn[0]].group}) has scans in training and test; keep the "
            "scans of a patient together, or say in a patients.csv that they are of different patients"
        )


def _stem(path: Path) -> str:
    from swin_unetr.datasets.listing import stem

    return stem(path)


def _link(link: Path, target: Path) -> None:
    """Make a link, or let an existing one lead elsewhere; another process may do the same."""
    wanted = os.path.abspath(target)
    with suppress(OSError):
        if os.readlink(link) == wanted:
            return
    temporary = link.with_name(f".{secrets.token_hex(4)}-link")
    try:
        os.symlink(wanted, temporary)
        os.replace(temporary, link)
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise ConfigError(f"{link}: no link can be made ({error.strerror}); choose another --output") from error
