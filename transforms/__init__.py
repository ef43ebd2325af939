"""From a file to what the network sees, and back: reading, preprocessing, augmentation, labels, inversion.

`RandomChangesd` and `RandomCropsd` are for a `Compose` of MONAI; importing this package alone loads neither MONAI nor
torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["RandomChangesd", "RandomCropsd"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'transforms' has no attribute {name!r}")
    return getattr(import_module("transforms.random_changes"), name)
