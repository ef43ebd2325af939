"""Copies weights into a network, as far as they fit, and accounts for every one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from swin_unetr.checkpoints.model_folder import shape_text
from swin_unetr.config import MergingForm
from swin_unetr.errors import CheckpointError
from swin_unetr.networks import SwinBody, SwinEncoder

#: What the names of a whole network's encoder begin with.
ENCODER = "encoder."
#: What the names of a whole network's output layer begin with.
_OUTPUT = "head."
#: Convolutions that see the image; they can be made to see another number of channels.
_SEE_THE_IMAGE = (
    "encoder.patch_embedding.projection.weight",
    "input_block.conv1.weight",
    "input_block.shortcut.weight",
)


@dataclass(frozen=True, kw_only=True)
class TransferReport:
    """What was done with every tensor of a source and of a network."""

    #: File or folder the weights came from.
    source: str
    #: Order of the neighbours in patch merging that the weights are used with, and why.
    merging: MergingForm
    merging_reason: str
    #: Tensors of the network that were copied as they are.
    loaded: tuple[str, ...]
    #: Tensors of the network that were copied after a change, and which change.
    adapted: Mapping[str, str]
    #: Tensors of the network that the source does not have; they keep the values they had.
    missing: tuple[str, ...]
    #: Tensors of the network that have another shape in the source; they keep the values they had.
    unfit: Mapping[str, str]
    #: Tensors of the source that the network has no place for.
    unexpected: tuple[str, ...]
    #: Tables of the source that the network computes itself; they were compared and are equal.
    verified: tuple[str, ...] = ()
    #: What the source holds beside weights, such as an epoch or the state of an optimiser.
    beside: tuple[str, ...] = ()
    #: What a person should know of the source, a line each.
    notes: tuple[str, ...] = ()
    #: Name of the published layout that the source has; None if its names do not show one.
    layout: str | None = None

    @property
    def all_but_output(self) -> bool:
        """Whether the output layer is all that the network did not take from the source."""
        left = [*self.missing, *self.unfit]
        return bool(left) and all(name.startswith(_OUTPUT) for name in left)

    def to_dict(self) -> dict[str, Any]:
        """The report in plain types, for JSON."""
        return asdict(self)

    def summary(self) -> str:
        """The report for the terminal: numbers, every adaptation, and names by their part of the network."""
        kept = "keep their initial values"
        lines = [
            f"{self.source}: {len(self.loaded)} tensors loaded, {len(self.adapted)} adapted, "
            f"{len(self.missing)} missing, {len(self.unfit)} of another shape, {len(self.unexpected)} unexpected",
            f"  merging: {self.merging} ({self.merging_reason})",
            *(["  carried over: the whole network but its output layer"] if self.all_but_output else []),
            *(f"  note: {note}" for note in self.notes),
            *(f"  adapted: {name}: {how}" for name, how in self.adapted.items()),
            *(f"  of another shape, {kept}: {name}: {what}" for name, what in self.unfit.items()),
        ]
        for title, names in (
            (f"missing, {kept}", self.missing),
            ("unexpected, not used", self.unexpected),
            ("computed by the network, compared and equal", self.verified),
            ("beside the weights, not used", self.beside),
        ):
            if names:
                lines.append(f"  {title}: {_by_part(names)}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()


def transfer(
    network: SwinBody | SwinEncoder,
    tensors: Mapping[str, Tensor],
    *,
    source: str,
    merging_reason: str,
    unexpected: Iterable[str] = (),
    verified: Iterable[str] = (),
    beside: Iterable[str] = (),
    reordered: Mapping[str, str] | None = None,
    notes: Iterable[str] = (),
    layout: str | None = None,
) -> TransferReport:
    """Copy weights into a network. All of its encoder must be there and fit; of the rest, what fits is taken.

    Args:
        network: takes the weights, in place.
        tensors: by their names in a `SwinUNETR`; the encoder's begin with "encoder.".
        source: the file or folder, for the report and for errors.
        merging_reason: why the network's form of patch merging suits the weights.
        unexpected: names in the source that mean nothing to a `SwinUNETR`.
        verified: see the report.
        beside: see the report.
        reordered: tensors that were already changed, and how; they count as adapted.
        notes: see the report.
        layout: see the report.

    Returns:
        What was done with every tensor.

    Raises:
        CheckpointError: the encoder does not match; the network is unchanged.
    """
    targets = tensors_by_full_name(network)
    values: dict[str, Tensor] = {}
    adapted: dict[str, str] = {}
    unfit: dict[str, str] = {}
    for name in sorted(tensors.keys() & targets.keys()):
        tensor, target = tensors[name], targets[name]
        if tensor.shape == target.shape:
            values[name] = tensor
            if reordered and name in reordered:
                adapted[name] = reordered[name]
        elif name in _SEE_THE_IMAGE and _differ_in_channels_alone(tensor, target):
            values[name], adapted[name] = _for_channels(tensor, target.shape[1])
        else:
            unfit[name] = f"{shape_text(tensor)} in the source, {shape_text(target)} in the network"
    missing = sorted(targets.keys() - tensors.keys())
    strange = [*unexpected, *sorted(tensors.keys() - targets.keys())]
    _check_encoder(source, missing, unfit, tensors.keys() - targets.keys())
    with torch.no_grad():
        for name, value in values.items():
            targets[name].copy_(value)
    return TransferReport(
        source=source,
        merging=network.config.merging,
        merging_reason=merging_reason,
        loaded=tuple(name for name in values if name not in adapted),
        adapted=adapted,
        missing=tuple(missing),
        unfit=unfit,
        unexpected=tuple(strange),
        verified=tuple(verified),
        beside=tuple(beside),
        notes=tuple(notes),
        layout=layout,
    )


def tensors_by_full_name(network: SwinBody | SwinEncoder) -> dict[str, Tensor]:
    """The tensors of a network, an encoder's under the names they have in a `SwinUNETR`. They share its memory."""
    prefix = ENCODER if isinstance(network, SwinEncoder) else ""
    return {prefix + name: tensor for name, tensor in network.state_dict().items()}


def _differ_in_channels_alone(kernel: Tensor, target: Tensor) -> bool:
    """Whether weights of a convolution (out x in x X x Y x Z) fit the target but for the number of input channels."""
    return (kernel.shape[0], *kernel.shape[2:]) == (target.shape[0], *target.shape[2:])


def _for_channels(kernel: Tensor, channels: int) -> tuple[Tensor, str]:
    """Weights of a convolution for another number of input channels, and what was done, in words.

    The response to equal channels is the same: the kernels of the source's channels are added up, and each of the new
    channels takes its share of the sum.
    """
    before = kernel.shape[1]
    shape = (kernel.shape[0], channels, *kernel.shape[2:])
    values = kernel.sum(dim=1, keepdim=True).expand(shape) / channels
    if before == 1:
        return values, f"the weights of 1 channel repeated for {channels} and divided by {channels}"
    times = f"repeated for {channels} and multiplied by {before}/{channels}" if channels > 1 else f"times {before}"
    return values, f"the mean of the weights of {before} channels, {times}: equal channels give what they gave"


def _check_encoder(source: str, missing: Iterable[str], unfit: Mapping[str, str], surplus: Iterable[str]) -> None:
    """Refuse an encoder that does not fit the network.

    Raises:
        CheckpointError: tensors missing, of another shape or too many, with the first of each.
    """
    troubles = [
        ("missing from it", [name for name in missing if name.startswith(ENCODER)]),
        ("of another shape", [f"{name}, {what}" for name, what in unfit.items() if name.startswith(ENCODER)]),
        ("more than the network has", sorted(name for name in surplus if name.startswith(ENCODER))),
    ]
    found = [f"{len(names)} tensors {what} (first: {names[0]})" for what, names in troubles if names]
    if found:
        raise CheckpointError(
            f"{source}: its encoder is not that of the network: {'; '.join(found)}; "
            "set the fields of the network to those the weights were trained with"
        )


def _by_part(names: Iterable[str]) -> str:
    """Names counted by their first part; a part with one name is given in full."""
    parts = {name: name.removeprefix("module.").split(".")[0] for name in names}
    counts = Counter(parts.values())
    single = {part: name for name, part in parts.items()}
    return ", ".join(single[part] if count == 1 else f"{part}.* ({count})" for part, count in counts.items())
