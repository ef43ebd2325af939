"""The scans without labels of an arm: none is a test case, and a search of rates does not learn from what it judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from swin_unetr.datasets import Case
from swin_unetr.datasets.exports import with_own_ids
from swin_unetr.datasets.found_scans import list_scans, without_repeats
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.study.config import ArmConfig
from swin_unetr.study.data import StudyData, write_list
from swin_unetr.words import count


@lru_cache
def scans_of(path: str) -> tuple[Case, ...]:
    """The scans without labels under the path of an arm.

    Raises:
        DataError: there is none.
    """
    cases = with_own_ids(tuple(without_repeats(list_scans([path]).cases)))
    if not cases:
        raise DataError(f"{path}: no scans there; check unlabelled of the arms")
    return cases


def check_unlabelled(
    name: str, arm: ArmConfig, data: Mapping[str, StudyData], folds: Sequence[int], store: Path
) -> Iterator[str]:
    """Refuse scans with the voxels of a test case, of any data set and fold that is trained.

    Args:
        name: of the arm.
        arm: with its scans, if any.
        data: whose test cases must not be among them.
        folds: that are trained.
        store: where hashes are remembered.

    Yields:
        A line about the scans.

    Raises:
        ConfigError: names a scan, and the test case that it is.
    """
    if arm.unlabelled is None:
        return
    from finetune.leaks import contents_of, refuse_held_back

    scans = scans_of(arm.unlabelled)
    known = list(zip(scans, contents_of(scans, store), strict=True))
    for of in data.values():
        test = sorted({case for fold in (folds if len(of.folds) > 1 else (0,)) for case in of.folds[fold].test})
        try:
            refuse_held_back(known, of.of(test), store, f"the test of {of.name}")
        except DataError as error:
            raise ConfigError(f"arms.{name}.unlabelled: {error}") from error
    yield f"{name}: {count(len(scans), 'scan')} without labels, none of them a test case by its voxels"


def paths_of(arm: ArmConfig, data: StudyData, validation: Sequence[str], folder: Path, store: Path) -> tuple[str, ...]:
    """What a training takes for `unlabelled.paths`: the arm's path, or a list without the scans that it is judged by.

    Args:
        arm: with its scans, if any.
        data: of the training.
        validation: ids of the cases that it is validated on.
        folder: takes the list, if there is one.
        store: where hashes are remembered.
    """
    if arm.unlabelled is None:
        return ()
    from finetune.leaks import contents_of

    scans = scans_of(arm.unlabelled)
    held_back = {name for names in contents_of(data.of(validation), store) for name in names}
    kept = [case for case, names in zip(scans, contents_of(scans, store), strict=True) if held_back.isdisjoint(names)]
    if len(kept) == len(scans):
        return (arm.unlabelled,)
    if not kept:
        raise DataError(f"{arm.unlabelled}: holds only scans that the training is judged by; add others")
    write_list(folder, kept, data.task, data.absent)
    return (str(folder.absolute()),)
