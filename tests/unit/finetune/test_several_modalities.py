"""PET beside CT: a recipe gives each channel its intensities, and training and prediction see the same."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from finetune.command import build_parser
from finetune.config import FinetuneConfig
from finetune.preprocessing import check_intensities
from finetune.run import open_data
from finetune.scans import ScansInMemory
from swin_unetr.checkpoints import LoadedModel, save_model
from swin_unetr.checkpoints.model_folder import read_description
from swin_unetr.config import IntensityConfig, NetworkConfig, PreprocessConfig
from swin_unetr.config_io import from_dict, load, to_dict
from swin_unetr.datasets import read_dataset
from swin_unetr.doctor.intensities import intensity_findings
from swin_unetr.errors import CheckpointError, ConfigError
from swin_unetr.inference.predictor import Predictor
from swin_unetr.model_description import ModelDescription
from swin_unetr.networks import build_network
from swin_unetr.planning.fingerprint import fingerprint
from swin_unetr.survey.run import survey
from swin_unetr.tasks import Task, exclusive, is_ct, named_ct
from transforms.io import read_image

TASK = Task(name="lesions", modality="CT", channels=("CT", "PET"), targets=exclusive(("lesion",)))
WINDOW = IntensityConfig(scheme="hu_window", window=(-150, 250))
EACH = PreprocessConfig(intensity_of={"PET": IntensityConfig(scheme="zscore"), "CT": WINDOW})
CONFIG = FinetuneConfig(
    network=NetworkConfig(in_channels=2, feature_size=12, depths=(1, 1), num_heads=(1, 2)), preprocess=EACH
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for case in range(2):
        channels = np.stack([rng.uniform(-150, 250, (12, 12, 12)), rng.uniform(0, 42_000, (12, 12, 12))], axis=-1)
        for part, array in {"images": channels.astype(np.float32), "labels": np.ones((12, 12, 12), np.uint8)}.items():
            (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "data" / part / f"case{case}.nii.gz")
    (tmp_path / "data" / "task.yaml").write_text(yaml.safe_dump(to_dict(TASK)))
    return tmp_path / "data"


@pytest.mark.slow
def test_training_and_prediction_see_the_same(data: Path, tmp_path: Path) -> None:
    config, dataset, task = open_data(CONFIG, data, None)
    trained = ScansInMemory(dataset.cases, task, config.preprocess)[0]["image"]
    assert (float(trained[0].min()), float(trained[0].max())) == (
        pytest.approx(0, abs=0.01),
        pytest.approx(1, abs=0.01),
    )
    assert float(trained[1].std()) == pytest.approx(1, abs=0.01)
    description = ModelDescription(
        kind="segmentation",
        network=config.network,
        task=task,
        preprocess=config.preprocess,
        inference=replace(config.inference, roi_size=(16, 16, 16)),
    )
    save_model(build_network(config.network), tmp_path / "model", description=description)
    predictor = Predictor(tmp_path / "model", device="cpu")
    predicted = predictor.prepare(read_image(dataset.cases[0].images)).image
    torch.testing.assert_close(predicted, trained.as_subclass(torch.Tensor), atol=1e-5, rtol=0)
    # Known by their names, wherever they come.
    swapped = replace(description, task=replace(task, channels=("PET", "CT")))
    loaded = LoadedModel(build_network(config.network), swapped)
    volume = read_image(dataset.cases[0].images)
    prepared = Predictor(loaded, device="cpu").prepare(replace(volume, array=volume.array[::-1].copy()))
    torch.testing.assert_close(prepared.image.flip(0), predicted)


def test_a_model_of_before_is_what_it_was(tmp_path: Path) -> None:
    description = ModelDescription(
        kind="segmentation", network=CONFIG.network, task=TASK, preprocess=PreprocessConfig(intensity=WINDOW)
    )
    save_model(build_network(CONFIG.network), tmp_path, description=description)
    values = json.loads((tmp_path / "model.json").read_text())
    del values["preprocess"]["intensity_of"]
    (tmp_path / "model.json").write_text(json.dumps(values))
    assert read_description(tmp_path) == description
    values["preprocess"]["intensity_of"] = {"SPECT": {"scheme": "zscore"}}
    (tmp_path / "model.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"there is no channel 'SPECT'; the channels are CT, PET"):
        read_description(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--preprocess.intensity_of", "{PET: {scheme: zscore}, CT: {scheme: hu_window, window: [-150, 250]}}"],
        ["--preprocess.intensity_of.PET.scheme", "zscore", "--preprocess.intensity_of.CT.scheme", "hu_window",
         "--preprocess.intensity_of.CT.window", "[-150,250]"],
    ],
)  # fmt: skip
def test_recipe_and_command_line_say_the_same(tmp_path: Path, arguments: list[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "preprocess:\n  intensity_of:\n    PET: {scheme: zscore}\n    CT: {scheme: hu_window, window: [-150, 250]}\n"
    )
    values = build_parser({}).parse_args(["--data", "d", "--output", "o", *arguments]).as_dict()
    said = from_dict(PreprocessConfig, values["preprocess"], source="arguments")
    assert said == load(FinetuneConfig, recipe).preprocess == EACH
    assert from_dict(PreprocessConfig, to_dict(EACH), source="again") == EACH


def refusal(preprocess: PreprocessConfig, task: Task = TASK) -> str:
    try:
        check_intensities(preprocess, task, Path("data"))
    except ConfigError as error:
        return str(error)
    return ""


def test_a_window_for_all_is_refused_where_a_channel_is_no_ct() -> None:
    everywhere = PreprocessConfig(intensity=WINDOW)
    assert refusal(everywhere) == (
        "preprocess.intensity.scheme: hu_window is for CT, and PET of data is not; give it its own by "
        "preprocess.intensity_of, such as '{PET: {scheme: zscore}}', or take a plan"
    )
    by_mean = IntensityConfig(scheme="hu_zscore", window=(-150, 250), mean=60, std=40)
    assert refusal(PreprocessConfig(intensity=by_mean)).startswith(
        "preprocess.intensity.scheme: hu_zscore is for CT, and PET of data is not; "
    )
    assert refusal(PreprocessConfig(intensity=by_mean), replace(TASK, channels=("CT",))) == ""
    mr = replace(TASK, modality="MR", channels=("T1", "T2"))
    assert refusal(everywhere, mr).startswith("preprocess.intensity.scheme: hu_window is for CT, and data is MR; ")
    assert refusal(everywhere, replace(TASK, channels=("arterial", "venous"))) == ""
    assert refusal(EACH) == ""
    # A window of another unit, for a channel by its name, is meant so.
    suv = IntensityConfig(scheme="hu_window", window=(0, 20))
    assert refusal(PreprocessConfig(intensity=WINDOW, intensity_of={"PET": suv})) == ""
    assert "there is no channel 'SUV'" in refusal(PreprocessConfig(intensity_of={"SUV": suv}))


@pytest.mark.parametrize(
    ("name", "ct"),
    [("CT", True), ("CTres", True), ("ct_venous", True), ("low-dose CT", True), ("PET", False), ("SUV", False),
     ("PET/CT", False), ("T1ce", False), ("FLAIR", False), ("PT_SUV", False), ("venous", None), ("0", None),
     ("vector", None), ("opt", None)],
)  # fmt: skip
def test_what_names_of_channels_say(name: str, ct: bool | None) -> None:
    assert named_ct(name) is ct
    assert is_ct(replace(TASK, channels=(name,)), name) is (ct is not False)
    assert is_ct(replace(TASK, channels=("CT", f"{name} ")), f"{name} ") is (ct is True)


def test_only_ct_is_to_hold_hounsfield_units(data: Path) -> None:
    surveyed = survey(read_dataset(data, require_labels=True), workers=1)
    assert [finding.code for finding in intensity_findings(surveyed)] == []
    without_names = replace(surveyed, task=replace(TASK, channels=("one", "two")))
    assert {finding.code for finding in intensity_findings(without_names)} == {"not-hounsfield"}
    ct, pet = fingerprint(surveyed).channels
    assert (ct.high, pet.high) == (pytest.approx(250, abs=10), pytest.approx(42_000, abs=1000))
