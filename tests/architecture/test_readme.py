"""What the README says to type can be typed."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from finetune.recipes import shipped_recipes
from swin_unetr.cli import COMMANDS
from swin_unetr.configuration import from_dict
from swin_unetr.tasks import Task


@pytest.fixture
def readme(project_root: Path) -> str:
    return (project_root / "README.md").read_text()


def blocks(readme: str, language: str = "") -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    return [text for name, text in fenced if name == language]


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    module, function = COMMANDS[command][0].split(":")
    with pytest.raises(SystemExit):
        getattr(import_module(module), function)(["--help"])
    return capsys.readouterr().out


def test_commands_and_their_options_exist(readme: str, capsys) -> None:
    typed = [line for block in blocks(readme) for line in block.splitlines() if line.startswith("swin-unetr ")]
    lines = [shlex.split(line)[1:] for line in typed if not line.rstrip().endswith(":") and ": " not in line]
    used = {command: {word for words in lines if words[0] == command for word in words} for command, *_ in lines}
    assert set(used) >= set(COMMANDS) - {"export-weights", "phantoms"}
    for command, words in used.items():
        text = help_of(command, capsys)
        assert not [word for word in words if word.startswith("--") and word not in text], command


def test_every_recipe_is_in_the_table_and_every_one_in_the_table_is_shipped(readme: str) -> None:
    table = readme.split("### Choose a recipe")[1].split("###")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(shipped_recipes())


def test_the_task_of_the_example_is_a_task(readme: str) -> None:
    (example,) = blocks(readme, "yaml")
    assert from_dict(Task, yaml.safe_load(example), source="README.md").num_classes == 3


def test_python_of_the_examples_uses_names_that_exist(readme: str) -> None:
    import swin_unetr

    (example,) = blocks(readme, "python")
    names = set(re.findall(r"swin_unetr\.(\w+)", example))
    assert names
    assert names <= set(swin_unetr.__all__)


def test_folders_and_make_targets_exist(readme: str, project_root: Path) -> None:
    for name in re.findall(r"`(\w+/)`", readme.split("## Develop")[1]):
        assert (project_root / name).is_dir() or (project_root / "tests" / name).is_dir(), name
    makefile = (project_root / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z]+)\b", readme)):
        assert f"\n{target}:" in makefile, target
