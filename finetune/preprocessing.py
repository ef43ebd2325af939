"""Whether the preprocessing of a configuration suits the data, and the weights that a training starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from finetune.config import FinetuneConfig
from finetune.recipes import find_recipe
from swin_unetr.checkpoints.starting_point import StartingPoint
from swin_unetr.config import PreprocessConfig
from swin_unetr.config_io import load
from swin_unetr.errors import ConfigError
from swin_unetr.tasks import Task, is_ct
from transforms.steps import channel_intensities


def check_intensities(preprocess: PreprocessConfig, task: Task, root: Path) -> None:
    """Refuse a scheme of Hounsfield units for channels that are no CT, unless it was given to them by name.

    Args:
        preprocess: of the configuration.
        task: of the data.
        root: of the data, for the message.

    Raises:
        ConfigError: such channels, or an intensity of a channel that is not there.
    """
    intensities = channel_intensities(preprocess, task.channels)
    general = preprocess.intensity
    if not general.is_hounsfield:
        return
    named = zip(task.channels, intensities, strict=True)
    others = [channel for channel, of in named if of is general and not is_ct(task, channel)]
    if not others:
        return
    if len(others) == len(task.channels):
        raise ConfigError(
            f"preprocess.intensity.scheme: {general.scheme} is for CT, and {root} is {task.modality}; take a plan or "
            "recipe for it, or zscore"
        )
    raise ConfigError(
        f"preprocess.intensity.scheme: {general.scheme} is for CT, and {', '.join(others)} of {root} is not; give it "
        f"its own by preprocess.intensity_of, such as '{{{others[0]}: {{scheme: zscore}}}}', or take a plan"
    )


#: Whose preprocessing counts where weights were trained with another one: theirs or that of the configuration.
InitPreprocess = Literal["take", "keep"]


def with_preprocess_of(
    config: FinetuneConfig | Path | str, start: StartingPoint | None, choice: InitPreprocess | None
) -> FinetuneConfig:
    """The configuration, with the preprocessing of the weights if that is to be taken.

    Args:
        config: the configuration, or a recipe: its file, or the name of a shipped one.
        start: the weights. If None, the network starts from random ones.
        choice: "take" or "keep". If None, the configuration keeps its own.

    Raises:
        ConfigError: a choice without weights, or weights that do not say how their scans were preprocessed.
    """
    if not isinstance(config, FinetuneConfig):
        config = load(FinetuneConfig, find_recipe(config))
    if choice is not None and start is None:
        raise ConfigError(f"--init-preprocess {choice}: goes with --init; name a model folder there, or leave it out")
    if choice != "take" or start is None:
        return config
    if start.preprocess is None:
        raise ConfigError(
            f"--init-preprocess take: {start.path} does not say how its scans were preprocessed; set the fields of "
            "preprocess, or make a model folder of published weights with import-weights --source"
        )
    return replace(config, preprocess=start.preprocess)


def compared(
    config: FinetuneConfig, start: StartingPoint | None, channels: Sequence[str], choice: InitPreprocess | None
) -> tuple[list[str], dict[str, Any]]:
    """What a run says of the preprocessing of its weights: lines for the terminal, and facts for its record.

    Args:
        config: its preprocessing is that of the run.
        start: the weights. If None, there is nothing to say.
        channels: names of the data's channels.
        choice: as it was given.
    """
    if start is None:
        return [], {}
    differs = start.differences(config.preprocess, channels)
    facts = {"choice": choice or "keep", "known": start.preprocess is not None, "differs": differs}
    if start.preprocess is None:
        line = f"note: {start.path} does not say how its scans were preprocessed; compare yours with its publication"
        return [line], facts
    option = "" if choice else "; kept as configured, --init-preprocess take would take theirs"
    line = f"warning: {start.path} was trained on scans preprocessed differently: {'; '.join(differs)}{option}"
    return [line] if differs else [], facts
