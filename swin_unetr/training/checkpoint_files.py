"""Checkpoints on disk: the newest, the one before it, and how to recognise a torn one."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from swin_unetr.checkpoints.torch_file import read_torch_file
from swin_unetr.errors import CheckpointError
from swin_unetr.files import flush_folder

#: What Lightning needs to go on.
_PARTS = {"state_dict", "loops", "optimizer_states"}


class PlainCheckpoints(TorchCheckpointIO):  # type: ignore[misc]  # Lightning is untyped here
    """Writes a checkpoint directly to its place.

    Lightning's own way holds it in memory once more, and then writes it to the system's temporary folder, which may
    be small and on another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write one file.

        Raises:
            OSError: it cannot be written.
        """
        with open(path, "wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # what torch's zip writer makes of an error of the file
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise


def previous(checkpoint: Path) -> Path:
    """Where the checkpoint before the newest is kept."""
    return checkpoint.with_name(f"previous{checkpoint.suffix}")


def keep_previous(checkpoint: Path) -> None:
    """Move the newest checkpoint aside, before another takes its name."""
    if checkpoint.is_file():
        checkpoint.replace(previous(checkpoint))
        flush_folder(checkpoint.parent)


def is_there(checkpoint: Path) -> bool:
    """Whether there is something to resume from, whole or not."""
    return checkpoint.is_file() or previous(checkpoint).is_file()


def newest_whole(checkpoint: Path) -> tuple[Path, str | None]:
    """The checkpoint to resume from: the newest, or the one before it if that is torn or missing.

    Args:
        checkpoint: where the newest one should be.

    Returns:
        A file that is read without running code, and a line for the user if it is not the newest.

    Raises:
        CheckpointError: no checkpoint is whole, or a whole one holds no training or would run code.
    """
    before = previous(checkpoint)
    if is_whole(checkpoint):
        _check(checkpoint)
        return checkpoint, None
    wrong = "is torn or damaged" if checkpoint.is_file() else "was not written to its end"
    if not is_whole(before):
        raise CheckpointError(f"{checkpoint}: {wrong}, and no whole one is beside it; start anew with another --output")
    _check(before)
    return before, f"{checkpoint}: {wrong}; going on from the one before it, {before.name}"


def is_whole(file: Path) -> bool:
    """Whether a checkpoint is there and every part matches its checksum: torch writes ZIP archives with CRC-32."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except Exception:  # damaged bytes can raise any error in the reader
        return False


def _check(checkpoint: Path) -> None:
    """Refuse a foreign checkpoint in one line, before Lightning does it in fifty."""
    values = read_torch_file(checkpoint, otherwise="start anew", mmap=True)
    if not isinstance(values, dict) or not values.keys() >= _PARTS:
        raise CheckpointError(f"{checkpoint}: holds no training to resume; start anew with another --output")
