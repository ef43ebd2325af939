"""One pre-training from start to end: scans, network, training, run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from pretrain.config import PretrainConfig
from pretrain.folders import EncoderFolders, SaveEncoder
from pretrain.health.callbacks import PROBE, health_callbacks, metric_names
from pretrain.module import PretrainModule
from pretrain.planning import PLAN
from pretrain.recipes import find_recipe
from pretrain.scans.air import air_levels
from pretrain.scans.cache import cache_scans
from pretrain.scans.cached import CachedScans
from pretrain.scans.data import PretrainScans
from pretrain.scans.exclusions import read_exclusions
from pretrain.scans.find import find_scans
from swin_unetr.checkpoints import start_from
from swin_unetr.checkpoints.starting_point import refuse_other_start, starting_point
from swin_unetr.config_io import load
from swin_unetr.errors import ConfigError
from swin_unetr.networks import build_network, choose_fast_paths
from swin_unetr.provenance import command
from swin_unetr.training import build_trainer
from swin_unetr.training.decay import decay_facts
from swin_unetr.training.file_notes import FILE_NOTES, file_notes
from swin_unetr.training.first_process import tell
from swin_unetr.training.run_folder import check_run_folder
from swin_unetr.training.session import Session
from swin_unetr.training.speed import hardware, settle
from swin_unetr.words import count

#: What may differ when a run is resumed: how long, where and how fast it trains, and what is watched.
MAY_CHANGE = (
    "health",
    "scans.cache_workers",
    "scans.num_workers",
    "speed",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.max_epochs",
    "trainer.max_steps",
    "trainer.max_time",
    "trainer.strategy",
    "trainer.validate_every",
    "trainer.validations",
)


@dataclass(frozen=True, kw_only=True)
class PretrainResult:
    """The result of a pre-training."""

    run_folder: Path
    #: What `finetune --init` takes; the latest encoder, as in `last_model`.
    best_model: Path
    last_model: Path
    #: Epochs trained, and the seconds it took, those before a resume included.
    epochs: int
    seconds: float
    #: Scans that could not be used, by name and with the reason; empty if there were none.
    skipped: str
    #: What a network that starts from it takes, for the terminal.
    transfer: str
    #: What was trained: "encoder", or "network" without its output layer.
    trained: str = "encoder"

    def summary(self) -> str:
        """The closing lines of the command."""
        lines = [
            f"{count(self.epochs, 'epoch')} in {timedelta(seconds=round(self.seconds))}",
            *([self.skipped] if self.skipped else []),
            self.transfer,
            f"{self.trained}: {self.best_model}",
            f"start from it: {command(['finetune', '--init', self.run_folder, '...'])}",
        ]
        return "\n".join(lines)


def pretrain(
    config: PretrainConfig | Path | str,
    *,
    data: Sequence[Path | str],
    output: Path | str,
    exclude: Path | None = None,
    test: Sequence[Path | str] = (),
    cache: Path | None = None,
    probe: Path | None = None,
    init: Path | str | None = None,
    resume: bool = False,
) -> PretrainResult:
    """Train an encoder on scans without labels.

    Args:
        config: the configuration, or a recipe: its file, or the name of a shipped one.
        data: folders of scans, of DICOM series, in a labelled layout; files; lists in JSON or CSV.
        output: the run folder, new or empty unless it is resumed. Takes config.yaml, run.json, metrics.csv,
            tensorboard/, pictures, checkpoints/last.ckpt, and the encoder folders best/ and last/.
        exclude: list of scans to leave out.
        test: folders with the scans of a later test; a scan that is in both is an error.
        cache: folder for the preprocessed scans. If None, `scan-cache` beside the run folder.
        probe: labelled folder that the encoder is probed on.
        init: encoder to start from.
        resume: go on from the checkpoint in `output`, if there is one.

    Raises:
        ConfigError: wrong configuration or output folder.
        DataError: no scan that can be used, or scans of the test among them.
        CheckpointError: weights that cannot be used.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; the checkpoint to resume from is written.
    """
    if not isinstance(config, PretrainConfig):
        config = load(PretrainConfig, find_recipe(config))
    run = Path(output)
    start = None if init is None else starting_point(init)
    # Checked before hours of caching; the channels of the scans are known only afterwards.
    check_run_folder(run, config, resume=resume, may_change=(*MAY_CHANGE, "network.in_channels"), beside=(PLAN,))
    cached = _scans(config, data, exclude, test, cache or run.parent / "scan-cache")
    config = replace(config, network=replace(config.network, in_channels=cached.channels))
    session = Session.open(run, config, start=start, resume=resume, may_change=MAY_CHANGE, beside=(PLAN,))
    before = session.before
    if before and before.get("scan_hashes") != cached.provenance()["scan_hashes"]:
        raise ConfigError(f"{run}: cannot be resumed with other scans than before; choose another --output")
    refuse_other_start(run, before, start, left_out=True)
    for task in config.proxies.chosen:
        task.check_data(len(cached.scans))
    return _train(session, cached, probe)


def _train(session: Session[PretrainConfig], cached: CachedScans, probe: Path | None) -> PretrainResult:
    """Build the network, say what it starts from, and train.

    Args:
        session: the run.
        cached: the scans.
        probe: labelled folder that the encoder is probed on.
    """
    run, config, start = session.folder, session.config, session.start
    session.seed()
    machine = hardware(config.trainer.accelerator)
    speed = settle(config.speed, machine, precision=session.trainer.precision)
    module = PretrainModule(replace(config, speed=speed))
    fast_paths = choose_fast_paths(module.network, speed)
    report = session.load_start(module.kept)
    differs = [] if start is None else start.differences(config.preprocess, [str(n) for n in range(cached.channels)])
    if start is not None and differs and not session.before:
        report.append(f"warning: {start.path} was trained on scans preprocessed differently: {'; '.join(differs)}")
    air = air_levels(config.preprocess, cached.channels)
    scans = PretrainScans(cached, config.scans, seed=config.trainer.seed, air=air)
    notes, of_files = file_notes(cached.cases, session.before)
    padding = [scans.padding_notice] if scans.padding_notice else []
    tell(*session.notices, *report, cached.summary(), *padding, *of_files)
    facts = {
        "kind": "pretrain",
        **cached.provenance(),
        FILE_NOTES: notes,
        "probe": None if probe is None else str(probe.resolve()),
        **decay_facts(module.network, config.optimizer),
        **session.facts(speed, fast_paths, init=report, init_preprocess=differs),
    }
    folders = EncoderFolders(run, every=config.trainer.epochs_between_validations, save=SaveEncoder(config, facts))
    trainer = _trainer(session, module, folders, probe)
    seconds = session.run(trainer, module, scans, speed=speed, facts=facts, results=lambda: _results(trainer, folders))
    trainer.strategy.barrier()  # the first process writes the folder
    audit = start_from(build_network(config.network), run / "best")
    session.add_results(transfer=audit.to_dict())
    return PretrainResult(
        run_folder=run,
        best_model=run / "best",
        last_model=run / "last",
        epochs=trainer.current_epoch,
        seconds=seconds,
        skipped=cached.summary() if cached.skipped else "",
        transfer=audit.summary(),
        trained="network" if config.proxies.whole_network else "encoder",
    )


def _scans(
    config: PretrainConfig,
    data: Sequence[Path | str],
    exclude: Path | None,
    test: Sequence[Path | str],
    cache: Path,
) -> CachedScans:
    found = find_scans(
        data,
        layout=config.scans.layout,
        with_test_cases=config.scans.with_test_cases,
        exclude=() if exclude is None else read_exclusions(exclude),
        test=test,
    )
    return cache_scans(found, config.preprocess, cache, workers=config.scans.cache_workers, tell=tell)


def _trainer(
    session: Session[PretrainConfig], module: PretrainModule, folders: EncoderFolders, probe: Path | None
) -> Trainer:
    run, config = session.folder, session.config
    watching = health_callbacks(
        config.health,
        run,
        preprocess=config.preprocess,
        window=config.scans.crop_size,
        divisor=config.network.size_divisor,
        in_channels=config.network.in_channels,
        probe_data=probe,
    )
    return build_trainer(
        session.trainer,
        run,
        monitor=PROBE,
        metrics=("train/loss", *metric_names(module.scalar_names, probe=probe is not None)),
        gradient_clip=config.optimizer.gradient_clip,
        callbacks=[*watching, folders],
    )


def _results(trainer: Trainer, folders: EncoderFolders) -> dict[str, Any]:
    """The encoder that is written, and the warnings of the callbacks that watch a training."""
    watched: list[Any] = [callback for callback in trainer.callbacks if hasattr(callback, "warnings")]
    return {"best": folders.best, "warnings": [warning for callback in watched for warning in callback.warnings]}
