"""A model on disk: `model.safetensors` with the weights and `model.json` with everything else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from swin_unetr.config_io import from_dict, to_dict
from swin_unetr.errors import CheckpointError, ConfigError
from swin_unetr.files import replacing, write_json
from swin_unetr.model_description import ModelDescription
from swin_unetr.networks import BaselineNetwork, SegmentationNetwork, SwinBody, SwinEncoder, SwinUNETR, build_network

#: Increased by one when the format changes so that older versions of this package would misread a folder.
FORMAT_VERSION = 2
WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
_KINDS = {"segmentation": (SwinUNETR, BaselineNetwork), "encoder": (SwinEncoder,), "body": (SwinBody,)}
_PRETRAINED = {"encoder": "an encoder", "body": "a pre-trained network without an output layer"}


@dataclass(frozen=True)
class LoadedModel:
    """A network with its weights, and what its folder says of it."""

    network: SegmentationNetwork
    description: ModelDescription


def save_model(
    network: SegmentationNetwork | SwinBody | SwinEncoder, folder: Path, *, description: ModelDescription
) -> None:
    """Write a model folder: the weights first, then the description, each whole or not at all.

    Args:
        network: the whole network, or what its kind keeps of it.
        folder: where to write; made if it is missing. A model that is there is replaced.
        description: everything but the weights.

    Raises:
        ValueError: the description does not fit this network.
    """
    if not isinstance(network, _KINDS[description.kind]) or network.config != description.network:
        raise ValueError(f"description of a model of kind {description.kind!r}: does not describe the network to save")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with replacing(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary)
    write_description(folder, description)


def write_description(folder: Path, description: ModelDescription) -> None:
    """Write `model.json` of a model folder, whole or not at all; the weights stay as they are."""
    write_json(folder / DESCRIPTION, {"format_version": FORMAT_VERSION, **to_dict(description)})


def load_model(folder: Path | str, device: torch.device | str = "cpu") -> LoadedModel:
    """Read a segmentation model.

    Args:
        folder: a model folder.
        device: where the network goes.

    Returns:
        The network, in training mode as torch has it, and its description.

    Raises:
        CheckpointError: the folder is incomplete, damaged, from a newer version, or holds no segmentation model.
    """
    folder = Path(folder)
    description = read_description(folder)
    if description.kind != "segmentation":
        raise CheckpointError(
            f"{folder}: holds {_PRETRAINED[description.kind]}, not a segmentation model; fine-tune from it with "
            "finetune --init"
        )
    tensors = read_weights(folder)
    network = build_network(description.network)
    if misfit := _first_misfit(tensors, network.state_dict()):
        raise CheckpointError(
            f"{folder / WEIGHTS}: does not fit the network in {DESCRIPTION} ({misfit}); copy both from the same model"
        )
    network.load_state_dict(tensors)
    return LoadedModel(network.to(device), description)


def read_description(folder: Path) -> ModelDescription:
    """Read `model.json`.

    Args:
        folder: a model folder.

    Raises:
        CheckpointError: it is missing, damaged, from a newer version, or holds a wrong field (which is named).
    """
    path = folder / DESCRIPTION
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        what = f"holds no {DESCRIPTION}: it is no model or run folder" if folder.exists() else "no such model folder"
        raise CheckpointError(f"{folder}: {what}; check the path") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: is damaged, not valid JSON; copy the model folder again") from error
    version = values.pop("format_version", None) if isinstance(values, dict) else None
    if type(version) is not int or version < 1:
        raise CheckpointError(f"{path}: is not the description of a model (no format_version); check the path")
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{folder}: is a model folder of format {version}, but this version of swin-unetr reads up to format "
            f"{FORMAT_VERSION}; update swin-unetr"
        )
    try:
        return from_dict(ModelDescription, values, source=str(path))
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read `model.safetensors`: tensors on the CPU by their names in the network.

    Args:
        folder: a model folder.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = folder / WEIGHTS
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: is missing; copy the whole model folder") from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: is damaged ({error}); copy the model folder again") from error
    return tensors


def _first_misfit(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """The first difference between two sets of tensors, in words."""
    for name in sorted({*found, *wanted}):
        if name not in found:
            return f"no tensor {name}"
        if name not in wanted:
            return f"unknown tensor {name}"
        if found[name].shape != wanted[name].shape:
            return f"{name} is {shape_text(found[name])}, should be {shape_text(wanted[name])}"
    return None


def shape_text(tensor: Tensor) -> str:
    """The shape of a tensor as text, such as 48x1x2x2x2."""
    return "x".join(map(str, tensor.shape)) or "a single number"
