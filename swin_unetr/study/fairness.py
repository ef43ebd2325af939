"""What makes the arms of a study comparable, checked and said."""

from __future__ import annotations

from collections.abc import Mapping

from swin_unetr.errors import DataError
from swin_unetr.study.cells import Cell
from swin_unetr.study.config import StudyConfig
from swin_unetr.study.recipes import is_planned
from swin_unetr.study.results import Result
from swin_unetr.words import count

#: A training that took this much more than the budget is named.
_OVER = 1.1


def fairness_lines(study: StudyConfig, results: Mapping[Cell, Result]) -> list[str]:
    """What holds for every arm, one line each.

    Raises:
        DataError: arms that did not have the same cases.
    """
    check_same_cases(results)
    foreign = [name for name, arm in study.arms.items() if arm.command is not None]
    planned = any(is_planned(arm) for arm in study.arms.values())
    lines = [
        f"Budget: {study.budget.in_words()} for every training; what each really took is in the tables.",
        "Training cases: for a fold, a seed and a share of the labels, every arm had the same, checked by their ids.",
        "Test cases took no part in any choice: the model after the last step is the one that is evaluated"
        + (", and plans are made from the training cases alone" if planned else "")
        + ". The curves show some test cases; nothing is chosen by them.",
        _of_rates(study),
    ]
    for name, arm in study.arms.items():
        if arm.unlabelled is not None:
            lines.append(
                f"Scans without labels: {name} also learns from those of {arm.unlabelled}; none of them is a test "
                "case, checked by their voxels."
            )
    if foreign:
        lines.append(
            f"Other programs ({', '.join(foreign)}): they were given the list of the training cases and the images of "
            "the test cases without labels; what they choose, and how, is their own matter."
        )
        if open_handed := [name for name in foreign if "{data}" in (study.arms[name].command or "")]:
            lines.append(
                f"The command of {', '.join(open_handed)} names {{data}}, a folder with the labels of the test cases "
                "too: see that it does not use them."
            )
    return [*lines, *_over_budget(study, results)]


def check_same_cases(results: Mapping[Cell, Result]) -> None:
    """Refuse to compare arms that were trained or evaluated on other cases.

    Raises:
        DataError: names two of them.
    """
    first: dict[tuple[object, ...], Cell] = {}
    for cell, result in results.items():
        key = (cell.data, cell.fold, cell.seed, cell.labels)
        other = first.setdefault(key, cell)
        if (result.training, result.test) != (results[other].training, results[other].test):
            raise DataError(f"{cell}: had other cases than {other}; remove the folder of one of them, and go on")


def _of_rates(study: StudyConfig) -> str:
    rates = study.rates
    if not rates.values:
        return "Learning rates: each arm keeps that of its recipe."
    values = ", ".join(f"{rate:g}" for rate in rates.values)
    return (
        f"Learning rates: each arm of this program tried {values} for {rates.share:.0%} of the budget each, beside it, "
        "and took the one with the highest Dice on a part of its labelled cases that was held back meanwhile."
    )


def _over_budget(study: StudyConfig, results: Mapping[Cell, Result]) -> list[str]:
    minutes = study.budget.minutes
    if minutes is None:
        return []
    over = [cell for cell, result in results.items() if result.seconds > _OVER * 60 * minutes]
    if not over:
        return []
    longest = max(results[cell].seconds for cell in over) / 60
    return [
        f"{count(len(over), 'training')} took more than {_OVER:.0%} of the budget, the longest {longest:.1f} minutes: "
        f"{', '.join(sorted({cell.arm for cell in over}))}. For another program without a curve.csv this is the time "
        "of its whole command, its prediction included."
    ]
