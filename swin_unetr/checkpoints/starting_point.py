"""What a training starts from: which weights, and how the scans that they were trained on were preprocessed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_unetr.checkpoints.model_folder import DESCRIPTION, WEIGHTS, read_description
from swin_unetr.config import IntensityConfig, PreprocessConfig
from swin_unetr.errors import CheckpointError, ConfigError


@dataclass(frozen=True, kw_only=True)
class StartingPoint:
    """A model folder or a published file that is named by `--init`."""

    #: The path that was given.
    path: Path
    #: Hash of the file of weights.
    sha256: str
    #: How the scans were preprocessed. If None, it is not known; published files never say.
    preprocess: PreprocessConfig | None
    #: Names of its channels; for an encoder, their numbers.
    channels: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """What the record of a run says of it."""
        return {"path": str(self.path.absolute()), "sha256": self.sha256}

    def differences(self, preprocess: PreprocessConfig, channels: Sequence[str]) -> list[str]:
        """How the preprocessing of a training differs, one phrase for each difference; empty if ours is not known.

        Args:
            preprocess: of the training.
            channels: names of its channels.

        Raises:
            ConfigError: an intensity is given for a channel that does not exist.
        """
        if self.preprocess is None:
            return []
        try:
            theirs, ours = self.preprocess.intensities(self.channels), preprocess.intensities(channels)
        except ValueError as error:
            raise ConfigError(f"preprocess.{error}") from error
        found = [
            f"{field} {_words(there)} there, {_words(here)} here"
            for field in ("spacing_mm", "crop_foreground", "image_interpolation", "through_plane")
            if (there := getattr(self.preprocess, field)) != (here := getattr(preprocess, field))
        ]
        return [*found, *_intensities_apart(theirs, ours, channels)]


def starting_point(path: Path | str) -> StartingPoint:
    """What is known of weights to start from, without reading them into a network.

    Args:
        path: a model folder (or a run folder, then its `best/`), or a published file.

    Raises:
        CheckpointError: the path does not exist, or is not a model.
    """
    path = Path(path)
    if not path.is_dir():
        return StartingPoint(path=path, sha256=_sha256(path), preprocess=None, channels=())
    folder = described_folder(path)
    description = read_description(folder)
    task = description.task
    numbers = tuple(str(number) for number in range(description.network.in_channels))
    return StartingPoint(
        path=path,
        sha256=_sha256(folder / WEIGHTS),
        preprocess=description.preprocess if description.preprocess_known else None,
        channels=numbers if task is None else task.channels,
    )


def described_folder(folder: Path) -> Path:
    """The model folder that is meant: itself, or `best/` of a run folder."""
    best = folder / "best"
    return best if not (folder / DESCRIPTION).is_file() and (best / DESCRIPTION).is_file() else folder


def refuse_other_start(run: Path, record: Mapping[str, Any], start: StartingPoint | None, *, left_out: bool) -> None:
    """Refuse to go on with a run from other weights than it began with; a copy of them is the same.

    Args:
        run: its folder, for the message.
        record: of the run. An older record does not name the weights; then nothing is refused.
        start: the weights named now. If None, no weights are named.
        left_out: whether `start` may be None for a run that began with weights.

    Raises:
        ConfigError: other weights, or weights for a run that began without.
    """
    if "init_source" not in record or (start is None and left_out):
        return
    before = record["init_source"]
    if before is None and start is not None:
        raise ConfigError(f"--init {start.path}: {run} began without; leave out --init, or choose another --output")
    if before is not None and (start is None or start.sha256 != before.get("sha256")):
        now = "no --init" if start is None else f"--init {start.path}"
        raise ConfigError(
            f"{now}: {run} began with other weights, those of {before.get('path')}; name these, or choose another "
            "--output"
        )


def _intensities_apart(
    theirs: Sequence[IntensityConfig], ours: Sequence[IntensityConfig], channels: Sequence[str]
) -> Iterator[str]:
    """Where intensities differ. If the weights have one channel, it is compared with each channel of the training."""
    if len(theirs) == 1:
        theirs = list(theirs) * len(ours)
    if len(theirs) != len(ours):
        yield f"{len(theirs)} channels there, {len(ours)} here"
        return
    words = [(_intensity_words(there), _intensity_words(here)) for there, here in zip(theirs, ours, strict=True)]
    apart = [
        (channel, f"{there} there, {here} here")
        for channel, (there, here) in zip(channels, words, strict=True)
        if there != here
    ]
    if len(apart) == len(ours) and len({phrase for _, phrase in apart}) == 1:
        yield f"intensity {apart[0][1]}"
    else:
        yield from (f"intensity of {channel} {phrase}" for channel, phrase in apart)


def _intensity_words(intensity: IntensityConfig) -> str:
    words: str = intensity.scheme
    if intensity.is_hounsfield:
        words += " {:g}..{:g}".format(*intensity.window)
    if intensity.scheme == "hu_zscore":
        words += f" of mean {intensity.mean:g} and deviation {intensity.std:g}"
    return words


def _words(value: Any) -> str:
    if isinstance(value, tuple):
        return " x ".join(f"{size:g}" for size in value)
    return "as stored" if value is None else str(value).lower()


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise CheckpointError(f"{file}: no such file; check the path") from error
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror}); check the path") from error
