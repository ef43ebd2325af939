"""Preprocessed scans kept on the device that trains on them: nothing is read, sent or waited for in a step."""

from __future__ import annotations

import math

import torch

from finetune.scans import Scans
from swin_unetr.errors import SwinUnetrError
from swin_unetr.tasks import Task
from transforms.crops import ANY, Sample, Scan, ScanInMemory
from transforms.labels import target_type

#: Share of the free memory that they may take; the rest is the training's.
_SHARE = 1 / 3


class ScansOnDevice:
    """Scans that are sent to a device when they are first asked for; the host keeps the places of every class.

    Args:
        scans: the same in a store or in memory, prepared.
        device: where they are sent.
    """

    where = "device"

    def __init__(self, scans: Scans, device: torch.device) -> None:
        self._scans, self._device = scans, device
        self._kept: dict[int, ScanInMemory] = {}

    def __len__(self) -> int:
        return len(self._scans)

    def prepare(self) -> list[SwinUnetrError]:
        """Preprocess the scans that are not yet; gives an error for each that cannot be used."""
        return self._scans.prepare()

    def scan(self, index: int) -> ScanInMemory:
        """One of them, sent if it was not yet."""
        if index not in self._kept:
            sample = {key: value.to(self._device) for key, value in self._scans[index].items()}
            number = len(self._scans.class_voxels(index))
            scan = self._scans.scan(index)
            places = [scan.places(which) for which in (*range(number), ANY)]
            self._kept[index] = ScanInMemory(sample["image"], sample["label"], places)
        return self._kept[index]

    def __getitem__(self, index: int) -> Sample:
        scan = self.scan(index)
        return {"image": scan.image, "label": scan.label}

    def class_voxels(self, index: int) -> tuple[int, ...]:
        """Voxels of a scan that are background, and those of each target; ignored ones are neither."""
        return self._scans.class_voxels(index)


def fits(scans: Scans, task: Task, device: torch.device) -> bool:
    """Whether all scans leave the training enough of a GPU's free memory; for other devices this is not known.

    Args:
        scans: prepared.
        task: how many channels images and labels have.
        device: where they would be sent.
    """
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return sum(held_bytes(scans.scan(index), task) for index in range(len(scans))) <= free * _SHARE


def held_bytes(scan: Scan, task: Task) -> int:
    """Bytes of a scan in memory: float32 of every channel, and the label."""
    labels = len(task.targets) if task.activation == "sigmoid" else 1
    return math.prod(scan.shape) * (4 * len(task.channels) + labels * target_type(task).itemsize)
