"""How sure the results of a batch are: calibrations of its models, the decision on each case, and their table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from swin_unetr.batch import BatchReport
from swin_unetr.files import write_text
from swin_unetr.inference.engine.method import short_hash, windows_key
from swin_unetr.inference.engine.models import Ensemble
from swin_unetr.provenance import command
from swin_unetr.trust.calibration import Calibration, load_calibration
from swin_unetr.trust.decision import Trust, decide, triage_order, trust_from
from swin_unetr.trust.signals import CaseSignals

TRIAGE = "triage.csv"
#: Decisions from which on a batch fails.
FailOn = Literal["review", "reject"]
_COLUMNS = ("case", "decision", "predicted_dice", "lowest_bound", "alarm", "reasons")
#: Rows that are printed.
_SHOWN = 20


@dataclass
class PredictionReport(BatchReport):
    """The outcome of a prediction."""

    #: How sure the result of each case is, if that was asked for.
    trust: dict[str, Trust] = field(default_factory=dict)


@dataclass(frozen=True)
class Judge:
    """Decides on cases by the calibrations in the models' folders; see `decide`."""

    calibrations: tuple[Calibration | None, ...]
    #: What every case is given as a reason that decides nothing.
    notes: tuple[str, ...] = ()

    @property
    def is_calibrated(self) -> bool:
        """Whether any model is."""
        return any(each is not None for each in self.calibrations)

    @property
    def temperature(self) -> float:
        """Of the first model that is calibrated."""
        return next((each.temperature for each in self.calibrations if each is not None), 1.0)

    @property
    def key(self) -> str:
        """Changes with the calibrations."""
        return short_hash([None if each is None else [each.weights, each.made] for each in self.calibrations])

    def __call__(self, signals: CaseSignals, odd: Sequence[str]) -> Trust:
        """The trust in the result of a case; `odd` says how its scan differs in kind from those of training."""
        return decide(signals, self.calibrations, odd, self.notes)


def find_calibrations(ensemble: Ensemble) -> tuple[Judge, list[str]]:
    """The calibrations in the models' folders, and what to say about them.

    One of other weights is left out: the model was trained again.

    Raises:
        CheckpointError: one is damaged.
    """
    found: list[Calibration | None] = []
    notes, of_cases = [], []
    for member in ensemble.members:
        calibration = None if member.folder is None else load_calibration(member.folder)
        if calibration is not None and calibration.weights != member.weights:
            notes.append(f"{member.folder}: its calibration is of other weights and is left out; calibrate it again")
            calibration = None
        if calibration is not None and calibration.windows != windows_key(member.inference):
            of_cases = ["calibrated with other windows or mirroring, so that the predicted Dice may be off"]
        found.append(calibration)
    return Judge(tuple(found), tuple(of_cases)), notes


def trusts_in(output: Path, key: str) -> dict[str, Trust]:
    """The trust in every result in a folder that was judged by the calibrations with this key, by case."""
    found = {}
    for path in sorted(output.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record.get("judged_by") == key:
                found[str(record["case"])] = trust_from(record["trust"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue  # no record of ours
    return found


def write_triage(output: Path, rows: Mapping[str, Trust]) -> None:
    """Write `triage.csv`: a line for each case of the folder, the worst first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for case in triage_order(rows):
        of = rows[case]
        values = (of.predicted_dice, lowest_bound(of), of.alarm)
        numbers = ["" if value is None else f"{value:.4f}" for value in values]
        writer.writerow([case, of.decision or "", *numbers, "; ".join(of.reasons)])
    write_text(output / TRIAGE, text.getvalue())


def is_triage(path: Path) -> bool:
    """Whether `predict` wrote a file."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().strip() == ",".join(_COLUMNS)
    except (OSError, UnicodeDecodeError):
        return False


def lowest_bound(of: Trust) -> float | None:
    """The lowest bound of a structure's Dice."""
    bounds = [structure.dice_bound for structure in of.structures.values() if structure.dice_bound is not None]
    return min(bounds) if bounds else None


def table(rows: Mapping[str, Trust]) -> list[str]:
    """The lines that are printed at the end: the worst cases, and how many there are of each decision."""
    order = triage_order(rows)
    width = max([len("case"), *(len(case) for case in order[:_SHOWN])])
    lines = [f"{'case':<{width}}  decision  Dice  bound  reasons"]
    for case in order[:_SHOWN]:
        of = rows[case]
        dice, bound = (" –  " if value is None else f"{value:.2f}" for value in (of.predicted_dice, lowest_bound(of)))
        lines.append(f"{case:<{width}}  {of.decision or '–':<8}  {dice}  {bound:<5}  {'; '.join(of.reasons)}".rstrip())
    if len(order) > _SHOWN:
        lines.append(f"{len(order) - _SHOWN} more in {TRIAGE}")
    counts = {name: sum(of.decision == name for of in rows.values()) for name in ("reject", "review", "accept")}
    lines.append(", ".join(f"{number} {name}" for name, number in counts.items()))
    return lines


def fails(rows: Mapping[str, Trust], fail_on: FailOn | None) -> bool:
    """Whether a case has a decision on which the command is to fail; one without a decision is to be reviewed."""
    flagged = {"review": ("review", "reject"), "reject": ("reject",), None: ()}[fail_on]
    return any((of.decision or "review") in flagged for of in rows.values())


def how_to_calibrate(ensemble: Ensemble) -> str:
    """What to do to get decisions."""
    folder = ensemble.members[0].folder
    run = "RUN" if folder is None else folder.parent if folder.name in ("best", "last") else folder
    return f"no calibration in the model's folder, so no decisions; make one: {command(['calibrate', run])}"
