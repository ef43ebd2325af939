"""Recipes: YAML files for `swin-unetr pretrain --config`."""

from __future__ import annotations

from pathlib import Path

from swin_unetr.errors import ConfigError

_FOLDER = Path(__file__).parent


def shipped_recipes() -> dict[str, Path]:
    """Name and file of every recipe that comes with the package."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe: a path, or the name of a shipped one (also as its path in the project).

    Raises:
        ConfigError: neither a file nor a shipped recipe.
    """
    path = Path(name)
    if path.is_file():
        return path
    recipes = shipped_recipes()
    in_project = path.parent.parts[-2:] == ("pretrain", "recipes")
    if path.stem in recipes and path.suffix in ("", ".yaml") and (in_project or path.parent == Path()):
        return recipes[path.stem]
    raise ConfigError(f"--config {name}: no such file, nor one of the recipes {', '.join(recipes)}")
