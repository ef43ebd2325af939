"""Defects of files and of the list of cases: what is missing, doubled, unreadable or left over."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from swin_unetr.datasets.case import Dataset
from swin_unetr.datasets.faults import ChannelMissingError, DoubledIdError, LabelledError
from swin_unetr.datasets.listing import image_suffix
from swin_unetr.doctor.findings import Finding
from swin_unetr.errors import DataError
from swin_unetr.files import real_path
from swin_unetr.survey.facts import CaseFacts, FileFacts, Survey
from swin_unetr.words import count

#: Labelled cases that a cross-validation with five folds needs.
_FEWEST_CASES = 5
#: Codes of the faults of a list.
_CODES: dict[type[DataError], str] = {
    ChannelMissingError: "channel-missing",
    DoubledIdError: "duplicate-id",
    LabelledError: "labelled-wrong",
}
#: Folders whose files belong to no training case.
_TEST_FOLDERS = frozenset({"imagests", "labelsts", "derivatives"})


def listing_findings(faults: Iterable[DataError], root: Path) -> Iterator[Finding]:
    """The faults that kept single cases from being listed."""
    for fault in faults:
        place, _, words = str(fault).partition(": ")
        yield Finding(
            _CODES.get(type(fault), "layout"), words.partition("; ")[0], Path(place) if Path(place) != root else None
        )


def file_findings(survey: Survey, dataset: Dataset, named: Iterable[Path | None] = ()) -> Iterator[Finding]:
    """Files that could not be read, cases that lack something, files of no case, and voxels that occur twice.

    Args:
        survey: what the files hold.
        dataset: the cases as listed.
        named: files that another finding names as belonging to no case.
    """
    for case in survey.cases:
        for problem in case.problems:
            yield Finding(problem.code, problem.words, problem.path, case.id)
        yield from _channels(case, survey)
    unlabelled = [case for case in dataset.cases if case.label is None]
    if len(unlabelled) < len(dataset.cases):
        for missing in unlabelled:
            yield Finding("label-missing", "the other cases have labels", missing.images[0], missing.id)
        labelled = len(dataset.cases) - len(unlabelled)
        if labelled < _FEWEST_CASES:
            yield Finding("few-cases", count(labelled, "labelled case"))
    yield from _unused(dataset, named)
    images = [(case, image) for case in survey.cases for image in case.images]
    labels = [(case, case.label) for case in survey.cases if case.label is not None and case.label.values]
    yield from _twice(images, "duplicate")
    yield from _twice(labels, "duplicate-label")


def _channels(case: CaseFacts, survey: Survey) -> Iterator[Finding]:
    """Too few or too many channels, for a case of which every file was read."""
    if not case.usable:
        return
    stacked = [image for image in case.images if image.channels > 1] if len(case.images) > 1 else []
    for image in stacked:
        yield Finding("wrong-dimensions", f"{image.channels} channels in one file", image.path, case.id)
    wanted = len(survey.task.channels) if survey.task is not None else _usual(survey)
    held = len(case.channels)
    if held != wanted and not stacked:
        code = "wrong-dimensions" if wanted == 1 else "channels-wrong"
        words = f"{held} channels where {wanted} {'is' if wanted == 1 else 'are'} wanted"
        yield Finding(code, words, case.images[0].path, case.id)


def _usual(survey: Survey) -> int:
    """The most frequent number of channels."""
    counts = [len(case.channels) for case in survey.cases if case.usable]
    return max(sorted(set(counts)), key=counts.count, default=1)


def _unused(dataset: Dataset, named: Iterable[Path | None]) -> Iterator[Finding]:
    if not dataset.root.is_dir():
        return
    files = (path for case in dataset.cases for path in (*case.images, *([case.label] if case.label else [])))
    used = {real_path(path) for path in files}
    folders = {path.parent for path in used}
    used |= {real_path(path) for path in named if path is not None}
    elsewhere: Counter[Path] = Counter()
    for path in sorted(dataset.root.rglob("*")):
        above = path.relative_to(dataset.root).parts[:-1]
        other = any(part.lower() in _TEST_FOLDERS or part.startswith(".") for part in above)
        if not image_suffix(path) or other:
            continue
        place = real_path(path)
        if path.is_symlink() and not path.exists():
            if place not in used:
                yield Finding("broken-link", f"leads to {os.readlink(path)}", path)
            continue
        if not path.is_file() or place in used:
            continue
        if place.parent in folders:
            yield Finding("unused-file", "lies beside the others and is in no case", path)
        elif place.parent not in used:
            elsewhere[path.parent] += 1
    for folder, images in elsewhere.items():
        yield Finding("unused-folder", f"{count(images, 'image')}, none of them in a case", folder)


def _twice(files: Iterable[tuple[CaseFacts, FileFacts]], code: str) -> Iterator[Finding]:
    """Files of different cases with the same voxels."""
    seen: dict[str, tuple[CaseFacts, FileFacts]] = {}
    for case, file in files:
        first = seen.setdefault(file.voxels_hash, (case, file))
        if first[0].id != case.id:
            yield Finding(code, f"the same voxels as {first[1].path.name} of case {first[0].id}", file.path, case.id)
