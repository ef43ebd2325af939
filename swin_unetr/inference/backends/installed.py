"""Which backends are installed here. No torch."""

from __future__ import annotations

from importlib.util import find_spec

from swin_unetr.errors import ConfigError
from swin_unetr.inference.backends.registry import find_backend


def is_installed(backend: str) -> bool:
    """Whether the modules of a backend are here."""
    return not _missing(backend)


def check_installed(backend: str) -> None:
    """Refuse a backend whose modules are missing.

    Raises:
        ConfigError: with the command that installs them, or no backend has this name.
    """
    if missing := _missing(backend):
        extra = find_backend(backend).extra
        install = f"'swin-unetr[{extra}]'" if extra else " ".join(missing)
        raise ConfigError(f"backend: {backend} is not installed (no {', '.join(missing)}); run: pip install {install}")


def _missing(backend: str) -> list[str]:
    return [module for module in find_backend(backend).modules if find_spec(module) is None]
