"""What a configuration of the preprocessing refuses, and what a start and a viewer make of it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from finetune.config import FinetuneConfig
from swin_unetr.checkpoints.starting_point import StartingPoint
from swin_unetr.config import IntensityConfig, PreprocessConfig
from swin_unetr.config_io import from_dict
from swin_unetr.errors import ConfigError
from swin_unetr.viewer.cases import _window

BY_MEAN = {"scheme": "hu_zscore", "window": [-150, 250], "mean": 60, "std": 40}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mean": None}, "preprocess.intensity.mean: scheme hu_zscore needs it"),
        ({"std": None}, "preprocess.intensity.std: scheme hu_zscore needs it"),
        ({"std": 0}, "preprocess.intensity.std: must be positive, got 0"),
        ({"mean": float("nan")}, "preprocess.intensity.mean: must be a number, got nan"),
        ({"window": [3, 3]}, "preprocess.intensity.window: lower bound must lie below the upper"),
    ],
)
def test_numbers_that_are_missing_or_wrong_are_named(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        from_dict(FinetuneConfig, {"preprocess": {"intensity": {**BY_MEAN, **fields}}}, source="recipe")


def test_fields_that_an_old_file_lacks_take_their_defaults() -> None:
    old = {"spacing_mm": [1, 1, 1], "intensity": {"scheme": "hu_window", "window": [-1, 2]}, "crop_foreground": True}
    found = from_dict(PreprocessConfig, old, source="model.json")
    assert (found.image_interpolation, found.label_interpolation, found.through_plane) == ("linear", "nearest", "same")
    assert found.intensity == IntensityConfig(scheme="hu_window", window=(-1, 2))


def test_a_start_of_another_preprocessing_says_what_differs() -> None:
    theirs = PreprocessConfig(intensity=from_dict(IntensityConfig, BY_MEAN, source="theirs"), through_plane="auto")
    start = StartingPoint(path=Path("init"), sha256="", preprocess=theirs, channels=("CT",))
    assert start.differences(replace(theirs, label_interpolation="linear"), ("CT",)) == []
    ours = PreprocessConfig(intensity=IntensityConfig(scheme="hu_window", window=(-150, 250)))
    assert start.differences(replace(ours, image_interpolation="cubic"), ("CT",)) == [
        "image_interpolation linear there, cubic here",
        "through_plane auto there, same here",
        "intensity hu_zscore -150..250 of mean 60 and deviation 40 there, hu_window -150..250 here",
    ]


def test_the_viewer_shows_the_window_of_either_scheme(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps({"preprocess": {"intensity": BY_MEAN}}))
    assert _window(tmp_path) == (-150, 250)
