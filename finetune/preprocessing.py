"""Whether the preprocessing of a configuration suits the data."""

from __future__ import annotations

from pathlib import Path

from swin_unetr.config import PreprocessConfig
from swin_unetr.errors import ConfigError
from swin_unetr.tasks import Task, is_ct
from transforms.preprocess import channel_intensities


def check_intensities(preprocess: PreprocessConfig, task: Task, root: Path) -> None:
    """Refuse a window of Hounsfield units for channels that are no CT, unless it was given to them by name.

    Args:
        preprocess: of the configuration.
        task: of the data.
        root: of the data, for the message.

    Raises:
        ConfigError: such channels, or an intensity of a channel that is not there.
    """
    intensities = channel_intensities(preprocess, task.channels)
    general = preprocess.intensity
    if general.scheme != "hu_window":
        return
    named = zip(task.channels, intensities, strict=True)
    others = [channel for channel, of in named if of is general and not is_ct(task, channel)]
    if not others:
        return
    if len(others) == len(task.channels):
        raise ConfigError(
            f"preprocess.intensity.scheme: hu_window is for CT, and {root} is {task.modality}; take a plan or "
            "recipe for it, or zscore"
        )
    raise ConfigError(
        f"preprocess.intensity.scheme: hu_window is for CT, which of {root} {', '.join(others)} is not; give it its "
        f"own by preprocess.intensity_of, such as '{{{others[0]}: {{scheme: zscore}}}}', or take a plan"
    )
