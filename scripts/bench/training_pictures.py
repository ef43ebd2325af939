"""Pictures of bench/training.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes


def draw_table(rows: list[dict[str, Any]], path: Path) -> None:
    """Speed and memory of each variant relative to MONAI's, and seconds of the parts of a step, with their floors."""
    done = [row for row in rows if "step_s" in row]
    cases = list(dict.fromkeys(_case(row) for row in done))
    variants = list(dict.fromkeys(row["variant"] for row in done))
    figure, panels = pyplot.subplots(1, 3, figsize=(6 + 3.4 * len(cases), 5), layout="constrained")
    for axes, key in zip(panels, ("speed_ratio", "memory_ratio"), strict=False):
        for place, variant in enumerate(variants):
            found = [(cases.index(_case(row)), row[key]) for row in done if row["variant"] == variant and key in row]
            away = (place - (len(variants) - 1) / 2) * 0.8 / len(variants)
            axes.bar([at + away for at, _ in found], [value for _, value in found], 0.7 / len(variants), label=variant)
        axes.set_xticks(range(len(cases)), cases, fontsize=8)
        axes.axhline(1, color="black", linewidth=0.6)
    panels[0].set_title("steps per second over MONAI's")
    panels[1].set_title("peak memory over MONAI's")
    panels[0].legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    _draw_parts_with_floors(panels[2], done)
    figure.savefig(path, dpi=120)


def _draw_parts_with_floors(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """A bar for each variant, and one for the floor of each case."""
    bars: list[tuple[str, dict[str, float]]] = []
    for index, row in enumerate(rows):
        if index == 0 or _case(row) != _case(rows[index - 1]):
            bars.append((f"{_case(row)}, floor", row["floor_s"]))
        bars.append((row["variant"], row["parts_s"]))
    base = np.zeros(len(bars))
    for part in dict.fromkeys(name for _, parts in bars for name in parts):
        seconds = np.array([parts.get(part, 0.0) for _, parts in bars])
        axes.barh(range(len(bars)), seconds, 0.8, left=base, label=part)
        base += seconds
    axes.set_yticks(range(len(bars)), [label for label, _ in bars], fontsize=7)
    axes.invert_yaxis()
    axes.set_title("seconds of the parts of a step")
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2)


def _case(row: dict[str, Any]) -> str:
    return f"{'x'.join(map(str, row['size']))}, batch {row['batch']}\n{row['precision']}"


def draw_curves(rows: list[dict[str, Any]], path: Path) -> None:
    """The losses, and the difference of ours from MONAI's."""
    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for row in rows:
        theirs, ours = (np.array(values) for values in row["losses"].values())
        panels[0].plot(theirs, label=f"MONAI, {row['precision']}")
        panels[0].plot(ours, "--", label=f"ours, {row['precision']}")
        panels[1].semilogy(np.abs(ours - theirs) / theirs + 1e-9, label=row["precision"])
    panels[0].set(xlabel="step", title="loss")
    panels[1].set(xlabel="step", title="relative difference")
    for axes in panels:
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def draw_parts(rows: list[dict[str, Any]], path: Path) -> None:
    """Seconds and memory of a step as more and more is computed a second time."""
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 5), layout="constrained")
    for axes, key, title in zip(panels, ("step_s", "memory_gb"), ("seconds a step", "peak memory, GB"), strict=True):
        for case in dict.fromkeys(_case(row) for row in rows):
            points = [row for row in rows if _case(row) == case and key in row]
            axes.plot([row["variant"] for row in points], [row[key] for row in points], "o-", label=case)
        axes.set(title=title, ylim=(0, None))
        axes.tick_params(axis="x", rotation=90)
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=120)
