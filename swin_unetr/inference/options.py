"""The options of a prediction; `Predictor` explains each."""

from __future__ import annotations

from typing import TypedDict

from swin_unetr.config import Triple


class PredictorOptions(TypedDict, total=False):
    """The options of `Predictor` by their names, for callers that pass them on."""

    device: str
    precision: str
    backend: str
    overlap: float | None
    roi_size: Triple | None
    weights: str | None
    tta: bool | None
    batch_size: int | None
    max_memory: int | str | None
    accumulate: str
    skip_empty: bool
    postprocess: bool
    cache: bool
