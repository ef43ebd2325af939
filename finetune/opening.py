"""The labelled data of a training: one data set, or several as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from finetune.class_presence import values_of_cases
from finetune.config import FinetuneConfig
from finetune.preprocessing import check_intensities
from finetune.recipes import find_recipe
from swin_unetr.config_io import load
from swin_unetr.datasets.case import Dataset
from swin_unetr.datasets.union import Folders, join, read_parts
from swin_unetr.tasks import Modality, Task
from transforms.infer_task import settle_labelled, settle_task
from transforms.monai_changes import try_monai_changes


def open_data(
    config: FinetuneConfig | Path | str, data: Folders, task: Task | None, store: Path | None = None
) -> tuple[FinetuneConfig, Dataset, Task]:
    """The cases, what their labels mean, and the configuration with the channels and classes that follow from it.

    Args:
        config: the configuration, or a recipe: its file, or the name of a shipped one.
        data: folder of scans and labels; several are joined (`datasets.union`).
        task: what the labels mean, where the data set does not say.
        store: folder in which the values of label files are remembered. If None, nothing is remembered.

    Raises:
        ConfigError: a window of Hounsfield units for what is no CT, as in the plan of another data set; or a task for
            several data sets; or a transform of MONAI that is unknown or fails.
    """
    if not isinstance(config, FinetuneConfig):
        config = load(FinetuneConfig, find_recipe(config))
    modality: Modality = "CT" if config.preprocess.intensity.is_hounsfield else "MR"
    parts = []
    for part in read_parts(data, config.layout, task):
        own = task or settle_task(part, modality=modality)
        parts.append((_settled(part, own, store), own))
    dataset, joint = parts[0] if len(parts) == 1 else _joined(parts)
    check_intensities(config.preprocess, joint, dataset.root)
    try_monai_changes(config.augment.monai, joint, config.sampling.crop_size)
    network = replace(config.network, in_channels=len(joint.channels), num_classes=joint.num_classes)
    return replace(config, network=network), dataset, joint


def _settled(part: Dataset, task: Task, store: Path | None) -> Dataset:
    """A data set whose cases know what was looked for."""
    values = values_of_cases(part.cases, store) if part.absent == "not_looked_for" else {}
    return settle_labelled(part, task, lambda case: values[case.id])


def _joined(parts: Sequence[tuple[Dataset, Task]]) -> tuple[Dataset, Task]:
    dataset = join([replace(part, task=task) for part, task in parts])
    assert dataset.task is not None  # `join` gives it one
    return dataset, dataset.task
