"""A survey as JSON and back."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swin_unetr.errors import DataError
from swin_unetr.files import write_json
from swin_unetr.provenance import command
from swin_unetr.survey.facts import Survey

#: Name of the file in a folder of results.
SURVEY_NAME = "survey.json"
#: Version of its format; a survey of another version is made again.
FORMAT = 2


def write_survey(survey: Survey, path: Path) -> None:
    """Write a survey, whole or not at all."""
    write_json(path, {"format": FORMAT, **dataclasses.asdict(survey)})


def read_survey(path: Path) -> Survey:
    """Read what `write_survey` wrote.

    Raises:
        DataError: no such file, or not a survey of this version.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise ValueError("another version")
        survey: Survey = _build(Survey, values)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        again = command(["doctor", "..."])
        raise DataError(f"{path}: is no survey of this version ({error}); run {again} again") from error
    return survey


def _build(hint: Any, value: Any) -> Any:
    """A value of JSON as the type that a hint names."""
    origin, parameters = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        (one,) = (option for option in parameters if option is not types.NoneType)
        return None if value is None else _build(one, value)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        fields: Mapping[str, Any] = value
        return typing.cast("Any", hint)(**{name: _build(hints[name], field) for name, field in fields.items()})
    if origin is tuple:
        each = [parameters[0]] * len(value) if parameters[1:] == (Ellipsis,) else parameters
        return tuple(_build(part, item) for part, item in zip(each, value, strict=True))
    if origin is dict:
        return {parameters[0](key): _build(parameters[1], item) for key, item in value.items()}
    if origin is typing.Literal:
        return value
    return hint(value)  # float("inf") too
