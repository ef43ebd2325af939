"""Coverage of the 95 % intervals, and type-I error of the paired test, by simulation.

    python scripts/check/intervals.py [--samples 4000] [--seed 1] [--output check_intervals.json]

Samples are drawn from distributions with a known mean, and the script counts how often the interval of `evaluate` and
`compare` holds it. Scans of one patient are similar (their correlation is 0.7). From five patients on, 92 to 97 % are
required; the skewed values at the end are only reported, since no interval of few such values can be right. The test
compares two methods that do not differ; 4 to 6 % may be significant. For both, the script also reports, from an eighth
of the samples, the result of counting scans as patients, as in a study that does not know its patients. It takes about
two minutes.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm

from swin_unetr.evaluation.comparison.paired import signed_rank
from swin_unetr.evaluation.metrics import DICE
from swin_unetr.evaluation.scoring import ALPHA, DECIMALS, patient_means
from swin_unetr.evaluation.statistics import summarise

#: Share of the variance between patients if a patient has several scans.
ALIKE = 0.7
COVERAGE, TYPE_ONE = (0.92, 0.97), (0.04, 0.06)
#: Patients, scans of each.
SIZES = ((3, 1), (5, 1), (10, 1), (20, 1), (50, 1), (10, 5))

Samples = NDArray[np.float64]
Quantiles = Callable[[Samples], Samples]
Row = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A distribution of scores."""

    name: str
    #: Its quantile function.
    quantiles: Quantiles
    mean: float
    #: Whether its coverage has to be within `COVERAGE`; strongly skewed ones are only reported.
    asked: bool = True


KINDS = (
    Kind("normal", norm(0.8, 0.1).ppf, 0.8),
    Kind("Dice-like, beta(9, 2)", beta(9, 2).ppf, 9 / 11),
    Kind("strongly skewed, beta(9.5, 0.5)", beta(9.5, 0.5).ppf, 0.95, asked=False),
)


def main() -> int:
    """Simulate, print, write; 1 if something is outside the required range."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=4000, help="samples of every kind and size")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("check_intervals.json"))
    arguments = parser.parse_args()
    found = simulate(arguments.samples, arguments.seed)
    arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for row in found["coverage"]:
        alone = "" if row["scans"] == 1 else f"; scans taken for patients {row['by_scan']:.1%}"
        print(f"{row['kind']}, {row['patients']} x {row['scans']}: {row['coverage']:.1%}{alone}{_mark(row)}")
    for row in found["type_one"]:
        alone = "" if row["scans"] == 1 else f"; scans taken for patients {row['by_scan']:.1%}"
        print(f"paired test, {row['patients']} x {row['scans']}: {row['share']:.1%} significant{alone}{_mark(row)}")
    return int(not all(row["as_asked"] for row in (*found["coverage"], *found["type_one"])))


def _mark(row: Row) -> str:
    return "" if row["as_asked"] else "  <- outside the required range"


def simulate(samples: int, seed: int) -> dict[str, list[Row]]:
    """Coverage by kind and size, and type-I error by size."""
    coverage: list[Row] = []
    type_one: list[Row] = []
    for kind in KINDS:
        for patients, scans in SIZES:
            generator = np.random.default_rng([seed, patients, scans])
            drawn = draw(kind.quantiles, samples, patients, scans, generator)
            shares = [covered(drawn, kind.mean, by_scan=False), covered(drawn[::8], kind.mean, by_scan=True)]
            inside = COVERAGE[0] <= shares[0] <= COVERAGE[1]
            coverage.append(
                {"kind": kind.name, "patients": patients, "scans": scans, "coverage": shares[0], "by_scan": shares[1],
                 "as_asked": inside or patients < 5 or not kind.asked}
            )  # fmt: skip
    for patients, scans in ((10, 5), (20, 3), (40, 2), (20, 1)):
        generator = np.random.default_rng([seed, patients, scans])
        one, two = (draw(KINDS[1].quantiles, samples, patients, scans, generator) for _ in range(2))
        shares = [significant(one, two, by_scan=False), significant(one[::8], two[::8], by_scan=True)]
        inside = TYPE_ONE[0] <= shares[0] <= TYPE_ONE[1]
        type_one.append(
            {"patients": patients, "scans": scans, "share": shares[0], "by_scan": shares[1], "as_asked": inside}
        )
    return {"coverage": coverage, "type_one": type_one}


def draw(quantiles: Quantiles, samples: int, patients: int, scans: int, generator: np.random.Generator) -> Samples:
    """Values of a distribution, samples x patients x scans; those of one patient are similar."""
    own = generator.standard_normal((samples, patients, 1))
    if scans == 1:
        return quantiles(norm.cdf(own))
    rest = generator.standard_normal((samples, patients, scans))
    return quantiles(norm.cdf(math.sqrt(ALIKE) * own + math.sqrt(1 - ALIKE) * rest))


def covered(drawn: Samples, mean: float, *, by_scan: bool) -> float:
    """Share of the samples whose interval, by `evaluate` over the cases of the sample, holds the mean."""
    held = 0
    for sample in drawn:
        patients, scans = sample.shape
        values = {f"{patient}_{scan}": float(sample[patient, scan]) for patient, scan in np.ndindex(patients, scans)}
        known = {} if by_scan else {case: case.split("_")[0] for case in values}
        summary = summarise(values, structure="s", metric=DICE, failed=(), patients=known)
        held += summary.ci_low <= mean <= summary.ci_high
    return held / len(drawn)


def significant(one: Samples, two: Samples, *, by_scan: bool) -> float:
    """Share of the samples in which the test of `compare` gives p < 0.05."""
    patients, scans = one.shape[1:]
    unit = np.arange(patients * scans) if by_scan else np.repeat(np.arange(patients), scans)
    delta = patient_means((one - two).reshape(len(one), -1).T, unit).T
    return float(np.mean([signed_rank(np.round(of, DECIMALS)).two_sided < ALPHA for of in delta]))


if __name__ == "__main__":
    raise SystemExit(main())
