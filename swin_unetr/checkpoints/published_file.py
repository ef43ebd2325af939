"""Reads a published file of weights: safely, whatever it is wrapped in, with keys as MONAI's `SwinUNETR` has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from swin_unetr.checkpoints.torch_file import read_torch_file
from swin_unetr.errors import CheckpointError

#: Keys under which training scripts keep the weights, beside an epoch or an optimiser.
_WRAPPERS = ("state_dict", "model", "model_state_dict")
#: What data-parallel training, compilation and training modules put before every key.
_PREFIXES = re.compile(r"^(?:module\.|_orig_mod\.|model\.|_model\.|network\.|net\.)+")
#: Changes that bring the names of every publication to those of MONAI's class, in this order.
_SPELLINGS = (
    (re.compile(r"^swin_vit\."), "swinViT."),
    # "Disruptive autoencoders" (2307.16896) calls the encoder so, and nests its stages once more.
    (re.compile(r"^encoder\.(?=patch_embed\.|layers\d)"), "swinViT."),
    (re.compile(r"^(?=patch_embed\.|layers\d)"), "swinViT."),
    (re.compile(r"^(swinViT\.layers\d)\.0\.0\."), r"\1.0."),
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


def read_published_file(path: Path) -> PublishedFile:
    """Read a `.pt`, `.pth`, `.ckpt` or `.safetensors` file, without running any code that is in it.

    Args:
        path: the file.

    Raises:
        CheckpointError: it cannot be read, would run code, or holds no weights.
    """
    content = _read(path)
    beside: list[str] = []
    while isinstance(content, Mapping) and not any(isinstance(value, Tensor) for value in content.values()):
        wrapper = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if wrapper is None:
            break
        beside += [str(key) for key in content if key != wrapper]
        content = content[wrapper]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path}: holds no weights (neither tensors nor a state_dict); check the path")
    tensors: dict[str, Tensor] = {}
    original: dict[str, str] = {}
    for key, value in content.items():
        name = monai_spelling(str(key))
        if not isinstance(value, Tensor):
            beside.append(str(key))
        elif name in tensors:
            raise CheckpointError(f"{path}: holds {name} twice, as {original[name]} and as {key}; keep one of them")
        else:
            tensors[name], original[name] = value, str(key)
    return PublishedFile(path, tensors, original, tuple(beside))


def monai_spelling(key: str) -> str:
    """The name that MONAI's `SwinUNETR` has for a key of any publication; other keys only lose their prefix."""
    name = _PREFIXES.sub("", key)
    for pattern, replacement in _SPELLINGS:
        name = pattern.sub(replacement, name)
    return name


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
