"""The Trainer as it is built: logs, models, averaging, early stop, resume, orderly stop."""

import csv
import os
import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from lightning_parts import At, weights

from swin_unetr.errors import CheckpointError, ConfigError, SwinUnetrError
from swin_unetr.training import TrainingStopped, WeightAverage, train
from swin_unetr.training.run_folder import CHECKPOINT


def fail(*_) -> None:
    raise RuntimeError("power cut")


def interrupt(*_) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_one_row_an_epoch_with_scores_where_it_was_validated(line, tmp_path: Path) -> None:
    trainer, module, data = line(tmp_path, epochs=5)
    train(trainer, module, data, resume_from=None)
    table = rows(tmp_path)
    assert [int(row["epoch"]) for row in table] == [1, 2, 3, 4, 5]
    assert [int(row["step"]) for row in table] == [4, 8, 12, 16, 20]
    assert [bool(row["val/dice"]) for row in table] == [False, True, False, True, True]  # always after the last
    assert all(float(row["train/loss"]) > 0 and float(row["learning_rate"]) > 0 for row in table)
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_best_and_last_are_what_the_validation_saw(line, tmp_path: Path) -> None:
    trainer, module, data = line(tmp_path, epochs=6, validate_every=1)
    train(trainer, module, data, resume_from=None)
    scores = [float(row["val/dice"]) for row in rows(tmp_path)]
    best = torch.load(tmp_path / "best" / "line.pt")
    last = torch.load(tmp_path / "last" / "line.pt")
    assert best["epoch"] == scores.index(max(scores)) + 1
    assert best["scores"]["val/dice"] == pytest.approx(max(scores), rel=1e-4)
    assert last["epoch"] == 6
    assert last["scores"]["val/dice/liver"] == pytest.approx(scores[-1], rel=1e-4)


def test_nothing_is_printed_but_where_it_trains_and_one_line_an_epoch(line, tmp_path: Path, capfd) -> None:
    trainer, module, data = line(tmp_path)
    train(trainer, module, data, resume_from=None)
    out, err = capfd.readouterr()
    assert err == ""
    first, *lines = out.splitlines()
    assert first.startswith("training on ")
    assert [text.split()[1] for text in lines] == ["1/4", "2/4", "3/4", "4/4"]
    assert all("loss" in text and "left" in text for text in lines)
    assert ["Dice" in text and "(liver " in text for text in lines] == [False, True, False, True]


@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize("failing_step", [9, 14])
def test_a_run_that_broke_goes_on_as_if_it_had_not(line, tmp_path: Path, ema_decay, failing_step: int) -> None:
    whole, undisturbed, data = line(tmp_path / "whole", ema_decay=ema_decay)
    train(whole, undisturbed, data, resume_from=None)
    broken, module, data = line(tmp_path / "broken", ema_decay=ema_decay, callbacks=[At(failing_step, fail)])
    with pytest.raises(RuntimeError, match="power cut"):
        train(broken, module, data, resume_from=None)
    resumed, module, data = line(tmp_path / "broken", ema_decay=ema_decay)
    train(resumed, module, data, resume_from=tmp_path / "broken" / CHECKPOINT)
    assert torch.equal(weights(module), weights(undisturbed))
    columns = ("epoch", "step", "learning_rate", "train/loss", "val/dice")
    assert [[row[name] for name in columns] for row in rows(tmp_path / "broken")] == [
        [row[name] for name in columns] for row in rows(tmp_path / "whole")
    ]
    for name in ("best", "last"):
        ours, theirs = (torch.load(tmp_path / run / name / "line.pt") for run in ("broken", "whole"))
        assert ours["epoch"] == theirs["epoch"]
        assert all(torch.equal(ours["weights"][key], theirs["weights"][key]) for key in ours["weights"])


@pytest.mark.parametrize("accumulate_batches", [1, 2])
def test_the_loss_of_an_epoch_is_the_mean_over_its_steps(line, tmp_path: Path, accumulate_batches: int) -> None:
    losses = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            losses.append(float(outputs["loss"]) * accumulate_batches)

    trainer, module, data = line(tmp_path, epochs=1, callbacks=[Watch()], accumulate_batches=accumulate_batches)
    module.network[1].p = 0.0
    with torch.no_grad():
        first = float((module.network(data.points[:2]) - 2 * data.points[:2]).square().mean())
    train(trainer, module, data, resume_from=None)
    assert losses[0] == pytest.approx(first)
    assert float(rows(tmp_path)[0]["train/loss"]) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_the_average_is_what_is_validated_and_saved(line, tmp_path: Path) -> None:
    seen = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            seen.append(weights(pl_module).clone())

    trainer, module, data = line(tmp_path, epochs=3, validate_every=3, ema_decay=0.8, callbacks=[Watch()])
    train(trainer, module, data, resume_from=None)
    average = seen[0]
    for step, current in enumerate(seen[1:], 1):
        decay = min(0.8, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * current
    saved = torch.cat([v.flatten() for v in torch.load(tmp_path / "last" / "line.pt")["weights"].values()])
    assert torch.allclose(saved, average, atol=1e-6)
    assert not torch.allclose(saved, seen[-1], atol=1e-4)
    assert torch.equal(weights(module), saved)
    assert int(module.index) == 7  # integers are no weights
    assert any(isinstance(callback, WeightAverage) for callback in trainer.callbacks)


def test_stops_early_when_the_score_no_longer_rises(line, tmp_path: Path) -> None:
    def spoil(trainer, module) -> None:
        module.network[2].bias.data.fill_(100.0)

    trainer, module, data = line(tmp_path, epochs=20, validate_every=1, early_stop_patience=2, callbacks=[At(8, spoil)])
    train(trainer, module, data, resume_from=None)
    assert len(rows(tmp_path)) < 20
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["epoch"] + 1 == len(rows(tmp_path))


@pytest.mark.parametrize("step", [6, 8, 14])
def test_ctrl_c_ends_the_step_writes_the_checkpoint_and_can_be_resumed(line, tmp_path: Path, step: int) -> None:
    whole, undisturbed, data = line(tmp_path / "whole")
    train(whole, undisturbed, data, resume_from=None)
    handlers, folder = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)], tmp_path / "stopped"
    trainer, module, data = line(folder, callbacks=[At(step, interrupt)])
    with pytest.raises(TrainingStopped):
        train(trainer, module, data, resume_from=None)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert torch.load(folder / CHECKPOINT, weights_only=True)["global_step"] == step
    trainer, module, data = line(folder, validate_every=3)
    train(trainer, module, data, resume_from=folder / CHECKPOINT)
    assert trainer.global_step == 16
    assert [int(row["epoch"]) for row in rows(folder)] == [1, 2, 3, 4]
    assert all(float(row["seconds"]) < 60 for row in rows(folder))
    assert rows(folder)[-1]["val/dice"]
    assert torch.equal(weights(module), weights(undisturbed))


def test_a_second_ctrl_c_stops_at_once(line, tmp_path: Path) -> None:
    def twice(*_) -> None:
        interrupt()
        interrupt()

    trainer, module, data = line(tmp_path, callbacks=[At(6, twice)])
    with pytest.raises(KeyboardInterrupt):
        train(trainer, module, data, resume_from=None)


def test_a_loss_that_is_no_number_ends_the_training_and_is_not_saved(line, tmp_path: Path) -> None:
    def spoil(trainer, module) -> None:
        module.network[2].bias.data.fill_(float("nan"))

    trainer, module, data = line(tmp_path, validate_every=1, callbacks=[At(5, spoil)])
    with pytest.raises(SwinUnetrError, match=r"nan in epoch 2, batch 2; lower optimizer\.learning_rate"):
        train(trainer, module, data, resume_from=None)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["global_step"] == 4


@pytest.mark.parametrize("content", [b"not a checkpoint", b""])
def test_a_damaged_checkpoint_is_refused_in_one_line(line, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    trainer, module, data = line(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"last\.ckpt") as caught:
        train(trainer, module, data, resume_from=path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_would_run_code_is_refused(line, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"state_dict": {}, "loops": {}, "optimizer_states": [], "x": Evil()}, tmp_path / "last.ckpt")
    trainer, module, data = line(tmp_path / "run")
    with pytest.raises(CheckpointError) as caught:
        train(trainer, module, data, resume_from=tmp_path / "last.ckpt")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "options", [{"precision": "7-bit"}, {"accelerator": "abacus"}, {"devices": 0}, {"strategy": "fsdp_cpu_offload"}]
)
def test_what_the_machine_does_not_have_is_a_configuration_error(line, tmp_path: Path, options) -> None:
    with pytest.raises(ConfigError, match=r"^trainer(\.strategy)?: ") as caught:
        line(tmp_path, **options)
    assert "\n" not in str(caught.value)
