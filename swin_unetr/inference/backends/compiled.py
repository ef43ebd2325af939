"""The network compiled ahead of time by torch's own compiler (AOTInductor): about a minute, once for each machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from swin_unetr.errors import ConfigError
from swin_unetr.inference.backends.quiet import quietly
from swin_unetr.inference.backends.static import Run, StaticBackend

_FILE = "model.pt2"
_COMPILERS = ("g++", "clang++", "c++", "cl")


class CompiledBackend(StaticBackend[Path]):
    """See `StaticBackend`."""

    name = "compile"
    ahead_of_time = True

    def version(self) -> str:
        """Of torch."""
        return str(torch.__version__)

    def make(self, graph: ExportedProgram) -> Path:
        """Compile into a package among torch's temporary files.

        Raises:
            ConfigError: no compiler for C++ here, or it failed.
        """
        if not os.environ.get("CXX") and not any(map(shutil.which, _COMPILERS)):
            raise ConfigError("backend: compile needs a compiler for C++; install g++, or leave --backend out")
        try:
            with quietly("torch._inductor"):
                return Path(torch._inductor.aoti_compile_and_package(graph))
        except RuntimeError as error:
            first = str(error).strip().partition("\n")[0]
            raise ConfigError(f"backend: torch could not compile the network ({first}); leave --backend out") from error

    def write(self, made: Path, folder: Path) -> None:
        """Move the package."""
        shutil.copyfile(made, folder / _FILE)
        made.unlink()

    def load(self, folder: Path) -> Run:
        """Load the package; it is unpacked to a place of its own."""
        return self.use(folder / _FILE)

    def use(self, made: Path) -> Run:
        """Load the package."""
        package = torch._inductor.aoti_load_package(str(made))

        def run(windows: Tensor) -> Sequence[Tensor]:
            results: Tensor | Sequence[Tensor] = package(windows)
            return [results] if isinstance(results, Tensor) else results

        return run
