"""What a training survives: torn and missing checkpoints, full disks, signals, losses that are no numbers."""

import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest
import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning_parts import At, weights

from swin_unetr.errors import CheckpointError, DataError, SwinUnetrError
from swin_unetr.files import is_full
from swin_unetr.training import TrainingStopped, resume_point, train
from swin_unetr.training.checkpoint_files import previous
from swin_unetr.training.run_folder import CHECKPOINT, check_run_folder


def send(number: int):
    return lambda *_: os.kill(os.getpid(), number)


def step_of(checkpoint: Path) -> int:
    return torch.load(checkpoint, weights_only=True)["global_step"]


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_bits(path: Path) -> None:
    content = bytearray(path.read_bytes())
    third = len(content) // 3
    content[third:-third] = (value ^ 1 for value in content[third:-third])
    path.write_bytes(content)


def fill_with_zeros(path: Path) -> None:  # what a power cut leaves of a file that was not flushed
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [truncate, flip_bits, fill_with_zeros, Path.unlink])
def test_a_torn_checkpoint_is_told_and_the_one_before_it_taken(line, tmp_path: Path, capsys, damage) -> None:
    whole, undisturbed, data = line(tmp_path / "whole", validate_every=1)
    train(whole, undisturbed, data, resume_from=None)
    folder = tmp_path / "run"
    trainer, module, data = line(folder, validate_every=1, callbacks=[At(10, send(signal.SIGTERM))])
    with pytest.raises(TrainingStopped):
        train(trainer, module, data, resume_from=None)
    assert (step_of(folder / CHECKPOINT), step_of(previous(folder / CHECKPOINT))) == (10, 8)
    damage(folder / CHECKPOINT)
    capsys.readouterr()
    trainer, module, data = line(folder, validate_every=1)
    train(trainer, module, data, resume_from=folder / CHECKPOINT)
    told = [text for text in capsys.readouterr().out.splitlines() if "last.ckpt" in text]
    assert len(told) == 1
    assert "going on from the one before it, previous.ckpt" in told[0]
    assert torch.equal(weights(module), weights(undisturbed))
    assert step_of(folder / CHECKPOINT) == 16


def test_two_torn_checkpoints_are_an_error_of_one_line(line, tmp_path: Path) -> None:
    trainer, module, data = line(tmp_path, validate_every=1)
    train(trainer, module, data, resume_from=None)
    truncate(tmp_path / CHECKPOINT)
    truncate(previous(tmp_path / CHECKPOINT))
    trainer, module, data = line(tmp_path)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: is torn or damaged, and no whole one") as caught:
        train(trainer, module, data, resume_from=tmp_path / CHECKPOINT)
    assert "\n" not in str(caught.value)


def test_a_run_that_was_killed_between_two_names_is_one_to_resume(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text("{}")
    previous(tmp_path / CHECKPOINT).touch()
    from swin_unetr.config import OptimizerConfig

    assert check_run_folder(tmp_path, OptimizerConfig(), resume=True, may_change=()) == tmp_path / CHECKPOINT


def test_a_run_that_was_killed_in_its_first_file_starts_again(tmp_path: Path) -> None:
    (tmp_path / ".partial-01234567-config.yaml").touch()
    for resume in (False, True):
        assert check_run_folder(tmp_path, None, resume=resume, may_change=()) is None


def test_what_a_killed_run_left_half_written_is_cleared_away(line, tmp_path: Path) -> None:
    left = [tmp_path / "checkpoints" / ".partial-01234567-last.ckpt", tmp_path / "best" / ".partial-89abcdef-line.pt"]
    for path in left:
        path.parent.mkdir()
        path.write_bytes(b"half")
    trainer, module, data = line(tmp_path)
    train(trainer, module, data, resume_from=None)
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]


@pytest.mark.parametrize(("accumulate", "cut", "last"), [(1, 7, 6), (2, 4, 3)])
def test_a_long_epoch_is_saved_in_between(line, tmp_path: Path, monkeypatch, accumulate, cut: int, last: int) -> None:
    monkeypatch.setattr(resume_point, "SAVE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(resume_point, "_SHARE", 1e9)
    options = {"validate_every": 4, "accumulate_batches": accumulate}
    whole, undisturbed, data = line(tmp_path / "whole", **options)
    train(whole, undisturbed, data, resume_from=None)
    folder, saved = tmp_path / "run", []

    def power_cut(*_) -> None:
        saved.append(step_of(folder / CHECKPOINT))
        raise RuntimeError("power cut")

    trainer, module, data = line(folder, callbacks=[At(cut, power_cut)], **options)
    with pytest.raises(RuntimeError, match="power cut"):
        train(trainer, module, data, resume_from=None)
    assert saved == [last]
    trainer, module, data = line(folder, **options)
    train(trainer, module, data, resume_from=folder / CHECKPOINT)
    assert torch.equal(weights(module), weights(undisturbed))


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch) -> Path:
    """A stand-in for SLURM's command, that notes what it was asked for."""
    program, asked = tmp_path / "bin" / "scontrol", tmp_path / "asked.txt"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return asked


@pytest.mark.parametrize(
    ("environment", "number", "asked"),
    [
        ({"SLURM_JOB_ID": "17"}, signal.SIGUSR1, "requeue 17\n"),
        ({"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "2"}, signal.SIGUSR1, "requeue 17_2\n"),
        ({"SLURM_JOB_ID": "17"}, signal.SIGTERM, None),
        ({}, signal.SIGUSR1, None),
        ({}, signal.SIGTERM, None),
    ],
)
def test_a_signal_saves_at_the_end_of_the_step_and_requeues_where_slurm_asks(
    line, tmp_path: Path, monkeypatch, scontrol: Path, capfd, environment, number: int, asked: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    trainer, module, data = line(tmp_path / "run", callbacks=[At(6, send(number))])
    with pytest.raises(TrainingStopped):
        train(trainer, module, data, resume_from=None)
    assert step_of(tmp_path / "run" / CHECKPOINT) == 6
    assert (scontrol.read_text() if scontrol.is_file() else None) == asked
    assert ("is requeued" in capfd.readouterr().out) == (asked is not None)
    assert not list((tmp_path / "run").rglob("hpc_ckpt*"))


def test_lightning_does_not_save_within_a_handler_under_slurm(line, tmp_path: Path, monkeypatch) -> None:
    for name, value in {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "17"}.items():
        monkeypatch.setenv(name, value)
    for name in ("PROCID", "LOCALID", "NODEID"):
        monkeypatch.setenv(f"SLURM_{name}", "0")
    trainer, _, _ = line(tmp_path)
    environment = trainer._accelerator_connector.cluster_environment
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue


def test_the_ctrl_c_that_torchrun_sends_once_more_is_the_same_one(line, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    for name in ("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "WORLD_SIZE"):
        monkeypatch.setenv(name, "1")
    for name in ("RANK", "LOCAL_RANK", "GROUP_RANK"):
        monkeypatch.setenv(name, "0")

    def twice(*_) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    trainer, module, data = line(tmp_path, callbacks=[At(6, twice)])
    with pytest.raises(TrainingStopped):
        train(trainer, module, data, resume_from=None)


class Named:
    """Points, with names."""

    def case_names(self, epoch: int, batch_idx: int) -> list[str]:
        return [f"case_{epoch}_{batch_idx}"]


def test_a_loss_that_is_no_number_names_its_cases_and_spoils_nothing(line, tmp_path: Path) -> None:
    def spoil(trainer, module) -> None:
        module.network[0].weight.data.fill_(float("inf"))

    trainer, module, data = line(tmp_path, validate_every=1, callbacks=[At(6, spoil)])
    data.case_names = Named().case_names
    with pytest.raises(SwinUnetrError, match=r"epoch 2, batch 3 \(cases: case_1_2\); .*kept in") as caught:
        train(trainer, module, data, resume_from=None)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1
    assert step_of(tmp_path / CHECKPOINT) == 4
    for name in ("best", "last"):
        saved = torch.load(tmp_path / name / "line.pt")["weights"]
        assert all(value.isfinite().all() for value in saved.values())


@pytest.mark.parametrize("validate_every", [1, 4])
def test_weights_that_are_no_numbers_after_a_good_loss_are_not_saved(line, tmp_path, validate_every: int) -> None:
    def spoil(trainer, module) -> None:
        module.network[2].bias.data.fill_(float("nan"))

    options = {"validate_every": validate_every, "callbacks": [At(4, spoil)]}
    trainer, module, data = line(tmp_path, **options)
    with pytest.raises(SwinUnetrError, match="the weights are no longer finite in epoch 1"):
        train(trainer, module, data, resume_from=None)
    assert not (tmp_path / CHECKPOINT).exists()
    assert not (tmp_path / "best").exists()


def test_a_process_that_reads_data_and_was_ended_is_one_line(line, tmp_path: Path) -> None:
    class Killed(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> torch.Tensor:
            os.kill(os.getpid(), signal.SIGKILL)

    class Broken(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> torch.Tensor:
            raise DataError("scan_7.nii.gz: is truncated; copy it again")

    for dataset, words in (
        (Killed(), r"ended by the system .*--resume auto"),
        (Broken(), r"^scan_7\.nii\.gz: is"),
    ):
        trainer, module, data = line(tmp_path)
        data.train_dataloader = lambda dataset=dataset: torch.utils.data.DataLoader(dataset, num_workers=1)
        with pytest.raises(DataError, match=words) as caught:
            train(trainer, module, data, resume_from=None)
        assert "\n" not in str(caught.value)


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of 300 KB; only root may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_costs_nothing_that_was_saved(line, small_disk: Path) -> None:
    folder = small_disk / "run"
    hog = small_disk / "hog"

    def fill(*_) -> None:
        with hog.open("wb") as file:
            try:
                while True:
                    file.write(bytes(1024))
                    file.flush()
            except OSError:
                pass

    trainer, module, data = line(folder, validate_every=1, callbacks=[At(6, fill)])
    with pytest.raises(OSError, match="No space left") as caught:
        train(trainer, module, data, resume_from=None)
    assert is_full(caught.value)
    hog.unlink()
    trainer, module, data = line(folder, validate_every=1)
    train(trainer, module, data, resume_from=folder / CHECKPOINT)
    assert trainer.global_step == 16
