"""What watches a run, in a run: tables, warnings, pictures, probe; and a resume within an epoch."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from PIL import Image
from torch.utils.data import DataLoader, Sampler

from pretrain.health.callbacks import PROBE, RANK, STD, Figures, health_callbacks, metric_names
from pretrain.health.config import HealthConfig
from pretrain.health.pictures import curves, draw_curves, reconstructions
from swin_unetr.config import IntensityConfig, NetworkConfig, PreprocessConfig, TrainerConfig
from swin_unetr.networks import SwinEncoder
from swin_unetr.training import build_trainer, train
from swin_unetr.training.step_hooks import derived_seed

NAMES = ("masked/loss", "rotation/accuracy")
STEPS = 5


class Toy(LightningModule):
    """An encoder that learns to be constant, slowly; what a step gives is what a pre-training's does."""

    def __init__(self, collapsed: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = SwinEncoder(NetworkConfig(feature_size=4, depths=(1, 1), num_heads=(1, 2)))
        self.collapsed = collapsed

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(derived_seed(self.current_epoch, batch_idx))
        image = torch.rand(4, 1, 16, 16, 8, generator=generator)
        features = self.encoder(image)[-1].mean((2, 3, 4))
        loss = features.square().mean()
        masked = image * (torch.arange(8) != 5)
        seen = torch.ones(4, 16) if self.collapsed else torch.randn(4, 16, generator=generator)
        return {
            "loss": loss,
            "scalars": {"masked/loss": loss.detach(), "rotation/accuracy": torch.tensor(float(batch_idx))},
            "features": seen,
            "pictures": {"masked": (image, masked, image / 2)},
        }

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class StillToCome(Sampler[int]):
    """The batches that a stopped epoch has still to make; its length is the whole epoch's, as Lightning wants it."""

    def __init__(self, done: int) -> None:
        self.done = done

    def __len__(self) -> int:
        return STEPS

    def __iter__(self) -> Iterator[int]:
        done, self.done = self.done, 0
        return iter(range(done, STEPS))


class Batches(LightningDataModule):
    def train_dataloader(self) -> DataLoader:
        progress = self.trainer.fit_loop.epoch_progress.current
        done = 0
        if progress.started > progress.processed:  # stopped within an epoch
            done = self.trainer.fit_loop.epoch_loop.batch_progress.current.processed
        return DataLoader(torch.zeros(STEPS, 1), sampler=StillToCome(done))


class PowerCut(Callback):
    """Stops in order within an epoch, as on SIGTERM."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "last.ckpt")
            raise RuntimeError("power cut")


def run(
    folder: Path,
    *,
    epochs: int = 3,
    probe_data: Path | None = None,
    extra: list[Callback] | None = None,
    collapsed: bool = False,
    resume_from: Path | None = None,
    **config: Any,
) -> list[Callback]:
    watching = health_callbacks(
        HealthConfig(**{"picture_every": 2, "probe_every": 2, "probe_voxels": 20, **config}),
        folder,
        preprocess=PreprocessConfig(intensity=IntensityConfig(scheme="hu_window"), crop_foreground=False),
        window=(32, 32, 24),
        divisor=(8, 8, 8),
        probe_data=probe_data,
    )
    trainer = build_trainer(
        TrainerConfig(max_epochs=epochs, accelerator="cpu"),
        folder,
        monitor="none",
        metrics=("train/loss", *metric_names(NAMES, probe=probe_data is not None)),
        callbacks=[*watching, *(extra or [])],
    )
    train(trainer, Toy(collapsed), Batches(), resume_from=resume_from)
    return watching


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(phantom_data: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(folder, probe_data=phantom_data)
    return folder


@pytest.mark.slow
def test_the_table_holds_means_and_spread_of_every_epoch(whole: Path) -> None:
    rows = table(whole / "metrics.csv")
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert rows[0].keys() >= {"train/masked/loss", "train/rotation/accuracy", STD, RANK, PROBE}
    for row in rows:
        assert float(row["train/rotation/accuracy"]) == 2  # mean of 0 ... 4
        assert float(row["train/masked/loss"]) == pytest.approx(float(row["train/loss"]), rel=1e-5)
        assert 0.8 < float(row[STD]) <= 1
        assert 8 < float(row[RANK]) <= 16
    assert [bool(row[PROBE]) for row in rows] == [False, True, True]  # every second epoch, and the last


def test_the_probe_has_a_table_that_starts_before_training(whole: Path) -> None:
    rows = table(whole / "probe.csv")
    assert [(row["epoch"], row["step"]) for row in rows] == [("0", "0"), ("2", "10"), ("3", "15")]
    assert float(rows[0]["chance"]) == pytest.approx(1 / 6, rel=1e-4)
    assert all(0 <= float(row["liver"]) <= 1 for row in rows)
    assert float(table(whole / "metrics.csv")[2][PROBE]) == pytest.approx(float(rows[2]["accuracy"]), rel=1e-4)


def test_pictures_of_the_first_the_due_and_the_last_epoch(whole: Path) -> None:
    names = sorted(path.name for path in (whole / "pictures").iterdir())
    assert names == [f"epoch_{epoch:05d}_masked.png" for epoch in (1, 2, 3)]
    assert np.asarray(Image.open(whole / "pictures" / names[0])).std() > 10
    assert np.asarray(Image.open(whole / "curves.png")).std() > 10


def test_tensorboard_has_the_figures_and_the_pictures(whole: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(whole / "tensorboard"))
    events.Reload()
    assert {"train/masked/loss", STD, RANK, PROBE} <= set(events.Tags()["scalars"])
    assert events.Tags()["images"] == ["pictures/masked"]


@pytest.mark.slow
def test_a_run_that_stops_within_an_epoch_goes_on_to_the_same_figures(
    whole: Path, phantom_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path, probe_data=phantom_data, extra=[PowerCut(step=STEPS + 3)])
    assert (tmp_path / "curves.png").is_file()  # of the first epoch
    run(tmp_path, probe_data=phantom_data, resume_from=tmp_path / "last.ckpt")
    varies = (
        "seconds",
        "loader_share",
        "train/loss",
    )  # Lightning's table has the mean loss of the steps after the stop
    for name in ("metrics.csv", "probe.csv"):
        wanted, found = table(whole / name), table(tmp_path / name)
        assert [{key: row[key] for key in row if key not in varies} for row in found] == [
            {key: row[key] for key in row if key not in varies} for row in wanted
        ]


def test_a_collapse_is_said_once_and_remembered(tmp_path: Path, capsys) -> None:
    watching = run(tmp_path, collapsed=True, picture_every=0)
    out = capsys.readouterr().out
    assert out.count("warning: epoch 1: the features of all views are nearly the same") == 1
    (figures,) = (callback for callback in watching if isinstance(callback, Figures))
    assert [epoch for epoch, _ in figures.warnings] == [1, 2, 3]
    assert not (tmp_path / "curves.png").exists()
    assert float(table(tmp_path / "metrics.csv")[0][STD]) == 0


def test_a_healthy_run_warns_of_nothing(tmp_path: Path, capsys) -> None:
    run(tmp_path, epochs=1, picture_every=0)
    assert "warning" not in capsys.readouterr().out


def test_the_plane_with_the_most_masked_voxels_is_shown() -> None:
    image = torch.rand(1, 1, 6, 5, 7)
    masked = image.clone()
    masked[..., 4] = 0
    masked[..., :2, 2] = 0
    figure = reconstructions(image, masked, image, "title")
    shown = figure.axes[1].images[0].get_array()
    assert shown.shape == (5, 6)  # Y from the front down, X from the right
    assert not np.asarray(shown).any()
    first = figure.axes[0].images[0].get_array()
    assert first[0, 0] == pytest.approx(float(image[0, 0, -1, -1, 4]))


def test_curves_pass_over_what_has_no_value_yet() -> None:
    rows = [
        {"epoch": "1", "step": "3", "seconds": "1", "train/loss": "2.0", PROBE: ""},
        {"epoch": "2", "step": "6", "seconds": "1", "train/loss": "1.0", PROBE: "0.5"},
    ]
    figure = curves(rows)
    assert [axis.get_title() for axis in figure.axes] == ["loss", PROBE]
    assert figure.axes[1].lines[0].get_xydata().tolist() == [[2.0, 0.5]]
    assert curves([]) is None


def test_no_curves_of_a_table_that_is_not_there(tmp_path: Path) -> None:
    draw_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())
