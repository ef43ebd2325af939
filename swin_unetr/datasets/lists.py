"""Cases listed in a CSV or JSON file: `image` (or one column per channel), `label`, `case`, `patient`."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.decathlon import decathlon_task
from swin_unetr.datasets.faults import one_case
from swin_unetr.datasets.listing import inside, stem
from swin_unetr.errors import DataError
from swin_unetr.tasks import Task

#: Lists that are found in a folder by themselves.
LISTS = ("cases.csv", "cases.json")
#: `image`, or `image_T1`, `image:T1` with the name of a channel.
_IMAGE = re.compile(r"image[ _:-]?(.*)", re.IGNORECASE)
_CASE, _LABEL = ("case", "case_id", "id"), ("label", "mask", "seg", "segmentation")
_PATIENT = ("patient", "patient_id", "subject", "group")
#: Keys under which an object in a JSON file lists cases.
_ENTRIES, _TESTS = ("cases", "training", "validation"), "test"


def find_list(path: Path) -> Path | None:
    """The list that a path is, or that lies in the folder."""
    if path.is_dir():
        return next((path / name for name in LISTS if (path / name).is_file()), None)
    return path if path.suffix.lower() in (".csv", ".tsv", ".json") and path.is_file() else None


def read_list(root: Path, *, with_test: bool) -> Dataset:
    """List the cases of a file, or of the `cases.csv` or `cases.json` in a folder.

    CSV has a row per case, below a row of names: `image` or `image_<channel>` for each channel, and if wanted `label`,
    `case` and `patient`; separated by commas, semicolons or tabs. JSON has a list of objects with the same keys, or an
    object with such a list as "cases" or "training"; its "image" may be a list, or an object of channels.

    Args:
        root: the file or the folder.
        with_test: whether what an object lists as "test" counts too.

    Raises:
        DataError: the file is damaged, or lists a file outside its folder.
    """
    path = find_list(root)
    if path is None:
        raise DataError(f"{root}: neither a list (.csv, .json) nor a folder with one of {', '.join(LISTS)}")
    values, entries = _entries(path, with_test)
    cases, channels = [], set()
    for where, entry in entries:
        with one_case():
            images = _images(path, where, entry)
            channels.add(tuple(images))
            files = tuple(inside(path, listed) for listed in images.values())
            label = _one(entry, _LABEL)
            case = Case(
                id=str(_one(entry, _CASE) or stem(files[0])),
                images=files,
                label=inside(path, label) if label else None,
                group=None if (patient := _one(entry, _PATIENT)) is None else str(patient),
            )
            cases.append(case)
    if len(channels) > 1:
        known = " and ".join(", ".join(names) or "one image" for names in sorted(channels))
        raise DataError(f"{path}: its cases have different channels: {known}; give each case the same")
    names = next(iter(channels), ())
    task = _task(values, path)
    return Dataset(root=path.parent, layout="list", cases=tuple(cases), task=task, channels=names if any(names) else ())


def _entries(path: Path, with_test: bool) -> tuple[Mapping[str, Any], list[tuple[str, Mapping[str, Any]]]]:
    """What the file says beside its list, and its entries with where each stands."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); check the path") from error
    if path.suffix.lower() != ".json":
        return {}, list(_rows(text))
    try:
        values = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: is not valid JSON ({error})") from error
    outer = values if isinstance(values, dict) else {"cases": values}
    lists = {key: outer.get(key) or [] for key in (*_ENTRIES, *((_TESTS,) if with_test else ()))}
    if wrong := [key for key, of in lists.items() if not isinstance(of, list)]:
        raise DataError(f"{path}: {wrong[0]!r} should be a list of cases, is {json.dumps(lists[wrong[0]])[:60]}")
    listed = [entry for of in lists.values() for entry in of]
    entries = [{"image": entry} if isinstance(entry, str) else entry for entry in listed]
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise DataError(f"{path}: entry {number} should be an object with an 'image', is {json.dumps(entry)[:60]}")
    return outer, [(f"entry {number}", entry) for number, entry in enumerate(entries, 1)]


def _rows(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    head = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=head.count))
    names = [name.strip() for name in next(rows, [])]
    for number, row in enumerate(rows, 2):
        if any(map(str.strip, row)):
            yield (
                f"row {number}",
                {name: of.strip() for name, of in zip(names, row, strict=False) if name and of.strip()},
            )


def _images(path: Path, where: str, entry: Mapping[str, Any]) -> dict[str, str]:
    """Path by the name of the channel (empty for one without a name)."""
    found: dict[str, Any] = {}
    for key, of in entry.items():
        if not (match := _IMAGE.fullmatch(str(key))):
            continue
        if isinstance(of, Mapping):
            found.update({str(name): listed for name, listed in of.items()})
        elif isinstance(of, list):
            found.update({f"channel {number}" if len(of) > 1 else "": listed for number, listed in enumerate(of)})
        else:
            found[match[1]] = of
    if not found:
        raise DataError(f"{path}: {where} names no image; it needs 'image', or 'image_<channel>' for each channel")
    return found


def _one(entry: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    """The value under the first of some keys that is there, whatever its case."""
    known = {str(key).lower(): of for key, of in entry.items()}
    return next((known[key] for key in keys if known.get(key) not in (None, "")), None)


def _task(values: Mapping[str, Any], path: Path) -> Task | None:
    return decathlon_task(values, path) if "labels" in values else None
