"""Pictures for people: masked views and their reconstructions, and the curves of a run. Drawn without a display."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from swin_unetr.files import replacing

#: How many sub-volumes a picture shows.
ROWS = 3
_COLUMNS = ("input", "masked", "output", "error")
#: Columns of metrics.csv that are no curves.
_NO_CURVES = ("epoch", "step", "seconds", "loader_share")


def reconstructions(original: Tensor, masked: Tensor, output: Tensor, title: str) -> Figure:
    """One row for each of the first sub-volumes: input, masked, output and the size of the error.

    Args:
        original: B x C x X x Y x Z. The first channel is shown, in the axial plane with the most masked voxels. If the
            view was not turned, the patient's right is on the left and the front above.
        masked: the same, as the encoder saw it.
        output: the same, as the decoder rebuilt it.
        title: above the picture.
    """
    rows = min(ROWS, len(original))
    figure = Figure(figsize=(2.4 * len(_COLUMNS), 2.4 * rows + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(rows, len(_COLUMNS), squeeze=False)
    for row in range(rows):
        volumes = [volume[row, 0].float().cpu().numpy() for volume in (original, masked, output)]
        changed = (volumes[0] != volumes[1]).sum(axis=(0, 1))
        plane = int(changed.argmax()) if changed.any() else volumes[0].shape[2] // 2
        slices = [volume[:, :, plane] for volume in volumes]
        low, high = np.quantile(slices[0], (0.01, 0.99))
        high = high if high > low else low + 1
        shown = [*((piece, low, high) for piece in slices), (abs(slices[2] - slices[0]), 0, high - low)]
        for axis, (piece, least, most) in zip(axes[row], shown, strict=True):
            axis.imshow(np.flip(piece).T, cmap="gray", vmin=least, vmax=most, interpolation="nearest")
            axis.set_axis_off()
    for axis, name in zip(axes[0], _COLUMNS, strict=True):
        axis.set_title(name, fontsize=9)
    return figure


def curves(rows: Sequence[Mapping[str, str]]) -> Figure | None:
    """A panel for each column of a table of metrics, over the epochs. None if the table holds no number yet.

    Args:
        rows: of metrics.csv.
    """
    series = {
        name: [(int(row["epoch"]), float(row[name])) for row in rows if row.get(name)]
        for name in (rows[0] if rows else ())
        if name not in _NO_CURVES
    }
    series = {name: points for name, points in series.items() if points}
    if not series:
        return None
    columns = min(3, len(series))
    height = -(-len(series) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.3 * height), layout="constrained")
    for axis, (name, points) in zip(figure.subplots(height, columns, squeeze=False).flat, series.items(), strict=False):
        axis.plot(*zip(*points, strict=True), color="#0072B2", linewidth=1.2, marker="." if len(points) < 30 else "")
        axis.set_title(name.removeprefix("train/"), fontsize=9)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
    for axis in figure.axes[len(series) :]:
        axis.set_visible(False)
    return figure


def draw_curves(table: Path, picture: Path) -> None:
    """Draw the curves of a `metrics.csv`, unless it is missing or holds no epoch."""
    if not table.is_file():
        return
    with table.open(newline="", encoding="utf-8") as file:
        figure = curves(list(csv.DictReader(file)))
    if figure is not None:
        save(figure, picture)


def save(figure: Figure, path: Path) -> None:
    """Write a picture whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)


def pixels(figure: Figure) -> NDArray[Any]:
    """A picture as height x width x 3, for TensorBoard."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
