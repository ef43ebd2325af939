"""Where the files of a case lie in each layout that can be written, and the description beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from swin_unetr.conversion.labels import decathlon_labels, describe, nnunet_channels, nnunet_labels
from swin_unetr.conversion.pieces import Piece
from swin_unetr.datasets import Case
from swin_unetr.errors import DataError
from swin_unetr.files import write_json
from swin_unetr.tasks import Task
from transforms.io import read_header

To = Literal["decathlon", "nnunet", "plain"]
#: Folders of scans with labels, of their labels, and of scans without.
_FOLDERS = {
    "decathlon": ("imagesTr", "labelsTr", "imagesTs"),
    "nnunet": ("imagesTr", "labelsTr", "imagesTs"),
    "plain": ("images", "labels", "imagesTs"),
}


def pieces_of(
    case: Case, to: To, output: Path, suffix: str, *, task: Task | None, values: Mapping[int, int]
) -> list[Piece]:
    """The files of a case.

    Args:
        case: as it was found.
        to: layout that is written.
        output: its folder.
        suffix: of the files, such as ".nii.gz".
        task: of the data set; needed for nnU-Net, which has a file for each channel.
        values: new label values by old ones.

    Raises:
        DataError: the case has another number of channels than its task.
    """
    labelled, labels, unlabelled = _FOLDERS[to]
    folder = output / (labelled if case.label else unlabelled)
    pieces = list(_channels(case, folder, suffix, task)) if to == "nnunet" else []
    if not pieces:
        pieces = [Piece(target=folder / f"{case.id}{suffix}", sources=case.images)]
    if case.label:
        target = output / labels / f"{case.id}{suffix}"
        pieces.append(Piece(target=target, sources=(case.label,), values=tuple(values.items())))
    return pieces


def _channels(case: Case, folder: Path, suffix: str, task: Task | None) -> Iterator[Piece]:
    count = read_header(case.images)[1]
    if task is not None and count != len(task.channels):
        named = ", ".join(task.channels)
        raise DataError(f"{case.images[0]}: has {count} channel(s), but its data set names {named}; mend one of them")
    for number in range(count):
        target = folder / f"{case.id}_{number:04d}{suffix}"
        if len(case.images) == count:
            yield Piece(target=target, sources=(case.images[number],))
        else:
            yield Piece(target=target, sources=case.images, channel=number)


def write_description(output: Path, to: To, cases: list[Case], suffix: str, *, task: Task | None) -> None:
    """Write what says how the files are to be understood: `dataset.json`, and `task.yaml` where that is not enough.

    Args:
        output: folder of the data set.
        to: its layout.
        cases: those that are there, by their ids.
        suffix: of the files.
        task: with the label values that were written; none says nothing.
    """
    if task is None:
        return
    labelled, labels, unlabelled = _FOLDERS[to]
    training = [case.id for case in cases if case.label]
    test = [case.id for case in cases if not case.label]
    values: dict[str, Any] = {"name": task.name, "description": "converted by swin-unetr", "numTraining": len(training)}
    if to == "decathlon":
        values |= {
            "tensorImageSize": "3D" if len(task.channels) == 1 else "4D",
            "modality": {str(number): name for number, name in enumerate(task.channels)},
            "labels": decathlon_labels(task),
            "numTest": len(test),
            "training": [
                {"image": f"./{labelled}/{case}{suffix}", "label": f"./{labels}/{case}{suffix}"} for case in training
            ],
            "test": [f"./{unlabelled}/{case}{suffix}" for case in test],
        }
    elif to == "nnunet":
        values |= {"channel_names": nnunet_channels(task), **nnunet_labels(task), "file_ending": suffix}
    if to != "plain":
        write_json(output / "dataset.json", values)
    describe(output, task, None if to == "plain" else values)
