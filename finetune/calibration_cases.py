"""What a calibration measures of a case: its signals, its Dice, and a sample of its probabilities; kept on disk."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from swin_unetr.datasets.case import Case
from swin_unetr.datasets.labelled import looked_for
from swin_unetr.errors import DataError
from swin_unetr.evaluation.measures.joint_counts import count_jointly
from swin_unetr.evaluation.measures.overlap import dice
from swin_unetr.files import replacing, write_json
from swin_unetr.inference.batch.record import source_files
from swin_unetr.inference.engine.method import short_hash
from swin_unetr.inference.predictor import Predictor, Segmentation
from swin_unetr.tasks import Task
from swin_unetr.trust.signals import CaseSignals, signals_from
from transforms.io import read_labels, read_stored

#: Voxels of a case whose probabilities are kept for the temperature: from the box of reference and prediction, and
#: `_MARGIN` voxels around it.
_SAMPLE, _MARGIN = 3000, 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """A case that was predicted and has a reference."""

    signals: CaseSignals
    #: By structure, of those that were looked for; Dice is NaN if it is in neither label map.
    dice: Mapping[str, float]
    reference_ml: Mapping[str, float]
    #: Voxels x classes, and the class of each voxel (voxels,), or of regions 0 or 1 (voxels x regions).
    sample: NDArray[np.float32]
    truth: NDArray[np.int64]


class MeasuredCases:
    """Measures cases with one model, or reads what was measured of them before.

    Args:
        folder: where it is kept.
        predictor: of one model, which collects signals.
        task: what the labels mean.
    """

    def __init__(self, folder: Path, predictor: Predictor, task: Task) -> None:
        self._folder, self._predictor, self._task = folder, predictor, task
        self._key = short_hash([predictor.ensemble.method(), predictor.compute.describe(), _SAMPLE, _MARGIN])

    def signals(self, case: Case) -> CaseSignals:
        """The signals of a case without a look at its reference."""
        key = short_hash([self._key, source_files(case)])
        if (kept := self._kept(case, key)) is not None:
            return signals_from(kept["signals"])
        done = self._predictor.segment(read_stored(case.images, channels=len(self._predictor.task.channels)))
        assert done.signals is not None  # the predictor collects them
        self._keep(case, key, {"signals": asdict(done.signals)})
        return done.signals

    def measured(self, case: Case) -> Measured:
        """All that is measured of a case.

        Raises:
            DataError: it has no label, or a file cannot be read.
        """
        if case.label is None:
            raise DataError(f"{case.id}: has no label; a calibration needs those of the held-back cases")
        label = Case(id=case.id, images=(case.label,))
        key = short_hash([self._key, source_files(case), source_files(label)])
        arrays = self._path(case, ".safetensors")
        if (kept := self._kept(case, key)) is not None:
            try:
                found = load_file(arrays)
                dices = {name: math.nan if value is None else value for name, value in kept["dice"].items()}
                return Measured(
                    signals=signals_from(kept["signals"]), dice=dices, reference_ml=kept["reference_ml"], **found
                )
            except (OSError, SafetensorError, KeyError, TypeError):
                pass  # it is measured again
        seen = self._measure(case, case.label)
        arrays.parent.mkdir(parents=True, exist_ok=True)
        with replacing(arrays) as temporary:
            save_file({"sample": seen.sample, "truth": seen.truth}, temporary)
        facts = {"signals": asdict(seen.signals), "dice": dict(seen.dice), "reference_ml": dict(seen.reference_ml)}
        self._keep(case, key, facts)
        return seen

    def _measure(self, case: Case, path: Path) -> Measured:
        volume = read_stored(case.images, channels=len(self._predictor.task.channels))
        reference = read_labels(path, like=volume.geometry).array[0]
        done = self._predictor.segment(volume, with_probabilities=True)
        assert done.signals is not None  # the predictor collects them
        meaning = {target.name: target.labels for target in (case.task or self._task).targets}
        ignored = (case.task or self._task).ignore_label
        counted = np.ones(reference.shape, np.bool_) if ignored is None else reference != ignored
        counts = count_jointly(np.where(counted, done.labels, 0), np.where(counted, reference, 0))
        voxel_ml = abs(float(np.linalg.det(volume.geometry.affine[:3, :3]))) / 1000
        dices, volumes = {}, {}
        for target, looked in zip(self._task.targets, looked_for(case, self._task), strict=True):
            if looked and target.name in meaning:
                overlap = counts.overlap(target.labels, meaning[target.name])
                dices[target.name] = dice(overlap)
                volumes[target.name] = overlap.reference * voxel_ml
        sample, truth = self._sample(case, done, reference, counted)
        return Measured(signals=done.signals, dice=dices, reference_ml=volumes, sample=sample, truth=truth)

    def _sample(
        self, case: Case, done: Segmentation, reference: NDArray[Any], counted: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Probabilities and truth of some voxels, the same at every call; none of a partly labelled case."""
        assert done.probabilities is not None  # they were asked for
        targets = (case.task or self._task).targets
        classes = self._task.num_classes
        where = np.argwhere((reference > 0) | (done.labels > 0))
        one = self._task.activation == "softmax"
        if not len(where) or not all(looked_for(case, self._task)) or len(targets) != len(self._task.targets):
            return np.zeros((0, classes), np.float32), np.zeros((0,) if one else (0, classes), np.int64)
        rng = np.random.default_rng(zlib.crc32(case.id.encode()))
        low = np.maximum(where.min(axis=0) - _MARGIN, 0)
        high = np.minimum(where.max(axis=0) + _MARGIN + 1, reference.shape)
        x, y, z = rng.integers(low, high, (_SAMPLE, 3)).T
        inside = counted[x, y, z]
        x, y, z = x[inside], y[inside], z[inside]
        values = reference[x, y, z]
        regions = np.stack([np.isin(values, target.labels) for target in targets], axis=1).astype(np.int64)
        truth = (regions * np.arange(1, classes)).sum(axis=1) if one else regions
        return np.ascontiguousarray(done.probabilities[:, x, y, z].T), np.ascontiguousarray(truth)

    def _path(self, case: Case, ending: str) -> Path:
        return self._folder / f"{case.id}{ending}"

    def _kept(self, case: Case, key: str) -> dict[str, Any] | None:
        try:
            values: dict[str, Any] = json.loads(self._path(case, ".json").read_text(encoding="utf-8"))
            return values if values["key"] == key else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _keep(self, case: Case, key: str, facts: Mapping[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._path(case, ".json"), {"key": key, **facts})
