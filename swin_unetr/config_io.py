"""Reads and writes the dataclasses of the configuration: YAML, JSON and command line, through jsonargparse.

The one place that turns a wrong field into one line for the user. Knows no torch.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from jsonargparse import SUPPRESS, ArgumentError, ArgumentParser, DefaultHelpFormatter

from swin_unetr.errors import ConfigError, DataError
from swin_unetr.files import read_text

T = TypeVar("T")

#: In the folder of a run: its configuration.
RUN_CONFIG = "config.yaml"

_ROOT = "config"
_CLASS = "class_path"


class _HelpFormatter(DefaultHelpFormatter):  # type: ignore[misc]
    """jsonargparse's help without what is of no use to a person: Python's types, and defaults of flags and None.

    Defaults look as they would be typed: [2, 2] and true, not (2, 2) and True.
    """

    def _get_help_string(self, action: argparse.Action) -> str:
        text: str = super()._get_help_string(action)
        nothing = action.default is None or action.default == [] or action.nargs == 0
        for part in ("type: %(type)s", *(["default: %(default)s"] if nothing else [])):
            text = text.replace(f", {part}", "").replace(f"({part}, ", "(").replace(f" ({part})", "")
        typed = isinstance(action.default, tuple | bool)
        return text.replace("%(default)s", json.dumps(action.default)) if typed else text


class CommandParser(ArgumentParser):  # type: ignore[misc]  # jsonargparse types its parser loosely
    """A parser whose errors are `ConfigError`s of one line, not a usage text and a traceback."""

    def __init__(self, *args: Any, **keys: Any) -> None:
        super().__init__(*args, **{"formatter_class": _HelpFormatter, **keys})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing the usage."""
        raise ConfigError(f"{_one_line(message)}; see '{self.prog} --help'") from ex


def add_config_arguments(
    parser: ArgumentParser, cls: type[Any], values: Mapping[str, Any], *, hidden: Collection[str] = ()
) -> None:
    """Give a parser one option for each field of a configuration, such as `--network.feature_size`.

    The help of an option is the comment above its field.

    Args:
        parser: takes the options.
        cls: the dataclass.
        values: plain values, such as a YAML file's, for options that are not given.
        hidden: dotted fields that the help leaves out, since something else decides on them.
    """
    parser.add_class_arguments(cls)
    comments = dict(_comments(cls))
    for action in parser._actions:
        if action.dest in hidden or _dataclass_of(_hint(cls, action.dest)) is not None:
            action.help = SUPPRESS  # a group has an option that reads it from a file: one way too many
        elif action.dest in comments:
            action.help = comments[action.dest]
            if "tuple[" in str(_hint(cls, action.dest)):
                action.metavar = "[ITEM,...]"  # also for a tuple or None, which jsonargparse does not show so
    parser.set_defaults(dict(_flat(cls, values)))


def _hint(cls: Any, path: str) -> Any:
    """The type hint of a field by its dotted path; None if there is no such field."""
    name, _, rest = path.partition(".")
    hint = typing.get_type_hints(cls).get(name)
    return _hint(_dataclass_of(hint), rest) if rest and _dataclass_of(hint) else hint


def _flat(cls: Any, values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and value of every field that is given."""
    hints = typing.get_type_hints(cls)
    for name, value in values.items():
        nested = _dataclass_of(hints[name])
        if nested is not None and isinstance(value, Mapping):
            yield from _flat(nested, value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _comments(cls: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Dotted path and text of the `#:` comments above the fields of a dataclass, inherited ones included."""
    hints = typing.get_type_hints(cls)
    comment: list[str] = []
    bases: list[Any] = [base for base in reversed(cls.__mro__) if dataclasses.is_dataclass(base)]
    for line in (line.strip() for base in bases for line in inspect.getsource(base).splitlines()):
        if line.startswith("#:"):
            comment.append(line[2:].strip())
            continue
        name = line.partition(":")[0]
        if name in hints:
            nested = _dataclass_of(hints[name])
            if comment and nested is None:
                yield f"{path}{name}", " ".join(comment).replace("%", "%%")
            if nested is not None:
                yield from _comments(nested, f"{path}{name}.")
        comment = []


def documented_fields(cls: Any) -> Iterator[tuple[str, Any, str]]:
    """Dotted path, default as plain JSON types, and comment of every field of a configuration.

    Args:
        cls: the dataclass; all its fields have defaults.
    """
    comments = dict(_comments(cls))
    for path, value in _flat(cls, to_dict(cls())):
        yield path, value, comments.get(path, "").replace("%%", "%")


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as plain JSON types (tuples become lists, paths become strings)."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    return plain


def from_dict(cls: type[T], values: Mapping[str, Any], *, source: str) -> T:
    """Build a dataclass from plain values, strictly.

    Args:
        cls: the dataclass.
        values: what a YAML or JSON file holds.
        source: name of that file, for the message.

    Raises:
        ConfigError: an unknown field, a wrong type or a refused value, with its dotted path.
    """
    _refuse_classes(values, source)
    _check_shape(cls, values, source)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument(f"--{_ROOT}", type=cls)
    try:
        instance: T = getattr(parser.instantiate(parser.parse_object({_ROOT: dict(values)})), _ROOT)
    except (ArgumentError, TypeError) as error:
        raise ConfigError(f"{source}: {_one_line(str(error))}") from error
    except ValueError as error:
        raise ConfigError(f"{source}: {_locate(cls, values)}{_one_line(str(error))}") from error
    return instance


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML (or JSON) file holds.

    Raises:
        ConfigError: no such file, not YAML, or not a mapping at its top.
    """
    try:
        values = yaml.safe_load(read_text(path))
    except DataError as error:
        raise ConfigError(str(error)) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML ({_one_line(str(error))})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: should hold a mapping of fields, holds {type(values).__name__}")
    return values


def load(cls: type[T], path: Path) -> T:
    """A dataclass from a YAML file; see `from_dict` and `read_yaml`."""
    return from_dict(cls, read_yaml(path), source=str(path))


def _refuse_classes(values: Any, source: str) -> None:
    """Refuse what names a class, at any depth: jsonargparse imports its module, and only then refuses it."""
    for value in values.values() if isinstance(values, Mapping) else values:
        if isinstance(value, Mapping | list | tuple):
            _refuse_classes(value, source)
    if isinstance(values, Mapping) and _CLASS in values:
        raise ConfigError(f"{source}: unknown field '{_CLASS}'; a configuration holds values, no code")


def _check_shape(cls: Any, values: Mapping[str, Any], source: str, path: str = "") -> None:
    """Refuse a plain value where a group of fields is wanted; jsonargparse would end in a traceback."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        nested = _dataclass_of(hints[field.name])
        value = values.get(field.name)
        if nested is None or value is None:
            continue
        if not isinstance(value, Mapping):
            raise ConfigError(f"{source}: {path}{field.name}: should hold a mapping of fields, holds {value!r}")
        _check_shape(nested, value, source, f"{path}{field.name}.")


def _locate(cls: Any, values: Mapping[str, Any]) -> str:
    """Dotted path, with its closing dot, of the nested dataclass that refuses its values."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        nested = _dataclass_of(hints[field.name])
        value = values.get(field.name)
        if nested is None or not isinstance(value, Mapping):
            continue
        try:
            from_dict(nested, value, source="")
        except ConfigError:
            return f"{field.name}.{_locate(nested, value)}"
    return ""


def _dataclass_of(hint: Any) -> Any | None:
    """The dataclass in a type hint `D` or `D | None`."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((option for option in options if dataclasses.is_dataclass(option)), None)


def _one_line(message: str) -> str:
    """The message without line breaks, without our internal root key and without the parser's jargon."""
    line = " ".join(message.split()).replace(f"{_ROOT}.", "")
    line = line.replace(f"Group '{_ROOT}' does not accept option", "unknown field")
    # Of the errors of an optional group the first is the one that means something; the last says "expected None".
    line = re.sub(r"Does not validate against any of the Union subtypes .*?Errors: - (.*?) - Expected .*", r"\1", line)
    # So it speaks of a dataclass among the values of a mapping.
    line = re.sub(
        r"Problem with given class_path '[\w.]+': Option '(\w+)' is not accepted", r"unknown field '\1'", line
    )
    line = re.sub(r"Not a valid subclass of \w+\. Got value: (.*?) Subclass types .*", r"needs fields, got \1", line)
    line = re.sub(
        r"Expected a (?:typing\.)?Literal\[([^\]]*)\]\. Got value: (.*)",
        lambda match: f"{match[2]!r} is not one of {match[1].replace(chr(39), '')}",
        line,
    )
    line = re.sub(r"Parser key \"([^\"]+)\":", r"\1:", line)
    return re.sub(r"<class '(\w+)'>|typing\.(Literal)", lambda match: match[1] or match[2], line)
