"""Facts of cases that no file was read for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from swin_unetr.survey.facts import (
    Alignment,
    CaseFacts,
    ChannelFacts,
    ImageFacts,
    Intensities,
    LabelFacts,
    Survey,
    ValueFacts,
)
from swin_unetr.tasks import Task

ROOT = Path("data")
SHAPE = (40, 50, 30)


def intensities(low: float = -1000, high: float = 400) -> Intensities:
    middle = (low + high) / 2
    return Intensities(voxels=100, low=low, high=high, mean=middle, std=50, percentiles=(low, low, middle, high, high))


def file_facts(name: str, **fields: Any) -> dict[str, Any]:
    size = fields.get("spacing_mm", (1.0, 1.0, 1.0))
    rows = tuple(tuple(size[axis] if axis == column else 0.0 for column in range(4)) for axis in range(3))
    facts = {
        **{"path": ROOT / name, "kind": "nifti-1", "bytes": 99, "stamp": name, "hash": name, "voxels_hash": name},
        **{"shape": SHAPE, "channels": 1, "spacing_mm": size, "affine": (*rows, (0.0, 0.0, 0.0, 1.0))},
        **{"orientation": "RAS", "shear_degrees": 0.0, "dtype": "int16"},
    }
    return facts | fields


def image(name: str, *channels: Intensities, **fields: Any) -> ImageFacts:
    of = tuple(
        ChannelFacts(
            not_finite=0, all=every, foreground=every, mean_of_label={0: -900.0}, zero_share=0.0, lowest_share=0.1
        )
        for every in channels or (intensities(),)
    )
    return ImageFacts(**file_facts(name, **fields), of_channels=of)


def label(
    name: str, volumes_ml: Mapping[int, float], sides_mm: Mapping[int, float] | None = None, **fields: Any
) -> LabelFacts:
    """Volumes and places along R-L by label value."""
    values = tuple(
        ValueFacts(
            value=value,
            voxels=int(volume * 1000),
            volume_mm3=volume * 1000,
            box=((0, 9), (0, 9), (0, 9)),
            centre_mm=((sides_mm or {}).get(value, 0.0), 0.0, 0.0),
        )
        for value, volume in volumes_ml.items()
    )
    facts = {"values": values, "not_finite": 0, "not_integer": 0, "negative": 0, "odd_values": ()}
    return LabelFacts(**file_facts(name, **(facts | fields)))


def case(number: int, volumes_ml: Mapping[int, float] | None = None, **fields: Any) -> CaseFacts:
    name = f"case{number}"
    facts = CaseFacts(
        id=name,
        group=name,
        images=(image(f"images/{name}.nii.gz"),),
        label=None if volumes_ml is None else label(f"labels/{name}.nii.gz", volumes_ml),
        problems=(),
    )
    return replace(facts, **fields)


def fit(belonging: float = 1.0, mirrored: tuple[float, float, float] = (0.0, 0.0, 0.0), **fields: Any) -> Alignment:
    facts: dict[str, Any] = {"outside_body": 0.0, "body_centre_mm": (0.0, 0.0, 0.0)}
    return Alignment(belonging=belonging, mirrored=mirrored, **(facts | fields))


def survey_of(*cases: CaseFacts, task: Task | None = None) -> Survey:
    return Survey(root=ROOT, layout="plain", task=task, cases=cases, seconds=1.5)
