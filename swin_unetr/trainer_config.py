"""What Lightning's Trainer is built from, and how long it trains. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass

from swin_unetr.durations import parse_duration

#: Fields of `TrainerConfig` that set a budget; only one of them may be given.
BUDGETS = ("max_time", "max_steps", "schedule")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """What Lightning's Trainer is built from."""

    #: Epochs of the training; without effect if there is a budget: `max_time`, `max_steps` or `schedule`.
    max_epochs: int = 300
    #: Epochs between validations; there is always one after the last epoch. Without effect if there is a budget.
    validate_every: int = 10
    #: Time that the training may take, such as "90min", "1h30min" or "45s": from its start to the last model that is
    #: written, with all validations, without the preprocessing of the scans. Learning rate and average of the weights
    #: follow the share that is spent. A run that is stopped and resumed spends it once. If None, see `max_steps`.
    max_time: str | None = None
    #: Steps of the optimiser that the training makes. If None, the training makes `max_epochs` epochs.
    max_steps: int | None = None
    #: Validations of a training with a budget, at even shares of it, the last one at its end; each ends an epoch. There
    #: are fewer where they would take more than a quarter of `max_time`.
    validations: int = 5
    #: Folder of a finished run with a budget, whose schedule is repeated step by step, on however busy a machine: with
    #: the same recipe, data and seed, the result is the same. If None, nothing is repeated.
    schedule: str | None = None
    #: Lightning's accelerator: "auto", "cpu", "gpu" or "mps".
    accelerator: str = "auto"
    #: Lightning's devices: how many, or "auto" for all.
    devices: int | str = "auto"
    #: How several processes train together: "ddp", each with all weights, which "auto" takes if there are several;
    #: "fsdp" divides weights, gradients, averages and the optimiser's state: less memory, more exchange.
    strategy: str = "auto"
    #: Lightning's precision, such as "32-true", "bf16-mixed", "16-mixed". "auto" is bfloat16 where the device
    #: multiplies in it (a CPU is measured), float16 on other NVIDIA GPUs, else float32; a resumed run keeps its own.
    precision: str = "32-true"
    #: Batches whose gradients are added up for one step of the optimiser.
    accumulate_batches: int = 1
    #: Decay of the exponential moving average of the weights. If None, no average is kept. With a budget it only says
    #: that there is one: it is then an average over about the last twentieth of the training.
    ema_decay: float | None = None
    #: Stop after this many validations without a better smoothed pooled Dice. If None, never stop early.
    early_stop_patience: int | None = None
    #: Seed of everything that is drawn at random: the same seed gives the same result on the same machine.
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_epochs", "validate_every", "accumulate_batches", "validations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be positive, got {getattr(self, name)}")
        if len(self.budget) > 1:
            raise ValueError(f"{self.budget[1]}: does not go with {self.budget[0]}; leave one of them out")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"max_steps: must be positive, got {self.max_steps}")
        if self.max_time is not None:
            try:
                parse_duration(self.max_time)
            except ValueError as error:
                raise ValueError(f"max_time: {error}") from error
        if self.strategy == "fsdp" and self.precision.startswith("16"):
            # Each process would skip the steps in which its own part of the gradients overflows.
            raise ValueError("precision: strategy fsdp goes with bfloat16 and float32; use bf16-mixed")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay: must lie between 0 and 1, got {self.ema_decay}")

    @property
    def budget(self) -> tuple[str, ...]:
        """Name of the field that says how long the training lasts, if it is not `max_epochs`; else empty."""
        return tuple(name for name in BUDGETS if getattr(self, name) is not None)

    @property
    def epochs_between_validations(self) -> int:
        """With a budget, an epoch is what lies between two validations."""
        return 1 if self.budget else self.validate_every
