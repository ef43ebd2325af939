"""What is wrong with the arms of a study and can be known before hours of training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from finetune.config import FinetuneConfig
from swin_unetr.errors import ConfigError
from swin_unetr.study.config import ArmConfig, StudyConfig
from swin_unetr.study.data import StudyData
from swin_unetr.study.recipes import config_of, is_planned, recipe_of
from swin_unetr.study.unlabelled import check_unlabelled

#: In the folder of a study: the images of all test cases, for `pretrain --exclude`.
HELD_BACK = "held_back.txt"


def check_folds(study: StudyConfig, data: Mapping[str, StudyData]) -> None:
    """Refuse a fold that a data set does not have.

    Raises:
        ConfigError: names it.
    """
    for name, of in data.items():
        if len(of.folds) > 1 and max(study.folds) >= len(of.folds):
            raise ConfigError(f"folds: {max(study.folds)} is not a fold of {name}, which has 0 to {len(of.folds) - 1}")


def check_arms(study: StudyConfig, data: Mapping[str, StudyData], output: Path) -> list[str]:
    """Read the recipe of every arm, and try its weights.

    Args:
        study: the study.
        data: its data sets.
        output: of the study, for messages.

    Returns:
        Lines on the weights to start from.

    Raises:
        ConfigError: a recipe or a change that is wrong, weights that have seen test cases, or test cases among the
            scans without labels.
        CheckpointError: weights that do not fit the network.
    """
    lines: list[str] = []
    for name, arm in study.arms.items():
        if arm.command is None:
            recipe = FinetuneConfig() if is_planned(arm) else recipe_of(name, arm, None)
            config_of(recipe, study.budget, points=1, seed=0, store=output)
            if recipe.transfer.changed and arm.init is None:
                field = f"transfer.{recipe.transfer.changed[0]}"
                raise ConfigError(f"arms.{name}: {field} is for weights of init; give init, or leave it out")
            if recipe.unlabelled.paths:
                raise ConfigError(
                    f"arms.{name}: unlabelled.paths of a recipe are not checked for test cases; give unlabelled of "
                    "the arm instead"
                )
            lines += check_unlabelled(name, arm, data, study.folds, output / "store")
            lines += _of_weights(name, arm, None if is_planned(arm) else recipe, study.folds, data, output)
    return lines


def _of_weights(
    name: str,
    arm: ArmConfig,
    recipe: FinetuneConfig | None,
    folds: Sequence[int],
    data: Mapping[str, StudyData],
    output: Path,
) -> Iterator[str]:
    """What is known of the weights that an arm starts from.

    Args:
        name: of the arm.
        arm: with its weights, if any.
        recipe: into whose network they are tried. If None, it is not planned yet.
        folds: that are trained.
        data: whose test cases the weights may not have seen.
        output: of the study.
    """
    if arm.init is None:
        return
    from finetune.leaks import seen_by_weights
    from swin_unetr.checkpoints import start_from
    from swin_unetr.networks import build_network

    for of in data.values():
        if recipe is not None:
            shape = replace(recipe.network, in_channels=len(of.task.channels), num_classes=of.task.num_classes)
            yield f"{name}: {start_from(build_network(shape), Path(arm.init)).summary()}"
        test = sorted({case for fold in (folds if len(of.folds) > 1 else (0,)) for case in of.folds[fold].test})
        seen = seen_by_weights(arm.init, of.of(test), of.root)
        if seen:
            raise ConfigError(
                f"arms.{name}.init: {arm.init} has seen {len(seen)} of the test cases of {of.name} "
                f"({', '.join(seen[:3])}); pre-train with --exclude {output / HELD_BACK}"
            )
        if seen is None:
            yield f"{name}: its weights do not record which scans they have seen; no test case should be among them"
