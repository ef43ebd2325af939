"""Scores that are NaN or infinite fail their case: they would pass for background."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from swin_unetr.checkpoints import LoadedModel
from swin_unetr.config import InferenceConfig, NetworkConfig, PreprocessConfig
from swin_unetr.errors import DataError
from swin_unetr.inference.batch.run import predict
from swin_unetr.inference.predictor import Predictor
from swin_unetr.model_description import ModelDescription
from swin_unetr.tasks import Task, brats, exclusive, with_channels
from transforms.geometry import Geometry, Volume

CT = Task(name="x", modality="CT", channels=("CT",), targets=exclusive("ab"))
REGIONS = with_channels(brats("brats2021"), ("FLAIR",))
EXACT = {"device": "cpu", "backend": "torch", "precision": "float32"}


class Planted(nn.Module):
    """Scores of 0 to 1, but for one voxel of one class."""

    def __init__(self, value: float, channel: int, size: float = 1.0) -> None:
        super().__init__()
        self.value, self.channel, self.size = value, channel, size

    def forward(self, windows: Tensor) -> Tensor:
        scores = torch.cat([windows, 1 - windows, 0.5 * windows], dim=1) * self.size
        scores[:, self.channel, 3, 4, 5] = self.value
        return scores


def model(network: nn.Module, task: Task = CT) -> LoadedModel:
    description = ModelDescription(
        kind="segmentation",
        network=NetworkConfig(num_classes=3, depths=(1, 1), num_heads=(3, 6)),
        task=task,
        preprocess=PreprocessConfig(crop_foreground=False),
        inference=InferenceConfig(roi_size=(16, 16, 16)),
    )
    return LoadedModel(network, description)


@pytest.fixture
def scan() -> Volume:
    voxels = np.random.default_rng(0).normal(size=(1, 20, 18, 16)).astype(np.float32)
    return Volume(voxels, Geometry((20, 18, 16), np.eye(4)))


@pytest.mark.parametrize("task", [CT, REGIONS])
@pytest.mark.parametrize("accumulate", ["float32", "float16"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_one_voxel_of_one_class_is_enough(scan, task, accumulate, value) -> None:
    predictor = Predictor(model(Planted(value, channel=2), task), accumulate=accumulate, **EXACT)
    with pytest.raises(DataError, match=r"scores are not finite .* its weights may be damaged"):
        predictor.segment(scan)


def test_of_one_model_among_several(scan) -> None:
    models = [model(Planted(0.0, 0)), model(Planted(torch.nan, 0))]
    with pytest.raises(DataError, match="not finite"):
        Predictor(models, **EXACT).segment(scan)


def test_large_scores_are_none_of_them(scan) -> None:
    """Their sum is infinite in float32."""
    large = Predictor(model(Planted(0.0, 0, size=1e37)), **EXACT).segment(scan)
    assert np.array_equal(large.labels, Predictor(model(Planted(0.0, 0)), **EXACT).segment(scan).labels)


def test_the_remedy_fits_the_precision(scan) -> None:
    predictor = Predictor(model(Planted(torch.inf, 1)), **EXACT)
    for precision, words in (
        ("float16", r"overflow in float16: add --precision float32, or bfloat16$"),
        ("bfloat16", r"add --precision float32"),
    ):
        predictor.compute = replace(predictor.compute, precision=precision)  # the CPU has no float16
        with pytest.raises(DataError, match=words):
            predictor.segment(scan)


def test_the_case_fails_and_the_others_go_on(make_threshold_model, phantom_data: Path, tmp_path: Path) -> None:
    threshold = make_threshold_model(-175, 250, 0)
    first: list[Tensor] = []

    def overflow(_: nn.Module, windows: tuple[Tensor], scores: Tensor) -> Tensor:
        first[:] = first or [windows[0].clone()]
        return scores * torch.inf if torch.equal(windows[0], first[0]) else scores

    threshold.network.register_forward_hook(overflow)
    report = predict(threshold, phantom_data / "imagesTs", tmp_path, progress=False)
    assert (report.done, report.exit_code) == (["phantom_007"], 1)
    (failure,) = report.failures
    assert (failure.case, "scores are not finite" in failure.message) == ("phantom_006", True)
    assert not (tmp_path / "phantom_006.nii.gz").exists()
