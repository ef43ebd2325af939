"""What watches a pre-training: figures of every epoch, warnings on collapse, pictures, and a probe."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from pretrain.health.config import HealthConfig
from pretrain.health.pictures import draw_curves, pixels, reconstructions, save
from pretrain.health.probe import Probe, ProbeScore
from pretrain.health.spread import LatestFeatures, collapse, spread
from swin_unetr.config import PreprocessConfig, Triple
from swin_unetr.files import write_text
from swin_unetr.training.averaging import weights_to_keep

STD, RANK, PROBE = "train/feature_std", "train/effective_rank", "probe/accuracy"


def metric_names(names: Sequence[str], *, probe: bool) -> tuple[str, ...]:
    """Names of what is logged, in the order of the table's columns.

    Args:
        names: the scalars that the training step gives, such as "rotation/accuracy".
        probe: whether a labelled folder is given.
    """
    return (*(f"train/{name}" for name in names), STD, RANK, *((PROBE,) if probe else ()))


def health_callbacks(
    config: HealthConfig,
    run_folder: Path,
    *,
    preprocess: PreprocessConfig,
    window: Triple,
    divisor: Triple,
    in_channels: int = 1,
    probe_data: Path | None = None,
) -> list[Callback]:
    """The callbacks that watch a run; they come before those that write what was logged.

    They read what `training_step` returns besides its loss, all of it detached:
        "scalars": by name, 0-d tensors on the device: losses of the proxies, accuracies.
        "features": N x C, the pooled bottleneck of every view.
        "pictures": by proxy, (input, masked, output), each B x C x X x Y x Z.

    Args:
        config: how often and how much.
        run_folder: takes `pictures/`, `curves.png` and `probe.csv`.
        preprocess: of the pre-training, for the probe's scans.
        window: size of a crop, X, Y, Z.
        divisor: the encoder needs sizes that are multiples of this.
        in_channels: channels of the encoder.
        probe_data: labelled folder; its scans are read here. If None, there is no probe.

    Raises:
        DataError: scans of the probe that cannot be used.
        ConfigError: a labelled folder that does not suit the encoder.
    """
    watching: list[Callback] = [Figures(config)]
    if probe_data is not None:
        probe = Probe(
            probe_data, config, preprocess=preprocess, window=window, divisor=divisor, in_channels=in_channels
        )
        watching.append(Probing(probe, run_folder / "probe.csv", config.probe_every))
    if config.picture_every:
        watching.append(Pictures(run_folder, config.picture_every))
    return watching


class Figures(Callback):  # type: ignore[misc]  # Lightning is untyped here
    """Logs the mean of every scalar over the epoch and the spread of the features, and warns if they collapse.

    Sums stay on the accelerator until the epoch ends. A checkpoint within an epoch holds them, so that a resumed run
    has the same figures as one that was not stopped.
    """

    def __init__(self, config: HealthConfig) -> None:
        self._config = config
        self._latest = LatestFeatures(config.feature_views)
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        #: Epoch (from 1) and sentence of every warning.
        self.warnings: list[tuple[int, str]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the figures of a step, without waiting for the accelerator."""
        for name, value in outputs["scalars"].items():
            value = value.detach().float()
            self._sums[name] = self._sums[name].to(value) + value if name in self._sums else value
        self._steps += 1
        if outputs.get("features") is not None:
            self._latest.add(outputs["features"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the means, measure the spread."""
        means = {f"train/{name}": total / self._steps for name, total in self._sums.items()}
        self._sums, self._steps = {}, 0
        rows = self._latest.rows()
        if rows is not None:
            found = spread(rows)
            # Every process must log the same names, with a tensor on its device.
            means |= {STD: torch.tensor(found.std), RANK: torch.tensor(found.rank)}
            self._warn(trainer, collapse(found, self._config))
        for name, value in means.items():
            pl_module.log(name, value.to(pl_module.device), sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        kept = self._latest.kept()
        return {
            "sums": {name: value.cpu() for name, value in self._sums.items()},
            "steps": self._steps,
            "features": None if kept is None else kept.cpu(),
            "warnings": [list(warning) for warning in self.warnings],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self._sums, self._steps = dict(state_dict["sums"]), state_dict["steps"]
        if state_dict["features"] is not None:
            self._latest.add(state_dict["features"])
        self.warnings = [(epoch, text) for epoch, text in state_dict["warnings"]]

    def _warn(self, trainer: Trainer, text: str | None) -> None:
        """Print a warning in the epoch in which it begins, not in those that follow."""
        if text is None:
            return
        epoch = trainer.current_epoch + 1
        begins = not self.warnings or self.warnings[-1][0] != epoch - 1
        self.warnings.append((epoch, text))
        if begins and trainer.is_global_zero:
            print(f"warning: epoch {epoch}: {text}", flush=True)


class Probing(Callback):  # type: ignore[misc]  # Lightning is untyped here
    """Probes the encoder before the first epoch, every so many epochs and after the last; writes `probe.csv`.

    It uses the averaged weights if weights are averaged, as in the saved model. Only the first process probes.

    Args:
        probe: its scans have been read.
        path: the table; epoch 0 is the encoder before training.
        every: epochs.
    """

    def __init__(self, probe: Probe, path: Path, every: int) -> None:
        self._probe = probe
        self._path = path
        self._every = every
        self._rows: list[dict[str, str]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the rows of the epochs that are done, or probe the encoder before training."""
        if trainer.global_step == 0:
            if score := self._measure(trainer, pl_module, epoch=0):
                others = f"{score.plain:.4f} from place and value alone, {score.chance:.4f} by chance"
                print(f"probe: {score.accuracy:.4f} before training, {others}", flush=True)
        elif trainer.is_global_zero and self._path.is_file():
            with self._path.open(newline="", encoding="utf-8") as file:
                self._rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= trainer.current_epoch]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the last score, so that the tables show it in its own epoch only."""
        trainer.callback_metrics.pop(PROBE, None)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Probe if it is due."""
        if _is_due(trainer, self._every) and (
            score := self._measure(trainer, pl_module, epoch=trainer.current_epoch + 1)
        ):
            pl_module.log(PROBE, score.accuracy, rank_zero_only=True)

    def _measure(self, trainer: Trainer, pl_module: LightningModule, *, epoch: int) -> ProbeScore | None:
        """The score, in the first process; the others give their part of the weights."""
        with weights_to_keep(trainer, pl_module):
            score = self._probe.score(pl_module.encoder) if trainer.is_global_zero else None
        if score is None:
            return None
        row: dict[str, Any] = {"epoch": epoch, "step": trainer.global_step, "accuracy": f"{score.accuracy:.6g}"}
        row |= {"plain": f"{score.plain:.6g}", "chance": f"{score.chance:.6g}"}
        row |= {name: f"{recall:.6g}" for name, recall in score.by_class.items()}
        self._rows.append(row)
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(self._rows[0]), lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self._path, buffer.getvalue())
        return score


class Pictures(Callback):  # type: ignore[misc]  # Lightning is untyped here
    """Draws reconstructions every so many epochs (the first and the last too) and the curves of `metrics.csv`.

    Args:
        run_folder: takes `pictures/epoch_00010_<proxy>.png`, the same for TensorBoard, and `curves.png`.
        every: epochs.
    """

    def __init__(self, run_folder: Path, every: int) -> None:
        self._folder = run_folder
        self._every = every

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw the last step of an epoch."""
        if not trainer.is_global_zero or batch_idx + 1 < trainer.num_training_batches:
            return
        if trainer.current_epoch == 0 or _is_due(trainer, self._every):
            self._draw(trainer, outputs.get("pictures") or {})

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the curves of the epochs so far, whose last row was written after all other hooks."""
        if trainer.is_global_zero and trainer.current_epoch % self._every == 0:
            self._draw_curves()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the curves of the whole run."""
        if trainer.is_global_zero:
            self._draw_curves()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw the curves of a run that was stopped."""
        self.on_train_end(trainer, pl_module)

    def _draw(self, trainer: Trainer, pictures: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> None:
        epoch = trainer.current_epoch + 1
        for name, volumes in pictures.items():
            figure = reconstructions(*volumes, title=f"{name}, epoch {epoch}")
            save(figure, self._folder / "pictures" / f"epoch_{epoch:05d}_{name}.png")
            if trainer.logger is not None:
                trainer.logger.experiment.add_image(
                    f"pictures/{name}", pixels(figure), trainer.global_step, dataformats="HWC"
                )

    def _draw_curves(self) -> None:
        draw_curves(self._folder / "metrics.csv", self._folder / "curves.png")


def _is_due(trainer: Trainer, every: int) -> bool:
    epoch = trainer.current_epoch + 1
    return bool(epoch % every == 0 or epoch == trainer.max_epochs)
