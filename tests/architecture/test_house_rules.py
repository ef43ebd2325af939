"""Rules of the house that no linter knows."""

import ast
import tomllib
from pathlib import Path

PACKAGES = ("swin_unetr", "pretrain", "finetune", "transforms")
LONGEST_FILE = 350


def sources(root: Path) -> list[Path]:
    return [path for package in (*PACKAGES, "scripts") for path in sorted((root / package).rglob("*.py"))]


def test_every_package_is_installed(project_root: Path) -> None:
    setuptools = tomllib.loads((project_root / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent for package in PACKAGES for path in (project_root / package).rglob("*.py")}
    found = {".".join(folder.relative_to(project_root).parts) for folder in folders}
    assert set(setuptools["packages"]) == found
    assert setuptools["package-data"]["finetune.recipes"] == ["*.yaml"]


def test_nothing_shadows_a_package(project_root: Path) -> None:
    assert not [path for path in (project_root / "scripts").rglob("*.py") if path.stem in PACKAGES]
    assert not list((project_root / "tests").rglob("__init__.py"))


def test_files_stay_readable(project_root: Path) -> None:
    long = {
        str(path): lines for path in sources(project_root) if (lines := path.read_text().count("\n")) > LONGEST_FILE
    }
    assert not long


def test_scripts_use_the_public_interface_alone(project_root: Path) -> None:
    for path in (project_root / "scripts").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
                assert not [alias.name for alias in node.names if alias.name.startswith("_")], path
