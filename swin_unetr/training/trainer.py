"""The Lightning Trainer, with what belongs to every training of this project."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from swin_unetr.config import TrainerConfig
from swin_unetr.errors import CheckpointError, ConfigError
from swin_unetr.training.averaging import WeightAverage
from swin_unetr.training.course import Course
from swin_unetr.training.metrics_table import MetricsTable
from swin_unetr.training.progress import ProgressReport
from swin_unetr.training.resume_point import ResumePoint


def build_trainer(
    config: TrainerConfig,
    run_folder: Path,
    *,
    monitor: str,
    metrics: Sequence[str],
    gradient_clip: float | None = None,
    callbacks: Sequence[Callback] = (),
) -> Trainer:
    """The Trainer: precision, devices, progress, tables, averaging, early stop, checkpoint to resume from.

    Args:
        config: what can be chosen.
        run_folder: takes `metrics.csv`, `tensorboard/` and `checkpoints/last.ckpt`.
        monitor: name of the validation score; higher is better.
        metrics: names of all logged values, in the order of the columns of `metrics.csv`.
        gradient_clip: norm to which gradients are clipped.
        callbacks: what else is to be called.

    Raises:
        ConfigError: devices or a precision that this machine does not have.
    """
    own: list[Callback] = [
        Course(config.seed),  # first, since others read the loss that it logs
        *callbacks,
        ProgressReport(monitor),
        MetricsTable(run_folder / "metrics.csv", metrics),
        ResumePoint(run_folder / "checkpoints" / "last.ckpt"),
    ]
    if config.ema_decay is not None:
        own.append(WeightAverage(config.ema_decay))
    if config.early_stop_patience is not None:
        own.append(
            EarlyStopping(
                monitor,
                mode="max",
                patience=config.early_stop_patience,
                check_finite=False,  # no validation case may have any structure
                check_on_train_epoch_end=False,
            )
        )
    with _quiet():
        try:
            return Trainer(
                accelerator=config.accelerator,
                devices=config.devices,
                strategy=config.strategy,
                precision=config.precision,
                max_epochs=config.max_epochs,
                check_val_every_n_epoch=config.validate_every,
                accumulate_grad_batches=config.accumulate_batches,
                gradient_clip_val=gradient_clip,
                logger=TensorBoardLogger(run_folder, name="tensorboard", version="", default_hp_metric=False),
                callbacks=own,
                default_root_dir=run_folder,
                log_every_n_steps=25,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,  # the data module's own sampler knows the processes
                benchmark=True,
                enable_checkpointing=True,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
        except (MisconfigurationException, ValueError, RuntimeError) as error:
            raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error


def fit(trainer: Trainer, module: LightningModule, data: LightningDataModule, *, resume_from: Path | None) -> None:
    """Train; Lightning's advertisements and known false alarms are kept from the user.

    Args:
        trainer: from `build_trainer`.
        module: what to train.
        data: what to train it on.
        resume_from: checkpoint to go on from; read without running code that it may hold.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        TrainingStopped: stopped by a signal; the checkpoint is written.
        KeyboardInterrupt: stopped at once.
    """
    if resume_from is not None:
        _check(resume_from)
    with _quiet():
        try:
            trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=True)
        except SystemExit as error:  # what Lightning makes of KeyboardInterrupt
            raise KeyboardInterrupt from error


def _check(checkpoint: Path) -> None:
    """Refuse a damaged or foreign checkpoint in one line, before Lightning does it in fifty."""
    try:
        values: Any = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        complete = isinstance(values, dict) and {"state_dict", "loops", "optimizer_states"} <= values.keys()
    except Exception as error:  # torch raises whatever the bytes lead it to
        raise CheckpointError(f"{checkpoint}: cannot be read ({str(error).splitlines()[0]}); start anew") from error
    if not complete:
        raise CheckpointError(f"{checkpoint}: holds no training to resume; start anew with another --output")


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
