"""K-fold split by case: seeded, written to a file, reused."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from swin_unetr.errors import ConfigError, DataError
from swin_unetr.files import write_json


@dataclass(frozen=True, kw_only=True)
class Folds:
    """The validation cases of every fold; together they are all cases, each once."""

    seed: int
    folds: tuple[tuple[str, ...], ...]

    def split(self, fold: int | Literal["all"]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ids of the training and of the validation cases of a fold, sorted.

        "all" holds nothing back: every case is in both, and a validation says how well the cases were learnt, not how
        good the model is.

        Raises:
            ConfigError: no such fold.
        """
        if fold == "all":
            everything = tuple(sorted(case for ids in self.folds for case in ids))
            return everything, everything
        if not 0 <= fold < len(self.folds):
            raise ConfigError(f"fold: {fold} is not one of 0..{len(self.folds) - 1}")
        training = sorted(case for index, ids in enumerate(self.folds) if index != fold for case in ids)
        return tuple(training), tuple(sorted(self.folds[fold]))

    def save(self, path: Path) -> None:
        """Write the split as JSON."""
        write_json(path, asdict(self))


def make_folds(
    ids: Iterable[str], num_folds: int = 5, seed: int = 0, groups: Mapping[str, str | None] | None = None
) -> Folds:
    """Deal shuffled cases out to folds whose sizes differ by one at most, where every case is a group of its own.

    A group (the scans of one patient) is never divided: the largest are dealt out first, each to the fold that has
    the fewest cases. The order of `ids` does not matter; the same set and seed give the same folds on every machine.

    Args:
        ids: of the cases.
        num_folds: how many.
        seed: of the order.
        groups: group by case; a case without one is alone.

    Raises:
        DataError: fewer cases, or groups, than folds, or a name twice.
    """
    cases = sorted(ids)
    if len(set(cases)) != len(cases):
        raise DataError("two cases have the same id; rename one of them")
    if not 2 <= num_folds <= len(cases):
        raise DataError(f"{len(cases)} cases cannot be dealt out to {num_folds} folds; ask for fewer folds")
    together: dict[tuple[bool, str], list[str]] = {}
    for case in cases:
        group = (groups or {}).get(case)
        together.setdefault((group is not None, case if group is None else group), []).append(case)
    if len(together) < num_folds:
        raise DataError(
            f"{len(cases)} cases of {len(together)} patients cannot be dealt out to {num_folds} folds without dividing "
            "a patient; ask for fewer folds"
        )
    dealt = list(together.values())
    random.Random(seed).shuffle(dealt)
    folds: list[list[str]] = [[] for _ in range(num_folds)]
    for members in sorted(dealt, key=len, reverse=True):
        min(folds, key=len).extend(members)
    return Folds(seed=seed, folds=tuple(tuple(sorted(members)) for members in folds))


def load_folds(path: Path) -> Folds:
    """Read a split that `Folds.save` wrote.

    Raises:
        DataError: no such file, or not a split.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Folds(seed=int(values["seed"]), folds=tuple(tuple(map(str, ids)) for ids in values["folds"]))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is not a split file (needs 'seed' and 'folds')") from error


def select_cases(folds: str | Path | None, fold: int | None, cases: Iterable[str] | None) -> tuple[str, ...] | None:
    """Ids that the options `--folds FILE --fold K` (the validation cases of that fold) or `--cases` ask for.

    Returns:
        The ids, or none where no option is given: all cases.

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
