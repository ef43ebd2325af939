"""Results of a prediction as DICOM files beside a record; one that cannot be written does not stop the others."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import numpy as np

from swin_unetr.batch import BatchReport, Failure
from swin_unetr.datasets.description import task_from
from swin_unetr.datasets.listing import stem
from swin_unetr.dicom.arguments import Encoding, Kind
from swin_unetr.dicom.out.contours import make_contours
from swin_unetr.dicom.out.segmentation import make_segmentation
from swin_unetr.dicom.out.source import Source, read_source
from swin_unetr.dicom.out.structures import Maker, Structure, split_by_presence, structures_of
from swin_unetr.dicom.terminology import is_private
from swin_unetr.errors import DataError, SwinUnetrError
from swin_unetr.file_stamps import bytes_hash
from swin_unetr.files import remove_partial, replacing, require, write_json
from swin_unetr.tasks import Task, exclusive
from swin_unetr.words import why_not_written
from transforms.geometry import Volume, require_same_geometry
from transforms.io import read_label_names, read_labels

#: Folder of DICOM files in that of the results.
FOLDER = "dicom"
_PREDICTIONS = "predictions.json"


@dataclass(frozen=True)
class Result:
    """A label map that is to become DICOM.

    Attributes:
        case: the stem of the files' names.
        labels: the label file.
        scan: the series, or the DICOM file, on whose grid it is.
        task: what its values mean.
        weights: SHA-256 of each model that made it; empty if it is not known.
    """

    case: str
    labels: Path
    scan: Path
    task: Task
    weights: tuple[str, ...] = ()


def results_of(folder: Path, cases: Iterable[str] | None = None) -> list[Result]:
    """The results in a folder that `predict` wrote.

    Args:
        folder: of the results.
        cases: which; if None, all.

    Raises:
        DataError: the folder holds no results.
    """
    run = _read_json(folder / _PREDICTIONS)
    if not isinstance(run.get("task"), dict):
        raise DataError(f"{folder}: holds no {_PREDICTIONS} of predict; give its folder, or a label file with --source")
    task = task_from(run["task"], source=str(folder / _PREDICTIONS))
    wanted = None if cases is None else set(cases)
    found = []
    for path in sorted(folder.glob("*.json")):
        record = _read_json(path)
        case = str(record.get("case", ""))
        if f"{case}.json" != path.name or not record.get("sources") or (wanted is not None and case not in wanted):
            continue
        weights = tuple(str(model["sha256"]) for model in record.get("models", ()) if model.get("sha256"))
        scan = Path(record["sources"][0]["path"])
        found.append(Result(case, folder / str(record["prediction"]), scan, task, weights))
    if not found and cases is None:
        raise DataError(f"{folder}: holds no CASE.json of predict that names its scan; segment the scans first")
    return found


def result_of_file(labels: Path, scan: Path) -> Result:
    """A label file that names its structures itself.

    Args:
        labels: the file.
        scan: the series that it belongs to.

    Raises:
        DataError: it does not name them.
    """
    names = dict(sorted(read_label_names(labels).items()))
    if not names:
        raise DataError(f"{labels}: does not name its structures; give the folder of predict that it lies in")
    targets = tuple(target for value, name in names.items() for target in exclusive((name,), first=value))
    return Result(stem(labels), labels, scan, Task(name="labels", modality="CT", channels=("CT",), targets=targets))


def export_results(
    results: Iterable[Result],
    output: Path,
    kinds: Sequence[Kind],
    *,
    encoding: Encoding = "binary",
    on_case: Callable[[str, str], None] = lambda case, outcome: None,
) -> BatchReport:
    """Write results as DICOM: `<case>.seg.dcm`, `<case>.rtstruct.dcm`, and `<case>.json`, which says what is in them.

    What was written from the same label map in the same way is kept.

    Args:
        results: which.
        output: folder of the DICOM files; a file there that this function did not write is never replaced.
        kinds: what to write.
        encoding: of segmentations.
        on_case: called for each case that is done, with its id, and what was written or why not.
    """
    report = BatchReport()
    for result in results:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # those of the libraries quote names of patients
                words = _export(result, output, kinds, encoding)
            report.done.append(result.case)
        except OSError as error:
            words = f"{error.filename or output}: {why_not_written(error)}"
            report.failures.append(Failure(result.case, words))
        except SwinUnetrError as error:
            words = f"no DICOM: {error}"
            report.failures.append(Failure(result.case, words))
        on_case(result.case, words)
    return report


def _export(result: Result, output: Path, kinds: Sequence[Kind], encoding: Encoding) -> str:
    """Write the files of a result; gives what is in them, in words."""
    require(result.labels)
    settings: dict[str, Any] = {
        "labels_sha256": bytes_hash(result.labels),
        "scan_sha256": bytes_hash(result.scan) if result.scan.exists() else None,
        "weights_sha256": list(result.weights),
        "encoding": encoding,
        "version": version("swin-unetr"),
    }
    record_path = output / f"{result.case}.json"
    before = _read_json(record_path)
    files = _files(result.case, output, kinds, before)
    same = before.get("state") == "finished" and all(before.get(name) == of for name, of in settings.items())
    if same and before["dicom"] == files and all((output / name).is_file() for name in files.values()):
        return "kept"
    source = read_source(result.scan)
    volume = read_labels(result.labels)
    require_same_geometry(result.labels, volume.geometry, result.scan, source.geometry)
    there, absent = _structures(result, volume)
    record = {
        "case": result.case,
        "dicom": files,
        **settings,
        "structures": [one.name for one in there],
        "absent": [one.name for one in absent],
        "private_codes": [one.name for one in there if is_private(one.term)],
    }
    write_json(record_path, {**record, "state": "running"})  # so that the files are known as ours if this is killed
    for kind, name in files.items():
        made = _make(kind, source, volume, there, result, settings)
        remove_partial(output / name)
        with replacing(output / name) as temporary:
            made.save_as(temporary, enforce_file_format=True)
    write_json(record_path, {**record, "state": "finished"})
    return _in_words(record)


def _files(case: str, output: Path, kinds: Sequence[Kind], before: dict[str, Any]) -> dict[Kind, str]:
    """Names of the files by kind, those of an earlier call included, which are renewed with the others.

    Args:
        case: the stem of the names.
        output: folder of the files.
        kinds: that are asked for.
        before: the record of an earlier call; empty if there is none.

    Raises:
        DataError: a file there is not of an earlier call.
    """
    ours = before.get("dicom")
    ours = ours if isinstance(ours, dict) else None
    files: dict[Kind, str] = {kind: f"{case}.{kind}.dcm" for kind in get_args(Kind) if kind in (*kinds, *(ours or ()))}
    for name in (f"{case}.json", *files.values()):
        known = ours is not None and name in (f"{case}.json", *ours.values())
        if os.path.lexists(output / name) and not known:
            raise DataError(f"{output / name}: was not written by this program and is kept; name another folder")
    return files


def _in_words(record: dict[str, Any]) -> str:
    parts = (
        ("written", record["dicom"].values()),
        ("absent, left out", record["absent"]),
        ("with private codes", record["private_codes"]),
    )
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)


def _structures(result: Result, volume: Volume) -> tuple[tuple[Structure, ...], tuple[Structure, ...]]:
    """The structures that are there, and those that are not.

    Raises:
        DataError: none is there, or a value belongs to no structure.
    """
    labels = volume.array[0]
    structures = structures_of(result.task)
    known = {0, *(value for one in structures for value in one.values)}
    if unknown := sorted(set(np.unique(labels).tolist()) - known):
        raise DataError(f"{result.labels}: holds the values {unknown}, which are no structure of {result.task.name!r}")
    there, absent = split_by_presence(structures, labels)
    if not there:
        raise DataError(f"{result.labels}: holds no structure, and DICOM objects need one; nothing was written")
    return there, absent


def _make(
    kind: Kind, source: Source, volume: Volume, there: Sequence[Structure], result: Result, settings: dict[str, Any]
) -> Any:
    from pydicom.uid import generate_uid

    maker = Maker(f"swin-unetr {result.task.name}"[:64], settings["version"], result.weights)
    # The same result has the same UIDs, so that an archive does not keep it twice.
    what = [str(source.first.SeriesInstanceUID), kind, json.dumps(settings), ",".join(one.name for one in there)]
    uids = generate_uid(entropy_srcs=[*what, "series"]), generate_uid(entropy_srcs=[*what, "object"])
    if kind == "seg":
        return make_segmentation(source, volume.array[0], there, maker, uids, settings["encoding"])
    now = datetime.now(UTC).astimezone()
    return make_contours(source, volume.array[0], there, maker, uids, (f"{now:%Y%m%d}", f"{now:%H%M%S}"))


def _read_json(path: Path) -> dict[str, Any]:
    """What a JSON file holds; empty if it is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
