"""Cases listed in a CSV or JSON file: `image` (or one column per channel), `label`, `case`, `patient`, `labelled`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.decathlon import decathlon_task
from swin_unetr.datasets.faults import one_case
from swin_unetr.datasets.labelled import LABELLED, is_side_table, names_in
from swin_unetr.datasets.listing import image_suffix, inside
from swin_unetr.datasets.reader import Reader
from swin_unetr.datasets.side_files import CASE, IMAGE, PATIENT, plain, read_json, read_table, value_of
from swin_unetr.errors import DataError
from swin_unetr.tasks import Task

#: Lists that are found in a folder by themselves.
LISTS = ("cases.csv", "cases.json")
_LABEL = tuple(name + of for name in ("label", "mask", "seg", "segmentation") for of in ("", "path", "file"))
#: Endings after `image` in the name of a column that are not channels.
_NO_CHANNEL = ("path", "file", "filename")
#: Keys under which an object in a JSON file lists cases.
_ENTRIES, _TESTS = ("cases", "training", "validation"), "test"


def find_list(path: Path) -> Path | None:
    """The list that a path is, or that lies in the folder, unless that table lists no images."""
    if path.is_dir():
        found = (path / name for name in LISTS if (path / name).is_file())
        return next((file for file in found if not is_side_table(file)), None)
    return path if path.suffix.lower() in (".csv", ".tsv", ".json") and path.is_file() else None


def read_list(root: Path, *, with_test: bool) -> Dataset:
    """List the cases of a file, or of the `cases.csv` or `cases.json` in a folder.

    CSV has a row per case, below a row of names: `image` or `image_<channel>` for each channel, and if wanted `label`,
    `case`, `patient` and `labelled`; separated by commas, semicolons or tabs. JSON has a list of objects with the same
    keys, or an object with such a list as "cases" or "training"; its "image" may be a list, or an object of channels.

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
            label = value_of(entry, _LABEL)
            case = Case(
                id=_without_ending(str(value_of(entry, CASE) or files[0].name)),
                images=files,
                label=inside(path, label) if label else None,
                group=None if (patient := value_of(entry, PATIENT)) is None else str(patient),
                labelled=names_in(value_of(entry, LABELLED), f"{path}: {where}"),
            )
            cases.append(case)
    if len(channels) > 1:
        known = " and ".join(", ".join(names) or "one image" for names in sorted(channels))
        raise DataError(f"{path}: its cases have different channels: {known}; give each case the same")
    names = next(iter(channels), ())
    task = _task(values, path)
    return Dataset(
        root=path.parent, layout=READER.name, cases=tuple(cases), task=task, channels=names if any(names) else ()
    )


def _entries(path: Path, with_test: bool) -> tuple[Mapping[str, Any], list[tuple[str, Mapping[str, Any]]]]:
    """The other values of the file, and its entries, each with its place in the file."""
    if path.suffix.lower() != ".json":
        return {}, [(f"row {row.number}", row.cells) for row in read_table(path)[1]]
    values = read_json(path)
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


def _images(path: Path, where: str, entry: Mapping[str, Any]) -> dict[str, str]:
    """Path by the name of the channel (empty for one without a name)."""
    found: dict[str, Any] = {}
    for key, of in entry.items():
        if not (match := IMAGE.fullmatch(str(key).strip())):
            continue
        if isinstance(of, Mapping):
            found.update({str(name): listed for name, listed in of.items()})
        elif isinstance(of, list):
            found.update({f"channel {number}" if len(of) > 1 else "": listed for number, listed in enumerate(of)})
        else:
            found["" if plain(match[1]) in _NO_CHANNEL else match[1]] = of
    if not found:
        raise DataError(f"{path}: {where} names no image; it needs 'image', or 'image_<channel>' for each channel")
    return found


def _without_ending(name: str) -> str:
    """A case id; the name of an image file means the file's stem."""
    return name[: -len(image_suffix(Path(name)) or "") or None]


def _task(values: Mapping[str, Any], path: Path) -> Task | None:
    return decathlon_task(values, path) if "labels" in values else None


def _is_described(path: Path) -> bool:
    return find_list(path) is not None


READER = Reader(
    name="list",
    looks="cases.csv or cases.json with image (or image_T1, image_T2 and so on), label, case, patient, labelled",
    structures="the values in the labels, or a task.yaml",
    recognises=_is_described,
    read=read_list,
    described_by=_is_described,
)
