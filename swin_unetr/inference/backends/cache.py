"""Where converted and compiled models are kept, so that a model is converted once on a machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from swin_unetr.config_io import to_dict
from swin_unetr.device import cpu_flags
from swin_unetr.files import write_json
from swin_unetr.networks import SegmentationNetwork

#: Folder inside a model folder.
FOLDER = ".compiled"
_MANIFEST = "made.json"


class GraphCache:
    """Keeps what is made of networks, each under a key of everything that it depends on.

    An entry is a folder that appears whole or not at all. Where the model folder cannot be written, the user's cache
    folder takes it.

    Machine code is kept in the user's cache folder alone: a model folder may come from elsewhere, and what is found in
    it is only ever data.

    Args:
        model: model folder to keep them in. If None, nothing is kept.
        machine_code: whether what is kept is code that this process runs.
    """

    def __init__(self, model: Path | None, *, machine_code: bool = False) -> None:
        folders = [_user_cache()] if machine_code or model is None else [model / FOLDER, _user_cache()]
        self._roots = [] if model is None else folders
        #: What was done with the last entry, in words.
        self.said = "none"

    def find(self, key: Mapping[str, Any]) -> Path | None:
        """The folder of what was made under a key; None if it is not here."""
        for root in self._roots:
            if _is_whole(root / _name(key)):
                self.said = f"found in {root}"
                return root / _name(key)
        return None

    def keep(self, key: Mapping[str, Any], write: Callable[[Path], None]) -> Path | None:
        """Keep what was made, in the first place that can be written.

        Args:
            key: what it depends on; `weights` must be among it.
            write: fills an empty folder.

        Returns:
            The folder; None if no place has write access and room.
        """
        for root in self._roots:
            try:
                folder = _build(root, key, write)
            except (OSError, RuntimeError) as error:  # libraries report a full disk in different ways
                self.said = f"none ({root}: {str(error).strip().partition(chr(10))[0]})"
                continue
            self.said = f"kept in {root}"
            _forget_other_weights(root, key["weights"])
            return folder
        return None


def key_of(network: SegmentationNetwork, **facts: Any) -> dict[str, Any]:
    """Everything that what is made of a network depends on: the network, this machine, and further facts."""
    device = next(network.parameters()).device
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    flags = hashlib.sha256(" ".join(sorted(cpu_flags())).encode()).hexdigest()[:16]
    machine = {"system": platform.system(), "cpu": f"{platform.machine()} {flags}", "gpu": gpu}
    network_facts = {"weights": weights_digest(network), "network": to_dict(network.config)}
    return {**network_facts, **machine, "torch": torch.__version__, **facts}


def weights_digest(network: nn.Module) -> str:
    """SHA-256 of the names and values of a network's weights, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _name(key: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "swin-unetr" / "compiled"


def _build(root: Path, key: Mapping[str, Any], write: Callable[[Path], None]) -> Path:
    name = _name(key)
    partial = root / f".partial-{secrets.token_hex(4)}"
    partial.mkdir(parents=True)
    try:
        write(partial)
        sizes = {path.relative_to(partial).as_posix(): path.stat().st_size for path in _files(partial)}
        write_json(partial / _MANIFEST, {"key": key, "files": sizes})
        for path in _files(partial):
            with path.open("rb") as file:
                os.fsync(file.fileno())
        if (root / name).exists() and not _is_whole(root / name):
            shutil.rmtree(root / name)
        try:
            partial.replace(root / name)
        except OSError:
            if not _is_whole(root / name):  # else another process was faster
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root / name


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _is_whole(folder: Path) -> bool:
    """Whether an entry has all its files, of the right sizes."""
    sizes = _manifest(folder).get("files", {})
    return bool(sizes) and all(
        (folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items()
    )


def _forget_other_weights(root: Path, weights: str) -> None:
    """In a model's own folder, drop what was made of weights that were replaced since."""
    if root.name != FOLDER:
        return
    for folder in root.iterdir():
        if _manifest(folder).get("key", {}).get("weights", weights) != weights:
            shutil.rmtree(folder, ignore_errors=True)
