"""A diagnosis: what a data set holds, what is wrong with it, and what training would ask of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from finetune.trial import TrainingNeeds
from swin_unetr.config_io import to_dict
from swin_unetr.datasets import read_sound_cases
from swin_unetr.datasets.case import Dataset
from swin_unetr.datasets.faults import DoubledIdError
from swin_unetr.datasets.listing import stem
from swin_unetr.doctor.files import file_findings, listing_findings
from swin_unetr.doctor.findings import Finding
from swin_unetr.doctor.geometry import geometry_findings
from swin_unetr.doctor.intensities import intensity_findings, scale_notes
from swin_unetr.doctor.labels import label_findings
from swin_unetr.provenance import written_by
from swin_unetr.survey.facts import Survey
from swin_unetr.survey.run import survey

#: Version of the form of the JSON.
FORMAT = 1
#: Findings, with those of the same case that follow from them: the latter are left out.
_CAUSES = {
    "label-as-image": {"channels-swapped", "not-hounsfield", "intensity-outlier", "constant", "label-outside-body"},
    "label-not-map": {"geometry-differs"},
    "constant": {"intensity-outlier", "not-hounsfield", "channels-swapped"},
    "channels-same": {"channels-swapped"},
    "not-hounsfield": {"intensity-outlier"},
    "one-slice": {"size-outlier", "spacing-outlier", "label-volume"},
    "sheared": {"forms-disagree"},  # a qform cannot hold shear
    "spacing-impossible": {"spacing-outlier", "size-outlier", "label-volume", "forms-disagree"},
    "spacing-extreme": {"spacing-outlier", "size-outlier", "label-volume"},
    "spacing-outlier": {"size-outlier", "label-volume"},
    "geometry-differs": {"sides-swapped"},
    "no-orientation": {"sides-swapped"},
    "label-flipped": {"sides-swapped"},
    "label-full": {"label-volume", "label-outside-body"},
}


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found.

    Attributes:
        dataset: the cases as listed.
        survey: facts of their files.
        findings: defects, errors first, then by code and file.
        machine: what is here and what training needs. If None, no training is checked.
    """

    dataset: Dataset
    survey: Survey
    findings: tuple[Finding, ...]
    machine: TrainingNeeds | None = None

    @property
    def errors(self) -> int:
        """Number of findings with which training would fail, or learn something wrong."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """Number of findings that are worth a look."""
        return len(self.findings) - self.errors

    @property
    def exit_code(self) -> int:
        """1 with errors, 0 without."""
        return 1 if self.errors else 0

    def on(self, machine: TrainingNeeds, findings: Iterable[Finding]) -> Diagnosis:
        """The same diagnosis, with the findings on a machine for a training."""
        return replace(self, machine=machine, findings=sorted_findings([*self.findings, *findings]))

    def to_json(self) -> dict[str, Any]:
        """For diagnosis.json; the survey has a file of its own."""
        task = self.survey.task
        return {
            "format": FORMAT,
            "provenance": written_by(),
            "root": str(self.survey.root),
            "layout": self.survey.layout,
            "notes": list(self.dataset.notes),
            "task": None if task is None else to_dict(task),
            "cases": len(self.survey.cases),
            "labelled": {case: list(names) for case, names in self.survey.labelled.items()},
            "errors": self.errors,
            "warnings": self.warnings,
            "seconds": self.survey.seconds,
            "findings": [
                {
                    **{"code": of.code, "severity": of.severity, "case": of.case},
                    **{"file": None if of.file is None else str(of.file)},
                    **{"title": of.title, "words": of.words, "remedy": of.remedy},
                }
                for of in self.findings
            ],
            "machine": None if self.machine is None else asdict(self.machine),
        }


def diagnose(
    data: Path,
    *,
    layout: str = "auto",
    workers: int = 0,
    tolerance_mm: float,
    known: Survey | None = None,
    on_case: Callable[[int, int], None] | None = None,
) -> Diagnosis:
    """Read a data set and say what is wrong with it.

    Args:
        data: its folder, or a file that lists it.
        layout: of the folder.
        workers: processes; 0 for as many as cores and memory allow.
        tolerance_mm: largest distance between corners of grids that count as one.
        known: an earlier survey; what has not changed is not read again.
        on_case: called with the number of cases done and of all.

    Raises:
        DataError: not one case can be listed.
    """
    dataset, faults = read_sound_cases(data, layout=layout, with_test=False)
    found = survey(dataset, workers=workers, known=known, on_case=on_case)
    listed = list(listing_findings(faults, dataset.root))
    doubled = {fault.case for fault in faults if isinstance(fault, DoubledIdError)}
    doubled |= {stem(finding.file) for finding in listed if finding.code == "duplicate-id" and finding.file is not None}
    findings = [
        *listed,
        *(
            finding
            for finding in file_findings(found, dataset, [of.file for of in listed])
            if finding.code != "unused-file" or finding.file is None or stem(finding.file) not in doubled
        ),
        *geometry_findings(found, tolerance_mm),
        *intensity_findings(found),
        *label_findings(found),
    ]
    noted = replace(dataset, task=found.task, notes=(*dataset.notes, *scale_notes(found)))
    return Diagnosis(noted, found, sorted_findings(without_consequences(findings)))


def sorted_findings(findings: list[Finding]) -> tuple[Finding, ...]:
    """Errors first, then by code, case and file."""
    return tuple(sorted(findings, key=lambda of: (of.severity != "error", of.code, of.case or "", str(of.file or ""))))


def without_consequences(findings: list[Finding]) -> list[Finding]:
    """The findings without those that follow from another finding of the same case."""
    codes: dict[str | None, set[str]] = {}
    for finding in findings:
        codes.setdefault(finding.case, set()).add(finding.code)
    explained = {
        case: set().union(*(_CAUSES.get(code, set()) for code in of)) for case, of in codes.items() if case is not None
    }
    return [finding for finding in findings if finding.code not in explained.get(finding.case or "", set())]
