"""`--time`, `--steps` and `--schedule`: one of them, instead of what the recipe says."""

from pathlib import Path
from typing import Any

import pytest

import finetune.command
import pretrain.command
from swin_unetr.budget_arguments import recipe_of_schedule, take_budget
from swin_unetr.config import BUDGETS
from swin_unetr.errors import ConfigError


def budget(command: Any, *options: str, recipe: dict[str, Any] | None = None) -> dict[str, Any]:
    argv = ["--data", "scans", "--output", "run", *options]
    values = command.build_parser(recipe or {}).parse_args(argv).as_dict()
    own = {key: values.pop(key) for key in command._OWN}
    take_budget(values, own, argv)
    assert not {"time", "steps", "schedule"} & own.keys()
    return {name: values["trainer"][name] for name in BUDGETS if values["trainer"][name] is not None}


@pytest.mark.parametrize("command", [finetune.command, pretrain.command])
def test_an_option_sets_its_field_and_takes_the_recipes_away(command) -> None:
    planned = {"trainer": {"max_time": "90min"}}
    assert budget(command) == {}
    assert budget(command, recipe=planned) == {"max_time": "90min"}
    assert budget(command, "--time", "20 min") == {"max_time": "20 min"}
    assert budget(command, "--time=45s", recipe={"trainer": {"max_steps": 7}}) == {"max_time": "45s"}
    assert budget(command, "--steps", "500", recipe=planned) == {"max_steps": 500}
    assert budget(command, "--trainer.max_steps", "5", recipe=planned) == {"max_steps": 5}
    assert budget(command, "--schedule", "other", recipe=planned) == {"schedule": str(Path("other").resolve())}
    assert budget(command, "--trainer.max_time", "null", "--trainer.max_epochs", "3", recipe=planned) == {}


@pytest.mark.parametrize(
    ("options", "recipe", "words"),
    [
        (("--time", "1h", "--steps", "5"), {}, "steps: --time and --steps both say how long"),
        (("--time", "1h", "--trainer.max_steps", "5"), {}, "--time and --trainer.max_steps both"),
        (("--steps", "5", "--schedule", "run"), {}, "--steps and --schedule both"),
        (("--time", "1h", "--trainer.max_epochs", "3"), {}, r"trainer\.max_epochs: has no effect beside --time"),
        (("--trainer.max_epochs=3",), {"max_time": "1h"}, r"the recipe's trainer\.max_time \(--trainer\.max_time null"),
    ],
)
def test_what_contradicts_itself_is_refused(options, recipe, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        budget(finetune.command, *options, recipe={"trainer": recipe})


def test_the_recipe_of_a_repeated_run_is_its_configuration(tmp_path: Path) -> None:
    assert recipe_of_schedule(["--data", "scans"]) is None
    with pytest.raises(ConfigError, match=r"is not the folder of a run \(config\.yaml is missing\)"):
        recipe_of_schedule(["--schedule", str(tmp_path)])
    (tmp_path / "config.yaml").touch()
    for name in (tmp_path, tmp_path / "schedule.json"):
        assert recipe_of_schedule(["--schedule", str(name)]) == tmp_path / "config.yaml"
