"""Plans for fine-tuning: a survey and a machine in, a recipe with its reasons out."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from rich.progress import Progress

from finetune.config import FinetuneConfig, LossConfig, UnlabelledConfig
from finetune.planning import FINGERPRINT, PLAN
from finetune.planning.memory import training_footprint
from finetune.planning.origin import refuse_edited, text_hash
from finetune.planning.plan import Plan, make_plan
from finetune.planning.timing import seconds_of_step
from swin_unetr.config import InferenceConfig, OptimizerConfig, SamplingConfig, TrainerConfig
from swin_unetr.config_io import from_dict
from swin_unetr.datasets.case import Dataset
from swin_unetr.datasets.union import Folders, read_parts
from swin_unetr.durations import parse_duration
from swin_unetr.errors import ConfigError
from swin_unetr.files import write_text
from swin_unetr.machine import parse_size
from swin_unetr.planning.choices import as_recipe
from swin_unetr.planning.fingerprint import fingerprint
from swin_unetr.planning.fit import Fitted, Setting
from swin_unetr.planning.footprint import Footprint
from swin_unetr.planning.length import Asked
from swin_unetr.planning.target import PlanTarget
from swin_unetr.planning.this_machine import this_machine
from swin_unetr.planning.union import join_surveys
from swin_unetr.survey.facts import Survey
from swin_unetr.survey.run import survey
from swin_unetr.survey.survey_file import read_survey


def plan(
    data: Folders,
    output: Path | str,
    *,
    layout: str = "auto",
    memory: int | str | None = None,
    gpu_memory: int | str | None = None,
    survey_file: Path | None = None,
    workers: int = 0,
    overwrite: bool = False,
    max_time: str | None = None,
    max_steps: int | None = None,
    unlabelled: UnlabelledConfig | None = None,
) -> Plan:
    """Look at a labelled data set, choose how to train on it, and write plan.yaml and fingerprint.json.

    Args:
        data: folder of scans and labels, or several that train one model.
        output: folder for both files.
        layout: of `data`.
        memory: bytes that the process may take on a processor, or a size such as "8GB".
        gpu_memory: the same of a GPU, which need not be in this machine. If both are None, the plan is for this
            machine.
        survey_file: survey.json that `doctor` wrote; files that are unchanged since then are not read again.
        workers: processes that read; 0 for as many as suit cores and memory.
        overwrite: whether a plan that a person changed may be replaced.
        max_time: time that the training may take, such as "90min". Steps are timed here for it; with little time,
            voxels are coarser and the network smaller.
        max_steps: steps that the training makes. If both are None, the plan says how many.
        unlabelled: scans without labels that each step sees, too. If None, none.

    Raises:
        ConfigError: options that do not go together, too little memory, or a plan that a person changed.
        DataError: nothing to train on.
    """
    if memory is not None and gpu_memory is not None:
        raise ConfigError("memory: --memory plans for a processor and --gpu-memory for a GPU; give one of them")
    _check_length(max_time, max_steps)
    sizes = {"memory": _bytes(memory, "memory"), "gpu_memory": _bytes(gpu_memory, "gpu_memory")}
    if not overwrite:
        refuse_edited(Path(output) / PLAN)
    machine = this_machine(**sizes)  # before the survey makes this process larger
    surveys = [(part, _survey(part, survey_file, workers)) for part in read_parts(data, layout)]
    found = surveys[0][1] if len(surveys) == 1 else join_surveys(surveys)
    foreign = machine.device == "cuda" and not torch.cuda.is_available()
    made = plan_data(found, machine, max_time=max_time, max_steps=max_steps, timed=not foreign, unlabelled=unlabelled)
    write_plan(made, Path(output))
    return made


def plan_data(
    survey: Survey,
    machine: PlanTarget,
    *,
    max_time: str | None = None,
    max_steps: int | None = None,
    timed: bool = True,
    unlabelled: UnlabelledConfig | None = None,
) -> Plan:
    """Plan for a data set.

    Args:
        survey: of its scans.
        machine: what to train on.
        max_time: time that the training may take. If this and `max_steps` are None, the plan says how many
            steps it makes.
        max_steps: steps that it makes.
        timed: whether steps can be timed, since the machine is this one.
        unlabelled: scans without labels that each step sees, too. If None, none.

    Raises:
        ConfigError: nothing says what the labels mean, or the memory is too little for anything.
        DataError: no case can be trained on.
    """
    data, beside = fingerprint(survey), unlabelled or UnlabelledConfig()

    @lru_cache
    def trace(setting: Setting) -> Footprint:
        return training_footprint(_step_of(setting, machine, beside), data.task, device=machine.device)

    def seconds(fitted: Fitted) -> float:
        return seconds_of_step(_step_of(fitted.setting, machine, beside), data.task, torch.device(machine.device))

    if max_time is None and max_steps is None:
        return make_plan(data, machine, trace)
    return make_plan(data, machine, trace, Asked(max_time, max_steps, seconds if timed else None))


def recipe_of(plan: Plan) -> FinetuneConfig:
    """The plan as a configuration."""
    return from_dict(FinetuneConfig, as_recipe(plan.choices), source=PLAN)


def write_plan(plan: Plan, folder: Path) -> Path:
    """Write plan.yaml, and the fingerprint that it follows from; gives the plan's file."""
    text = plan.text()
    replace(plan.data, plan_hash=text_hash(text)).save(folder / FINGERPRINT)
    write_text(folder / PLAN, text)
    return folder / PLAN


def _step_of(setting: Setting, machine: PlanTarget, unlabelled: UnlabelledConfig) -> FinetuneConfig:
    """A configuration whose training step takes what the plan's will take."""
    crop = setting.shape.crop
    network = setting.shape.network(setting.features, gradient_checkpointing=setting.gradient_checkpointing)
    return FinetuneConfig(
        network=network,
        sampling=SamplingConfig(crop_size=crop, scans_per_batch=setting.batch),
        inference=InferenceConfig(roi_size=crop),
        loss=LossConfig(include_background=False, batch=True),
        optimizer=OptimizerConfig(warmup_epochs=0),
        deep_supervision=machine.device == "cuda",
        unlabelled=unlabelled,
        trainer=TrainerConfig(precision="bf16-mixed" if machine.bfloat16 else "32-true", ema_decay=0.99),
    )


def _survey(dataset: Dataset, known: Path | None, workers: int) -> Survey:
    before = None if known is None else read_survey(known)
    with Progress(disable=not sys.stdout.isatty()) as progress:
        row = progress.add_task("reading scans", total=len(dataset.cases))
        return survey(
            dataset, workers=workers, known=before, on_case=lambda done, _: progress.update(row, completed=done)
        )


def _bytes(size: int | str | None, field: str) -> int | None:
    return parse_size(size, field) if isinstance(size, str) else size


def _check_length(max_time: str | None, max_steps: int | None) -> None:
    """Refuse a wrong length before scans are read."""
    if max_time is not None and max_steps is not None:
        raise ConfigError("steps: --time and --steps both say how long to train; give one of them")
    if max_steps is not None and max_steps < 1:
        raise ConfigError(f"steps: must be positive, got {max_steps}")
    if max_time is not None:
        try:
            parse_duration(max_time)
        except ValueError as error:
            raise ConfigError(f"time: {error}") from error
