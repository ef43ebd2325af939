"""What a cross-validation says of numbers that are undefined."""

import math

import nibabel as nib
import numpy as np
import pytest

from finetune.component_rules import Trial
from finetune.cross_report import CrossValidationResult, FoldRun, write_cross_report
from swin_unetr.evaluation.run import evaluate
from swin_unetr.model_description import ComponentRule


@pytest.fixture
def result(tmp_path):
    """One case, which has no spleen, so that nothing is known of how values spread, and nothing of the spleen."""
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[1:3, 1:3, 1:3] = 1
    for side in ("pred", "ref"):
        (tmp_path / side).mkdir()
        nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / side / "a.nii.gz")
    fold = FoldRun(fold=0, folder="fold_0", cases=("a",), epochs=1, seconds=6, best_epoch=1, validation_dice=math.nan)
    numbers = {"before": 0.5, "after": 0.75, "ci_low": math.nan, "ci_high": math.nan, "better": 1, "worse": 0}
    return CrossValidationResult(
        run_folder=tmp_path,
        folds=(fold, FoldRun(**{**vars(fold), "fold": 1, "cases": ("none",)})),
        evaluation=evaluate(tmp_path / "pred", tmp_path / "ref", task={"liver": 1, "spleen": 2}),
        rules=(),
        trials=(Trial(rule=ComponentRule(structure="liver"), patients=1, lesions=1, found=1, lost=0, **numbers),),
    )


def test_undefined_numbers_are_dashes(result):
    write_cross_report(result, "report")
    text = (result.run_folder / "cross_validation.md").read_text()
    assert "nan" not in text
    assert "| liver | 1.0000 | – | – | 1 | 0 |" in text
    assert "| spleen | – | – | – | 1 | 0 |" in text
    assert "| 1 | 1 | 1 | 1 | – | 0.1 |" in text
    assert "| +0.2500 | – | 1 | 0 | 0 of 1 | no |" in text


def test_the_closing_lines_have_dashes_too(result):
    first = result.summary().splitlines()[0]
    assert "out-of-fold mean Dice of 1 case 1.0000 (95 % CI –; liver 1.000, spleen –)" in first
