"""Cross-validation: every fold trained, every case predicted by the model that did not see it, one report."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from finetune.component_rules import Trial, learn_rules
from finetune.config import FinetuneConfig
from finetune.cross_report import CROSS_VALIDATION, CrossValidationResult, FoldRun, write_cross_report
from finetune.deciding import refuse_single_patient
from finetune.fold_processes import FoldProcesses, slots
from finetune.opening import open_data
from finetune.partial_labels import refuse_other_labels
from finetune.planning import PLANNED
from finetune.preprocessing import InitPreprocess, with_preprocess_of
from finetune.resumed import changed_files
from finetune.run import MAY_CHANGE, finetune
from finetune.scans import store_of
from finetune.split import SPLIT, STORE, choose_split
from finetune.unlabelled import with_teacher
from swin_unetr.checkpoints.model_folder import read_description, write_description
from swin_unetr.checkpoints.starting_point import refuse_other_start, starting_point
from swin_unetr.config import BUDGETS
from swin_unetr.datasets.case import Dataset
from swin_unetr.datasets.folds import Folds
from swin_unetr.datasets.labelled import partly_labelled
from swin_unetr.datasets.union import Folders, folders_of
from swin_unetr.errors import CheckpointError, ConfigError, DataError, SwinUnetrError
from swin_unetr.evaluation.inputs.cases import Pair
from swin_unetr.evaluation.report.results import EvaluationResult
from swin_unetr.evaluation.run import evaluate
from swin_unetr.inference.batch.run import predict
from swin_unetr.model_description import ComponentRule
from swin_unetr.tasks import Task
from swin_unetr.training.budget import BudgetTooShortError
from swin_unetr.training.run_folder import check_run_folder, nothing_left_after, write_config
from swin_unetr.training.run_record import RECORD, read_record
from swin_unetr.words import count

PREDICTIONS, REPORT, LOGS = "out_of_fold", "report", "logs"


def cross_validate(
    config: FinetuneConfig | Path | str,
    *,
    data: Folders,
    output: Path | str,
    folds: Path | str | None = None,
    init: Path | str | None = None,
    task: Task | None = None,
    init_preprocess: InitPreprocess | None = None,
    resume: bool = False,
    parallel: int = 1,
    plan_note: str = "",
) -> CrossValidationResult:
    """Train every fold of a data set, and evaluate each case with the model that did not see it.

    `output` receives `fold_0/`, `fold_1/` and so on, which are run folders as `finetune` writes them, `out_of_fold/`
    with the predictions, `report/` with their evaluation, cross_validation.json and cross_validation.md. Used as a
    model, it is the ensemble of its folds. Rules of post-processing that the predictions show to help are written into
    the folds' model folders: see `component_rules`.

    Args:
        config: the configuration, or a recipe: its file, or the name of a shipped one.
        data: folder of scans and labels; one data set.
        output: new or empty unless it is resumed.
        folds: split to use, a file; else the cases are dealt out by `config.num_folds` and the seed.
        init: model folder or published checkpoint that each fold starts from.
        task: what the labels mean, where the data set does not say.
        init_preprocess: whose preprocessing counts, as for `finetune`.
        resume: go on; folds that are finished are not trained again, existing predictions are kept.
        plan_note: as for `finetune`; kept by folds that are trained in this process.
        parallel: folds that are trained at a time, in processes of their own, on GPUs one on each.

    Raises:
        ConfigError: wrong configuration or output folder, several data sets, or several processes that share the work
            already.
        DataError: scans that cannot be used.
        SwinUnetrError: folds whose training failed; the others were trained.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; can be resumed.
    """
    _refuse_shared_work()
    root, run = _only(folders_of(data)), Path(output)
    start = None if init is None else starting_point(init)
    config = with_teacher(with_preprocess_of(config, start, init_preprocess))
    config, dataset, known_task = open_data(config, root, task, store_of(config, run.parent / STORE))
    environments = slots(parallel, config.trainer.accelerator) if parallel > 1 or _several_devices(config) else []
    if environments and task is not None:
        raise ConfigError("task: cannot be given to processes of their own; put a task.yaml beside the data")
    check_run_folder(run, config, resume=resume, may_change=MAY_CHANGE, beside=PLANNED)
    refuse_single_patient(dataset)
    split = choose_split(run, dataset, known_task, config, folds)
    folders = [run / f"fold_{fold}" for fold in range(len(split.folds))]
    begun = [folder for folder in folders if check_run_folder(folder, config, resume=True, may_change=MAY_CHANGE)]
    todo = [fold for fold, folder in enumerate(folders) if not _is_finished(folder, config)]
    for of_fold in begun:  # those that begin now must begin as these did
        record = read_record(of_fold / RECORD)
        refuse_other_start(of_fold, record, start, left_out=not todo)
        refuse_other_labels(of_fold, record, partly_labelled(dataset.cases, known_task))
    with nothing_left_after(BudgetTooShortError, run, kept=lambda: any(folder.is_dir() for folder in folders)):
        write_config(run, config)
        split.save(run / SPLIT)
        if todo:
            (run / CROSS_VALIDATION).unlink(missing_ok=True)  # not to be used as a model until all folds are done
        if kept := len(folders) - len(todo):
            print(f"{kept} of {len(folders)} folds are finished and are kept", flush=True)
        if environments:
            commands = {fold: _command(run, fold, root, init, init_preprocess) for fold in todo}
            failures = FoldProcesses(commands, environments, run / LOGS if parallel > 1 else None).run()
        else:
            given: dict[str, Any] = {"data": root, "folds": run / SPLIT, "task": task, "resume": True}
            given |= {"plan_note": plan_note, "init": init, "init_preprocess": init_preprocess}
            failures = _one_by_one(todo, lambda fold: finetune(config, output=folders[fold], fold=fold, **given))
    if failures:
        lines = "".join(f"\n  fold {fold}: {words}" for fold, words in sorted(failures.items()))
        raise SwinUnetrError(
            f"{run}: {len(failures)} of {count(len(folders), 'fold')} failed; mend what is wrong and go on with "
            f"--resume auto:{lines}"
        )
    return _evaluate(config, run, folders, split, root, dataset, known_task)


def _evaluate(
    config: FinetuneConfig,
    run: Path,
    folders: Sequence[Path],
    split: Folds,
    data: Path,
    dataset: Dataset,
    task: Task,
) -> CrossValidationResult:
    """Predict every case out of fold, evaluate, learn what to remove, and write it all down."""
    device = "cpu" if config.trainer.accelerator == "cpu" else "auto"
    for fold, folder in enumerate(folders):
        report = predict(
            folder, data, run / PREDICTIONS, folds=run / SPLIT, fold=fold,
            layout=config.layout, device=device, postprocess=False, beside_others=True, trust=False,
        )  # fmt: skip
        for failure in report.failures:
            print(f"failed: {failure}", file=sys.stderr)
    cases = [case for ids in split.folds for case in ids]
    evaluation = evaluate(run / PREDICTIONS, data, task=task, output=run / REPORT, cases=cases)
    rules, trials = _learn(evaluation, task, dataset.groups) if config.learn_postprocessing else ([], [])
    for folder in folders:
        best = folder / "best"
        description = read_description(best)
        if description.postprocess != tuple(rules):
            write_description(best, replace(description, postprocess=tuple(rules)))
    records = [read_record(folder / RECORD) for folder in folders]
    newest = max(records, key=lambda record: record["sessions"][-1]["started"])
    for folder, record in zip(folders, records, strict=True):
        if changed := changed_files(record, newest):
            words = f"was trained before files changed of {changed}; remove that folder and go on with --resume auto"
            print(f"warning: {folder} {words} to train it again", file=sys.stderr)
    runs = [FoldRun.of(fold, folder.name, split.folds[fold], records[fold]) for fold, folder in enumerate(folders)]
    result = CrossValidationResult(
        run_folder=run, folds=tuple(runs), evaluation=evaluation, rules=tuple(rules), trials=tuple(trials)
    )
    write_cross_report(result, REPORT)
    return result


def _learn(
    evaluation: EvaluationResult, task: Task, patients: Mapping[str, str]
) -> tuple[list[ComponentRule], list[Trial]]:
    pairs = [
        Pair(case, Path(str(files["prediction"])), Path(str(files["reference"])))
        for case, files in sorted(evaluation.files.items())
    ]
    left_out = {(row.case, row.structure) for row in evaluation.rows if row.status == "not_looked_for"}
    return learn_rules(pairs, task, patients=patients, left_out=left_out)


def _only(folders: Sequence[Path]) -> Path:
    """The data set, of which there must be one: predictions and reports are of one folder."""
    if len(folders) > 1:
        raise ConfigError(
            "folds: --folds all takes one data set; of several, train each fold by --fold K, the later ones with "
            "--folds RUN/folds.json of the first"
        )
    return folders[0]


def _one_by_one(folds: Sequence[int], train: Callable[[int], object]) -> dict[int, str]:
    """Train folds in this process; one that fails by itself does not stop the others."""
    failures = {}
    for fold in folds:
        print(f"fold {fold}", flush=True)
        try:
            train(fold)
        except (ConfigError, DataError, CheckpointError):
            raise  # the same for every fold
        except SwinUnetrError as error:
            failures[fold] = str(error)
            print(f"fold {fold} failed: {error}", file=sys.stderr)
        gc.collect()  # trainer and module know each other; their scans are large
    return failures


def _is_finished(folder: Path, config: FinetuneConfig) -> bool:
    """Whether a fold was trained to its end, for as long as is asked for now."""
    if not (folder / RECORD).is_file() or not (folder / "best" / "model.json").is_file():
        return False
    record, trainer = read_record(folder / RECORD), config.trainer
    sessions, before = record.get("sessions", []), record.get("config", {}).get("trainer", {})
    ended = bool(sessions) and sessions[-1].get("status") == "finished"
    lasting = (*BUDGETS, *(() if trainer.budget else ("max_epochs",)))
    return ended and all(before.get(name) == getattr(trainer, name) for name in lasting)


def _command(
    run: Path, fold: int, data: Path | str, init: Path | str | None, init_preprocess: InitPreprocess | None
) -> list[str]:
    """The command that trains one fold by itself."""
    options = {
        "--config": run / "config.yaml",
        "--data": data,
        "--output": run / f"fold_{fold}",
        "--folds": run / SPLIT,
        "--fold": fold,
        **({} if init is None else {"--init": init}),
        **({} if init_preprocess is None else {"--init-preprocess": init_preprocess}),
        "--resume": "auto",
    }
    return [sys.executable, "-m", "swin_unetr", "finetune", *(str(word) for pair in options.items() for word in pair)]


def _several_devices(config: FinetuneConfig) -> bool:
    """Whether a training takes several devices: Lightning repeats the command line for each, which must be a fold's."""
    trainer = config.trainer
    if trainer.devices == "auto":
        return trainer.accelerator not in ("cpu", "mps") and torch.cuda.device_count() > 1
    return str(trainer.devices) != "1"


def _refuse_shared_work() -> None:
    """Refuse to be one of several processes that `torchrun` or SLURM has started for one training."""
    shared = {name: os.environ.get(name, "1") for name in ("WORLD_SIZE", "SLURM_NTASKS")}
    if taken := [f"{name}={value}" for name, value in shared.items() if value.isdigit() and int(value) > 1]:
        raise ConfigError(
            f"folds: {taken[0]}: several processes share this job; train the folds by jobs of their own, with --folds "
            "FILE --fold K --output RUN/fold_K, and put them together with --folds all --resume auto in one process"
        )
