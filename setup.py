"""Builds the wheel: pyproject.toml says what is in it, this puts NiiVue there for the viewer."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

_ROOT = Path(__file__).resolve().parent


class BuildWithViewer(build_py):
    """Fetches NiiVue into the package before its files are copied; without npm the wheel lacks the viewer alone."""

    def run(self) -> None:
        """Build."""
        assets = _ROOT / "swin_unetr" / "viewer" / "assets"
        # An editable installation takes what `make viewer` has put into the source.
        if not self.editable_mode and not list(assets.glob("*.js")):
            problem = runpy.run_path(str(_ROOT / "scripts" / "build_viewer.py"))["build_viewer"]()
            if problem:
                print(f"warning: a wheel without viewer: {problem}", file=sys.stderr)
        super().run()


setup(cmdclass={"build_py": BuildWithViewer})
