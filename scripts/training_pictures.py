"""Pictures of bench_training.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
from matplotlib import pyplot


def draw_table(rows: list[dict[str, Any]], path: Path) -> None:
    """Times MONAI's speed, and its memory, of each variant."""
    cases = list(dict.fromkeys((*row["size"], row["batch"], row["precision"]) for row in rows))
    figure, panels = pyplot.subplots(1, 2, figsize=(4 + 2.2 * len(cases), 4), layout="constrained")
    for axes, key, title in zip(
        panels,
        ("speed_ratio", "memory_ratio"),
        ("steps per second over MONAI's", "peak memory over MONAI's"),
        strict=True,
    ):
        for place, variant in enumerate(dict.fromkeys(row["variant"] for row in rows)):
            heights = [row[key] for row in rows if row["variant"] == variant]
            axes.bar([at + (place - 2.5) * 0.14 for at in range(len(cases))], heights, 0.13, label=variant)
        names = [f"{x}x{y}x{z}, batch {batch}\n{precision}" for x, y, z, batch, precision in cases]
        axes.set_xticks(range(len(cases)), names, fontsize=8)
        axes.axhline(1, color="black", linewidth=0.6)
        axes.set_title(title)
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=120)


def draw_curves(rows: list[dict[str, Any]], path: Path) -> None:
    """The losses, and how far ours lie from MONAI's."""
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
        for case in dict.fromkeys((*row["size"], row["batch"], row["precision"]) for row in rows):
            points = [row for row in rows if (*row["size"], row["batch"], row["precision"]) == case]
            axes.plot([row["variant"] for row in points], [row[key] for row in points], "o-", label=case[-1])
        axes.set(title=title, ylim=(0, None))
        axes.tick_params(axis="x", rotation=90)
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=120)
