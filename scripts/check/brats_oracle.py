"""Compares `brats.csv` with the official BraTS evaluations, case by case, on real and on made label maps.

The oracle is the PyPI package `brats-evaluation`, which is AGPL-3.0 and so stays in an environment of its own:

    python -m venv /tmp/oracle && /tmp/oracle/bin/pip install brats-evaluation==0.0.10
    python scripts/check/brats_oracle.py --venv /tmp/oracle --data ../shared/data

With `--scripts FOLDER` the organisers' scripts of 2023 or 2024 (github.com/rachitsaluja/BraTS-2023-Metrics, and
BraTS-2024-Metrics, which needs `medpy` too) are the oracle of `--lesions brats2023` and so on. `--golden FILE` keeps
their numbers for tests on machines without them. The exit code is 1 if something differs by more than 1e-6 that is not
explained in `KNOWN`.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from brats_cases import Case, made_cases, real_cases
from numpy.typing import NDArray

from swin_unetr.evaluation.run import evaluate
from transforms.geometry import Geometry
from transforms.io import write_labels

Table = Mapping[str, Mapping[str, float]]

TOLERANCE = 1e-6

#: Columns in which the official numbers are wrong: the scripts of 2024 use arrays of lesion numbers as masks there.
KNOWN = {rules: ("Sensitivity_", "Specificity_", "Hausdorff95_") for rules in ("brats2024", "brats2024-ssa")}


def main(argv: Sequence[str]) -> int:
    """Compare, and say where the two differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--venv", type=Path, default=os.environ.get("SWIN_UNETR_BRATS_ORACLE"))
    parser.add_argument("--data", type=Path, default=os.environ.get("SWIN_UNETR_TEST_DATA"), help="real labels")
    parser.add_argument("--lesions", default="brats2025", help="rules")
    parser.add_argument("--scripts", type=Path, help="folder of the organisers' scripts, for 2023 and 2024")
    parser.add_argument(
        "--files",
        action="store_true",
        help="give the package files rather than images; it reads their spacing in reverse, and ours is reversed too",
    )
    parser.add_argument(
        "--golden", type=Path, help="keep the official numbers in this file, under the name of the rules"
    )
    arguments = parser.parse_args(argv)
    if arguments.venv is None:
        parser.error("--venv: where is brats-evaluation installed?")
    cases = [*made_cases(), *(real_cases(arguments.data) if arguments.data is not None else ())]
    with tempfile.TemporaryDirectory() as folder:
        names = write_cases(cases, Path(folder))
        oracle = ("files" if arguments.files else "images") if arguments.scripts is None else arguments.lesions
        official = run_oracle(oracle, Path(folder), arguments.venv, arguments.scripts)
        if arguments.files:
            write_cases([case._replace(affine=reversed_spacing(case.affine)) for case in cases], Path(folder))
        ours = our_table(Path(folder), arguments.lesions)
    if arguments.golden is not None:
        keep(arguments.golden, arguments.lesions, {names[case]: row for case, row in official.items()})
    known = KNOWN.get(arguments.lesions, ())
    found = list(compare(official, ours))
    differences = [difference for difference in found if not difference[1].startswith(known)]
    for case, column, theirs, own in differences:
        print(f"{names[case]}: {column} is {own:g}, officially {theirs:g}")
    numbers = sum(map(len, official.values()))
    print(
        f"{arguments.lesions} ({oracle}): {len(official)} cases, {numbers} numbers, {len(differences)} differ, "
        f"{len(found) - len(differences)} as known"
    )
    return 1 if differences else 0


def write_cases(cases: Sequence[Case], folder: Path) -> dict[str, str]:
    """Write label files into `pred` and `ref`; returns the name of each case by its id."""
    names = {}
    for index, case in enumerate(cases):
        names[f"BraTS-GLI-{index:05d}-000"] = case.name
        geometry = Geometry(shape=case.reference.shape, affine=case.affine)
        for side, labels in (("pred", case.prediction), ("ref", case.reference)):
            (folder / side).mkdir(exist_ok=True)
            write_labels(folder / side / f"BraTS-GLI-{index:05d}-000.nii.gz", labels, like=geometry)
    return names


def reversed_spacing(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spacing as panoptica 2.1.7 reads it from a file: SimpleITK's x, y, z for an array of z, y, x."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    changed: NDArray[np.float64] = affine.copy()
    changed[:3, :3] *= spacing[::-1] / spacing
    return changed


def run_oracle(oracle: str, folder: Path, venv: Path, scripts: Path | None) -> Table:
    """The official numbers, by case and column."""
    runner, output = Path(__file__).with_name("brats_oracle_runner.py"), folder / "official.json"
    command = [str(venv.absolute() / "bin" / "python"), str(runner.absolute()), oracle, str(folder), str(output)]
    if scripts is not None:
        command.append(str(scripts.absolute()))
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    table: Table = json.loads(output.read_text())
    return table


def our_table(folder: Path, rules: str) -> Table:
    """`brats.csv` of the same files."""
    evaluate(folder / "pred", folder / "ref", task="brats2023", lesions=rules, output=folder / "report", pictures=0)
    with (folder / "report" / "brats.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    return {
        row[0]: {name: float(value) if value else math.nan for name, value in zip(rows[0][1:], row[1:], strict=True)}
        for row in rows[1:]
    }


def compare(official: Table, ours: Table) -> Iterator[tuple[str, str, float, float]]:
    """Case, column and both values of everything that differs."""
    for case, row in official.items():
        if list(row) != list(ours[case]):
            raise SystemExit(f"other columns: {sorted(set(row) ^ set(ours[case])) or 'in another order'}")
        for column, theirs in row.items():
            own = ours[case][column]
            same = theirs == own or (math.isnan(theirs) and math.isnan(own)) or abs(theirs - own) <= TOLERANCE
            if not same:
                yield case, column, theirs, own


def keep(path: Path, rules: str, table: Table) -> None:
    """Add the official numbers to the file of golden numbers."""
    golden = json.loads(path.read_text()) if path.exists() else {}
    golden[rules] = {
        "columns": list(next(iter(table.values()))),
        "cases": {
            case: [None if math.isnan(value) else float(f"{value:.10g}") for value in row.values()]
            for case, row in table.items()
        },
    }
    # A line per case, so that a diff shows a change.
    text = json.dumps(golden, separators=(",", ":")).replace("[", "\n[", 1).replace('],"', '],\n"') + "\n"
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
