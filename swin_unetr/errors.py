"""Errors that reach a user as one line.

Every error of this project that a user can cause derives from `SwinUnetrError`. The command line prints its
message without a traceback and ends with its `exit_code`: 2 for arguments and configuration, 1 for data.
A message names the file (or the dotted field), says what is wrong, and what to do about it.
"""

from __future__ import annotations


class SwinUnetrError(Exception):
    """Base of all errors that a user can cause and mend."""

    exit_code = 1


class ConfigError(SwinUnetrError):
    """An argument or a field of a configuration is wrong; the message names its dotted path."""

    exit_code = 2


class DataError(SwinUnetrError):
    """A file of the user's is missing, unreadable, or does not hold what is needed."""

    #: Id of the case at fault; None if it is not one case's fault, or not known.
    case: str | None = None


class GeometryError(DataError):
    """Shape, affine or spacing of two files that belong together differ."""


class CheckpointError(SwinUnetrError):
    """A model folder or a file of weights cannot be used."""
