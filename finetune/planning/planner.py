"""Plans for fine-tuning: a survey and a machine in, a recipe with its reasons out."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

from finetune.config import FinetuneConfig, LossConfig
from finetune.planning import FINGERPRINT, PLAN
from finetune.planning.memory import training_footprint
from finetune.planning.origin import text_hash
from finetune.planning.plan import Plan, make_plan
from swin_unetr.config import InferenceConfig, OptimizerConfig, SamplingConfig, TrainerConfig
from swin_unetr.config_io import from_dict
from swin_unetr.device import is_native
from swin_unetr.files import write_text
from swin_unetr.machine import available, cores, resident
from swin_unetr.planning.choices import as_recipe
from swin_unetr.planning.fingerprint import fingerprint
from swin_unetr.planning.fit import Setting
from swin_unetr.planning.footprint import Footprint
from swin_unetr.planning.target import Device, PlanTarget
from swin_unetr.survey.facts import Survey

#: Share of the memory that is free now which a training may take where nobody says how much.
_SHARE = 0.8


def this_machine(*, memory: int | None = None, gpu_memory: int | None = None) -> PlanTarget:
    """The machine at hand, or one with a GPU of so much memory.

    Args:
        memory: bytes that the process may take, on the processor; none for most of what is free.
        gpu_memory: bytes of the GPU, which need not be here; none for what is free on the one that is.
    """
    gpu = memory is None and (gpu_memory is not None or torch.cuda.is_available())
    device: Device = "cuda" if gpu else "cpu"
    base = resident()
    if gpu:
        taken = gpu_memory if gpu_memory is not None else int(_SHARE * torch.cuda.mem_get_info()[0])
    else:
        taken = memory if memory is not None else base + int(_SHARE * available())
    here = torch.cuda.is_available() if gpu else True
    low = is_native(torch.device(device), "bfloat16") if here else True
    return PlanTarget(device=device, memory=taken, bfloat16=low, cores=cores(), base=base)


def plan_data(survey: Survey, machine: PlanTarget) -> Plan:
    """Plan for a data set.

    Raises:
        ConfigError: nothing says what the labels mean, or the memory is too little for anything.
        DataError: no case can be trained on.
    """
    data = fingerprint(survey)

    @lru_cache
    def trace(setting: Setting) -> Footprint:
        return training_footprint(_step_of(setting, machine), data.task, device=machine.device)

    return make_plan(data, machine, trace)


def recipe_of(plan: Plan) -> FinetuneConfig:
    """The plan as a configuration."""
    return from_dict(FinetuneConfig, as_recipe(plan.choices), source=PLAN)


def write_plan(plan: Plan, folder: Path) -> Path:
    """Write plan.yaml, and the fingerprint that it follows from; gives the plan's file."""
    text = plan.text()
    replace(plan.data, plan_hash=text_hash(text)).save(folder / FINGERPRINT)
    write_text(folder / PLAN, text)
    return folder / PLAN


def _step_of(setting: Setting, machine: PlanTarget) -> FinetuneConfig:
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
        trainer=TrainerConfig(precision="bf16-mixed" if machine.bfloat16 else "32-true", ema_decay=0.99),
    )
