"""What a record says of the software that wrote a result, and of how it was called."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

#: Packages whose versions can change a result.
_PACKAGES = ("swin-unetr", "torch", "monai", "lightning", "numpy", "scipy", "nibabel", "SimpleITK", "itk")


def command(arguments: Sequence[str] | None = None) -> str:
    """The command line of this process as a person would type it, or another one of the same program.

    Args:
        arguments: those that stand after the program's name; none takes those of the process.
    """
    program = sys.argv[0]
    if os.path.basename(program) in ("", "swin-unetr", "__main__.py"):  # the last: python -m, and torchrun -m
        program = "swin-unetr"
    return shlex.join([program, *(sys.argv[1:] if arguments is None else arguments)])


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a result."""
    known = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            known[name] = version(name)
        except PackageNotFoundError:
            continue
    return known


def commit() -> str | None:
    """Git commit of the code, with "+" where files differ from it; none for an installed package."""
    folder = Path(__file__).resolve().parents[1]
    if not (folder / ".git").exists():
        return None
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return head + ("+" if _git(folder, "status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    run = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    return run.stdout.strip()
