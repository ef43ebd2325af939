"""The report of label_efficiency.py: statistics over patients and seeds, tables, a plot."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import t as student

from swin_unetr.evaluation.bootstrap import METHOD, SEED, mean_interval
from swin_unetr.evaluation.comparison.paired import Difference, Pair, case_differences, differences
from swin_unetr.evaluation.metrics import METRICS
from swin_unetr.evaluation.scoring import mean_over, patient_indices, patient_means
from swin_unetr.evaluation.statistics import mean_defined
from swin_unetr.files import replacing, write_json, write_text

SCRATCH = "scratch"
#: Dice by (arm, fraction, seed, case, structure).
Scores = Mapping[tuple[str, float, int], Mapping[str, Mapping[str, float]]]
#: Arms at the same share of labels are drawn apart by this factor, on a logarithmic axis.
_BESIDE = 1.05
#: Okabe and Ito's colours; scratch is grey.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


@dataclass(frozen=True, kw_only=True)
class Level:
    """Dice of one arm at one share of the labels."""

    arm: str
    fraction: float
    #: Labelled cases, steps of training, seeds that are done.
    cases: int
    steps: int
    seeds: tuple[int, ...]
    #: Mean over the held-back patients of the mean over cases, seeds and structures; its 95 % interval over patients.
    dice: float
    ci_low: float
    ci_high: float
    #: The same mean of each seed, and of each structure.
    by_seed: tuple[float, ...]
    by_structure: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Gain:
    """An encoder against scratch at one share of the labels, over the seeds that both have."""

    arm: str
    fraction: float
    seeds: tuple[int, ...]
    #: Paired over patients, each the mean over seeds: mean, interval, Wilcoxon's test; Holm's over the shares.
    difference: Difference
    #: Mean difference of each seed.
    by_seed: tuple[float, ...]
    #: 95 % interval over patients and seeds; see `interval_over_both`.
    both_low: float
    both_high: float


def table_of(scores: Scores, arm: str, fraction: float, seeds: Sequence[int]) -> NDArray[np.float64]:
    """Dice, seeds x cases x structures, the cases in the order of their ids; NaN where it is undefined."""
    of = [scores[arm, fraction, seed] for seed in seeds]
    cases, names = sorted(of[0]), list(next(iter(of[0].values())))
    return np.array([[[values[case][name] for name in names] for case in cases] for values in of], dtype=np.float64)


def _units(scores: Scores, patients: Mapping[str, str]) -> NDArray[np.int64]:
    """Number of the patient of every case, in the order of their ids."""
    return patient_indices(sorted(next(iter(scores.values()))), patients)


def level(
    scores: Scores, arm: str, fraction: float, *, cases: int, steps: int, patients: Mapping[str, str] | None = None
) -> Level | None:
    """Summary of one arm at one share. None before a seed is done."""
    seeds = tuple(sorted(seed for name, share, seed in scores if (name, share) == (arm, fraction)))
    if not seeds:
        return None
    table, unit = table_of(scores, arm, fraction, seeds), _units(scores, patients or {})

    def of_patients(by_seed: NDArray[np.float64]) -> NDArray[np.float64]:
        """From seeds x cases to one value for every patient that has one."""
        means = patient_means(mean_over(by_seed.T), unit)
        return means[~np.isnan(means)]

    whole = of_patients(mean_over(table))
    low, high = np.clip(mean_interval(whole, np.random.default_rng(SEED)), 0, 1)
    structures = next(iter(scores[arm, fraction, seeds[0]].values()))
    return Level(
        arm=arm,
        fraction=fraction,
        cases=cases,
        steps=steps,
        seeds=seeds,
        dice=mean_defined(whole),
        ci_low=float(low),
        ci_high=float(high),
        by_seed=tuple(mean_defined(of_patients(mean_over(row)[None])) for row in table),
        by_structure={name: mean_defined(of_patients(table[:, :, column])) for column, name in enumerate(structures)},
    )


def gains(
    scores: Scores, arm: str, fractions: Sequence[float], patients: Mapping[str, str] | None = None
) -> list[Gain]:
    """An encoder against scratch at every share that has a seed of both; positive if the encoder is better."""
    metric = next(metric for metric in METRICS if metric.name == "dice")
    shares, pairs, tables = [], [], []
    for fraction in fractions:
        both = [seed for name, share, seed in scores if (name, share) == (arm, fraction)]
        seeds = tuple(sorted(seed for seed in both if (SCRATCH, fraction, seed) in scores))
        if seeds:
            unit = _units(scores, patients or {})
            ours, theirs = (table_of(scores, name, fraction, seeds) for name in (arm, SCRATCH))
            held = np.ones(ours.shape[1], dtype=np.bool_)
            title = f"{fraction:.0%} of labels"
            one, two = (of.transpose(1, 0, 2).reshape(len(held), -1) for of in (ours, theirs))
            pairs.append(Pair(title, arm, SCRATCH, one, two, held))
            by_seed = [
                case_differences(metric, Pair(title, arm, SCRATCH, of_seed, other, held))
                for of_seed, other in zip(ours, theirs, strict=True)
            ]
            shares.append((fraction, seeds))
            tables.append(np.stack([patient_means(row, unit) for row in by_seed]))
    if not pairs:
        return []
    return [
        Gain(
            arm=arm,
            fraction=fraction,
            seeds=seeds,
            difference=difference,
            by_seed=tuple(mean_defined(row) for row in table),
            both_low=low,
            both_high=high,
        )
        for (fraction, seeds), table, difference in zip(
            shares, tables, differences(metric, pairs, patients=unit), strict=True
        )
        for low, high in (interval_over_both(table),)
    ]


def interval_over_both(table: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean for other patients and other seeds: two crossed random effects.

    With another seed, all cases change together, which an interval over patients does not see: with one seed each, two
    encoders of random weights differ "significantly". The variance is that of the analysis of variance without
    replication, the degrees of freedom are Satterthwaite's (Biometrics Bulletin 2:110, 1946).

    Args:
        table: seeds x patients (or cases, where each is a patient); those with a NaN are left out.

    Returns:
        Both ends; NaN for a single seed or case, because the spread is then unknown.
    """
    table = table[:, ~np.isnan(table).any(axis=0)]
    seeds, cases = table.shape
    if seeds < 2 or cases < 2:
        return math.nan, math.nan
    mean, by_seed, by_case = table.mean(), table.mean(axis=1), table.mean(axis=0)
    rest = float(((table - by_seed[:, None] - by_case + mean) ** 2).sum() / ((seeds - 1) * (cases - 1)))
    squares = [
        (cases * float(by_seed.var(ddof=1)), seeds - 1, 1),
        (seeds * float(by_case.var(ddof=1)), cases - 1, 1),
        (rest, (seeds - 1) * (cases - 1), -1),
    ]
    # An effect that is smaller than chance counts as 0.
    kept = [term for term in squares[:2] if term[0] > rest]
    terms = squares if len(kept) == 2 else kept or squares[2:]
    total = abs(sum(sign * square for square, _, sign in terms))
    if total == 0:
        return float(mean), float(mean)
    freedom = total**2 / sum(square**2 / free for square, free, _ in terms)
    half = float(student.ppf(0.975, freedom)) * math.sqrt(total / (seeds * cases))
    return float(mean) - half, float(mean) + half


def write(
    folder: Path, scores: Scores, levels: Sequence[Level], found: Sequence[Gain], facts: Mapping[str, Any]
) -> str:
    """Write label_efficiency.json, .csv (every case), .md and .png; returns the text of the table."""
    text = markdown(levels, found, facts)
    values = {
        **facts,
        "intervals": METHOD,
        "levels": [asdict(of) for of in levels],
        "gains": [asdict(of) for of in found],
    }
    write_json(folder / "label_efficiency.json", values)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["arm", "fraction", "seed", "case", "structure", "dice"])
    for (arm, fraction, seed), cases in sorted(scores.items()):
        for case, structures in sorted(cases.items()):
            writer.writerows([arm, fraction, seed, case, name, value] for name, value in structures.items())
    write_text(folder / "label_efficiency.csv", buffer.getvalue())
    write_text(folder / "label_efficiency.md", text)
    if levels:
        with replacing(folder / "label_efficiency.png") as temporary:
            plot(levels, found).savefig(temporary, dpi=120)
    return text


def markdown(levels: Sequence[Level], found: Sequence[Gain], facts: Mapping[str, Any]) -> str:
    """Two tables for people, in Dice points (hundredths)."""
    lines = [
        f"Dice of {facts['held_back']} cases held back (fold {facts['fold']}), mean over structures, in points; "
        f"{METHOD}; {facts['done']} of {facts['runs']} runs done.",
        "",
        "| labels | cases | steps | start | Dice | 95 % interval | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for of in sorted(levels, key=lambda of: (of.fraction, of.arm != SCRATCH)):
        seeds = ", ".join(f"{100 * value:.2f}" for value in of.by_seed)
        interval = f"{100 * of.ci_low:.2f} … {100 * of.ci_high:.2f}"
        lines.append(
            f"| {of.fraction:.0%} | {of.cases} | {of.steps} | {of.arm} | {100 * of.dice:.2f} | {interval} | {seeds} |"
        )
    lines += [
        "",
        "Against scratch, paired. Over patients: the interval, and Wilcoxon's p with Holm's over the shares of an "
        "encoder; they are about these trainings only. With other seeds: over patients and seeds, for other trainings, "
        "from two seeds on.",
        "",
        "| labels | encoder | difference | over patients | with other seeds | p | p (Holm) | better in | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for gain in sorted(found, key=lambda gain: (gain.fraction, gain.arm)):
        difference, ends = gain.difference, (gain.both_low, gain.both_high)
        both = "–" if any(map(math.isnan, ends)) else " … ".join(f"{100 * end:+.2f}" for end in ends)
        seeds = ", ".join(f"{100 * value:+.2f}" for value in gain.by_seed)
        lines.append(
            f"| {gain.fraction:.0%} | {gain.arm} | {100 * difference.mean:+.2f} "
            f"| {100 * difference.ci_low:+.2f} … {100 * difference.ci_high:+.2f} | {both} "
            f"| {difference.p:.2g} | {difference.p_holm:.2g} "
            f"| {difference.first_wins} of {difference.patients} | {seeds} |"
        )
    return "\n".join(lines) + "\n"


def plot(levels: Sequence[Level], found: Sequence[Gain]) -> Figure:
    """Dice against the share of labels (bars: over patients), and the gain over scratch (bars: over seeds too).

    The arms are drawn a little apart, so that no bar hides another one.
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    arms = list(dict.fromkeys(of.arm for of in sorted(levels, key=lambda of: of.arm != SCRATCH)))
    colours = dict(zip((arm for arm in arms if arm != SCRATCH), _COLOURS * len(arms), strict=False))
    beside = {arm: _BESIDE ** (index - (len(arms) - 1) / 2) for index, arm in enumerate(arms)}
    for arm in arms:
        of_arm = sorted((of for of in levels if of.arm == arm), key=lambda of: of.fraction)
        points = [(of.fraction * beside[arm], of.dice, of.ci_low, of.ci_high) for of in of_arm]
        _bars(left, points, colours.get(arm, "#555555"), arm)
    for arm, colour in colours.items():
        of_gain = sorted((of for of in found if of.arm == arm), key=lambda of: of.fraction)
        ends = [
            (of.difference.ci_low, of.difference.ci_high) if math.isnan(of.both_low) else (of.both_low, of.both_high)
            for of in of_gain
        ]
        placed = [(of.fraction * beside[arm], of.difference.mean) for of in of_gain]
        gained = [(*place, *pair) for place, pair in zip(placed, ends, strict=True)]
        _bars(right, gained, colour, arm)
    right.axhline(0, color="#555555", linewidth=1)
    for axis, title in (
        (left, "Dice in points, 95 % over patients"),
        (right, "difference from scratch, 95 % over patients and seeds"),
    ):
        axis.set_xscale("log")
        shares = sorted({of.fraction for of in levels})
        axis.set_xticks(shares, [f"{share:.0%}" for share in shares])
        axis.minorticks_off()
        axis.set_xlabel("share of labels")
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(arms), 6), fontsize=8)
    return figure


def _bars(axis: Any, points: Sequence[tuple[float, float, float, float]], colour: str, label: str) -> None:
    if not points:
        return
    x, mean, low, high = (np.array(column, dtype=np.float64) for column in zip(*points, strict=True))
    spread = np.nan_to_num(np.stack([mean - low, high - mean]))
    axis.errorbar(x, 100 * mean, 100 * spread.clip(0), color=colour, label=label, marker="o", markersize=4, capsize=3)
