"""The models of a prediction: one, or several whose probabilities are averaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from swin_unetr.checkpoints import LoadedModel, load_model
from swin_unetr.config import InferenceConfig, NetworkConfig, PreprocessConfig
from swin_unetr.errors import CheckpointError, ConfigError
from swin_unetr.inference.backends.cache import weights_digest
from swin_unetr.inference.backends.compute import Compute
from swin_unetr.inference.backends.eager import EagerBackend
from swin_unetr.inference.backends.fastest import settle
from swin_unetr.inference.backends.opening import open_backend
from swin_unetr.inference.backends.protocol import Backend, Output
from swin_unetr.inference.engine.method import method_of_models
from swin_unetr.inference.engine.sliding_window import check_roi_size
from swin_unetr.model_description import ComponentRule, ModelDescription, TrainingScans
from swin_unetr.networks import BaselineNetwork, SwinUNETR
from swin_unetr.tasks import Task
from swin_unetr.trust.calibration import is_calibrated
from transforms.exchange import score_order

#: A model folder, a run folder (then its `best/`), a cross-validation (then all of its folds), or a model in memory.
ModelArgument = str | Path | LoadedModel

_DESCRIPTION, _WEIGHTS = "model.json", "model.safetensors"
#: The model of a run folder that is used.
_OF_RUN = "best"
#: File in the folder of a finished cross-validation.
_CROSS_VALIDATION = "cross_validation.json"


@dataclass(frozen=True)
class Head:
    """The output layer: class scores of the decoder's features, voxel by voxel."""

    #: classes x features.
    weight: Tensor
    #: classes.
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Map features x ... to classes x ..., float32; the scores of a voxel lie side by side in memory."""
        # That way the highest of 117 is found in half the time: elsewhere every class is a step of a whole block.
        scores = torch.addmm(self.bias, features.float().flatten(1).t(), self.weight.t())
        return scores.t().view(len(self.bias), *features.shape[1:])


@dataclass(frozen=True)
class Member:
    """One model, ready to predict."""

    #: The network; it gives class scores, or features where those are fewer.
    backend: Backend
    #: Makes scores of features; None if the backend gives scores.
    head: Head | None
    #: Windows and averaging: the model's own settings, or the options that replace them.
    inference: InferenceConfig
    #: Where it comes from; None for a model in memory.
    folder: Path | None
    #: SHA-256 of its weights' file; None for a model in memory.
    sha256: str | None
    #: Shape of the network.
    network: NetworkConfig
    #: SHA-256 of the weights: of their file, or for a model in memory of their values.
    weights: str
    #: For each channel the one whose score it takes from a mirror image along X; empty if none is exchanged.
    exchange: tuple[int, ...] = ()


@dataclass(frozen=True)
class Ensemble:
    """Models that see the same image and give the same structures."""

    members: tuple[Member, ...]
    #: Where and how precisely they compute; nothing is left open.
    compute: Compute
    task: Task
    preprocess: PreprocessConfig
    #: Which components are removed from their predictions.
    postprocess: tuple[ComponentRule, ...] = ()
    #: What the training scans of the first model were like; None if its description does not say.
    training_scans: TrainingScans | None = None

    def facts(self) -> list[dict[str, Any]]:
        """What a record says of the models."""
        return [
            {
                "path": str(member.folder.absolute()) if member.folder else None,
                "sha256": member.sha256,
                "roi_size": member.inference.roi_size,
                "overlap": member.inference.overlap,
                "weights": member.inference.weights,
                "tta": member.inference.tta,
            }
            for member in self.members
        ]

    def method(self) -> dict[str, Any]:
        """What decides on the labels; see `method_of_models`."""
        return method_of_models(
            [member.weights for member in self.members],
            [member.network for member in self.members],
            [member.inference for member in self.members],
            self.task,
            self.preprocess,
            self.postprocess,
        )

    def backends(self) -> list[dict[str, Any]]:
        """What a record says of how each model is run; it may differ between two runs with the same labels."""
        return [member.backend.facts() for member in self.members]


def load_ensemble(
    models: ModelArgument | Sequence[ModelArgument],
    compute: Compute,
    *,
    cache: bool = True,
    postprocess: bool = True,
    signals: bool | None = False,
    **inference: Any,
) -> Ensemble:
    """Make models ready to predict.

    Args:
        models: one or several.
        compute: where, with what and how precisely the networks compute.
        cache: whether what a backend makes of a model is kept in its folder.
        postprocess: whether the models' rules about components are applied.
        signals: whether the networks' deepest maps are wanted. If None, of models whose folders hold a calibration.
        inference: fields of `InferenceConfig` that replace the models' own. If a value is None, the model's own counts.

    Raises:
        ConfigError: an option that a model cannot take, or models that do not go together.
        CheckpointError: a folder that holds no usable segmentation model.
    """
    named = [models] if isinstance(models, (str, Path, LoadedModel)) else list(models)
    given: list[Path | LoadedModel] = []
    for model in named:
        given += [model] if isinstance(model, LoadedModel) else model_folders(Path(model))
    _refuse_twice([model for model in given if isinstance(model, Path)])
    members: list[Member] = []
    descriptions: list[ModelDescription] = []
    for model in given:
        folder, loaded = _load(model, compute.device)
        descriptions.append(loaded.description)
        _check_alike(descriptions, str(folder or "the model in memory"))
        settings = _settings(loaded.description, inference)
        # The first model settles what is open.
        compute, member = _open(loaded, settings, compute, folder, cache, signals)
        members.append(member)
    if not members:
        raise ConfigError("model: at least one is needed")
    first = descriptions[0]
    assert first.task is not None  # of a segmentation model
    rules = _common_rules(descriptions) if postprocess else ()
    return Ensemble(tuple(members), compute, first.task, first.preprocess, rules, first.training_scans)


def _open(
    loaded: LoadedModel,
    settings: InferenceConfig,
    compute: Compute,
    folder: Path | None,
    cache: bool,
    signals: bool | None,
) -> tuple[Compute, Member]:
    """A network behind its backend; of scores and features it gives the fewer channels, which take less memory.

    Returns:
        How it computes, with nothing left open, and the member.
    """
    config, task = loaded.description.network, loaded.description.task
    assert task is not None  # of a segmentation model
    network: nn.Module = loaded.network.to(compute.device).eval()
    exchanges = settings.tta and 0 in settings.mirror_axes and settings.mirror_pairs
    exchange = score_order(task, settings.mirror_pairs) if exchanges else ()
    digest = weights_hash(folder) if folder else None
    weights = digest or f"{weights_digest(network)} {network}"  # in memory, its text says which layers it has
    if not isinstance(network, SwinUNETR | BaselineNetwork):  # another class in memory: called as it is
        compute = replace(compute, or_else=())
        backend: Backend = EagerBackend(network, "scores", config.num_classes, compute)
        return compute, Member(backend, None, settings, folder, digest, config, weights, exchange)
    # Features have no sides that could be exchanged.
    narrow = isinstance(network, SwinUNETR) and config.feature_size < config.num_classes and not exchange
    given: Output = "features" if narrow else "scores"
    roi_size, batch_size = settings.roi_size, settings.batch_size
    bottleneck = is_calibrated(folder) if signals is None else signals

    def open_with(compute: Compute) -> Backend:
        return open_backend(
            compute.backend,
            network,
            output=given,
            roi_size=roi_size,
            batch_size=batch_size,
            compute=compute,
            cache=folder if cache else None,
            bottleneck=bottleneck,
        )

    compute, backend = settle(
        compute, network, open_with, roi_size=roi_size, batch_size=batch_size, keep=cache and folder is not None
    )
    head = head_of(network) if narrow and isinstance(network, SwinUNETR) else None
    return compute, Member(backend, head, settings, folder, digest, config, weights, exchange)


def head_of(network: SwinUNETR) -> Head:
    """A copy of a network's output layer."""
    bias = network.head.bias
    assert bias is not None
    return Head(network.head.weight.detach().flatten(1).float().clone(), bias.detach().float().clone())


def model_folder(path: Path) -> Path:
    """The model folder that a path means: itself, or `best/` of a run folder."""
    best = path / _OF_RUN
    return best if not (path / _DESCRIPTION).is_file() and (best / _DESCRIPTION).is_file() else path


def model_folders(path: Path) -> list[Path]:
    """The model folders that a path means for a prediction; of a cross-validation those of all folds.

    Raises:
        CheckpointError: a cross-validation that is not finished, or is damaged.
    """
    record = path / _CROSS_VALIDATION
    if not record.is_file():
        if (path / "fold_0").is_dir() and not (path / _DESCRIPTION).is_file():
            raise CheckpointError(
                f"{path}: is a cross-validation that is not finished; finish it with finetune --folds all --resume "
                f"auto, or name the folds to take ({path / 'fold_0'} ...)"
            )
        return [model_folder(path)]
    try:
        number = len(json.loads(record.read_text(encoding="utf-8"))["folds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{record}: is damaged; renew it with finetune --folds all --resume auto") from error
    return [path / f"fold_{fold}" / _OF_RUN for fold in range(number)]  # no path is taken from a file


def _load(model: Path | LoadedModel, device: torch.device) -> tuple[Path | None, LoadedModel]:
    return (None, model) if isinstance(model, LoadedModel) else (model, load_model(model, device=device))


def weights_hash(folder: Path) -> str:
    """SHA-256 of a model folder's weights, in hexadecimal digits."""
    with (folder / _WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _settings(description: ModelDescription, asked: dict[str, Any]) -> InferenceConfig:
    """The model's settings, replaced by the options that are given, and checked against the network."""
    try:
        config = replace(description.inference, **{name: value for name, value in asked.items() if value is not None})
    except ValueError as error:
        raise ConfigError(str(error)) from error
    check_roi_size(config.roi_size, description.network)
    if config.tta and not config.mirror_axes:
        raise ConfigError(
            "tta: the model was trained without mirroring and would get mirror images wrong; leave it out"
        )
    return config


def _check_alike(descriptions: Sequence[ModelDescription], name: str) -> None:
    """Check the last model, whose name is given, for use together with the first."""
    first, last = descriptions[0], descriptions[-1]
    same = {"task": _task(first) == _task(last), "preprocess": _preprocess(first) == _preprocess(last)}
    for field, alike in same.items():
        if not alike:
            raise ConfigError(
                f"model: {name} has another {field} than the first model (compare their model.json); only models of "
                "the same task and preprocessing can be averaged"
            )


def _task(description: ModelDescription) -> Task | None:
    """The task without its pairs: each model exchanges those that it was trained with."""
    return description.task and replace(description.task, pairs=())


def _preprocess(description: ModelDescription) -> PreprocessConfig:
    """The preprocessing of scans, without that of label maps, which are of the training alone."""
    return replace(description.preprocess, label_interpolation="nearest")


def _common_rules(descriptions: Sequence[ModelDescription]) -> tuple[ComponentRule, ...]:
    """The post-processing of models that are averaged: they must agree on it."""
    rules = [tuple(replace(rule, reason="") for rule in each.postprocess) for each in descriptions]
    if len(set(rules)) > 1:
        raise ConfigError(
            "postprocess: the models were given different rules (compare their model.json); leave all of them out with "
            "--no-postprocess"
        )
    return rules[0]


def _refuse_twice(folders: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() in seen:
            raise ConfigError(f"model: {folder} is named twice; name each model once")
        seen.add(folder.resolve())
