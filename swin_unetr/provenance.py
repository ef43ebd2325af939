"""What a record says of the software that wrote a result, and of how it was called."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

#: Instructions of x86 processors that are named, by Linux' names for them.
_INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "bfloat16", "amx_bf16": "AMX"}
#: Packages whose versions can change a result.
_PACKAGES = ("swin-unetr", "torch", "monai", "lightning", "numpy", "scipy", "nibabel", "SimpleITK", "itk")


def command(arguments: Sequence[str | Path] | None = None) -> str:
    """A command line that works where it is typed in: that of this process, or another one of the same program.

    Args:
        arguments: those after the program's name. If None, those of the process.
    """
    words = sys.argv[1:] if arguments is None else [str(word) for word in arguments]
    return " ".join([_program(own=arguments is not None), *map(shlex.quote, words)])


def resume_command(name: str, arguments: Sequence[str]) -> str:
    """The command line that goes on with a training that was stopped.

    Args:
        name: of the command.
        arguments: those that it was called with.
    """
    kept = [word for word in arguments if not word.startswith("--resume=")]
    if "--resume" in kept:
        at = kept.index("--resume")
        del kept[at : at + 2]
    return command([name, *kept, "--resume", "auto"])


@contextmanager
def telling_how_to_go_on(line: str) -> Iterator[None]:
    """If a signal stops the block, print the command that goes on; of several processes, only the first prints it.

    Args:
        line: the command.
    """
    try:
        yield
    except KeyboardInterrupt:
        ranks = (os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ)
        if next(ranks, "0") == "0":
            print(f"to go on: {line}", file=sys.stderr)
        raise


def _program(*, own: bool) -> str:
    """What to type for `swin-unetr`: its name where the shell finds it, else how it was called, or where it is.

    Args:
        own: `swin-unetr` even where this process is another program that uses the library.
    """
    called = Path(sys.argv[0])
    if called.name not in ("", "swin-unetr", "__main__.py") and not own:  # the last: python -m, and torchrun -m
        return f"{'python ' if called.suffix == '.py' else ''}{shlex.quote(sys.argv[0])}"
    script = called if called.name == "swin-unetr" else Path(sys.executable).with_name("swin-unetr")
    found = shutil.which("swin-unetr")
    if found is not None and (not script.exists() or os.path.samefile(found, script)):
        return "swin-unetr"
    if script.exists():
        return shlex.quote(_from_here(script))
    return f"{shlex.quote(_from_here(Path(sys.executable)))} -m swin_unetr"


def _from_here(path: Path) -> str:
    """A path as short as it can be typed from the current folder."""
    path = path if path.is_absolute() else Path.cwd() / path
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def now() -> str:
    """The time in UTC, in the ISO format, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def written_by() -> dict[str, Any]:
    """When, by which command, on which machine and by which versions a result was written."""
    return {"written": now(), "command": command(), "machine": machine(), "versions": versions(), "commit": commit()}


def machine() -> dict[str, Any]:
    """Name of the processor, its logical cores, and the operating system; with OMP_NUM_THREADS where it is set."""
    threads = os.environ.get("OMP_NUM_THREADS")
    found = {"processor": _processor(), "cores": os.cpu_count(), "system": platform.platform()}
    return found if threads is None else {**found, "OMP_NUM_THREADS": threads}


def _processor() -> str:
    """Its name, and the instructions that decide how fast it multiplies: clouds give unlike processors one name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(names, platform.processor() or platform.machine())
    flags = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
    known = [words for flag, words in _INSTRUCTIONS.items() if flag in flags]
    return f"{name} ({', '.join(known)})" if known else name


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
    """Git commit of the code, with "+" where files differ from it; None for an installed package."""
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
