"""Voxels that nobody has labelled count neither for nor against a prediction."""

from pathlib import Path

import numpy as np
import pytest

from swin_unetr.evaluation.run import evaluate
from swin_unetr.tasks import Task, exclusive
from transforms.geometry import Geometry
from transforms.io import write_labels

TASK = Task(name="t", modality="CT", channels=("CT",), targets=exclusive(("organ",)), ignore_label=3)


def test_what_is_predicted_where_nobody_looked_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    reference = np.zeros((8, 8, 8), np.uint8)
    reference[:2, 0, 0] = 1
    reference[4:] = TASK.ignore_label
    prediction = np.zeros_like(reference)
    prediction[1:4, 0, 0] = 1  # one of two found, two invented: Dice 2/5
    prediction[5:7] = 1
    geometry = Geometry(shape=reference.shape, affine=np.eye(4))
    for name, labels in (("predictions", prediction), ("references", reference)):
        write_labels(tmp_path / name / "case.nii.gz", labels, geometry, {1: "organ"})
    result = evaluate(tmp_path / "predictions", tmp_path / "references", task=TASK)
    assert not result.failures
    assert result.summary_of("organ").mean == pytest.approx(2 / 5)
    assert result.summary_of("organ", "hd_mm").mean == pytest.approx(2.0)
