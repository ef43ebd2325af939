"""Weights of MONAI's `SwinUNETR`, and of every published Swin UNETR: names, import and export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from swin_unetr.checkpoints.layouts import Side
from swin_unetr.checkpoints.merging import in_order
from swin_unetr.checkpoints.model_folder import shape_text
from swin_unetr.checkpoints.published_file import ENCODER as _ENCODER
from swin_unetr.checkpoints.published_file import PublishedFile, read_published_file
from swin_unetr.checkpoints.transfer import ENCODER, TransferReport, tensors_by_full_name, transfer
from swin_unetr.config import MergingForm, NetworkConfig
from swin_unetr.errors import CheckpointError
from swin_unetr.networks import BaselineNetwork, SegmentationNetwork, SwinBody, SwinEncoder, SwinUNETR
from swin_unetr.networks.window_attention import relative_position_index

#: MONAI has no other number of stages.
_STAGES = 4
_POSITION_INDEX = ".attn.relative_position_index"
_TABLE = ".attn.relative_position_bias_table"
#: Parts of names that differ wherever they occur: ours, MONAI's.
_PARTS = (
    (".attention.bias_table", _TABLE),
    (".attention.projection.", ".attn.proj."),
    (".attention.", ".attn."),
    (".expand.", ".mlp.linear1."),
    (".contract.", ".mlp.linear2."),
    (".conv1.", ".conv1.conv."),
    (".conv2.", ".conv2.conv."),
    (".shortcut.", ".conv3.conv."),
)
#: The form of patch merging that `import_monai_weights` assumes by default.
ASSUMED: MergingForm = "legacy"
WHY_ASSUMED = "assumed: MONAI up to 1.4, hence every checkpoint published before 2025"


def import_monai_weights(
    path: Path | str,
    config: NetworkConfig | None = None,
    *,
    merging: MergingForm | None = None,
    in_channels: int | None = None,
    side: Side | None = None,
) -> tuple[SwinUNETR, TransferReport]:
    """Read a published Swin UNETR: a whole network, or an encoder alone such as `model_swinvit.pt`.

    Weights do not show their form of patch merging, which decides what they compute. "legacy" suits every
    checkpoint published before 2025; "merging" those trained by MONAI 1.5 or later.

    Args:
        path: file of weights, as published.
        config: the network to read them into, for other classes or for what weights do not show (dropout,
            `normalize`); the argument `merging` overrides its field. If None, inferred from the weights.
        merging: form of patch merging that the weights were trained with. If None, that of the file's layout, else
            "legacy".
        in_channels: number of image channels, if it differs from that of `config` or of the weights. The mean of the
            weights' channels is repeated and scaled, so that equal channels give what they gave.
        side: which network of a student and its teacher. If None, the teacher.

    Returns:
        The network on the CPU, and what was done with every tensor. If the file has no decoder, or one for other
        classes, the network's decoder keeps its random weights, and the report says so.

    Raises:
        CheckpointError: the file cannot be read, would run code, or holds an encoder that is not the network's.
    """
    file = read_published_file(Path(path), side=side)
    form, reason = merging_of(file)
    if merging is not None and file.layout is not None and file.layout.neighbours and merging != form:
        raise CheckpointError(f"{path}: {reason}; leave out --merging {merging}")
    if merging is not None:
        form, reason = merging, "as given"
    config = replace(config, merging=form) if config else infer_config(file, form)
    network = SwinUNETR(config if in_channels is None else replace(config, in_channels=in_channels))
    return network, load_published(network, file, reason)


def merging_of(file: PublishedFile) -> tuple[MergingForm, str]:
    """The form of patch merging of the network that takes a file's weights, and why."""
    layout = file.layout
    if layout is not None and layout.neighbours:
        return layout.merging, f"the layout of {layout.name} has eight distinct neighbours"
    return ASSUMED, WHY_ASSUMED


def load_published(network: SwinBody | SwinEncoder, file: PublishedFile, merging_reason: str) -> TransferReport:
    """Copy the tensors of a published file into a network.

    Args:
        network: takes the weights, in place.
        file: what was read.
        merging_reason: why the network's form of patch merging suits the weights.

    Raises:
        CheckpointError: the encoder does not match; the network is unchanged.
    """
    _require_encoder(file)
    config = network.config
    if len(config.depths) != _STAGES:
        raise CheckpointError(
            f"{file.path}: has {_STAGES} stages, the network {len(config.depths)}; set depths to four"
        )
    names = {_monai_name(name): name for name in tensors_by_full_name(network)}
    tensors: dict[str, Tensor] = {}
    unexpected: list[str] = []
    verified: list[str] = []
    reordered: dict[str, str] = {}
    neighbours = file.layout.neighbours if file.layout is not None else ()
    for name, tensor in file.tensors.items():
        if name.endswith(_POSITION_INDEX):
            _check_position_index(file.path, name, tensor, config)
            verified.append(file.original[name])
        elif name in names:
            if neighbours and (moved := in_order(tensor, name, neighbours, config.merging)) is not None:
                tensors[names[name]] = moved
                reordered[names[name]] = f"neighbours in the order of merging {config.merging!r}"
            else:
                tensors[names[name]] = tensor
        elif name.startswith((_ENCODER + "layers", _ENCODER + "patch_embed")):
            tensors[ENCODER + name.removeprefix(_ENCODER)] = tensor  # an encoder's, but not this one's: refused below
        else:
            unexpected.append(file.original[name])
    return transfer(
        network,
        tensors,
        source=str(file.path),
        merging_reason=merging_reason,
        unexpected=[*unexpected, *file.left],
        verified=verified,
        beside=file.beside,
        reordered=reordered,
        notes=file.notes,
        layout=None if file.layout is None else file.layout.name,
    )


def export_monai_weights(network: SegmentationNetwork, *, monai_1_4: bool = False) -> dict[str, Tensor]:
    """The weights as a state dict that MONAI's `SwinUNETR` loads with `strict=True`.

    Args:
        network: the network.
        monai_1_4: write for MONAI up to 1.4, whose `downsample="merging"` is our "legacy".

    Returns:
        Tensors by MONAI's names, sharing memory with the network's.

    Raises:
        CheckpointError: MONAI has no such network, or would compute another function from the weights.
    """
    config = network.config
    if isinstance(network, BaselineNetwork):
        raise CheckpointError(
            f"cannot be exported to MONAI: a {config.architecture} is MONAI's already, and its weights have MONAI's "
            'names in model.safetensors, after "network."'
        )
    known = ("legacy", "mergingv2") if monai_1_4 else ("merging", "mergingv2")
    hindrances = (
        (len(config.depths) != _STAGES, f"depths: MONAI has four stages, this network has {len(config.depths)}"),
        (
            config.patch_size != (2, 2, 2),
            f"patch_size: MONAI's decoder wants 2,2,2, this network has {config.patch_size}",
        ),
        (any(step != (2, 2, 2) for step in config.strides), "merge_strides: MONAI merges by 2,2,2 alone"),
        (config.feature_size % 12 != 0, f"feature_size: MONAI wants a multiple of 12, not {config.feature_size}"),
        (
            config.merging not in known,
            f"merging: MONAI {'up to 1.4' if monai_1_4 else 'from 1.5'} has no {config.merging!r} and would compute "
            f"another function from these weights; export for {'1.5 or later' if monai_1_4 else 'MONAI 1.4'} instead",
        ),
    )
    for hinders, why in hindrances:
        if hinders:
            raise CheckpointError(f"cannot be exported to MONAI: {why}")
    tensors = {_monai_name(name): tensor.detach() for name, tensor in network.state_dict().items()}
    index = relative_position_index(config.window_size)
    tables = [name for name in tensors if name.endswith(_TABLE)]
    return tensors | {name.removesuffix(_TABLE) + _POSITION_INDEX: index.clone() for name in tables}


def infer_config(file: PublishedFile, merging: MergingForm) -> NetworkConfig:
    """Infer the shape of a network from its weights.

    Args:
        file: what was read.
        merging: form of patch merging, which weights do not show.

    Raises:
        CheckpointError: it holds no encoder, or not that of a Swin UNETR.
    """
    _require_encoder(file)
    tensors, block = file.tensors, _ENCODER + "layers{}.0.blocks.{}"
    try:
        embedding = tensors[_ENCODER + "patch_embed.proj.weight"]
        tables = [tensors[block.format(stage, 0) + _TABLE] for stage in range(1, _STAGES + 1)]
        hidden = tensors[block.format(1, 0) + ".mlp.linear1.weight"].shape[0]
        feature_size, in_channels, px, py, pz = embedding.shape
        width = (round(tables[0].shape[0] ** (1 / 3)) + 1) // 2
        head = tensors.get("out.conv.conv.bias")
        return NetworkConfig(
            in_channels=in_channels,
            num_classes=NetworkConfig.num_classes if head is None else head.shape[0],
            feature_size=feature_size,
            depths=tuple(_count(tensors, block.format(stage, "{}")) for stage in range(1, _STAGES + 1)),
            num_heads=tuple(table.shape[1] for table in tables),
            window_size=(width, width, width),
            patch_size=(px, py, pz),
            merging=merging,
            mlp_ratio=hidden / feature_size,
            qkv_bias=block.format(1, 0) + ".attn.qkv.bias" in tensors,
            patch_norm=_ENCODER + "patch_embed.norm.weight" in tensors,
            use_v2=any(name.startswith(_ENCODER + "layers1c.") for name in tensors),
        )
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"{file.path}: its encoder is not that of a Swin UNETR of four stages ({error})"
        ) from error


def _count(tensors: Mapping[str, Tensor], block: str) -> int:
    """How many blocks a stage has."""
    count = 0
    while block.format(count) + _TABLE in tensors:
        count += 1
    return count


def _require_encoder(file: PublishedFile) -> None:
    if not any(name.startswith(_ENCODER) for name in file.tensors):
        some = ", ".join(list(file.original.values())[:3])
        raise CheckpointError(f"{file.path}: holds no Swin encoder, but {some} ...; give a Swin UNETR checkpoint")


def _check_position_index(path: Path, name: str, found: Tensor, config: NetworkConfig) -> None:
    """Compare a stored table of relative positions with the one that the network computes.

    Raises:
        CheckpointError: they differ, so the weights would be used at other positions.
    """
    if not torch.equal(found.long(), relative_position_index(config.window_size)):
        raise CheckpointError(
            f"{path}: {name} ({shape_text(found)}) is not that of a window of {config.window_size} tokens; "
            "set window_size to that of the weights"
        )


def _monai_name(name: str) -> str:
    """MONAI's name of a tensor of a `SwinUNETR` of four stages."""
    module, monai = next(names for names in _modules() if name.startswith(names[0]))
    rest = name.removeprefix(module)
    for part, theirs in _PARTS:
        if part in rest:
            return monai + rest.replace(part, theirs)
    return monai + rest


def _modules() -> Iterator[tuple[str, str]]:
    """Our name and MONAI's of the modules that make up the network."""
    yield "encoder.patch_embedding.projection", _ENCODER + "patch_embed.proj"
    yield "encoder.patch_embedding.norm", _ENCODER + "patch_embed.norm"
    for stage in range(_STAGES):
        yield f"encoder.stages.{stage}.residual", f"{_ENCODER}layers{stage + 1}c.0.layer"
        yield f"encoder.stages.{stage}.blocks", f"{_ENCODER}layers{stage + 1}.0.blocks"
        yield f"encoder.stages.{stage}.merging", f"{_ENCODER}layers{stage + 1}.0.downsample"
    yield "input_block", "encoder1.layer"
    for level in range(_STAGES - 1):
        yield f"skip_blocks.{level}", f"encoder{level + 2}.layer"
    yield "bottleneck", "encoder10.layer"
    for step in range(_STAGES + 1):
        yield f"decoder.{step}.upsample", f"decoder{_STAGES + 1 - step}.transp_conv.conv"
        yield f"decoder.{step}.block", f"decoder{_STAGES + 1 - step}.conv_block"
    yield "head", "out.conv.conv"
