"""A shorter training than its recipe's keeps the share of warm-up, in both commands."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import finetune.command
import finetune.recipes
import pretrain.command
import pretrain.recipes
from finetune.config import FinetuneConfig
from pretrain.config import PretrainConfig
from swin_unetr.config_io import from_dict, read_yaml
from swin_unetr.warmup import keep_warmup_share


def asked(
    command: ModuleType, recipe: dict[str, Any], *options: str, run: Path | None = None
) -> tuple[dict[str, Any], str | None]:
    """The fields of a command line, and what is said of the warm-up."""
    argv = ["--data", "scans", "--output", "run", *options]
    parser = command.build_parser(recipe)
    values = parser.parse_args(argv).as_dict()
    line = keep_warmup_share(values, parser.get_defaults().as_dict(), argv, run)
    return {name: value for name, value in values.items() if name not in command._OWN}, line


@pytest.mark.parametrize(
    ("command", "recipes", "config", "name", "warmup"),
    [
        (finetune.command, finetune.recipes, FinetuneConfig, "btcv", 50 * 3 / 5000),
        (finetune.command, finetune.recipes, FinetuneConfig, "brats", 50 * 3 / 300),
        (pretrain.command, pretrain.recipes, PretrainConfig, "ct", 2 * 3 / 100),
    ],
)
def test_the_share_is_kept_and_said_in_one_line(command, recipes, config, name: str, warmup: float) -> None:
    recipe = read_yaml(recipes.find_recipe(name))
    values, line = asked(command, recipe, "--trainer.max_epochs", "3")
    assert values["optimizer"]["warmup_epochs"] == pytest.approx(warmup)
    assert from_dict(config, values, source="").trainer.max_epochs == 3
    assert line is not None
    assert line.startswith(f"warm-up: {warmup:g} of 3 epochs, the share that the recipe has (")
    assert "\n" not in line


@pytest.mark.parametrize(
    "options",
    [
        ["--trainer.max_epochs", "9", "--optimizer.warmup_epochs", "3"],
        ["--trainer.max_epochs", "9", "--optimizer.warmup_epochs=4"],  # the recipe's own, and meant
        ["--trainer.max_epochs", "40"],
        ["--trainer.max_epochs", "100"],
        [],
    ],
)
def test_what_is_given_and_what_is_no_shorter_is_left_alone(options: list[str]) -> None:
    recipe = {"trainer": {"max_epochs": 40}, "optimizer": {"warmup_epochs": 4}}
    values, line = asked(finetune.command, recipe, *options)
    assert values["optimizer"]["warmup_epochs"] == (3 if options[-1:] == ["3"] else 4)
    assert line is None


def test_a_run_that_goes_on_keeps_its_warm_up(tmp_path: Path) -> None:
    recipe = {"trainer": {"max_epochs": 40}, "optimizer": {"warmup_epochs": 4}}
    first, line = asked(finetune.command, recipe, "--trainer.max_epochs", "10", run=tmp_path)
    assert line is not None  # nothing has begun there
    assert first["optimizer"]["warmup_epochs"] == 1
    (tmp_path / "config.yaml").write_text("optimizer: {warmup_epochs: 1}\ntrainer: {max_epochs: 10}\n")
    for epochs in ("10", "20", "40"):
        values, line = asked(finetune.command, recipe, "--trainer.max_epochs", epochs, run=tmp_path)
        assert (values["optimizer"]["warmup_epochs"], line) == (1, None)
