"""What tests of training watch and change a running Trainer with."""

import torch
from lightning.pytorch import Callback


class At(Callback):
    """Does something after a given step (of all steps, from 1)."""

    def __init__(self, step: int, action) -> None:
        self.step, self.action = step, action

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            self.action(trainer, pl_module)


def weights(module) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in module.network.state_dict().values()])
