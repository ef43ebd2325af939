"""Defects of the labels: values, volumes, place and side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from swin_unetr.doctor.findings import Finding
from swin_unetr.survey.facts import Alignment, CaseFacts, LabelFacts, Survey
from swin_unetr.words import count

#: Mirrored labels fit the image better than labels as they are by this much (`survey.fit`). Real labels fit better
#: by 0.4 (hippocampi, the least of 208) to 3.9 (phantoms); mirrored ones lie as far on the other side of 0.
_MIRRORED = 0.25
#: Share of a label in the air.
_IN_AIR = 0.5
#: A structure's volume is unlike the others' by this factor, and by this many robust deviations (of the logarithm).
_VOLUME_FACTOR, _VOLUME_DEVIATIONS = 10.0, 8.0
_FEWEST_OTHERS = 4
#: A structure that lies this far from the middle of the body in nearly all cases has a side, mm.
_ASIDE_MM = 15.0
_ON_ONE_SIDE = 0.9
_AXES = ("left and right", "front and back", "top and bottom")


def label_findings(survey: Survey) -> Iterator[Finding]:
    """All that is wrong with labels."""
    for case in survey.cases:
        if case.label is not None:
            yield from _values(case, case.label, survey)
            if case.fit is not None:
                yield from _place(case, case.label, case.fit)
    yield from _volumes(survey)
    yield from _sides(survey)
    if survey.task is not None and any(case.label for case in survey.cases):
        found = {of.value for case in survey.cases if case.label for of in case.label.values}
        for target in survey.task.targets:
            if not found & set(target.labels):
                yield Finding(
                    "class-absent", f"{target.name} ({', '.join(map(str, target.labels))}) is in no label file"
                )


def _values(case: CaseFacts, label: LabelFacts, survey: Survey) -> Iterator[Finding]:
    def finding(code: str, words: str) -> Finding:
        return Finding(code, words, label.path, case.id)

    quoted = ", ".join(f"{value:g}" for value in label.odd_values)
    if not label.is_label_map:
        yield finding("label-not-map", f"too many different values{f', such as {quoted}' if quoted else ''}")
        return
    for code, number, what in (
        ("label-not-finite", label.not_finite, "NaN or infinite"),
        ("label-not-integer", label.not_integer, f"no whole number, such as {quoted}"),
        ("label-negative", label.negative, f"below 0: {quoted}"),
    ):
        if number:
            yield finding(code, f"{number:,} of {math.prod(label.shape):,} voxels: {what}")
    if survey.task is not None and (unknown := [of for of in label.values if of.value not in survey.task.known_labels]):
        listed = ", ".join(f"{of.value} ({count(of.voxels, 'voxel')})" for of in unknown[:5])
        yield finding("label-unknown", f"{listed}; the task knows {sorted(survey.task.known_labels)}")
    if hidden := ", ".join(_not_looked_for(case, label, survey)):
        yield finding("label-not-looked-for", f"{hidden}: not among what was looked for in this case")
    if not label.values and not label.not_integer:
        yield finding("label-empty", "no voxel is labelled")
    elif not label.background_voxels:
        yield finding("label-full", f"values {', '.join(str(of.value) for of in label.values[:5])} and no 0")


def _not_looked_for(case: CaseFacts, label: LabelFacts, survey: Survey) -> Iterator[str]:
    held = {of.value for of in label.values}
    for target in () if survey.task is None else survey.task.targets:
        if target.name not in survey.labelled.get(case.id, (target.name,)) and not held.isdisjoint(target.labels):
            yield target.name


def _place(case: CaseFacts, label: LabelFacts, fit: Alignment) -> Iterator[Finding]:
    if fit.outside_body is not None and fit.outside_body > _IN_AIR:
        words = f"{fit.outside_body:.0%} of the labelled voxels lie outside the body"
        yield Finding("label-outside-body", words, label.path, case.id)
    gain = np.array(fit.mirrored) - fit.belonging
    if gain.max() > _MIRRORED:
        words = f"{_AXES[int(gain.argmax())]} exchanged, it would fit its image better (by {gain.max():.2g})"
        yield Finding("label-flipped", words, label.path, case.id)


def _volumes(survey: Survey) -> Iterator[Finding]:
    for value, found in _by_value(survey).items():
        if len(found) <= _FEWEST_OTHERS:
            continue
        logs = np.log([volume for _, _, volume in found])
        median = float(np.median(logs))
        deviation = max(1.4826 * float(np.median(np.abs(logs - median))), 0.1)
        for (case, label, volume), log in zip(found, logs, strict=True):
            if abs(log - median) > max(np.log(_VOLUME_FACTOR), _VOLUME_DEVIATIONS * deviation):
                usual = f"{np.exp(median) / 1000:.3g} ml (median)"
                words = f"{_name(survey, value)}: {volume / 1000:.3g} ml, of the others {usual}"
                yield Finding("label-volume", words, label.path, case.id)


def _by_value(survey: Survey) -> dict[int, list[tuple[CaseFacts, LabelFacts, float]]]:
    found: dict[int, list[tuple[CaseFacts, LabelFacts, float]]] = {}
    for case in survey.cases:
        for of in case.label.values if case.label else ():
            if case.label is not None:
                found.setdefault(of.value, []).append((case, case.label, of.volume_mm3))
    return found


def _sides(survey: Survey) -> Iterator[Finding]:
    """Cases in which structures that have a side lie on the other one: liver on the left, right kidney left of left."""
    aside: dict[int, dict[str, float]] = {}
    for case in survey.cases:
        for of in case.label.values if case.label and case.fit else ():
            if case.fit is not None:
                aside.setdefault(of.value, {})[case.id] = of.centre_mm[0] - case.fit.body_centre_mm[0]
    sided = {value: side for value, found in aside.items() if (side := _side(list(found.values())))}
    for case in survey.cases:
        mine = {value: aside[value][case.id] * side for value, side in sided.items() if case.id in aside[value]}
        wrong = [value for value, distance in mine.items() if distance < -_ASIDE_MM / 2]
        if case.label is not None and wrong and len(wrong) == len(mine):
            names = ", ".join(_name(survey, value) for value in wrong[:4])
            words = (
                f"{names}: on the {'left' if sided[wrong[0]] > 0 else 'right'} here, on the other side in the others"
            )
            yield Finding("sides-swapped", words, case.label.path, case.id)


def _side(distances: Sequence[float]) -> int:
    """1 right, -1 left, 0 for what has no side."""
    if len(distances) <= _FEWEST_OTHERS:
        return 0
    side = 1 if np.median(distances) > 0 else -1
    right = np.mean([distance * side > _ASIDE_MM for distance in distances])
    one_may_differ = 1 - 1.5 / len(distances)
    return side if right >= min(_ON_ONE_SIDE, one_may_differ) else 0


def _name(survey: Survey, value: int) -> str:
    targets = survey.task.targets if survey.task is not None else ()
    return next((target.name for target in targets if target.labels == (value,)), f"label {value}")
