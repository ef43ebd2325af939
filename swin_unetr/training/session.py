"""One session of a run, as every training goes through it: from the check of its folder to how it ended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything

from swin_unetr.checkpoints import start_from
from swin_unetr.checkpoints.starting_point import StartingPoint
from swin_unetr.config import BUDGETS, SpeedConfig, TrainerConfig
from swin_unetr.config_io import to_dict
from swin_unetr.errors import ConfigError
from swin_unetr.networks import SegmentationNetwork, SwinBody, SwinEncoder
from swin_unetr.training.budget import BudgetTooShortError, budget_of
from swin_unetr.training.precision import AUTO
from swin_unetr.training.resume_point import ResumePoint, TrainingStopped
from swin_unetr.training.run_folder import check_run_folder, nothing_left_after, write_config
from swin_unetr.training.run_record import RECORD, RunRecord, read_record
from swin_unetr.training.speed import float32_products, hardware, trainer_for
from swin_unetr.training.trainer import train


class RunConfig(Protocol):
    """What a session asks of the configuration of a run."""

    @property
    def trainer(self) -> TrainerConfig:
        """Seed, devices, precision."""


#: Key of the record: names of the tensors that were carried over, if they are trained differently from fresh ones.
CARRIED_OVER = "carried_over"
Config = TypeVar("Config", bound=RunConfig)


@dataclass(kw_only=True)
class Session(Generic[Config]):
    """What every training does around its own network and data.

    A training opens it, calls `seed` before it builds anything from random numbers, then `load_start`, `facts`, and
    last `run`. Nothing is written before `run`, so that what cannot start leaves nothing behind.

    Attributes:
        folder: the run folder.
        config: the configuration of the run, as it was asked for.
        trainer: its part for the Trainer, with the precision that this machine has.
        notices: lines that say what differs from what was asked for.
        start: the weights to start from. If None, the network starts from random ones.
        checkpoint: what the run goes on from. If None, it begins.
        before: the record of the run that is resumed; empty if it begins.
    """

    folder: Path
    config: Config
    trainer: TrainerConfig
    notices: tuple[str, ...]
    start: StartingPoint | None
    checkpoint: Path | None
    before: Mapping[str, Any]
    #: Names of the tensors of the network that were carried over from `start`; of a run that is resumed, as recorded.
    carried: tuple[str, ...] = field(default=(), init=False)
    _record: RunRecord | None = field(default=None, init=False)

    @classmethod
    def open(
        cls,
        folder: Path,
        config: Config,
        *,
        start: StartingPoint | None,
        resume: bool,
        may_change: Collection[str],
        beside: Collection[str] = (),
    ) -> Session[Config]:
        """Check that a run can begin in a folder, or go on there.

        Args:
            folder: new or empty, unless the run in it is to be resumed.
            config: the configuration of the run.
            start: the weights to start from. If None, the network starts from random ones.
            resume: go on with the run that is in the folder, if there is one.
            may_change: dotted fields of the configuration that may differ from those of the run that is resumed.
            beside: names of files that may be there before a run begins.

        Raises:
            ConfigError: the folder holds something else, or a run with another configuration; or the device needs a
                newer torch.
            DataError: the record of the run cannot be read.
        """
        checkpoint = check_run_folder(folder, config, resume=resume, may_change=may_change, beside=beside)
        before = {} if checkpoint is None else read_record(folder / RECORD)
        _refuse_other_budget(folder, before, config.trainer)
        asked = config.trainer
        if asked.precision == AUTO and "precision" in before:
            asked = replace(asked, precision=before["precision"])
        trainer, notices = trainer_for(asked, hardware(asked.accelerator))
        return cls(
            folder=folder,
            config=config,
            trainer=trainer,
            notices=notices,
            start=start,
            checkpoint=checkpoint,
            before=before,
        )

    def seed(self) -> None:
        """Seed all random numbers, those of the processes that load data too."""
        seed_everything(self.config.trainer.seed, workers=True, verbose=False)

    def load_start(self, network: SegmentationNetwork | SwinBody | SwinEncoder) -> list[str]:
        """Give a network the weights to start from; a run that is resumed has its own.

        Returns:
            Lines that say what it took.

        Raises:
            CheckpointError: weights that cannot be used.
        """
        if self.before:
            self.carried = tuple(self.before.get(CARRIED_OVER, ()))
            return []
        if self.start is None:
            return []
        report = start_from(network, self.start.path)
        self.carried = (*report.loaded, *report.adapted)
        return report.summary().splitlines()

    def facts(
        self, speed: SpeedConfig, fast_paths: Mapping[str, Any], *, init: list[str], init_preprocess: object
    ) -> dict[str, Any]:
        """What the record of every run says: what it started from, which is kept by a resume, and how it computes.

        Args:
            speed: the settled one.
            fast_paths: which of them were chosen for the network.
            init: lines of `load_start`, and further lines on the start.
            init_preprocess: how the preprocessing of the weights differs.
        """
        return {
            "init": self.before.get("init", init),
            "init_source": self.before.get("init_source", None if self.start is None else self.start.facts()),
            "init_preprocess": self.before.get("init_preprocess", init_preprocess),
            "seed": self.config.trainer.seed,
            "precision": self.trainer.precision,
            "fast_paths": {**fast_paths, "fused_optimizer": speed.fused_optimizer, "tf32": speed.tf32},
            "config": to_dict(self.config),
        }

    def run(
        self,
        trainer: Trainer,
        module: LightningModule,
        data: LightningDataModule,
        *,
        speed: SpeedConfig,
        facts: dict[str, Any],
        results: Callable[[], Mapping[str, Any]],
        save: Callable[[], None] | None = None,
    ) -> float:
        """Write what is run, train, and keep the record, however it ends.

        Args:
            trainer: from `build_trainer`, built of `self.trainer`.
            module: what to train.
            data: what to train it on.
            speed: the settled one.
            facts: for the record.
            results: gives the results of the run so far; called when the session ends.
            save: writes what else belongs to the run before it begins, on the first process.

        Returns:
            Seconds of training, those before a resume included.

        Raises:
            KeyboardInterrupt: stopped; the checkpoint to resume from is written.
            BudgetTooShortError: the time is too short; nothing is left of a run that began.
        """
        begins = self.checkpoint is None and trainer.is_global_zero
        with nothing_left_after(BudgetTooShortError, self.folder) if begins else nullcontext():
            if trainer.is_global_zero:  # only now: what cannot start leaves nothing behind
                write_config(self.folder, self.config)
                if save is not None:
                    save()
                self._record = RunRecord(self.folder / RECORD, facts)
            with float32_products(speed):
                return self._train(trainer, module, data, results)

    def add_results(self, **results: Any) -> None:
        """Add to the record of a run that is finished."""
        if self._record is not None:
            self._record.close("finished", **results)

    def _train(
        self,
        trainer: Trainer,
        module: LightningModule,
        data: LightningDataModule,
        results: Callable[[], Mapping[str, Any]],
    ) -> float:
        clock = next(callback for callback in trainer.callbacks if isinstance(callback, ResumePoint))
        status = "failed"
        try:
            train(trainer, module, data, resume_from=self.checkpoint)
            status = "finished"
        except TrainingStopped as error:
            status = "stopped"
            raise error.interrupt from error
        finally:
            seconds, budget = clock.seconds, budget_of(trainer)
            spent = {} if budget is None else {"budget": {**budget.facts(), "steps": trainer.global_step}}
            if self._record is not None:
                epochs = trainer.current_epoch
                self._record.close(status, epochs=epochs, seconds=round(seconds, 1), **spent, **results())
        clock.stop_after_end()
        return seconds


def _refuse_other_budget(folder: Path, before: Mapping[str, Any], trainer: TrainerConfig) -> None:
    """Refuse to go on with epochs where a run counts its time or its steps, or the other way round.

    Raises:
        ConfigError: it would.
    """
    began: Mapping[str, Any] = (before.get("config") or {}).get("trainer") or {}
    kinds = tuple(name for name in BUDGETS if began.get(name) is not None)
    if before and kinds != trainer.budget:
        kind = (kinds or ("max_epochs",))[0]
        raise ConfigError(
            f"{folder}: its run began with trainer.{kind} {began.get(kind)}, and cannot go on with "
            f"trainer.{(trainer.budget or ('max_epochs',))[0]}; give --trainer.{kind}"
        )
