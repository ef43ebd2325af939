"""Checks the numbers of a comparison by hand: from the CSV files of evaluate, with numpy and scipy alone.

    python scripts/check/comparison.py comparison report_a report_b [report_c ...]
    python scripts/check/comparison.py --healthy FOLDER

`comparison` is what `swin-unetr compare` wrote; the reports are those of `swin-unetr evaluate` for the same methods, in
the order of the comparison, with the same cases and policies. No code of this project computes the numbers. Mean and
median differences, wins, ties, p-values, Holm's corrections, mean ranks and places are compared, to 1e-12, and so are
the intervals of fewer than 30 patients, which are Student's. Wilcoxon's test is scipy's if scipy is exact (no ties, no
zeros) or asymptotic (above 50); if there are ties or zeros among 50 or fewer, its distribution is counted here with
Python's integers. Intervals of 30 patients or more are compared with scipy's bootstrap, which has other resamples: the
difference of the ends is given as a share of the width.

`--healthy` makes 20 cases with a tumour, in which B is better by 0.004 in Dice, and 80 without, in all of which B
invents one. It evaluates and compares A and B with the commands, and checks the numbers as above, and that A is first
in every ranking and better in every table.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, rankdata, ttest_1samp, wilcoxon

MEAN = "mean of structures"
LOWER_IS_BETTER = ("_mm", "_ml")

Column = dict[str, float]
Table = dict[tuple[str, str], Column]
#: Patient by case; a case whose patient is not known counts as a patient.
Patients = dict[str, tuple[str, str]]


def main() -> int:
    """Compare, and print the result; 1 if a number differs, or if A is not first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--healthy", type=Path, metavar="FOLDER", help="make and check healthy cases in this new folder"
    )
    parser.add_argument("comparison", type=Path, nargs="?")
    parser.add_argument("reports", type=Path, nargs="*")
    arguments = parser.parse_args()
    if arguments.healthy is not None:
        comparison, reports = make_healthy(arguments.healthy)
        return max(check_numbers(comparison, reports), check_first(comparison))
    if arguments.comparison is None or len(arguments.reports) < 2:
        parser.error("a comparison and two or more reports are needed, or --healthy")
    return check_numbers(arguments.comparison, arguments.reports)


def make_healthy(folder: Path, with_tumour: int = 20, without: int = 80) -> tuple[Path, list[Path]]:
    """Label files of A, B and the reference, a comparison and two reports of them."""
    for index in range(with_tumour + without):
        reference = np.zeros((14, 14, 14), np.uint8)
        masks = {"ref": reference, "A": reference.copy(), "B": reference.copy()}
        if index < with_tumour:
            for name, missed in (("ref", 0), ("A", 50), ("B", 42)):  # Dice 1900/1950 and 1916/1958
                masks[name][2:12, 2:12, 2:12] = 1
                masks[name][2:12, 2:12, 11].flat[:missed] = 0
        else:
            masks["B"][6:8, 6:8, 6 : 7 + index % 3] = 1
        for name, mask in masks.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(mask, np.eye(4)), folder / name / f"case{index:03}.nii.gz")
    words = ["--labels", "tumour=1", "--metrics", "dice", "hd95_mm", "nsd", "--empty-distance", "inf"]
    reports = [folder / f"report_{name}" for name in "AB"]
    for name, report in zip("AB", reports, strict=True):
        paths = [str(folder / name), str(folder / "ref"), "--output", str(report)]
        swin_unetr("evaluate", *paths, "--pictures", "0", *words)
    swin_unetr("compare", *map(str, reports), "--names", "A", "B", "--output", str(folder / "comparison"))
    return folder / "comparison", reports


def swin_unetr(*words: str) -> None:
    """Run a command of the product."""
    subprocess.run([sys.executable, "-m", "swin_unetr", *words], check=True, stdout=subprocess.DEVNULL)


def check_first(comparison: Path) -> int:
    """0 if A alone is first in every ranking, and better by wins, median and test in every metric; else 1."""
    found = json.loads((comparison / "compare.json").read_text(encoding="utf-8"))
    wrong = []
    for ranking in found["rankings"]:
        first = [place["method"] for place in ranking["places"] if place["place"] == 1]
        stable = ranking["places"][0]["stability"]
        print(
            f"  {ranking['scheme']}: first {', '.join(first)}", f"in {stable[0]:.1%} of the resamples" if stable else ""
        )
        wrong += [ranking["scheme"]] if first != ["A"] else []
    for item in found["differences"]:
        sign = -1 if item["metric"].endswith(LOWER_IS_BETTER) else 1
        mean, median = (float(item[key]) for key in ("mean", "median"))
        wins, lost = (item["first_wins"], item["second_wins"]), (item["first_infinite"], item["second_infinite"])
        ahead = sign * mean > 0 or lost[1] > item["patients"] / 2 > lost[0]
        print(
            f"  {item['metric']}: mean {mean:+.4f} (B infinite in {lost[1]}), median {median:+.4f}, "
            f"A better in {wins[0]}, B in {wins[1]}, p {item['p']:.1e}"
        )
        wrong += [] if ahead and wins[0] > wins[1] and sign * median > 0 and item["p"] < 0.05 else [item["metric"]]
    print(f"A is not first: {', '.join(wrong)}" if wrong else "A is first in every ranking and ahead in every table")
    return int(bool(wrong))


def check_numbers(comparison: Path, reports: list[Path]) -> int:
    """Compute every number again; 1 if one differs."""
    found = json.loads((comparison / "compare.json").read_text(encoding="utf-8"))
    patients: Patients = {}
    tables = {name: read(report, patients) for name, report in zip(found["methods"], reports, strict=True)}
    worst: dict[str, float] = {}

    def check(what: str, ours: float | str | None, by_hand: float) -> None:
        given = math.nan if ours is None else float(ours)
        same = given == by_hand or (math.isnan(given) and math.isnan(by_hand))
        worst[what] = max(worst.get(what, 0.0), 0.0 if same else abs(given - by_hand))

    families: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    scipys, widths = 0, []
    for item in found["differences"]:
        both = [tables[item[side]] for side in ("first", "second")]
        by_case = case_differences(both, item["metric"], item["structure"])
        delta = np.array(by_patient(by_case, patients))
        finite, rounded = delta[np.isfinite(delta)], np.round(delta, 9)
        gain = -rounded if item["metric"].endswith(LOWER_IS_BETTER) else rounded
        check("pairs", item["pairs"], len(by_case))
        check("patients", item["patients"], delta.size)
        check("mean difference", item["mean"], float(np.mean(finite)) if finite.size else math.nan)
        check("median", item["median"], float(np.median(delta)) if delta.size else math.nan)
        check("wins of the first", item["first_wins"], int((gain > 0).sum()))
        check("wins of the second", item["second_wins"], int((gain < 0).sum()))
        check("ties", item["ties"], int((gain == 0).sum()))
        check("infinite, first", item["first_infinite"], int((gain == -math.inf).sum()))
        check("infinite, second", item["second_infinite"], int((gain == math.inf).sum()))
        p_value, by_scipy = two_sided(rounded)
        scipys += by_scipy
        check("Wilcoxon p", item["p"], p_value)
        families.setdefault((item["metric"], item["structure"] == MEAN), []).append((item["p_holm"], p_value))
        if finite.size < 2 or np.ptp(finite) <= 1e-12:
            continue
        bound = math.inf if item["metric"].endswith(LOWER_IS_BETTER) or item["metric"].startswith("lesions_") else 1.0
        if finite.size < 30:
            low, high = np.clip(ttest_1samp(finite, 0).confidence_interval(0.95), -bound, bound)
            check("ends of Student's interval", item["ci_low"], low)
            check("ends of Student's interval", item["ci_high"], high)
        else:
            options = {"n_resamples": 50000, "batch": 1000, "method": "BCa", "rng": 1}
            interval = bootstrap((finite,), np.mean, **options).confidence_interval
            width = interval.high - interval.low
            widths += [abs(item["ci_low"] - interval.low) / width, abs(item["ci_high"] - interval.high) / width]
    for family in families.values():
        for (ours, _), by_hand in zip(family, holm([p for _, p in family]), strict=True):
            check("Holm p", ours, by_hand)
    ranked = ranks_in_cases(tables, found, patients), ranks_of_means(tables, found, patients)
    for ranking, ranks in zip(found["rankings"], ranked, strict=False):
        for place in ranking["places"]:
            check(f"mean rank, {ranking['scheme']}", place["mean_rank"], ranks[place["method"]])
            better = sum(round(rank, 9) < round(ranks[place["method"]], 9) for rank in ranks.values())
            check(f"place, {ranking['scheme']}", place["place"], 1 + better)
    print(f"{len(found['methods'])} methods, {len(found['differences'])} differences; p by scipy itself: {scipys}")
    for what, size in worst.items():
        print(f"  {what}: largest difference {size:.1e}")
    if widths:
        print(f"  ends of the intervals against scipy's BCa bootstrap: {max(widths):.1%} of the width at most")
    return int(max(worst.values()) > 1e-12)


def read(report: Path, patients: Patients) -> Table:
    """Values by case of every metric and structure, without failed cases; and the patient of every case."""
    table: Table = {}
    with (report / "results.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            patients[row["case"]] = ("patient", row["patient"]) if row["patient"] else ("case", row["case"])
            if row["status"] != "failed":
                table.setdefault((row["metric"], row["structure"]), {})[row["case"]] = float(row["value"] or "nan")
    return table


def right(metric: str) -> float:
    """The value of a correct rejection."""
    return 0.0 if metric.endswith(LOWER_IS_BETTER) else 1.0


def case_differences(tables: list[Table], metric: str, structure: str) -> Column:
    """First minus second for every case that both have, if at least one has a value; or the mean over structures."""
    names = [name for of, name in tables[0] if of == metric] if structure == MEAN else [structure]
    differences: dict[str, list[float]] = {}
    for name in names:
        first, second = (table[metric, name] for table in tables)
        for case in first.keys() & second.keys():
            values = [first[case], second[case]]
            if not all(map(math.isnan, values)):
                one, two = (right(metric) if math.isnan(value) else value for value in values)
                differences.setdefault(case, []).append(0.0 if one == two else one - two)
    return {case: combined(of) for case, of in sorted(differences.items())}


def combined(values: list[float]) -> float:
    """The mean of the finite values; infinite if more of them are infinite on one side than on the other."""
    more = values.count(math.inf) - values.count(-math.inf)
    finite = [value for value in values if math.isfinite(value)]
    return more * math.inf if more else float(np.mean(finite)) if finite else 0.0


def by_patient(values: Column, patients: Patients) -> list[float]:
    """One value for every patient."""
    of: dict[tuple[str, str], list[float]] = {}
    for case, value in values.items():
        of.setdefault(patients[case], []).append(value)
    return [combined(own) for own in of.values()]


def two_sided(delta: NDArray[np.float64]) -> tuple[float, bool]:
    """P of Wilcoxon's test, and whether scipy gave it."""
    if not delta.size:
        return math.nan, False
    moved = delta[delta != 0]
    if not moved.size:
        return 1.0, False
    if moved.size > 50:
        return float(wilcoxon(moved, method="asymptotic", correction=False).pvalue), True
    if len(set(np.abs(moved))) == moved.size:
        return float(wilcoxon(moved, method="exact").pvalue), True
    doubled = [round(2 * rank) for rank in rankdata(np.abs(moved))]
    ways = Counter({0: 1})
    for rank in doubled:
        ways += Counter({total + rank: number for total, number in ways.items()})
    seen = sum(rank for rank, value in zip(doubled, moved, strict=True) if value > 0)
    below = sum(number for total, number in ways.items() if total <= seen)
    above = sum(number for total, number in ways.items() if total >= seen)
    return float(min(Fraction(1), Fraction(2 * min(below, above), 2**moved.size))), False


def holm(p_values: list[float]) -> list[float]:
    """For each p-value, the largest over all that are not larger, each times the number of those not smaller."""
    known = [p for p in p_values if not math.isnan(p)]
    factor = {p: [len(known) - rank for rank, q in enumerate(sorted(known)) if q == p] for p in known}
    return [math.nan if math.isnan(p) else min(1.0, max(q * max(factor[q]) for q in known if q <= p)) for p in p_values]


def ranks_in_cases(tables: dict[str, Table], found: dict[str, list[str]], patients: Patients) -> dict[str, float]:
    """1 + the number of better methods + half the number of equal ones; the mean over cells, cases, patients."""
    ranks: dict[str, dict[str, list[float]]] = {name: {} for name in tables}
    for metric, structure, case in product(found):
        values = {name: table[metric, structure].get(case) for name, table in tables.items()}
        if all(value is not None and math.isnan(value) for value in values.values()):
            continue
        costs = {name: cost(value, metric) for name, value in values.items()}
        for name, own in costs.items():
            better = sum(other < own for other in costs.values())
            equal = sum(other == own for other in costs.values()) - 1
            ranks[name].setdefault(case, []).append(1 + better + equal / 2)
    of_cases = {name: {case: float(np.mean(cells)) for case, cells in of.items()} for name, of in ranks.items()}
    return {name: float(np.mean(by_patient(of, patients))) for name, of in of_cases.items()}


def product(found: dict[str, list[str]]) -> list[tuple[str, str, str]]:
    """All combinations of a metric of the ranking, a structure and a ranked case."""
    return [(m, s, c) for m in found["ranked_by"] for s in found["structures"] for c in found["ranked"]]


def cost(value: float | None, metric: str) -> tuple[int, float]:
    """Smaller is better. A missing case is the worst; no value, if another method has one, is a correct rejection."""
    if value is None:
        return (2, 0.0)
    value = right(metric) if math.isnan(value) else value
    return (1, round(value if metric.endswith(LOWER_IS_BETTER) else -value, 9))


def ranks_of_means(tables: dict[str, Table], found: dict[str, list[str]], patients: Patients) -> dict[str, float]:
    """Mean over structures and metrics of the ranks of the means over patients; infinite values count before them."""
    ranks: dict[str, list[float]] = {name: [] for name in tables}
    for metric in found["ranked_by"]:
        lost = math.inf if metric.endswith(LOWER_IS_BETTER) else 0.0
        for structure in found["structures"]:
            columns = {name: [table[metric, structure].get(case, lost) for case in found["ranked"]] for name, table in
                       tables.items()}  # fmt: skip
            said = [i for i in range(len(found["ranked"])) if not all(math.isnan(of[i]) for of in columns.values())]
            if not said:
                continue
            means = {}
            for name, of in columns.items():
                values = {found["ranked"][i]: right(metric) if math.isnan(of[i]) else of[i] for i in said}
                share = float(np.mean(by_patient({case: float(math.isinf(v)) for case, v in values.items()}, patients)))
                finite = {case: value for case, value in values.items() if math.isfinite(value)}
                means[name] = (
                    round(share, 9),
                    cost(float(np.mean(by_patient(finite, patients))) if finite else 0.0, metric),
                )
            for one, other in combinations(means, 2):
                ranks[one].append(float(means[one] > means[other]) + (means[one] == means[other]) / 2)
                ranks[other].append(float(means[other] > means[one]) + (means[one] == means[other]) / 2)
    cells = sum(map(len, ranks.values())) / len(ranks) / (len(ranks) - 1)
    return {name: 1 + math.fsum(of) / cells for name, of in ranks.items()}


if __name__ == "__main__":
    raise SystemExit(main())
