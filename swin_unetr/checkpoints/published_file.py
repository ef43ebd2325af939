"""Reads a published file of weights: safely, whatever it is wrapped in, with keys as MONAI's `SwinUNETR` has them.

What a file's names are like is in `layouts.py`; here they are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from safetensors.torch import load_file
from torch import Tensor

from swin_unetr.checkpoints.layouts import Layout, Side, layout_of
from swin_unetr.checkpoints.torch_file import read_torch_file
from swin_unetr.errors import CheckpointError

#: What the names of the encoder begin with in MONAI's class.
ENCODER = "swinViT."
#: Keys under which training scripts keep the weights, beside an epoch or an optimiser.
_WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "network_weights")
#: A network, and the average of it over time that teaches it; the one that is read by default comes first.
_SIDES: tuple[Side, ...] = get_args(Side)
#: What data-parallel training, compilation and training modules put before every key.
_PREFIXES = re.compile(
    r"^(?:(?:module|_orig_mod|model|_model|network|net|backbone|transformer|student|teacher)\.)*"
    r"(?:encoder\.(?=swinViT\.))?"
)
#: Background and organs of BTCV.
_BTCV_CLASSES = 14
#: Changes that bring the names of every publication to those of MONAI's class, in this order.
_SPELLINGS = (
    (re.compile(r"^swin_vit\."), "swinViT."),
    # "Disruptive autoencoders" (2307.16896) calls the encoder so, and nests its stages once more.
    (re.compile(r"^encoder\.(?=patch_embed\.|layers\d)"), "swinViT."),
    (re.compile(r"^(?=patch_embed\.|layers\d)"), "swinViT."),
    (re.compile(r"^(swinViT\.layers\d)\.0\.0\."), r"\1.0."),
    # SMIT (2205.10342) numbers its stages from 0.
    *((re.compile(rf"^(?:encoder\.)?layers\.{stage}\."), f"swinViT.layers{stage + 1}.0.") for stage in range(4)),
    (re.compile(r"\.mlp\.fc([12])\."), r".mlp.linear\1."),
)


@dataclass(frozen=True)
class PublishedFile:
    """What a file holds."""

    path: Path
    #: Tensors by their names in MONAI's class.
    tensors: Mapping[str, Tensor]
    #: For each of these names, the key in the file.
    original: Mapping[str, str]
    #: What the file holds beside tensors.
    beside: tuple[str, ...]
    #: The layout that the names show; None if they are those of several.
    layout: Layout | None = None
    #: Keys of tensors that are not read: those of the other network of a pair, and other networks' decoders.
    left: tuple[str, ...] = ()
    #: What a person should know of the file, a line each.
    notes: tuple[str, ...] = field(default=())


def read_published_file(path: Path, *, side: Side | None = None) -> PublishedFile:
    """Read a `.pt`, `.pth`, `.ckpt` or `.safetensors` file, without running any code that is in it.

    Args:
        path: the file.
        side: which network of a student and its teacher. If None, the teacher if it has an encoder.

    Raises:
        CheckpointError: it cannot be read, would run code, holds no weights, or not the side that was asked for.
    """
    beside: list[str] = []
    content = dict(_unwrapped(_read(path), beside))
    beside += [key for key, value in content.items() if not isinstance(value, Tensor)]
    keys = [key for key, value in content.items() if isinstance(value, Tensor)]
    if not keys:
        raise CheckpointError(f"{path}: holds no weights (neither tensors nor a state_dict); check the path")
    chosen, notes = _one_side(path, keys, side)
    layout = layout_of(keys)
    tensors: dict[str, Tensor] = {}
    original: dict[str, str] = {}
    for key in chosen:
        name = monai_spelling(key)
        if layout is not None and layout.encoder_only and not name.startswith(ENCODER):
            continue
        if name in tensors:
            raise CheckpointError(f"{path}: holds {name} twice, as {original[name]} and as {key}; keep one of them")
        tensors[name], original[name] = content[key], key
    read = set(original.values())
    left = tuple(key for key in keys if key not in read)
    if not tensors:
        raise CheckpointError(
            f"{path}: holds no Swin encoder, but {', '.join(keys[:3])} ...; give a Swin UNETR checkpoint"
        )
    return PublishedFile(path, tensors, original, tuple(beside), layout, left, (*notes, *_notes(tensors)))


def monai_spelling(key: str) -> str:
    """The name that MONAI's `SwinUNETR` has for a key of any publication; other keys only lose their prefix."""
    name = _PREFIXES.sub("", key)
    for pattern, replacement in _SPELLINGS:
        name = pattern.sub(replacement, name)
    return name


def _unwrapped(content: Any, beside: list[str]) -> Iterator[tuple[str, Any]]:
    """What lies under the keys that training scripts wrap weights in; both sides of a pair, each with its name.

    Args:
        content: of the file.
        beside: takes the keys that lie beside the weights.
    """
    if not isinstance(content, Mapping):
        return
    inside: list[str] = [key for key in _SIDES if isinstance(content.get(key), Mapping)]
    inside = inside or [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)][:1]
    if not inside:
        if any(isinstance(value, Tensor) for value in content.values()):
            yield from ((str(key), value) for key, value in content.items())
        else:
            beside += map(str, content)
        return
    beside += [str(key) for key in content if key not in inside]
    for key in inside:
        prefix = f"{key}." if key in _SIDES else ""
        yield from ((prefix + name, value) for name, value in _unwrapped(content[key], beside))


def _one_side(path: Path, keys: list[str], asked: Side | None) -> tuple[list[str], list[str]]:
    """The keys of one network, and what to say of the choice.

    Raises:
        CheckpointError: the side that was asked for has no encoder here.
    """
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(_side(key), []).append(key)
    encoders = {name for name, members in groups.items() if any(map(_of_encoder, members))}
    pair = [side for side in _SIDES if side in encoders]
    if asked is not None and asked not in pair:
        held = " and ".join(pair) or "one network, neither student nor teacher"
        raise CheckpointError(f"{path}: holds no encoder of a {asked}, but {held}; leave out --side or name the other")
    if asked is None and "" in encoders:
        return groups[""], []
    if not pair:
        return keys, []
    chosen = asked or pair[0]
    others = [side for side in pair if side != chosen]
    words = f"; --side {others[0]} takes the {others[0]}" if others else ""
    return groups[chosen], [f"weights of the {chosen}{words}"]


def _side(key: str) -> str:
    """The side that the prefix of a key names; empty if it names none."""
    matched = _PREFIXES.match(key)
    parts = matched[0].split(".") if matched else []
    return next((side for side in _SIDES if side in parts), "")


def _of_encoder(key: str) -> bool:
    return monai_spelling(key).startswith(ENCODER)


def _notes(tensors: Mapping[str, Tensor]) -> list[str]:
    """A warning of weights that were trained with labels, where one may not expect it."""
    head, embedding = tensors.get("out.conv.conv.bias"), tensors.get(ENCODER + "patch_embed.proj.weight")
    if head is None or embedding is None or (head.shape[0], embedding.shape[1]) != (_BTCV_CLASSES, 1):
        return []
    return [
        "has a decoder and a head for 14 classes, as BTCV has: such weights were trained with labels (among them the "
        "file self_supervised_nv_swin_unetr_5050.pt of SuPreM's hub, in spite of its name); results on BTCV that start "
        "from them say nothing about pre-training"
    ]


def _read(path: Path) -> Any:
    """The content of a file.

    Raises:
        CheckpointError: it is missing or damaged, or would run code.
    """
    if path.suffix != ".safetensors":
        return read_torch_file(path, otherwise="download it again")
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file; check the path") from error
    except Exception as error:  # damaged bytes can raise any error in the reader
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(
            f"{path}: cannot be read ({type(error).__name__}: {reason}); download it again"
        ) from error
