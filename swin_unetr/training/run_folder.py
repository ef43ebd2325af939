"""The folder of a run: new, or one to go on with."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from swin_unetr.config_io import RUN_CONFIG, from_dict, read_yaml, to_dict
from swin_unetr.errors import ConfigError
from swin_unetr.files import is_partial, write_text
from swin_unetr.training.checkpoint_files import is_there
from swin_unetr.training.first_process import is_first

CONFIG, CHECKPOINT = RUN_CONFIG, Path("checkpoints") / "last.ckpt"


def check_run_folder(
    folder: Path, config: Any, *, resume: bool, may_change: Collection[str], beside: Collection[str] = ()
) -> Path | None:
    """Whether a run can start in a folder, or go on there; nothing is written.

    Args:
        folder: new or empty, unless the run in it is to be resumed.
        config: dataclass of the run's configuration.
        resume: go on with the run that is in the folder, if there is one. Every process but the first does so anyway:
            it finds the folder in use.
        may_change: dotted fields that may differ from those of the run that is resumed; a group allows its fields.
        beside: names of files that may be there before a run begins.

    Returns:
        Where the checkpoint to resume from is, or was before a crash; None for a new run.

    Raises:
        ConfigError: the folder holds something else, or a run with another configuration.
    """
    file, checkpoint = folder / CONFIG, folder / CHECKPOINT
    # A run that was killed while it wrote its first file leaves nothing else.
    used = folder.exists() and (
        not folder.is_dir() or not all(is_partial(path) or path.name in beside for path in folder.iterdir())
    )
    if used and not resume and is_first():
        raise ConfigError(f"{folder}: is not empty; go on with its run by --resume auto, or choose another --output")
    if used and not file.is_file():
        raise ConfigError(f"{folder}: holds no run to resume (config.yaml is missing); choose another --output")
    resumes = is_there(checkpoint)
    if resumes:
        before = to_dict(from_dict(type(config), read_yaml(file), source=str(file)))
        changes = [
            f"{path} (was {old}, now {new})"
            for path, old, new in _differences(before, to_dict(config))
            if not any(path == field or path.startswith(f"{field}.") for field in may_change)
        ]
        if changes:
            raise ConfigError(
                f"{folder}: cannot be resumed with another configuration: {'; '.join(changes)}; "
                "keep these as they were, or choose another --output"
            )
    return checkpoint if resumes else None


def write_config(folder: Path, config: Any) -> None:
    """Write `config.yaml`, which is a recipe for the same run."""
    text = yaml.safe_dump(to_dict(config), sort_keys=False, default_flow_style=None, width=120)
    write_text(folder / CONFIG, text)


@contextmanager
def nothing_left_after(
    error: type[Exception], folder: Path, kept: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """If the block ends with an error, remove what it has written into a folder; what was there before it stays.

    Args:
        error: others leave everything as it is.
        folder: need not be there before the block.
        kept: called when the block ends with the error; whether to keep everything all the same.
    """
    before = {path.name for path in folder.iterdir()} if folder.is_dir() else None
    try:
        yield
    except error:
        if kept():
            raise
        for path in list(folder.iterdir()) if folder.is_dir() else ():
            if path.name not in (before or ()):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if before is None and folder.is_dir():
            folder.rmdir()
        raise


def _differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in new:
            yield from _differences(old.get(key), new[key], f"{path}.{key}" if path else key)
    elif old != new:
        yield path, old, new
