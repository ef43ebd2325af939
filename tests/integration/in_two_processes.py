"""Trains phantoms in one process and in two, as torchrun would start them. Run by test_two_processes.py.

Forked from a process that has imported everything, for the sake of time. Every process notes the losses of its steps.
"""

import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from lightning.pytorch import Callback

import finetune.run
import pretrain.run
from finetune.config import FinetuneConfig, LossConfig
from finetune.losses import SegmentationLoss
from finetune.module import FinetuneModule
from pretrain.config import PretrainConfig
from pretrain.proxies.config import DistillationConfig, MobyConfig
from pretrain.proxies.distillation import Distillation
from pretrain.proxies.moby import Moby
from pretrain.views import Views
from swin_unetr.config import NetworkConfig
from swin_unetr.config_io import from_dict
from swin_unetr.errors import SwinUnetrError
from swin_unetr.networks import SwinEncoder
from swin_unetr.tasks import Task, exclusive

TINY: dict[str, Any] = {
    "network": {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]},
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "sampling": {"crop_size": [16, 16, 16], "crops_per_scan": 2, "scans_per_batch": 1},
    "augment": {"intensity_shift_probability": 1.0, "affine_probability": 0.5, "noise_probability": 0.5},
    "loss": {"batch": True, "class_weights": [0.2, 1.0, 2.0, 3.0, 3.0, 1.0]},
    "optimizer": {"learning_rate": 0.001, "warmup_epochs": 1, "gradient_clip": 1.0, "decay_all": False},
    "trainer": {"max_epochs": 3, "validate_every": 3, "accelerator": "cpu", "ema_decay": 0.9},
    "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
    "validation_overlap": 0.0,
    "num_folds": 3,
}
#: What computes in another way under FSDP, if anything does; and a single scan to validate on, for two processes.
DEEP: dict[str, Any] = {
    "num_folds": 6,
    "network": {**TINY["network"], "gradient_checkpointing": True, "use_v2": True, "drop_path_rate": 0.2},
    "deep_supervision": True,
    "optimizer": {**TINY["optimizer"], "warmup_epochs": 0, "decay_all": True},
    "trainer": {**TINY["trainer"], "max_epochs": 1, "precision": "bf16-mixed", "ema_decay": None},
}
TIMED: dict[str, Any] = {"trainer": {**TINY["trainer"], "max_time": "4s", "validations": 2}}
FSDP: dict[str, Any] = {"trainer": {**TINY["trainer"], "strategy": "fsdp"}}
DEEP_FSDP: dict[str, Any] = {**DEEP, "trainer": {**DEEP["trainer"], "strategy": "fsdp"}}
ENCODER: dict[str, Any] = {
    **{key: TINY[key] for key in ("network", "preprocess", "optimizer")},
    "scans": {"crop_size": [16, 16, 16], "scans_per_batch": 2, "crops_per_scan": 1, "num_workers": 0},
    "trainer": {"max_epochs": 2, "validate_every": 2, "accelerator": "cpu"},
}

#: The whole network, and the tasks with a slow encoder.
WHOLE: dict[str, Any] = {
    "masked": {"weight": 1.0, "cube": 4, "through": "network"},
    "distillation": {"weight": 1.0, "hidden": 8, "embedding": 4, "prototypes": 6},
    "moby": {"weight": 1.0, "hidden": 8, "embedding": 4, "queue": 10},
}


def taught(data: Path, crops: int, **trainer: Any) -> dict[str, Any]:
    """With scans without labels, and weights that were carried over, frozen for two steps, then slower than others."""
    return {
        "unlabelled": {"paths": [str(data / "imagesTs")], "batch_size": crops, "confidence": 0.0, "weight": 10.0},
        "transfer": {"freeze_steps": 2, "rate": 0.5, "layer_decay": 0.5},
        "trainer": {**TINY["trainer"], **trainer},
    }


class Watch(Callback):
    """Notes losses; after a step, one process does something."""

    def __init__(self, run: Path, after: int, rank: int, action: Callable[[Any], None]) -> None:
        self.run, self.after, self.rank, self.action = run, after, rank, action
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.losses.append(float(outputs["loss"]))
        self.run.with_suffix(f".{trainer.global_rank}").write_text(json.dumps(self.losses))
        if trainer.global_step == self.after and trainer.global_rank == self.rank:
            self.action(pl_module)


def train(
    data: Path,
    run: Path,
    scans_per_batch: int,
    after: int = 0,
    action: Any = None,
    timer: Any = None,
    init: Path | None = None,
    **other: Any,
) -> None:
    watched(finetune.run, run, after, action, **({} if timer is None else {"timer": timer}))
    if timer is not None:
        FinetuneModule.validation_seconds = lambda _: 0.2  # of the clock that is given
    values = {**TINY, "sampling": {**TINY["sampling"], "scans_per_batch": scans_per_batch}, **other}
    config = from_dict(FinetuneConfig, values, source="test")
    try:
        finetune.run.finetune(config, data=data, output=run, init=init, resume=True)
        end = "finished"
    except SwinUnetrError as error:
        end = str(error)
    except KeyboardInterrupt:
        end = "stopped"
    run.with_suffix(f".end{os.environ.get('RANK', 0)}").write_text(end)


def pre_train(data: Path, run: Path, **other: Any) -> None:
    watched(pretrain.run, run)
    pretrain.run.pretrain(from_dict(PretrainConfig, {**ENCODER, **other}, source="test"), data=[data], output=run)


def marginal(folder: Path) -> None:
    """The marginal loss of this process's crops of a batch of two, and its gradients as DDP adds them.

    Of exclusive classes and of regions, each with the Dice of the batch and of the crops; notes 2 x 2 losses and all
    gradients, which are 0 for the other process's crop.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if size > 1:
        torch.distributed.init_process_group("gloo")
    mine = slice(rank, rank + 1) if size > 1 else slice(None)
    generator = torch.Generator().manual_seed(0)
    found: list[torch.Tensor] = []
    for activation in ("softmax", "sigmoid"):
        task = Task(name="t", modality="CT", channels=("CT",), targets=exclusive("abc"), activation=activation)
        scores = torch.randn(2, task.num_classes, 4, 4, 4, generator=generator)
        targets = torch.randint(0, 2 if activation == "sigmoid" else 4, scores.shape, generator=generator)
        targets = targets if activation == "sigmoid" else targets[:, :1]
        labelled = torch.tensor([[True, True, False, False], [True, True, True, True]])[:, -task.num_classes :]
        for batch in (True, False):
            leaf = scores.clone().requires_grad_()
            loss = SegmentationLoss(LossConfig(batch=batch), task)(leaf[mine], targets[mine].byte(), labelled[mine])
            loss.backward()
            assert leaf.grad is not None
            found += [loss.detach().reshape(1), leaf.grad.flatten()]
    torch.save(torch.cat(found), f"{folder}.{rank}")


def slow_tasks(folder: Path) -> None:
    """Two steps of self-distillation and MoBY on this process's crops of four, their gradients, and what they keep."""
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if size > 1:
        torch.distributed.init_process_group("gloo")
    torch.manual_seed(0)
    network = from_dict(NetworkConfig, ENCODER["network"], source="test")
    encoder = SwinEncoder(network)
    small = {"weight": 1.0, "hidden": 8, "embedding": 4}
    tasks = [
        Distillation(DistillationConfig(**small, prototypes=6), network),
        Moby(MobyConfig(**small, queue=16), network),
    ]
    generator = torch.Generator().manual_seed(0)
    found: list[torch.Tensor] = []
    for task in tasks:
        task.begin(encoder)
        for _ in range(2):
            image = torch.rand(2, 4, 1, 16, 16, 16, generator=generator)
            masked = torch.rand(2, 4, 8, 8, 8, generator=generator) < torch.rand(2, 4, 1, 1, 1, generator=generator)
            parts = [each[:, 2 * rank : 2 * rank + 2] if size > 1 else each for each in (image, masked)]
            crops, mask = (part.flatten(0, 1) for part in parts)
            scan = torch.arange(4)[2 * rank : 2 * rank + 2] if size > 1 else torch.arange(4)
            views = Views(whole=crops, seen=crops, scan=scan.repeat(2), count=2, notes={"masked": mask})
            encoder.zero_grad()
            loss = task.judge(task(encoder(crops)[-1]), views).loss
            loss.backward()
            found += [
                loss.detach().reshape(1),
                *(part.grad.flatten() for part in encoder.parameters() if part.grad is not None),
            ]
    # the mean of both processes is compared; what they keep must be equal in each
    kept = {
        name: value
        for task in tasks
        for name, value in task.named_buffers()
        if name in ("centre", "queue", "queue_scans")
    }
    torch.save({"found": torch.cat(found), **kept}, f"{folder}.{rank}")


def watched(module: Any, run: Path, after: int = 0, action: Any = None, **added: Any) -> None:
    build = module.build_trainer
    watch = Watch(run, after, 1, action)
    module.build_trainer = lambda *given, callbacks, **named: build(
        *given, callbacks=[watch, *callbacks], **named, **added
    )


def hurried() -> float:
    """A clock that goes a hundred times as fast in the second process."""
    hurried.looks += 1
    return 0.1 * hurried.looks * (100 if os.environ.get("RANK") == "1" else 1)


hurried.looks = 0


def terminate(module: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def spoil(module: Any) -> None:
    next(module.network.parameters()).data.fill_(float("nan"))


def processes(number: int, work: Callable[[], None]) -> None:
    """Do the work in so many processes; all must end well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(number):
        if child := os.fork():
            children.append(child)
            continue
        if number > 1:
            ranks = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "MASTER_PORT": port}
            sizes = {"WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number, "GROUP_WORLD_SIZE": 1}
            named = {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "none"}
            os.environ.update({key: str(value) for key, value in {**ranks, **sizes, **named}.items()})
            from lightning.fabric.utilities.rank_zero import rank_zero_only

            rank_zero_only.rank = rank  # Lightning has looked at its import
        code = 1
        try:
            torch.set_num_threads(1)
            work()
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            os._exit(code)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(codes):
        raise SystemExit(f"exit codes {codes}")


if __name__ == "__main__":
    data, folder = map(Path, sys.argv[1:])
    processes(1, lambda: marginal(folder / "marginal_one"))
    processes(2, lambda: marginal(folder / "marginal_two"))
    processes(1, lambda: slow_tasks(folder / "slow_one"))
    processes(2, lambda: slow_tasks(folder / "slow_two"))
    processes(1, lambda: train(data, folder / "one", 2))
    processes(2, lambda: train(data, folder / "two", 1))
    processes(2, lambda: train(data, folder / "stopped", 1, after=3, action=terminate))
    (folder / "stopped.0").rename(folder / "before")
    shutil.copytree(folder / "stopped", folder / "to_fsdp")
    processes(2, lambda: train(data, folder / "stopped", 1))
    processes(2, lambda: train(data, folder / "timed", 1, timer=hurried, **TIMED))
    again = {**TINY["trainer"], "schedule": str(folder / "timed")}
    processes(2, lambda: train(data, folder / "repeated", 1, trainer=again))
    processes(2, lambda: train(data, folder / "spoilt", 1, after=3, action=spoil))
    processes(2, lambda: pre_train(data, folder / "encoder"))
    processes(2, lambda: pre_train(data, folder / "body", proxies=WHOLE))
    start = folder / "encoder"
    processes(1, lambda: train(data, folder / "taught_one", 2, init=start, **taught(data, 2)))
    processes(2, lambda: train(data, folder / "taught", 1, init=start, **taught(data, 1)))
    divided = taught(data, 1, strategy="fsdp")
    processes(2, lambda: train(data, folder / "taught_fsdp", 1, init=start, after=3, action=terminate, **divided))
    (folder / "taught_fsdp.0").rename(folder / "taught_before_fsdp")
    processes(2, lambda: train(data, folder / "taught_fsdp", 1, **divided))

    processes(2, lambda: train(data, folder / "from_fsdp", 1, after=3, action=terminate, **FSDP))
    (folder / "from_fsdp.0").rename(folder / "before_fsdp")
    processes(2, lambda: train(data, folder / "from_fsdp", 1))
    processes(2, lambda: train(data, folder / "to_fsdp", 1, **FSDP))
    shutil.copytree(folder / "to_fsdp", folder / "alone")
    processes(1, lambda: train(data, folder / "alone", 1, trainer={**TINY["trainer"], "max_epochs": 4}))
    processes(2, lambda: train(data, folder / "spoilt_fsdp", 1, after=3, action=spoil, **FSDP))
    processes(2, lambda: train(data, folder / "deep", 1, **DEEP))
    processes(2, lambda: train(data, folder / "deep_fsdp", 1, **DEEP_FSDP))
    sharded = {**ENCODER["trainer"], "strategy": "fsdp"}
    processes(2, lambda: pre_train(data, folder / "encoder_fsdp", trainer=sharded))
    processes(2, lambda: pre_train(data, folder / "body_fsdp", trainer=sharded, proxies=WHOLE))
