"""One fine-tuning from start to end: data, network, training, run folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import LightningModule, Trainer, seed_everything

from finetune.class_weights import weights_by_frequency
from finetune.config import FinetuneConfig
from finetune.data import FinetuneData
from finetune.deciding import Deciding, refuse_single_patient
from finetune.leaks import seen_by_init
from finetune.module import FinetuneModule, metric_names
from finetune.notices import of_absent_classes, of_baseline, of_mirrored_sides, warn
from finetune.planning import PLANNED
from finetune.preprocessing import InitPreprocess, check_intensities, compared, with_preprocess_of
from finetune.recipes import find_recipe
from finetune.resumed import of_changed_files, refuse_another
from finetune.speed import settled_speed
from finetune.split import SPLIT, STORE, choose_split
from finetune.validation import OF_CASES, POOLED, SMOOTHED
from swin_unetr.checkpoints import save_model, start_from
from swin_unetr.checkpoints.starting_point import starting_point
from swin_unetr.config_io import load, to_dict
from swin_unetr.datasets import read_dataset
from swin_unetr.datasets.case import Dataset
from swin_unetr.datasets.folds import left_out
from swin_unetr.model_description import ModelDescription, TrainingScans
from swin_unetr.networks import SegmentationNetwork, build_network, choose_fast_paths
from swin_unetr.provenance import command, commit, versions
from swin_unetr.tasks import Task
from swin_unetr.training import ModelFolders, ResumePoint, RunRecord, TrainingStopped, build_trainer, train
from swin_unetr.training.file_notes import FILE_NOTES, file_notes
from swin_unetr.training.run_folder import check_run_folder, write_config
from swin_unetr.training.run_record import read_record
from swin_unetr.training.speed import float32_products, hardware, trainer_for
from swin_unetr.words import count, decimal
from transforms.infer_task import settle_task
from transforms.likeness import describe_scans

RECORD = "run.json"
#: What may differ when a run is resumed: how long, where and how fast it trains, and what comes after it.
MAY_CHANGE = (
    "inference",
    "learn_postprocessing",
    "num_folds",
    "sampling.num_workers",
    "speed",
    "store",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.early_stop_patience",
    "trainer.max_epochs",
    "trainer.strategy",
    "trainer.validate_every",
)


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """What came of a fine-tuning."""

    run_folder: Path
    #: Model folder that `predict` takes: of the last epoch, unless training collapsed (`swin_unetr.training.choice`).
    best_model: Path
    #: Model folder of the last epoch that was validated.
    last_model: Path
    #: Epoch of the best model, from 1, and why it was chosen.
    best_epoch: int
    reason: str
    #: Mean over the structures of the best model's mean Dice over the validation cases.
    dice: float
    #: The same for each structure; NaN if no validation case has it, and none is predicted to have it.
    dice_per_target: Mapping[str, float]
    #: Mean over the deciding structures of the best model's Dice over all voxels of the validation cases together.
    pooled_dice: float
    #: Whether the validation cases are new to the model: false with the fold "all".
    held_back: bool
    #: Structures that no training case has.
    untrained: tuple[str, ...]
    #: Epochs trained, and the seconds it took, those before a resume included.
    epochs: int
    seconds: float

    def summary(self) -> str:
        """The closing lines of the command."""
        parts = ", ".join(
            f"{name} {decimal(value, 3)}" + (" (not trained on)" if name in self.untrained else "")
            for name, value in self.dice_per_target.items()
        )
        where = "in validation" if self.held_back else "on the cases that it was trained on"
        return (
            f"{count(self.epochs, 'epoch')} in {timedelta(seconds=round(self.seconds))}; "
            f"best/ has epoch {self.best_epoch} ({self.reason})\n"
            f"{where}: mean Dice of cases {decimal(self.dice)} ({parts}), pooled Dice {decimal(self.pooled_dice)}\n"
            f"model: {self.best_model}\n"
            f"segment with it: {command(['predict', self.run_folder, 'SCANS', '--output', 'FOLDER'])}"
        )


def finetune(
    config: FinetuneConfig | Path | str,
    *,
    data: Path | str,
    output: Path | str,
    fold: int | Literal["all"] = 0,
    folds: Path | str | None = None,
    init: Path | str | None = None,
    task: Task | None = None,
    init_preprocess: InitPreprocess | None = None,
    resume: bool = False,
    plan_note: str = "",
) -> FinetuneResult:
    """Train on all folds of a labelled data set but one, and validate on that.

    Args:
        config: the configuration, or a recipe: its file, or the name of a shipped one.
        data: folder of scans and labels.
        output: the run folder, new or empty unless it is resumed. Takes config.yaml, run.json, folds.json,
            metrics.csv, tensorboard/, checkpoints/last.ckpt, and the model folders best/ and last/.
        fold: fold that is held back for validation; "all" trains on every case and validates on the same.
        folds: split to use, a file; else the cases are dealt out by `config.num_folds` and the seed.
        init: model folder or published checkpoint to start from.
        init_preprocess: "take" preprocesses scans as those that `init` was trained on, "keep" as `config` says. If
            None, keep, and warn where they differ.
        task: what the labels mean, where the data set does not say.
        resume: go on from the checkpoint in `output`, where there is one.
        plan_note: what is to be known of the plan that `config` comes from, for the record.

    Returns:
        Where the models are, and how good.

    Raises:
        ConfigError: wrong configuration, fold or output folder.
        DataError: scans that cannot be used; all of them are named before the first epoch.
        CheckpointError: weights that cannot be used.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; the checkpoint to resume from is written.
    """
    start = None if init is None else starting_point(init)
    config, dataset, task = open_data(with_preprocess_of(config, start, init_preprocess), data, task)
    run = Path(output)
    # Processes that Lightning starts beside the first one find the folder in use.
    checkpoint = check_run_folder(
        run, config, resume=resume or rank_zero_only.rank != 0, may_change=MAY_CHANGE, beside=PLANNED
    )
    before = {} if checkpoint is None else read_record(run / RECORD)
    refuse_another(run, before, fold=fold, task=task, start=start)
    if fold != "all":
        refuse_single_patient(dataset)
    split = choose_split(run, dataset, task, config, folds, fold)
    training, validation = split.split(fold)
    cases = {case.id: case for case in dataset.cases}
    trainer_config, notices = trainer_for(config.trainer, hardware(config.trainer.accelerator))
    speed = settled_speed(replace(config, trainer=trainer_config), task)

    seed_everything(config.trainer.seed, workers=True, verbose=False)
    network = build_network(config.network)
    fast_paths: dict[str, Any] = choose_fast_paths(network, speed)
    fast_paths |= {"fused_optimizer": speed.fused_optimizer, "tf32": speed.tf32}
    report = [] if init is None or before else start_from(network, init).summary().splitlines()
    notes, of_init = compared(config, start, task.channels, init_preprocess)
    if rank_zero_only.rank == 0:
        notes = [] if before else notes  # what the run began with is settled
        lines = (dataset.summary(), *notices, *report, *notes, _plan(network, task, training, validation))
        print(*lines, *filter(None, [left_out(split, cases)]), sep="\n", flush=True)
    facts = {
        "kind": "finetune",
        "data": str(dataset.root.resolve()),
        "layout": dataset.layout,
        "task": to_dict(task),
        "fold": fold,
        "training": training,
        "validation": validation,
        "init": before.get("init", report),
        "init_source": before.get("init_source", None if start is None else start.facts()),
        "init_preprocess": before.get("init_preprocess", of_init),
        "plan_note": before.get("plan_note", plan_note),
        "seed": config.trainer.seed,
        "precision": trainer_config.precision,
        "fast_paths": fast_paths,
        "config": to_dict(config),
    }
    facts["seen_by_init"], warnings = seen_by_init(init, before, dataset, () if fold == "all" else validation)
    facts[FILE_NOTES], of_files = file_notes([cases[name] for name in dict.fromkeys((*training, *validation))], before)
    if not before:
        warnings = [*of_files, of_mirrored_sides(config.augment, task), *warnings]
    of_training = [cases[name].images for name in training]
    known = describe_scans(of_training, len(task.channels)) if rank_zero_only.rank == 0 else None
    folders = ModelFolders(run, SMOOTHED, _SaveFinetuned(config, facts, known))
    if fold == "all":  # the Dice of what is trained on says nothing of when to stop
        trainer_config = replace(trainer_config, early_stop_patience=None)
    trainer = build_trainer(
        trainer_config,
        run,
        monitor=POOLED,
        metrics=metric_names(task),
        decides=SMOOTHED,
        gradient_clip=config.optimizer.gradient_clip,
        callbacks=[folders],
    )
    scans = FinetuneData(
        training=[cases[name] for name in training],
        validation=[cases[name] for name in validation],
        task=task,
        config=config,
        store=run.parent / STORE,
    )
    scans.prepare_scans()
    deciding = Deciding.of(task, scans.training_voxels(), scans.validation_voxels(), fold)
    facts["choice"], folders.always_last = deciding.facts(), deciding.always_last
    facts["contents"] = scans.contents()
    warnings += [of_absent_classes(deciding.untrained, fold), *deciding.lines(), of_changed_files(before, facts)]
    for line in warnings:
        warn(line)
    fast_paths |= scans.place(trainer.strategy.root_device)  # what `facts` holds, too
    weights = _class_weights(scans, task, config, facts)
    module = FinetuneModule(network, task, replace(config, speed=speed), weights, deciding.structures)
    record = None
    if trainer.is_global_zero:  # only now: what cannot start leaves nothing behind
        write_config(run, config)
        split.save(run / SPLIT)
        record = RunRecord(run / RECORD, facts)
    with float32_products(speed):
        seconds = _fit(trainer, module, scans, record, folders, checkpoint)
    return _result(run, deciding, folders.best, trainer.current_epoch, seconds, held_back=fold != "all")


def _fit(
    trainer: Trainer,
    module: FinetuneModule,
    scans: FinetuneData,
    record: RunRecord | None,
    folders: ModelFolders,
    checkpoint: Path | None,
) -> float:
    """Train and keep the record, however it ends; gives the seconds of training."""
    clock = next(callback for callback in trainer.callbacks if isinstance(callback, ResumePoint))
    status = "failed"
    try:
        train(trainer, module, scans, resume_from=checkpoint)
        status = "finished"
    except TrainingStopped as error:
        status = "stopped"
        raise error.interrupt from error
    finally:
        seconds = clock.seconds
        if record is not None:
            record.close(status, epochs=trainer.current_epoch, seconds=round(seconds, 1), best=folders.best)
    clock.stop_after_end()
    return seconds


def _class_weights(
    scans: FinetuneData, task: Task, config: FinetuneConfig, facts: dict[str, Any]
) -> tuple[float, ...] | None:
    """The weights of the classes, counted, which the record takes too; None unless they are to be counted."""
    if config.loss.class_weights != "frequencies":
        return None
    if rank_zero_only.rank == 0:
        print("counting the voxels of each class", flush=True)
    weights = weights_by_frequency(scans.training_voxels(), task)
    facts["class_weights"] = weights
    return weights


def _plan(network: SegmentationNetwork, task: Task, training: Sequence[str], validation: Sequence[str]) -> str:
    """What is about to happen, for the terminal."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return (
        f"{task.name}: {count(len(training), 'scan')} to train on, {len(validation)} to validate on\n"
        f"channels: {', '.join(task.channels)}; structures: {', '.join(target.name for target in task.targets)}; "
        f"{parameters:,} parameters{of_baseline(network.config)}"
    )


def _result(
    run: Path, deciding: Deciding, best: Mapping[str, Any], epochs: int, seconds: float, *, held_back: bool
) -> FinetuneResult:
    scores = best["scores"]
    return FinetuneResult(
        run_folder=run,
        best_model=run / "best",
        last_model=run / "last",
        best_epoch=best["epoch"],
        reason=best.get("reason", "highest score"),  # of a checkpoint of an earlier version
        dice=scores[OF_CASES],
        dice_per_target={target.name: scores[f"{OF_CASES}/{target.name}"] for target in deciding.task.targets},
        pooled_dice=scores.get(POOLED, math.nan),
        held_back=held_back,
        untrained=deciding.untrained,
        epochs=epochs,
        seconds=seconds,
    )


@dataclass(frozen=True)
class _SaveFinetuned:
    """Writes the network in training as a model folder."""

    config: FinetuneConfig
    facts: Mapping[str, Any]
    training_scans: TrainingScans | None

    def __call__(self, module: LightningModule, folder: Path, provenance: Mapping[str, Any]) -> None:
        description = ModelDescription(
            kind="segmentation",
            network=self.config.network,
            task=module.task,
            preprocess=self.config.preprocess,
            inference=replace(self.config.inference, mirror_axes=_mirrored_axes(self.config)),
            training_scans=self.training_scans,
            provenance={**provenance, **self.facts, "versions": versions(), "commit": commit()},
        )
        save_model(module.network, folder, description=description)


def _mirrored_axes(config: FinetuneConfig) -> tuple[int, ...]:
    """The axes whose mirror images the network gets to see in training."""
    return tuple(axis for axis, probability in enumerate(config.augment.flip_probability) if probability > 0)


def open_data(
    config: FinetuneConfig | Path | str, data: Path | str, task: Task | None
) -> tuple[FinetuneConfig, Dataset, Task]:
    """The cases, what their labels mean, and the configuration with the network's channels and classes by that.

    Args:
        config: the configuration, or a recipe: its file, or the name of a shipped one.
        data: folder of scans and labels.
        task: what the labels mean, where the data set does not say.

    Raises:
        ConfigError: a window of Hounsfield units for what is no CT, as in the plan of another data set.
    """
    if not isinstance(config, FinetuneConfig):
        config = load(FinetuneConfig, find_recipe(config))
    dataset = read_dataset(Path(data), layout=config.layout, require_labels=True, task=task)
    if task is None:
        task = settle_task(dataset, modality="CT" if config.preprocess.intensity.scheme == "hu_window" else "MR")
    check_intensities(config.preprocess, task, dataset.root)
    network = replace(config.network, in_channels=len(task.channels), num_classes=task.num_classes)
    return replace(config, network=network), dataset, task
