"""One fine-tuning from start to end: data, network, training, run folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Trainer

from finetune.class_weights import weights_by_frequency
from finetune.config import FinetuneConfig, FinetuneSpeed
from finetune.consistency import ConsistencyMeans
from finetune.data import FinetuneData
from finetune.deciding import Deciding
from finetune.folders import SaveFinetuned
from finetune.leaks import seen_by_init
from finetune.module import FinetuneModule, metric_names
from finetune.notices import of_absent_classes, of_exchanged_sides, of_mirrored_sides
from finetune.opening import open_data
from finetune.partial_labels import refuse_other_labels
from finetune.planning import PLANNED
from finetune.preprocessing import InitPreprocess, compared, with_preprocess_of
from finetune.resumed import of_changed_files, refuse_another
from finetune.scans import store_of
from finetune.speed import settled_speed
from finetune.split import SPLIT, STORE, FoldCases
from finetune.transferring import carried_over, refuse_without_start
from finetune.unlabelled import find_unlabelled, with_teacher
from finetune.validation import OF_CASES, POOLED, SMOOTHED
from swin_unetr.checkpoints.starting_point import starting_point
from swin_unetr.datasets.case import Case
from swin_unetr.datasets.labelled import partly_labelled
from swin_unetr.datasets.union import Folders
from swin_unetr.networks import SegmentationNetwork, build_network, choose_fast_paths
from swin_unetr.provenance import command
from swin_unetr.tasks import Task
from swin_unetr.training import ModelFolders, build_trainer
from swin_unetr.training.decay import decay_facts
from swin_unetr.training.file_notes import FILE_NOTES, file_notes
from swin_unetr.training.first_process import is_first, tell, warn
from swin_unetr.training.session import CARRIED_OVER, Session
from swin_unetr.words import count, decimal
from transforms.exchange import exchanged_pairs
from transforms.likeness import describe_scans

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
    "trainer.max_steps",
    "trainer.max_time",
    "trainer.strategy",
    "trainer.validate_every",
    "trainer.validations",
)


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """The result of a fine-tuning."""

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
    #: The same for each structure; NaN if it is in no validation case and in no prediction.
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
    data: Folders,
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
        data: folder of scans and labels, or several that train one model (`datasets.union`).
        output: the run folder, new or empty unless it is resumed. Receives config.yaml, run.json,
            folds.json, metrics.csv, tensorboard/, checkpoints/last.ckpt, and the model folders best/ and last/.
        fold: fold that is held back for validation; "all" trains on every case and validates on the same.
        folds: split to use, a file; else the cases are dealt out by `config.num_folds` and the seed.
        init: model folder or published checkpoint to start from.
        init_preprocess: "take" preprocesses scans as those that `init` was trained on, "keep" as `config` says. If
            None, keep, and warn where they differ.
        task: what the labels mean, where the data set does not say.
        resume: go on from the checkpoint in `output`, where there is one.
        plan_note: note on the plan that `config` comes from, for the record.

    Returns:
        Where the models are, and how good.

    Raises:
        ConfigError: wrong configuration, fold or output folder.
        DataError: scans that cannot be used; all of them are named before the first epoch.
        CheckpointError: weights that cannot be used.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; the checkpoint to resume from is written.
    """
    start = None if init is None else starting_point(init)
    run, config = Path(output), with_teacher(with_preprocess_of(config, start, init_preprocess))
    config, dataset, task = open_data(config, data, task, store_of(config, run.parent / STORE))
    session = Session.open(run, config, start=start, resume=resume, may_change=MAY_CHANGE, beside=PLANNED)
    before = session.before
    refuse_another(run, before, fold=fold, task=task, start=start)
    refuse_other_labels(run, before, partly_labelled(dataset.cases, task))
    cases = FoldCases.of(run, dataset, task, config, folds, fold)
    unlabelled = find_unlabelled(config, cases, store_of(config, run.parent / STORE))
    speed = settled_speed(replace(config, trainer=session.trainer), task)

    refuse_without_start(config.transfer, session)

    session.seed()
    network = build_network(config.network)
    fast_paths = choose_fast_paths(network, speed)
    report = session.load_start(network)
    notes, of_init = compared(config, start, task.channels, init_preprocess)
    notes = [] if before else notes  # what the run began with is settled
    carried = carried_over(config.transfer, session, network, has_more=config.deep_supervision)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    notes += filter(None, [of_exchanged_sides(config.augment, task)])
    tell(
        dataset.summary(),
        *session.notices,
        *report,
        *notes,
        cases.summary(parameters, network.config),
        *unlabelled.lines,
    )
    facts = {"kind": "finetune", **cases.facts(), **unlabelled.facts(before)}
    facts |= session.facts(speed, fast_paths, init=report, init_preprocess=of_init)
    if carried:
        facts[CARRIED_OVER] = carried
    facts["plan_note"] = before.get("plan_note", plan_note)
    facts["exchanged_sides"] = exchanged_pairs(config.augment, task)
    facts["seen_by_init"], warnings = seen_by_init(init, before, dataset, cases.held_back)
    read = cases.cases(dict.fromkeys((*cases.training, *cases.validation)))
    facts[FILE_NOTES], of_files = file_notes(read, before)
    if not before:
        warnings = [*of_files, *of_mirrored_sides(config.augment, task), *warnings]
    return _train(session, cases, unlabelled.cases, network, speed, facts, warnings)


def _train(
    session: Session[FinetuneConfig],
    cases: FoldCases,
    unlabelled: Sequence[Case],
    network: SegmentationNetwork,
    speed: FinetuneSpeed,
    facts: dict[str, Any],
    warnings: Sequence[str],
) -> FinetuneResult:
    """Prepare the scans, say what is odd about them, and train.

    Args:
        session: the run.
        cases: what it trains on and what it holds back.
        unlabelled: what it trains on without labels.
        network: what to train.
        speed: the settled one.
        facts: for the record and the model folders; facts that are known only here are added.
        warnings: for the user, before the training.
    """
    run, config, task = session.folder, session.config, cases.task
    training, validation = cases.cases(cases.training), cases.cases(cases.validation)
    known = describe_scans([case.images for case in training], len(task.channels)) if is_first() else None
    folders = ModelFolders(run, SMOOTHED, SaveFinetuned(config, facts, known))
    trainer = _trainer(session, cases, folders)
    scans = FinetuneData(
        training=training,
        validation=validation,
        task=task,
        config=config,
        store=run.parent / STORE,
        unlabelled=unlabelled,
    )
    scans.prepare_scans()
    deciding = Deciding.of(task, scans.training_voxels(), scans.validation_voxels(), cases.fold)
    facts["choice"], folders.always_last = deciding.facts(), deciding.always_last
    facts["contents"] = scans.contents()
    of_absent = of_absent_classes(deciding.untrained, cases.fold)
    warn(*warnings, of_absent, scans.hidden_voxels(), *deciding.lines(), of_changed_files(session.before, facts))
    facts["fast_paths"] |= scans.place(trainer.strategy.root_device)
    weights = _class_weights(scans, task, config, facts)
    carried = facts.get(CARRIED_OVER, ())
    module = FinetuneModule(network, task, replace(config, speed=speed), weights, deciding.structures, carried)
    facts |= decay_facts(module, config.optimizer)
    if (rarity := scans.rarity()) is not None:
        facts["cropped_at"] = {target.name: round(of, 6) for target, of in zip(task.targets, rarity, strict=True)}
    seconds = session.run(
        trainer,
        module,
        scans,
        speed=speed,
        facts=facts,
        results=lambda: {"best": folders.best},
        save=lambda: cases.split.save(run / SPLIT),
    )
    return _result(run, deciding, folders.best, trainer.current_epoch, seconds, held_back=cases.fold != "all")


def _trainer(session: Session[FinetuneConfig], cases: FoldCases, folders: ModelFolders) -> Trainer:
    config, unlabelled = session.trainer, bool(session.config.unlabelled.paths)
    if cases.fold == "all":  # the Dice of what is trained on says nothing of when to stop
        config = replace(config, early_stop_patience=None)
    return build_trainer(
        config,
        session.folder,
        monitor=POOLED,
        metrics=metric_names(cases.task, unlabelled=unlabelled),
        decides=SMOOTHED,
        gradient_clip=session.config.optimizer.gradient_clip,
        callbacks=[folders, *([ConsistencyMeans()] if unlabelled else [])],
    )


def _class_weights(
    scans: FinetuneData, task: Task, config: FinetuneConfig, facts: dict[str, Any]
) -> tuple[float, ...] | None:
    """The weights of the classes by their voxels, also added to the record; None unless they are to be counted."""
    if config.loss.class_weights != "frequencies":
        return None
    tell("counting the voxels of each class")
    weights = weights_by_frequency(scans.training_voxels(), task, scans.training_labels())
    facts["class_weights"] = weights
    return weights


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
