"""Where the files of a case lie in each layout that can be written, and the description beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from swin_unetr.conversion.labels import decathlon_labels, describe, nnunet_channels, nnunet_labels, renumbered
from swin_unetr.conversion.pieces import Piece
from swin_unetr.datasets import Case
from swin_unetr.datasets.decathlon import DESCRIPTION as DATASET_JSON
from swin_unetr.errors import DataError
from swin_unetr.files import write_json
from swin_unetr.tasks import Task
from swin_unetr.words import count
from transforms.io import read_header

To = Literal["decathlon", "nnunet", "plain"]


@dataclass(frozen=True, kw_only=True)
class Writer:
    """How a data set is laid out. Knows names and descriptions; `pieces` handles the voxels."""

    to: To
    #: The folder of the data set.
    output: Path
    #: Ending of the files, such as ".nii.gz".
    suffix: str
    #: Task of the data set as it was found. If None, nothing says it; nnU-Net and the Decathlon need one.
    task: Task | None
    #: New label values by old ones; empty if they stay.
    values: Mapping[int, int]
    #: Whether any case has a label. If no case has one, a plain folder has scans alone, and no test cases.
    any_label: bool

    def pieces(self, case: Case) -> list[Piece]:
        """The files of a case.

        Raises:
            DataError: the case has another number of channels than its task, or is a time series.
        """
        folder, held = self._images(case), self._channels(case)
        if self.to == "nnunet":
            pieces = list(self._each_channel(case, held, folder))
        else:
            pieces = [Piece(target=folder / f"{case.id}{self.suffix}", sources=case.images)]
        if case.label:
            target = self._labels / f"{case.id}{self.suffix}"
            declared = None if self.to == "plain" else self.task
            values = tuple(self.values.items())
            pieces.append(
                Piece(target=target, sources=(case.label,), values=values, scan=case.images[0], task=declared)
            )
        return pieces

    def describe(self, cases: Sequence[Case]) -> None:
        """Write the description of the files: `dataset.json`, and `task.yaml` where that is not enough.

        Args:
            cases: those that were written.
        """
        if self.task is None:
            return
        task = renumbered(self.task, self.values)
        values: dict[str, Any] = {"name": task.name, "description": "converted by swin-unetr"}
        if self.to == "decathlon":
            values |= self._decathlon(task, cases)
        elif self.to == "nnunet":
            values |= {"channel_names": nnunet_channels(task), **nnunet_labels(task)}
            values |= {"numTraining": sum(case.label is not None for case in cases), "file_ending": self.suffix}
        if self.to != "plain":
            write_json(self.output / DATASET_JSON, values)
        describe(self.output, task, None if self.to == "plain" else values)

    def _images(self, case: Case) -> Path:
        if self.to == "plain":
            return self.output / ("images" if case.label or not self.any_label else "imagesTs")
        return self.output / ("imagesTr" if case.label else "imagesTs")

    @property
    def _labels(self) -> Path:
        return self.output / ("labels" if self.to == "plain" else "labelsTr")

    def _channels(self, case: Case) -> int:
        """How many channels the files hold: as many as are named, if names are given."""
        wanted = case.channels if self.task is None else len(self.task.channels)
        held = read_header(case.images, wanted)[1]
        if self.task is not None and held != wanted:
            named = ", ".join(self.task.channels)
            raise DataError(
                f"{case.images[0]}: has {count(held, 'channel')}, but its data set names {named}; correct one of them"
            )
        return held

    def _each_channel(self, case: Case, held: int, folder: Path) -> Iterator[Piece]:
        for number in range(held):
            target = folder / f"{case.id}_{number:04d}{self.suffix}"
            if len(case.images) == held:
                yield Piece(target=target, sources=(case.images[number],))
            else:
                yield Piece(target=target, sources=case.images, channel=number)

    def _decathlon(self, task: Task, cases: Sequence[Case]) -> dict[str, Any]:
        def listed(folder: Path, case: Case) -> str:
            return f"./{folder.relative_to(self.output)}/{case.id}{self.suffix}"

        training, test = ([case for case in cases if bool(case.label) == wanted] for wanted in (True, False))
        return {
            "tensorImageSize": "3D" if len(task.channels) == 1 else "4D",
            "modality": {str(number): name for number, name in enumerate(task.channels)},
            "labels": decathlon_labels(task),
            "numTraining": len(training),
            "numTest": len(test),
            "training": [
                {"image": listed(self._images(case), case), "label": listed(self._labels, case)} for case in training
            ],
            "test": [listed(self._images(case), case) for case in test],
        }
