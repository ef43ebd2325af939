"""Brings the channels of scans into the order of the model's, by their names or as the user says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from swin_unetr.datasets import Case, Dataset
from swin_unetr.datasets.channels import is_known, match_channels, meaning
from swin_unetr.errors import ConfigError, DataError

#: How a data set's list calls channels that have no names.
_NUMBERED = re.compile(r"channel \d+|\d+")


def in_order(
    dataset: Dataset, wanted: tuple[str, ...], given: Sequence[str] | None
) -> tuple[tuple[Case, ...], list[str]]:
    """The cases of a data set with the channels that a model wants, in its order, and notes for people.

    Names that mean the same (`datasets.channels`) match. Channels without names are taken in the model's order.

    Args:
        dataset: as it was read.
        wanted: names of the model's channels.
        given: what the data set's channels are, in their order, by the model's names. If None, their own names count.

    Raises:
        ConfigError: given names that are not those of the model's channels.
        DataError: the data set's own names do not match, or a file holds its channels in another order.
    """
    own = dataset.task.channels if dataset.task is not None else dataset.channels
    there = tuple(given) if given is not None else own
    places = tuple(range(len(wanted))) if there == wanted else match_channels(there, wanted)
    if places is None and given is not None:
        raise ConfigError(
            f"channels: {', '.join(there)} should be the names of the model's channels ({', '.join(wanted)}), each "
            "once, in the order of the scans' files"
        )
    if places is None:
        return dataset.cases, _unmatched(dataset, there, wanted)
    return tuple(_ordered(case, there, places, wanted) for case in dataset.cases), []


def _unmatched(dataset: Dataset, there: tuple[str, ...], wanted: tuple[str, ...]) -> list[str]:
    """What is assumed of channels whose names do not match.

    Raises:
        DataError: there are names on both sides, and several channels.
    """
    if len(wanted) == 1 and len(there) == 1:
        unlike = is_known(there[0]) and is_known(wanted[0]) and meaning(wanted[0]) != "mr"
        return [f"{dataset.root}: its {there[0]} is taken for the {wanted[0]} of the model"] if unlike else []
    if not there or any(all(map(_NUMBERED.fullmatch, names)) for names in (there, wanted)):
        return [f"{dataset.root}: its channels are taken in the order of the model: {', '.join(wanted)}"] * (
            len(wanted) > 1
        )
    raise DataError(
        f"{dataset.root}: the names of its channels ({', '.join(there)}) do not match those of the model "
        f"({', '.join(wanted)}); say what they are in the order of the files: --channels {' '.join(wanted)}, or these "
        "in another order"
    )


def _ordered(case: Case, there: Sequence[str], places: tuple[int, ...], wanted: Sequence[str]) -> Case:
    if len(case.images) == len(there):
        return replace(case, images=tuple(case.images[place] for place in places))
    if len(case.images) == 1 and places != tuple(range(len(there))):
        raise DataError(
            f"{case.images[0]}: holds the channels {', '.join(there)}, and the model takes {', '.join(wanted)}; give "
            "each channel a file of its own (swin-unetr convert --to nnunet)"
        )
    return case
