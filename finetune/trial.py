"""The planned training on this machine: what it needs, and one step of it actually run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from finetune.batches import Batches
from finetune.config import FinetuneConfig
from finetune.data import TrainingCrops
from finetune.planning.memory import training_footprint
from finetune.planning.planner import plan_data, recipe_of
from finetune.planning.timing import timed_steps
from finetune.recipes import find_recipe
from finetune.scans import ScansInMemory
from finetune.speed import settled_speed
from swin_unetr.config_io import load
from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.durations import parse_duration
from swin_unetr.errors import SwinUnetrError
from swin_unetr.machine import available, cores, peak_during, resident
from swin_unetr.planning.footprint import Footprint
from swin_unetr.planning.this_machine import this_machine
from swin_unetr.store.size import store_bytes
from swin_unetr.survey.facts import Survey
from swin_unetr.tasks import Task
from swin_unetr.training.sampler import Visit
from swin_unetr.training.speed import hardware, trainer_for

#: Copies of the weights that a run keeps: two checkpoints with gradients' moments and average, two models.
_COPIES = 10


@dataclass(frozen=True, kw_only=True)
class TrainingNeeds:
    """Bytes and seconds; None if not known.

    Attributes:
        cores: that this process may use.
        memory_free: of the machine or the container.
        gpu: its name; None without a GPU.
        gpu_memory: of the GPU, free now.
        disk_free: where results would go.
        device: that trains.
        memory_needed: of RAM, by a training.
        gpu_memory_needed: peak of a step on the GPU, modelled.
        disk_needed: of the results and the store.
        step_seconds: of one training step, measured.
        step_memory: what the measured step took at its peak: on a GPU of the GPU, else of RAM.
        training_seconds: of the whole training, from the step.
        recipe: what would be trained, in words.
    """

    cores: int
    memory_free: int
    gpu: str | None
    gpu_memory: int | None
    disk_free: int
    device: str
    memory_needed: int | None = None
    gpu_memory_needed: int | None = None
    disk_needed: int | None = None
    step_seconds: float | None = None
    step_memory: int | None = None
    training_seconds: float | None = None
    recipe: str | None = None


@dataclass(frozen=True)
class Obstacle:
    """Why a training cannot run here.

    Attributes:
        code: "memory", "gpu-memory", "disk" or "step-failed".
        words: one line.
    """

    code: str
    words: str


def look_at_machine(disk: Path) -> TrainingNeeds:
    """What is here, before anything is planned."""
    gpu = torch.cuda.is_available()
    while not disk.exists():
        disk = disk.absolute().parent
    return TrainingNeeds(
        cores=cores(),
        memory_free=available(),
        gpu=torch.cuda.get_device_name() if gpu else None,
        gpu_memory=int(torch.cuda.mem_get_info()[0]) if gpu else None,
        disk_free=shutil.disk_usage(disk).free,
        device="cuda" if gpu else "cpu",
    )


def examine_training(
    dataset: Dataset, survey: Survey, disk: Path, recipe: str | Path | None = None
) -> tuple[TrainingNeeds, list[Obstacle]]:
    """What the training of a data set needs here, what prevents it, and what a step of it takes.

    Args:
        dataset: the cases.
        survey: their facts.
        disk: folder on the disk that takes the results.
        recipe: a plan or recipe, by file or name. If None, a plan is made.

    Raises:
        ConfigError: no such recipe, or a wrong one.
    """
    here = look_at_machine(disk)
    usable = {case.id for case in survey.cases if case.usable and case.label is not None and case.label.values}
    cases = [case for case in dataset.cases if case.id in usable]
    if survey.task is None or not cases:
        return here, []
    if recipe is not None:
        config = load(FinetuneConfig, find_recipe(recipe))
    else:
        try:
            config = recipe_of(plan_data(survey, this_machine()))
        except SwinUnetrError as error:
            return here, [Obstacle("step-failed", f"no plan can be made: {error}")]
    network = replace(config.network, in_channels=len(survey.task.channels), num_classes=survey.task.num_classes)
    config = replace(config, network=network, store="memory")
    try:
        config = replace(config, trainer=trainer_for(config.trainer, hardware(config.trainer.accelerator))[0])
        config = replace(config, speed=settled_speed(config, survey.task))
    except SwinUnetrError as error:
        return here, [Obstacle("step-failed", str(error))]
    footprint = training_footprint(config, survey.task, device=here.device)
    machine = _needs(here, config, cases, survey.task, footprint)
    machine = replace(machine, recipe=_in_words(config, "the plan" if recipe is None else Path(recipe).stem))
    findings = list(_too_little(machine))
    if not findings:
        machine, failed = _step(machine, config, cases, survey.task)
        findings += failed
    return machine, findings


def _needs(
    here: TrainingNeeds, config: FinetuneConfig, cases: list[Case], task: Task, footprint: Footprint
) -> TrainingNeeds:
    planning = this_machine()
    needed = planning.needs(footprint)
    store = store_bytes(cases, config.preprocess, here.cores, task)
    on_gpu = here.device == "cuda"
    return replace(
        here,
        memory_needed=planning.base if on_gpu else needed - planning.base,
        gpu_memory_needed=needed if on_gpu else None,
        disk_needed=store + _COPIES * footprint.weights,
    )


def _too_little(machine: TrainingNeeds) -> Iterator[Obstacle]:
    for code, needed, free in (
        ("memory", machine.memory_needed, machine.memory_free),
        ("gpu-memory", machine.gpu_memory_needed, machine.gpu_memory),
        ("disk", machine.disk_needed, machine.disk_free),
    ):
        if needed is not None and free is not None and needed > free:
            yield Obstacle(code, f"training needs {needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are free")


def _step(
    machine: TrainingNeeds, config: FinetuneConfig, cases: list[Case], task: Task
) -> tuple[TrainingNeeds, list[Obstacle]]:
    """Run it on crops of the first cases, as training does; its time, its memory, and the time of the whole."""
    try:
        batch = _batch(config, cases, task)
        device = torch.device(machine.device)
        taken: list[float] = []
        memory = _peak(device, lambda: taken.extend(timed_steps(batch, config, task, device)))
    except (SwinUnetrError, RuntimeError, MemoryError) as error:
        words = str(error).strip().partition("\n")[0]
        return machine, [Obstacle("step-failed", words)]
    seconds = taken[-1]
    whole = _training_seconds(config, seconds, len(cases))
    return replace(machine, step_seconds=seconds, step_memory=memory, training_seconds=whole), []


def _training_seconds(config: FinetuneConfig, step: float, cases: int) -> float:
    """Of the whole training, by the seconds of a step."""
    trainer = config.trainer
    if trainer.max_time is not None:
        return parse_duration(trainer.max_time)
    if trainer.max_steps is not None:
        return trainer.max_steps * step
    training = max(1, cases * (config.num_folds - 1) // config.num_folds)
    return trainer.max_epochs * max(1, training // config.sampling.scans_per_batch) * step


def _batch(config: FinetuneConfig, cases: list[Case], task: Task) -> dict[str, Tensor]:
    scans = ScansInMemory(cases, task, config.preprocess)
    crops = TrainingCrops(scans, task, config)
    batches = Batches(config.augment, at_once=True)
    visits = [Visit(0, place, place % len(cases)) for place in range(config.sampling.scans_per_batch)]
    found = batches([crops[visit] for visit in visits])
    if isinstance(found, SwinUnetrError):
        raise found
    return found


def _peak(device: torch.device, call: Any) -> int:
    """Bytes that a call takes at its peak, of a GPU or of the process."""
    if device.type != "cuda":
        before = resident()
        return peak_during(call) - before
    torch.cuda.reset_peak_memory_stats()
    call()
    return int(torch.cuda.max_memory_allocated())


def _in_words(config: FinetuneConfig, name: str) -> str:
    crop = "×".join(map(str, config.sampling.crop_size))
    crops = config.sampling.scans_per_batch * config.sampling.crops_per_scan
    network = config.network
    shape = f"{network.feature_size} features" if network.baseline is None else network.architecture
    return f"{name} ({crops} crops of {crop}, {shape})"
