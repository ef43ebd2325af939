"""Which cases are held back: by a split that is given, by that of the run folder, or by a new one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from finetune import partial_labels
from finetune.class_presence import classes_of_cases
from finetune.config import FinetuneConfig
from finetune.deciding import refuse_single_patient
from finetune.notices import of_baseline
from finetune.partial_labels import RECORDED
from finetune.scans import store_of
from swin_unetr.config import NetworkConfig
from swin_unetr.config_io import to_dict
from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.folds import Folds, fit_to_cases, left_out, load_folds, make_folds
from swin_unetr.datasets.labelled import partly_labelled
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.tasks import Task
from swin_unetr.words import count

SPLIT = "folds.json"
#: Beside the run folder: preprocessed scans, for all runs there.
STORE = "store"


@dataclass(frozen=True, kw_only=True)
class FoldCases:
    """What a run trains on and what it holds back.

    Attributes:
        fold: number of the fold that is held back, or "all" if no fold is.
        dataset: the cases.
        task: what their labels mean.
        split: all folds.
        training: ids of the cases to train on.
        validation: ids of the cases to validate on; with the fold "all" the same.
    """

    fold: int | Literal["all"]
    dataset: Dataset
    task: Task
    split: Folds
    training: tuple[str, ...]
    validation: tuple[str, ...]

    @classmethod
    def of(
        cls,
        run: Path,
        dataset: Dataset,
        task: Task,
        config: FinetuneConfig,
        given: Path | str | None,
        fold: int | Literal["all"],
    ) -> FoldCases:
        """The cases of a fold, by the split of the run (`choose_split`).

        Raises:
            ConfigError: no such fold, or the run has another split.
            DataError: a single patient, or a split that does not fit the cases.
        """
        if fold != "all":
            refuse_single_patient(dataset)
        split = choose_split(run, dataset, task, config, given, fold)
        training, validation = split.split(fold)
        return cls(fold=fold, dataset=dataset, task=task, split=split, training=training, validation=validation)

    @property
    def held_back(self) -> tuple[str, ...]:
        """Ids of the cases that are not trained on."""
        return () if self.fold == "all" else self.validation

    def cases(self, ids: Iterable[str]) -> list[Case]:
        """The cases with these ids, in their order."""
        by_id = {case.id: case for case in self.dataset.cases}
        return [by_id[name] for name in ids]

    def summary(self, parameters: int, network: NetworkConfig) -> str:
        """What is about to happen, for the terminal.

        Args:
            parameters: how many the network has.
            network: which one it is.
        """
        task = self.task
        lines = (
            f"{task.name}: {count(len(self.training), 'scan')} to train on, {len(self.validation)} to validate on",
            f"channels: {', '.join(task.channels)}; structures: {', '.join(target.name for target in task.targets)}; "
            f"{parameters:,} parameters{of_baseline(network)}",
            partial_labels.summary(self._seen, task),
            left_out(self.split, {case.id for case in self.dataset.cases}),
        )
        return "\n".join(filter(None, lines))

    @property
    def _seen(self) -> list[Case]:
        """The cases of the split."""
        return self.cases(dict.fromkeys((*self.training, *self.validation)))

    def facts(self) -> dict[str, Any]:
        """The same for the record of a run."""
        folders = [str(folder.resolve()) for folder in self.dataset.folders]
        partly = partly_labelled(self.dataset.cases, self.task)
        return {
            "data": folders[0] if len(folders) == 1 else folders,
            "layout": self.dataset.layout,
            "task": to_dict(self.task),
            **({RECORDED: partly} if partly else {}),
            "fold": self.fold,
            "training": self.training,
            "validation": self.validation,
        }


def choose_split(
    run: Path,
    dataset: Dataset,
    task: Task,
    config: FinetuneConfig,
    given: Path | str | None,
    fold: int | Literal["all"] = 0,
) -> Folds:
    """The split of the run: the given one, which must be the one in its folder; else that one; else a new one.

    Raises:
        ConfigError: the run has another split.
        DataError: a split that does not fit the cases, tears a patient apart, or leaves nothing to train on.
    """
    path = run / SPLIT
    if given is None and not path.is_file():
        if fold == "all":
            return Folds(seed=config.trainer.seed, folds=(tuple(sorted(case.id for case in dataset.cases)),))
        return deal(dataset, task, config, store_of(config, run.parent / STORE))
    there = path if given is None else Path(given)
    split = read_split(there, dataset)
    if path.is_file() and read_split(path, dataset) != split:
        raise ConfigError(f"--folds {given}: is not the split of the run in {run}; choose another --output")
    if fold != "all" and len(split.folds) < 2:
        raise DataError(f"{there}: has a single fold, and nothing to train on beside it; give a split with more")
    return split


def read_split(path: Path, dataset: Dataset) -> Folds:
    """The split of a file, fitted to the cases of a data set.

    Raises:
        DataError: it is no split, does not fit the cases, or tears a patient apart.
    """
    return fit_to_cases(load_folds(path), path, {case.id for case in dataset.cases}, dataset.groups)


def deal(dataset: Dataset, task: Task, config: FinetuneConfig, store: Path | None = None) -> Folds:
    """A new split: seeded, the scans of a patient together, the classes spread over the folds.

    Args:
        dataset: with labels.
        task: what their values mean.
        config: how many folds, the seed.
        store: folder in which the values of label files are remembered. If None, nothing is remembered.

    Raises:
        DataError: fewer cases, or patients, than folds.
    """
    classes = classes_of_cases(dataset.cases, task, store)
    ids = [case.id for case in dataset.cases]
    return make_folds(ids, config.num_folds, config.trainer.seed, groups=dataset.groups, classes=classes)
