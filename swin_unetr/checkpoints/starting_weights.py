"""Weights to start a training from: a model folder of ours, or a published file."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from swin_unetr.checkpoints.model_folder import DESCRIPTION, WEIGHTS, read_description, read_weights
from swin_unetr.checkpoints.monai_weights import load_published, merging_of
from swin_unetr.checkpoints.published_file import read_published_file
from swin_unetr.checkpoints.starting_point import described_folder
from swin_unetr.checkpoints.transfer import ENCODER, TransferReport, transfer
from swin_unetr.config import NetworkConfig
from swin_unetr.errors import CheckpointError
from swin_unetr.networks import BaselineNetwork, SegmentationNetwork, SwinBody, SwinEncoder

#: Fields that change what an encoder computes from the same weights, or their shapes; not the number of channels.
_ENCODER_FIELDS = (
    "feature_size",
    "depths",
    "num_heads",
    "window_size",
    "patch_size",
    "strides",
    "merging",
    "mlp_ratio",
    "qkv_bias",
    "normalize",
    "patch_norm",
    "use_v2",
)


def start_from(network: SegmentationNetwork | SwinBody | SwinEncoder, path: Path | str) -> TransferReport:
    """Copy weights into a network, in place: all of the encoder, and of the rest what the source has and fits.

    Args:
        network: takes the weights.
        path: a model folder (or a run folder, then its `best/`) of any kind, or a published file of weights.

    Returns:
        What was done with every tensor.

    Raises:
        CheckpointError: the source cannot be read, or its encoder does not fit the network, which stays unchanged; or
            the network is a baseline, without an encoder of this package.
    """
    path = Path(path)
    if isinstance(network, BaselineNetwork):
        raise CheckpointError(
            f"{path}: cannot start a {network.config.architecture}, which has no Swin encoder; leave out --init, or "
            "network.architecture"
        )
    if path.is_dir():
        return _from_folder(network, path)
    published = read_published_file(path)  # first: a file without weights has no form of merging
    form, (wanted, reason) = network.config.merging, merging_of(published)
    if form != wanted:
        raise CheckpointError(
            f"{path}: their merging is {wanted!r} ({reason}), but the network has {form!r}; set "
            f"network.merging to {wanted}, or make a model folder of them with import-weights --merging {form}"
        )
    return load_published(network, published, reason)


def _from_folder(network: SwinBody | SwinEncoder, folder: Path) -> TransferReport:
    folder = described_folder(folder)
    description = read_description(folder)
    if description.network.baseline is not None:
        raise CheckpointError(
            f"{folder}: holds a {description.network.architecture}, which has no Swin encoder to start from; name a "
            "model of swin_unetr"
        )
    _check_config(folder, description.network, network.config)
    prefix = ENCODER if description.kind == "encoder" else ""
    tensors: dict[str, Tensor] = {prefix + name: tensor for name, tensor in read_weights(folder).items()}
    return transfer(network, tensors, source=str(folder / WEIGHTS), merging_reason=f"as {DESCRIPTION} says")


def _check_config(folder: Path, source: NetworkConfig, target: NetworkConfig) -> None:
    """Refuse an encoder that would compute something else in the network.

    Raises:
        CheckpointError: with the first field that differs.
    """
    for field in _ENCODER_FIELDS:
        theirs, ours = getattr(source, field), getattr(target, field)
        if theirs != ours:
            name = "merge_strides" if field == "strides" else field
            raise CheckpointError(
                f"{folder}: its encoder has {name} {theirs}, the network has {ours}; set network.{name} to the former"
            )
