"""Spreads the classes over the folds of a split, so that, if possible, every class has a training case.

The deal by classes is iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011, algorithm 1): the
rarest class first, each of its groups to the fold that lacks it most.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

#: A class is spread well enough if no fold has more groups with it than another by more than this.
_UNEVEN = 2


def spread(sizes: Sequence[int], classes: Sequence[Collection[int]], dealt: Sequence[int], num_folds: int) -> list[int]:
    """Assign groups to folds by their classes, if the given folds spread the classes badly.

    Args:
        sizes: cases of each group.
        classes: of each group.
        dealt: the given fold of each group, from 0.
        num_folds: how many folds there are.

    Returns:
        The fold of each group; no fold is empty.
    """
    every = sorted({name for of in classes for name in of})
    partial = [name for name in every if any(name not in of for of in classes)]
    if all(_is_spread(name, classes, dealt, num_folds) for name in partial):
        return list(dealt)
    places = _by_classes(sizes, classes, num_folds)
    _free_confined(sizes, classes, places, partial, num_folds)
    return places


def _counts(name: int, classes: Sequence[Collection[int]], places: Sequence[int], num_folds: int) -> list[int]:
    """Groups with a class in each fold."""
    counts = [0] * num_folds
    for of, place in zip(classes, places, strict=True):
        counts[place] += name in of
    return counts


def _is_spread(name: int, classes: Sequence[Collection[int]], places: Sequence[int], num_folds: int) -> bool:
    counts = _counts(name, classes, places, num_folds)
    everywhere = min(counts) > 0 or sum(counts) < num_folds
    return everywhere and max(counts) - min(counts) <= _UNEVEN and not _is_confined(counts)


def _is_confined(counts: Sequence[int]) -> bool:
    """Whether all groups of a class, and more than one, are in a single fold: its training would lack the class."""
    return sum(counts) > 1 and max(counts) == sum(counts)


def _by_classes(sizes: Sequence[int], classes: Sequence[Collection[int]], num_folds: int) -> list[int]:
    every = {name for of in classes for name in of}
    total = {name: sum(name in of for of in classes) for name in every}
    wanted = [{name: count / num_folds for name, count in total.items()} for _ in range(num_folds)]
    filled = [0] * num_folds
    places = [-1] * len(sizes)
    left = dict(total)
    todo = set(range(len(sizes)))
    while todo:
        rarest = min((name for name in left if left[name]), key=lambda name: (left[name], name), default=None)
        members = sorted(group for group in todo if rarest is None or rarest in classes[group])
        for group in members:
            of = classes[group]
            place = min(
                range(num_folds),
                key=lambda fold: (
                    0 if rarest is None else -wanted[fold][rarest],
                    -sum(max(0.0, wanted[fold][name]) / total[name] for name in of),
                    filled[fold],
                ),
            )
            places[group] = place
            filled[place] += sizes[group]
            for name in of:
                wanted[place][name] -= 1
                left[name] -= 1
            todo.discard(group)
    return places


def _free_confined(
    sizes: Sequence[int], classes: Sequence[Collection[int]], places: list[int], names: Sequence[int], num_folds: int
) -> None:
    """Move groups, or exchange two, as long as that leaves fewer classes confined to a fold; in place."""

    def confined() -> int:
        return sum(_is_confined(_counts(name, classes, places, num_folds)) for name in names)

    def step(now: int) -> bool:
        for name in names:
            if not _is_confined(_counts(name, classes, places, num_folds)):
                continue
            for group in (index for index, of in enumerate(classes) if name in of):
                here = places[group]
                others = sorted(
                    (index for index in range(len(sizes)) if places[index] != here),
                    key=lambda index: abs(sizes[index] - sizes[group]),
                )
                for other in others:
                    places[group], places[other] = places[other], here
                    if confined() < now:
                        return True
                    places[group], places[other] = here, places[group]
                if places.count(here) == 1:
                    continue
                for fold in range(num_folds):
                    places[group] = fold
                    if confined() < now:
                        return True
                places[group] = here
        return False

    while (now := confined()) and step(now):
        pass
