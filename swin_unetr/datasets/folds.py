"""K-fold split by case: seeded, the classes spread over the folds, written to a file, reused."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from swin_unetr.datasets.side_files import duplicates, known_id, known_ids, read_json
from swin_unetr.datasets.stratify import spread
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.files import write_json
from swin_unetr.suggestions import listed_with_nearest
from swin_unetr.words import count


@dataclass(frozen=True, kw_only=True)
class Folds:
    """The validation cases of every fold; each case is in one at most."""

    seed: int
    folds: tuple[tuple[str, ...], ...]

    @property
    def cases(self) -> tuple[str, ...]:
        """Ids of all cases, sorted."""
        return tuple(sorted(case for ids in self.folds for case in ids))

    def split(self, fold: int | Literal["all"]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ids of the training and of the validation cases of a fold, sorted.

        "all" holds nothing back: every case is in both, and a validation says how well the cases were learnt, not how
        good the model is.

        Raises:
            ConfigError: no such fold.
        """
        if fold == "all":
            return self.cases, self.cases
        if not 0 <= fold < len(self.folds):
            raise ConfigError(f"fold: {fold} is not one of 0..{len(self.folds) - 1}")
        training = sorted(case for index, ids in enumerate(self.folds) if index != fold for case in ids)
        return tuple(training), tuple(sorted(self.folds[fold]))

    def save(self, path: Path) -> None:
        """Write the split as JSON."""
        write_json(path, asdict(self))


def make_folds(
    ids: Iterable[str],
    num_folds: int = 5,
    seed: int = 0,
    groups: Mapping[str, str | None] | None = None,
    classes: Mapping[str, Collection[int]] | None = None,
) -> Folds:
    """Deal shuffled cases out to folds; sizes differ by one at most if every case is a group of its own.

    A group (the scans of one patient) is never divided: the largest are dealt out first, each to the fold that has
    the fewest cases. Where that leaves a class in few folds, the groups are dealt out by their classes instead
    (`stratify.spread`). The order of `ids` does not matter; the same set and seed give the same folds on every machine.

    Args:
        ids: of the cases.
        num_folds: how many.
        seed: of the order.
        groups: group by case; a case without one is alone.
        classes: the classes that each case has. If None, they are ignored.

    Raises:
        DataError: fewer cases, or groups, than folds, or a name twice.
    """
    cases = sorted(ids)
    if len(set(cases)) != len(cases):
        raise DataError("two cases have the same id; rename one of them")
    if not 2 <= num_folds <= len(cases):
        raise DataError(f"{count(len(cases), 'case')} cannot be dealt out to {num_folds} folds; ask for fewer folds")
    together: dict[tuple[bool, str], list[str]] = {}
    for case in cases:
        group = (groups or {}).get(case)
        together.setdefault((group is not None, case if group is None else group), []).append(case)
    if len(together) < num_folds:
        raise DataError(
            f"{len(cases)} cases of {len(together)} patients cannot be dealt out to {num_folds} folds without dividing "
            "a patient; ask for fewer folds, or correct the patients in a patients.csv"
        )
    dealt = list(together.values())
    random.Random(seed).shuffle(dealt)
    dealt.sort(key=len, reverse=True)
    found = [frozenset(name for case in members for name in (classes or {}).get(case, ())) for members in dealt]
    places = spread([len(members) for members in dealt], found, _by_size(dealt, num_folds), num_folds)
    folds: list[list[str]] = [[] for _ in range(num_folds)]
    for members, place in zip(dealt, places, strict=True):
        folds[place].extend(members)
    return Folds(seed=seed, folds=tuple(tuple(sorted(members)) for members in folds))


def _by_size(dealt: Sequence[Sequence[str]], num_folds: int) -> list[int]:
    """The fold of each group: the one that has the fewest cases so far."""
    sizes = [0] * num_folds
    places = []
    for members in dealt:
        place = min(range(num_folds), key=sizes.__getitem__)
        sizes[place] += len(members)
        places.append(place)
    return places


def load_folds(path: Path) -> Folds:
    """Read a split that `Folds.save`, or a person, wrote.

    Raises:
        DataError: no such file, not a split, a fold without cases, or a case in two folds.
    """
    values = read_json(path)
    if isinstance(values, list) and values and all(isinstance(fold, dict) and "val" in fold for fold in values):
        raise DataError(
            f"{path}: is a split of nnU-Net; write an object with 'folds', the list of the 'val' of each of its folds"
        )
    if not isinstance(values, dict):
        raise DataError(f"{path}: is not a split file (needs 'folds', a list of lists of case ids)")
    try:
        folds = [[str(case).strip() for case in ids] for ids in values["folds"] if not isinstance(ids, str)]
        split = Folds(seed=int(values.get("seed", 0)), folds=tuple(tuple(ids) for ids in folds))
        complete = len(folds) == len(values["folds"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is not a split file (needs 'folds', a list of lists of case ids)") from error
    if not complete:
        raise DataError(f"{path}: is not a split file (needs 'folds', a list of lists of case ids)")
    if empty := [number for number, ids in enumerate(split.folds) if not ids] or ([] if split.folds else [0]):
        raise DataError(f"{path}: fold {empty[0]} has no cases; give each fold some")
    if twice := list(duplicates(known_id(case, ()) for case in split.cases)):
        raise DataError(
            f"{path}: {count(len(twice), 'case')} {'are' if len(twice) > 1 else 'is'} listed twice, in training and "
            f"validation at once: {listed_with_nearest(twice, ())}; list each case once"
        )
    return split


def fit_to_cases(split: Folds, path: Path, ids: Collection[str], groups: Mapping[str, str]) -> Folds:
    """Replace the names in a split by the ids of the cases that they mean.

    Args:
        split: as read from the file.
        path: of the file, for messages.
        ids: of the cases that are there.
        groups: patient by case.

    Raises:
        DataError: cases that are not there, or a patient whose scans are in several folds.
    """
    fitted = Folds(seed=split.seed, folds=tuple(known_ids(fold, ids) for fold in split.folds))
    if absent := [case for case in fitted.cases if case not in ids]:
        raise DataError(
            f"{path}: names {count(len(absent), 'case')} that the data do not have: "
            f"{listed_with_nearest(absent, sorted(ids))}; correct the split, or let the cases be dealt out"
        )
    places: dict[str, set[int]] = {}
    for number, fold in enumerate(fitted.folds):
        for case in fold:
            if case in groups:
                places.setdefault(groups[case], set()).add(number)
    if torn := sorted(patient for patient, of in places.items() if len(of) > 1):
        cases = [case for case in fitted.cases if groups.get(case) == torn[0]]
        raise DataError(
            f"{path}: puts the scans of {count(len(torn), 'patient')} into several folds, so that "
            f"validation sees patients of the training: {listed_with_nearest(torn, ())} "
            f"({torn[0]}: {', '.join(cases[:3])}); keep the scans of a patient together, or say in a patients.csv that "
            "they are of different patients"
        )
    return fitted


def left_out(split: Folds, ids: Iterable[str]) -> str:
    """A line that names the cases which a split leaves out; empty if it has all of them."""
    known = sorted(ids)
    out = sorted(set(known) - set(split.cases))
    return f"the split leaves out {len(out)} of {len(known)} cases: {listed_with_nearest(out, ())}" if out else ""


def select_cases(folds: str | Path | None, fold: int | None, cases: Iterable[str] | None) -> tuple[str, ...] | None:
    """Ids that the options `--folds FILE --fold K` (the validation cases of that fold) or `--cases` ask for.

    Returns:
        The ids as they are named there (`side_files.known_ids` finds the cases that they mean), or None if no option
        is given: all cases.

    Raises:
        ConfigError: options that do not go together, or no such fold.
        DataError: the split file cannot be read.
    """
    if (folds is None) != (fold is None):
        raise ConfigError("folds: --folds FILE and --fold K go together; give both or none")
    if folds is not None and fold is not None:
        if cases is not None:
            raise ConfigError("cases: --cases and --folds both select; give one of them")
        return load_folds(Path(folds)).split(fold)[1]
    return None if cases is None else tuple(dict.fromkeys(cases))
