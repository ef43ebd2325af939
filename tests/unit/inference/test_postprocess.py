"""Post-processing in a prediction: applied on the scan's grid, recorded, left out when asked to."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swin_unetr.checkpoints import LoadedModel
from swin_unetr.checkpoints.model_folder import read_description, write_description
from swin_unetr.errors import CheckpointError, ConfigError
from swin_unetr.inference.batch.run import predict
from swin_unetr.inference.engine.models import model_folders
from swin_unetr.inference.predictor import Predictor
from swin_unetr.model_description import ComponentRule
from swin_unetr.tasks import BTCV
from transforms.geometry import Geometry, Volume
from transforms.io import read_labels

EXACT = {"device": "cpu", "backend": "torch", "precision": "float32"}
SMALL_GO = ComponentRule(structure="bright", min_volume_mm3=20.0, reason="by hand")


@pytest.fixture
def scan() -> Volume:
    """A block of 4 x 4 x 4 voxels and one of 2 x 2 x 2, of 2 mm^3 each."""
    array = np.zeros((1, 32, 24, 20), np.float32)
    array[0, 4:8, 4:8, 4:8] = array[0, 20:22, 10:12, 10:12] = 100
    return Volume(array, Geometry(shape=array.shape[1:], affine=np.diag([2.0, 1.0, 1.0, 1.0])))


def test_components_are_removed_by_their_volume_on_the_scans_own_grid(make_threshold_model, scan) -> None:
    model = make_threshold_model(0, 100, 50)
    ruled = LoadedModel(model.network, replace(model.description, postprocess=(SMALL_GO,)))
    plain = Predictor(model, **EXACT).segment(scan)
    assert (int(plain.labels.sum()), dict(plain.removed)) == (64 + 8, {})
    cleaned = Predictor(ruled, **EXACT).segment(scan, with_probabilities=True)
    assert (int(cleaned.labels.sum()), dict(cleaned.removed)) == (64, {"bright": 8})
    assert cleaned.probabilities is not None
    assert cleaned.probabilities[1, 20, 10, 10] > 0.5  # they stay what the network said
    kept = replace(SMALL_GO, min_volume_mm3=16.0)
    ruled = LoadedModel(model.network, replace(model.description, postprocess=(kept,)))
    assert int(Predictor(ruled, **EXACT).segment(scan).labels.sum()) == 64 + 8
    ruled = LoadedModel(model.network, replace(model.description, postprocess=(SMALL_GO,)))
    assert int(Predictor(ruled, **EXACT, postprocess=False).segment(scan).labels.sum()) == 64 + 8


def test_models_must_agree_on_it(make_threshold_model) -> None:
    model = make_threshold_model(0, 100, 50)
    for rule, agree in ((SMALL_GO, False), (replace(SMALL_GO, reason="another"), True)):
        ruled = LoadedModel(model.network, replace(model.description, postprocess=(rule,)))
        first = LoadedModel(model.network, replace(model.description, postprocess=(SMALL_GO,) if agree else ()))
        if agree:
            assert Predictor([first, ruled], **EXACT).ensemble.postprocess == (replace(SMALL_GO, reason=""),)
        else:
            with pytest.raises(ConfigError, match="--no-postprocess"):
                Predictor([first, ruled], **EXACT)
            assert Predictor([first, ruled], **EXACT, postprocess=False).ensemble.postprocess == ()


def test_predict_records_it_and_makes_results_anew_without_it(make_model, phantom_data, tmp_path: Path) -> None:
    model = make_model("model", replace(BTCV, targets=BTCV.targets[:1]))
    rule = ComponentRule(structure="spleen", min_volume_mm3=1e9, reason="nothing is as large")
    write_description(model, replace(read_description(model), postprocess=(rule,)))
    scan, output = phantom_data / "imagesTs" / "phantom_006.nii.gz", tmp_path / "out"
    options = {"backend": "torch", "progress": False, "roi_size": (16, 16, 16), "overlap": 0.0}
    assert predict(model, scan, output, **options).exit_code == 0
    record = json.loads((output / "phantom_006.json").read_text())
    assert record["postprocess"][0]["min_volume_mm3"] == 1e9
    assert record["removed_voxels"]["spleen"] > 0
    assert not read_labels(output / "phantom_006.nii.gz").array.any()
    assert predict(model, scan, output, **options, postprocess=False, overwrite=True).exit_code == 0
    record = json.loads((output / "phantom_006.json").read_text())
    assert not {"postprocess", "removed_voxels"} & record.keys()
    assert read_labels(output / "phantom_006.nii.gz").array.any()


def test_a_rule_must_be_of_a_structure_that_there_is(make_model) -> None:
    folder = make_model("model", BTCV)
    values = json.loads((folder / "model.json").read_text())
    values["postprocess"] = [{"structure": "splen", "largest_only": True}]
    (folder / "model.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="no structure 'splen'"):
        read_description(folder)


def test_a_cross_validation_stands_for_all_of_its_folds_once_it_is_finished(tmp_path: Path) -> None:
    (tmp_path / "fold_0" / "best").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"not finished; finish it with finetune --folds all --resume auto"):
        model_folders(tmp_path)
    record = tmp_path / "cross_validation.json"
    record.write_text('{"folds": [{"folder": "../elsewhere"}, {}]}')
    assert model_folders(tmp_path) == [tmp_path / "fold_0" / "best", tmp_path / "fold_1" / "best"]
    record.write_text("[]")
    with pytest.raises(CheckpointError, match="damaged"):
        model_folders(tmp_path)
