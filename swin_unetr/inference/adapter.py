"""Stands between the pipeline and the Predictor until that prepares and segments apart. To be deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from swin_unetr.inference.device import choose_compute
from swin_unetr.inference.models import load_ensemble
from swin_unetr.inference.predictor import Predictor as _Predictor
from swin_unetr.inference.predictor import Segmentation
from transforms.geometry import Geometry, Volume


@dataclass
class Prepared:
    volume: Volume

    @property
    def geometry(self) -> Geometry:
        return self.volume.geometry


class Predictor(_Predictor):
    def __init__(self, models: Any, **options: Any) -> None:
        self.compute = choose_compute(options["device"], options["precision"], options["backend"])
        known = ("overlap", "roi_size", "tta", "batch_size")
        self.ensemble = load_ensemble(models, self.compute, **{name: options[name] for name in known})
        self.task = self.ensemble.task

    def prepare(self, volume: Volume) -> Prepared:
        return Prepared(volume)

    def segment_prepared(
        self,
        prepared: Prepared,
        *,
        with_probabilities: bool = False,
        on_windows: Callable[[int, int], None] | None = None,
    ) -> Segmentation:
        return self.segment(prepared.volume, with_probabilities=with_probabilities, on_windows=on_windows)
