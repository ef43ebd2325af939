"""How weights that were carried over from a pre-trained model are trained further. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """How the weights that `--init` has carried over are trained, as against fresh ones, which start at random."""

    #: Learning rate of the carried-over weights, as a factor of that of the fresh ones. 0 keeps them frozen.
    rate: float = 1.0
    #: Each transformer block of the encoder learns at this factor of the rate of the next deeper one, the patch
    #: embedding slowest of all (BEiT, 2106.08254). 1 trains all depths alike.
    layer_decay: float = 1.0
    #: Carried-over weights stay exactly as they are for so many of the optimiser's first steps.
    freeze_steps: int = 0
    #: "together": all weights follow one schedule. "sawtooth": the fresh ones learn alone first, at a rate that rises,
    #: then all of them with a new warm-up (OpenMind, 2412.17041).
    schedule: Literal["together", "sawtooth"] = "together"
    #: Share of the training in which the fresh weights learn alone; only with the schedule "sawtooth".
    fresh_share: float = 0.2

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError(f"rate: must not be negative, got {self.rate}")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay: must lie above 0 and up to 1, got {self.layer_decay}")
        if self.freeze_steps < 0:
            raise ValueError(f"freeze_steps: must not be negative, got {self.freeze_steps}")
        if not 0 < self.fresh_share < 1:
            raise ValueError(f"fresh_share: must lie between 0 and 1, got {self.fresh_share}")

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the fields that treat carried-over weights differently from fresh ones; empty if none does."""
        plain = {"rate": 1.0, "layer_decay": 1.0, "freeze_steps": 0, "schedule": "together"}
        return tuple(name for name, value in plain.items() if getattr(self, name) != value)

    @property
    def freezes(self) -> bool:
        """Whether only the fresh weights learn for a while."""
        return self.rate == 0 or self.freeze_steps > 0 or self.schedule == "sawtooth"
