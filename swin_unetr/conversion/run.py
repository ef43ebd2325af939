"""Converts the cases of a data set, in parallel processes; one that fails does not stop the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swin_unetr.batch import BatchReport, Failure
from swin_unetr.config_io import read_yaml, to_dict
from swin_unetr.conversion.labels import new_values
from swin_unetr.conversion.layouts import To, Writer
from swin_unetr.conversion.pieces import How, make
from swin_unetr.datasets import Case, Dataset, read_sound_cases
from swin_unetr.datasets.labelled import write_labelled
from swin_unetr.datasets.patients import write_patients
from swin_unetr.errors import ConfigError, DataError, SwinUnetrError
from swin_unetr.files import real_path, remove_partials, write_json
from swin_unetr.parallel import run_parallel
from swin_unetr.provenance import versions
from swin_unetr.tasks import Modality, Task
from swin_unetr.words import why_not_written
from transforms.infer_task import label_values, settle_labelled, settle_task
from transforms.io import read_verdict

#: Record of a conversion, in its folder.
RECORD = "convert.json"


@dataclass
class Conversion(BatchReport):
    """The results for the cases, and for their files."""

    dataset: Dataset | None = None
    #: How many files were kept, linked, copied or written.
    files: Counter[How] = field(default_factory=Counter)
    #: New label values by old ones, if the layout needs others.
    renumbered: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Job:
    """A case to be converted, for another process."""

    case: Case
    writer: Writer
    link: bool


def convert(
    source: Path | str,
    output: Path | str,
    *,
    to: To,
    layout: str = "auto",
    file_type: str = "nii.gz",
    link: bool = True,
    modality: Modality | None = None,
    workers: int = 0,
    on_start: Callable[[Dataset], None] = lambda dataset: None,
    on_case: Callable[[str, str], None] = lambda case, outcome: None,
) -> Conversion:
    """Convert a data set of any layout to another one, with the same voxels and affines.

    Stored types are kept; a file that stays as it is becomes a hard link. A file that exists in `output` already and
    is equal is kept, so that the same call continues one that was stopped.

    Args:
        source: root of the data set, or a file that lists it.
        output: folder of the new one: new, empty, or that of the same conversion.
        to: layout of the new one. nnU-Net and the Decathlon need one label value for each structure, and
            nnU-Net consecutive ones: other values are renumbered, and recorded.
        layout: of the source, or "auto".
        file_type: "nii.gz", "nii", "nrrd" or "mha".
        link: whether files that stay as they are are linked where the disk allows it, rather than copied.
        modality: of a data set that does not say.
        workers: processes; 0 for one per core.
        on_start: called with the data set that was found.
        on_case: called for each case that is done, with its id, and how it was done or why not.

    Raises:
        ConfigError: a folder that holds something else, or a source that does not say what its labels mean.
        DataError: the source is no data set.
    """
    source, output = Path(source), Path(output)
    dataset, faults = read_sound_cases(source, layout=layout, with_test=True)
    labelled = any(case.label for case in dataset.cases)
    task = settle_task(dataset, modality) if to != "plain" or (dataset.task and labelled) else dataset.task
    if task is not None:
        dataset = settle_labelled(dataset, task, _values)
    values = {} if task is None else new_values(task, to)
    settings = {"source": str(source.resolve()), "layout": dataset.layout, "to": to, "file_type": file_type}
    _check_output(output, dataset, settings)
    on_start(dataset)
    remove_partials(output)  # of a conversion that was killed
    write_json(output / RECORD, {**settings, "state": "running"})
    report = Conversion(dataset=dataset, renumbered=values)
    report.failures += [Failure(source.name, str(fault)) for fault in faults]
    writer = Writer(to=to, output=output, suffix=f".{file_type}", task=task, values=values, any_label=labelled)
    jobs = [_Job(case, writer, link) for case in dataset.cases]
    made: dict[str, dict[str, How]] = {}
    for index, result in run_parallel(_convert_case, jobs, workers=workers):
        case = jobs[index].case.id
        if isinstance(result, Exception):
            report.failures.append(Failure(case, _words(result)))
            on_case(case, "failed")
        else:
            made[case], odd = result
            report.done.append(case)
            report.files.update(made[case].values())
            if odd:
                report.warnings[case] = odd
            on_case(case, ", ".join(sorted(set(made[case].values()))))
    done = [case for case in dataset.cases if case.id in made]
    writer.describe(done)
    if groups := {case.id: case.group for case in done if case.group is not None}:
        write_patients(output, groups)
    write_labelled(output, done)
    write_json(output / RECORD, {**settings, "state": "finished", **_record(report, made, task)})
    return report


def _convert_case(job: _Job) -> tuple[dict[str, How], tuple[str, ...]]:
    """How each file of a case was made, by its path below the output; what is odd. If one fails, no file is left."""
    pieces = job.writer.pieces(job.case)
    try:
        made = {str(piece.target.relative_to(job.writer.output)): make(piece, link=job.link) for piece in pieces}
        sources = dict.fromkeys(source for piece in pieces for source in piece.sources)
        odd = ((path, note) for path in sources for note in read_verdict(path).notes)
        return made, tuple(f"{(note.path or path).name}: {note.words}" for path, note in odd)
    except Exception:
        for piece in pieces:
            piece.target.unlink(missing_ok=True)
        raise


def _values(case: Case) -> tuple[int, ...]:
    """The values in a label file; empty if it cannot be read: its case is then not converted."""
    try:
        return label_values(case)
    except DataError:
        return ()


def _check_output(output: Path, dataset: Dataset, settings: dict[str, Any]) -> None:
    files = [path for case in dataset.cases for path in (*case.images, *filter(None, [case.label]))]
    if any(real_path(path).is_relative_to(output.resolve()) for path in files):
        raise ConfigError(f"output: {output} holds files of the source; name another folder")
    source = Path(settings["source"])
    if source.is_dir() and output.resolve().is_relative_to(source):
        raise ConfigError(f"output: {output} lies in the source, {source}; name a folder beside it")
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    record = output / RECORD
    before = read_yaml(record) if record.is_file() else {}
    if not before:
        raise ConfigError(f"output: {output} is not an empty folder; name a new one or remove it")
    if changed := [f"{key} {before.get(key)}, now {of}" for key, of in settings.items() if before.get(key) != of]:
        raise ConfigError(f"output: {output} holds another conversion ({'; '.join(changed)}); name another folder")


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {why_not_written(error)}"
    return str(error) if isinstance(error, SwinUnetrError) else f"{type(error).__name__}: {error}"


def _record(report: Conversion, made: dict[str, dict[str, How]], task: Task | None) -> dict[str, Any]:
    sources = {case.id: case for case in report.dataset.cases} if report.dataset else {}
    return {
        "task": to_dict(task) if task else None,
        "renumbered": {str(old): new for old, new in report.renumbered.items()},
        "notes": report.dataset.notes if report.dataset else (),
        "cases": {
            name: {
                "images": [str(path) for path in sources[name].images],
                "label": sources[name].label,
                "patient": sources[name].group,
                "files": files,
            }
            for name, files in sorted(made.items())
        },
        "failures": [vars(failure) for failure in report.failures],
        "warnings": report.warnings,
        "versions": versions(),
    }
