"""A tiny training, and what tests watch and change a running Trainer with."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from swin_unetr.config import OptimizerConfig
from swin_unetr.training import build_optimizer

METRICS = ("train/loss", "val/dice", "val/dice/liver")
STEPS = 4


class Line(LightningModule):
    """Fits a line; the score falls with the distance from the weight 2, unless a test sets the scores of the epochs."""

    scores: list[float] | None = None

    def __init__(self, epochs: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        self.register_buffer("index", torch.tensor([7]))
        self.epochs = epochs

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.network(batch) - 2 * batch).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        score = 1 - (self.network(batch) - 2 * batch).abs().mean()
        if self.scores is not None:
            score = torch.tensor(self.scores[self.current_epoch])
        self.log_dict({"val/dice": score, "val/dice/liver": score})

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer, schedule = build_optimizer(
            self.parameters(),
            OptimizerConfig(learning_rate=0.02, warmup_epochs=1),
            steps_per_epoch=STEPS,
            total_steps=STEPS * self.epochs,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Remaining(DataLoader[Tensor]):
    """After a resume within an epoch, gives its remaining batches first."""

    done = 0

    def state_dict(self) -> dict[str, int]:
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.skip = state["done"]

    def __iter__(self):
        skip, self.skip = getattr(self, "skip", 0), 0
        for self.done, batch in enumerate(super().__iter__(), 1):
            if self.done > skip:
                yield batch


class Points(LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        self.points = torch.linspace(-1, 1, 2 * STEPS)[:, None]

    def train_dataloader(self) -> DataLoader[Tensor]:
        return Remaining(self.points, batch_size=2)

    def val_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self.points, batch_size=4)


def save_line(module: Line, folder: Path, provenance: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    torch.save({"weights": module.network.state_dict(), **provenance}, folder / "line.pt")


class At(Callback):
    """Does something after a given step (of all steps, from 1)."""

    def __init__(self, step: int, action) -> None:
        self.step, self.action = step, action

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            self.action(trainer, pl_module)


def weights(module) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in module.network.state_dict().values()])
