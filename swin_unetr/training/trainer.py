"""The Lightning Trainer, with what belongs to every training of this project."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from swin_unetr.config import TrainerConfig
from swin_unetr.errors import ConfigError, DataError, SwinUnetrError
from swin_unetr.training.averaging import ValidatedWeights, WeightAverage
from swin_unetr.training.budgets import Clock, build_budget
from swin_unetr.training.checkpoint_files import PlainCheckpoints, newest_whole
from swin_unetr.training.early_stop import EarlyStop
from swin_unetr.training.finite_loss import FiniteLoss
from swin_unetr.training.loader_clock import LoaderClock
from swin_unetr.training.metrics_table import MetricsTable
from swin_unetr.training.progress import ProgressReport
from swin_unetr.training.resume_point import ResumePoint, TrainingStopped
from swin_unetr.training.sharding import ShardedStrategy
from swin_unetr.training.step_hooks import StepHooks
from swin_unetr.training.stop_signals import Stop, handlers_kept

#: Other ways to divide the weights among processes than ours.
_FOREIGN = ("fsdp_", "deepspeed", "model_parallel")
#: Part of torch's message about a process that reads data.
_WORKER = "DataLoader worker"


def build_trainer(
    config: TrainerConfig,
    run_folder: Path,
    *,
    monitor: str,
    metrics: Sequence[str],
    decides: str | None = None,
    gradient_clip: float | None = None,
    callbacks: Sequence[Callback] = (),
    timer: Clock = time.monotonic,
) -> Trainer:
    """The Trainer: precision, devices, progress, tables, averaging, early stop, checkpoint to resume from.

    Args:
        config: what can be chosen.
        run_folder: takes `metrics.csv`, `tensorboard/`, `checkpoints/last.ckpt` and `checkpoints/previous.ckpt`.
        monitor: name of the validation score that people see; higher is better.
        metrics: names of all logged values, in the order of the columns of `metrics.csv`.
        decides: name of the score by which training stops early. If None, `monitor`.
        gradient_clip: norm to which gradients are clipped.
        callbacks: what else is to be called.
        timer: gives the seconds that a budget of time counts; another one for tests.

    Raises:
        ConfigError: devices or a precision that this machine does not have, or a strategy that is not supported.
        DataError: the schedule to repeat cannot be read.
    """
    if config.strategy.startswith(_FOREIGN):
        raise ConfigError(f"trainer.strategy: {config.strategy!r} is not supported; 'fsdp' divides the weights")
    clock = LoaderClock()
    budget = build_budget(config, run_folder, timer)
    own: list[Callback] = [
        *([] if budget is None else [budget]),  # others see by it that an epoch ends
        finite := FiniteLoss(run_folder),  # first, before anything is written
        StepHooks(config.seed),  # before others, which read the loss that it logs
        ValidatedWeights(),
        *_early_stop(config, decides or monitor),  # before those who ask whether training goes on
        *callbacks,
        ProgressReport(monitor),
        MetricsTable(run_folder / "metrics.csv", metrics, clock),
        ResumePoint(run_folder / "checkpoints" / "last.ckpt", finite),
    ]
    if config.ema_decay is not None:
        own.append(WeightAverage(config.ema_decay if budget is None else lambda: budget.decay))
    with _quiet():
        try:
            return Trainer(
                accelerator=config.accelerator,
                **_placement(config),
                precision=config.precision,
                max_epochs=config.max_epochs if budget is None else budget.epochs,
                check_val_every_n_epoch=config.epochs_between_validations,
                accumulate_grad_batches=config.accumulate_batches,
                gradient_clip_val=gradient_clip,
                logger=TensorBoardLogger(run_folder, name="tensorboard", version="", default_hp_metric=False),
                callbacks=own,
                profiler=clock,
                default_root_dir=run_folder,
                log_every_n_steps=25,
                num_sanity_val_steps=0,
                inference_mode=config.strategy != "fsdp",  # tensors made in it must not take part in a training
                use_distributed_sampler=False,  # the data module's own sampler knows the processes
                benchmark=True,
                enable_checkpointing=True,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
        except (MisconfigurationException, ValueError, RuntimeError) as error:
            raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error


def train(trainer: Trainer, module: LightningModule, data: LightningDataModule, *, resume_from: Path | None) -> None:
    """Train; Lightning's advertisements and known false alarms are kept from the user.

    Args:
        trainer: from `build_trainer`.
        module: what to train.
        data: what to train it on.
        resume_from: checkpoint to go on from; read without running code that it may hold.

    Raises:
        CheckpointError: no checkpoint can be read.
        DataError: a process that reads data was ended by the system.
        SwinUnetrError: the loss is no longer finite.
        TrainingStopped: stopped by a signal; the checkpoint is written.
        KeyboardInterrupt: stopped at once.
    """
    if resume_from is not None:
        resume_from, notice = newest_whole(resume_from)
        if notice and trainer.is_global_zero:
            print(notice, flush=True)
    resume_point = next(callback for callback in trainer.callbacks if isinstance(callback, ResumePoint))
    with _quiet(), handlers_kept():
        try:
            trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=True)
        except SystemExit as error:  # what Lightning makes of KeyboardInterrupt
            raise (
                error.__context__ if isinstance(error.__context__, KeyboardInterrupt) else KeyboardInterrupt
            ) from None
        except SwinUnetrError as error:
            if _WORKER not in str(error):
                raise
            # It comes with the traceback of the process that reads data before it.
            raise type(error)(str(error).strip().splitlines()[-1].removeprefix(f"{_name(type(error))}: ")) from error
        except RuntimeError as error:
            if _WORKER not in str(error):
                raise
            if resume_point.asked > Stop.SAVE:  # the system has ended everything; the last checkpoint is there
                raise TrainingStopped(resume_point.asked) from error
            raise DataError(worker_ended(str(error).splitlines()[0])) from error


def worker_ended(words: str) -> str:
    """What torch says of a process that reads data and has ended, with a remedy that fits the cause.

    Args:
        words: torch's, such as "DataLoader worker (pid 7) is killed by signal: Killed. ".
    """
    if "Bus error" in words or "shm" in words:
        remedy = "for lack of shared memory: give the container more (docker run --shm-size), or lower num_workers"
    elif "Terminated" in words or "Interrupt" in words or "Hangup" in words:
        remedy = "by a signal from outside"
    elif "signal: " in words and "Killed" not in words:
        remedy = "by a fault in a library or a damaged file; set num_workers to 0 to see where"
    else:
        remedy = "most likely for lack of memory: lower num_workers, or free memory"
    return f"a process that reads scans was ended by the system ({words.strip()}), {remedy}; go on with --resume auto"


def _early_stop(config: TrainerConfig, decides: str) -> list[Callback]:
    return [] if config.early_stop_patience is None else [EarlyStop(decides, config.early_stop_patience)]


def _placement(config: TrainerConfig) -> dict[str, Any]:
    """Devices, machines and strategy; where `torchrun` or SLURM started the processes, by what these have set.

    Otherwise each of their processes would train by itself on a machine without accelerators. Lightning's own way to be
    requeued by SLURM is left out: it saves within the handler of a signal.
    """
    environment, devices = os.environ, config.devices
    strategy = ShardedStrategy() if config.strategy == "fsdp" else config.strategy
    if TorchElasticEnvironment.detect():
        local, nodes = environment["LOCAL_WORLD_SIZE"], environment["GROUP_WORLD_SIZE"]
    elif SLURMEnvironment.detect():
        local, nodes = environment.get("SLURM_NTASKS_PER_NODE", "1"), environment.get("SLURM_NNODES", "1")
    else:
        return {"devices": devices, "strategy": strategy, "plugins": [PlainCheckpoints()]}
    slurm = [] if TorchElasticEnvironment.detect() else [SLURMEnvironment(auto_requeue=False)]
    return {
        "devices": int(local) if devices == "auto" else devices,
        "num_nodes": int(nodes),
        "strategy": strategy,
        "plugins": [PlainCheckpoints(), *slurm],
    }


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Lightning says of itself; errors and warnings of others come through."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
            warnings.simplefilter("ignore", category)
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
