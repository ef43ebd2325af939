"""What the README and the documentation tell people to type can be typed, and what they name exists."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pages import Command, commands, fenced, pages

from finetune.config import FinetuneConfig
from finetune.recipes import shipped_recipes
from pretrain.config import PretrainConfig
from swin_unetr.cli import COMMANDS, main
from swin_unetr.config_io import CommandParser, documented_fields, from_dict
from swin_unetr.study.config import ArmConfig, DataConfig, StudyConfig
from swin_unetr.study.read import read_study
from swin_unetr.tasks import Task

ROOT = Path(__file__).resolve().parents[2]
ALL = commands(ROOT)
OWN = [command for command in ALL if "swin-unetr" in command.words[0] or "swin_unetr" in command.words]


class ParsedError(Exception):
    """The arguments were accepted."""


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Runs a command up to the point at which its own parser has accepted the arguments."""
    original = CommandParser.parse_args

    def parse_args(self: Any, *arguments: Any, **keys: Any) -> Any:
        original(self, *arguments, **keys)
        raise ParsedError

    monkeypatch.setattr(CommandParser, "parse_args", parse_args)

    def run(words: list[str]) -> None:
        if words[0] in ("--help", "--version"):
            assert main(words) == 0
            return
        with pytest.raises(ParsedError):
            main(words)

    return run


def own_arguments(command: Command) -> list[str]:
    """What follows the program's name, in `swin-unetr …` and in `torchrun … -m swin_unetr …`."""
    words = list(command.words)
    return words[words.index("swin_unetr") + 1 :] if "swin_unetr" in words else words[1:]


@pytest.mark.parametrize("command", OWN, ids=str)
def test_a_command_of_a_page_is_accepted_by_its_own_parser(
    command: Command, parse_only, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = tmp_path / "planned/plan.yaml"  # a plan is a recipe
    plan.parent.mkdir()
    plan.write_bytes((ROOT / "finetune/recipes/demo.yaml").read_bytes())
    parse_only(own_arguments(command))


def test_every_command_has_an_example_on_a_page() -> None:
    assert {own_arguments(command)[0] for command in OWN} >= set(COMMANDS)


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {word for command in ALL if command.words[0] == "make" for word in command.words[1:] if "=" not in word}
    assert targets >= {"install", "demo", "test"}
    for target in targets:
        assert f"\n{target}:" in makefile, target


@pytest.mark.parametrize("page", pages(ROOT), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http", "mailto")):
            assert (page.parent / target).exists(), target


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    for page in pages(ROOT)[2:]:
        name = str(page.relative_to(ROOT / "docs").with_suffix(""))
        assert name == "index" or f"\n{name}\n" in index, name


def test_every_recipe_is_in_the_table_and_every_one_in_the_table_is_shipped() -> None:
    table = (ROOT / "docs/how-to/train.md").read_text().split("## Choose a recipe")[1].split("##")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(shipped_recipes())


@pytest.mark.parametrize("config", [FinetuneConfig, PretrainConfig, StudyConfig, DataConfig, ArmConfig])
def test_every_field_of_a_recipe_is_explained(config: Any) -> None:
    assert [path for path, _, comment in documented_fields(config) if not comment] == []


def test_the_task_of_the_example_is_a_task() -> None:
    (example,) = fenced((ROOT / "docs/how-to/prepare-data.md").read_text(), "yaml")
    assert from_dict(Task, yaml.safe_load(example), source="prepare-data.md").num_classes == 3


def test_the_studies_of_the_examples_can_be_read(tmp_path: Path) -> None:
    examples = [yaml.safe_load(text) for text in fenced((ROOT / "docs/how-to/study.md").read_text(), "yaml")]
    assert len(examples) == 5
    for example in examples:
        (tmp_path / "study.yaml").write_text(yaml.safe_dump({**examples[0], "budget": {"minutes": 1}, **example}))
        read_study(tmp_path / "study.yaml")


def test_python_of_the_examples_uses_names_that_exist() -> None:
    import swin_unetr

    for page in pages(ROOT):
        for example in fenced(page.read_text(encoding="utf-8"), "python"):
            names = set(re.findall(r"swin_unetr\.(\w+)\(", example))
            assert names <= set(swin_unetr.__all__), page


def test_scripts_that_pages_name_exist() -> None:
    for page in pages(ROOT):
        for script in re.findall(r"\bscripts/[\w/]+\.py\b", page.read_text(encoding="utf-8")):
            assert (ROOT / script).is_file(), f"{page.name}: {script}"


def test_the_readme_is_short() -> None:
    assert 100 <= len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_examples_of_the_page_on_augmentation_work() -> None:
    from swin_unetr.tasks import BTCV
    from transforms.monai_changes import try_monai_changes

    page = (ROOT / "docs/how-to/augmentation.md").read_text(encoding="utf-8")
    (recipe,) = fenced(page, "yaml")
    config = from_dict(FinetuneConfig, yaml.safe_load(recipe), source="augmentation.md")
    try_monai_changes(config.augment.monai, BTCV, (24, 24, 16))
    (pairs,) = (block for block in fenced(page, "text") if block.startswith("pairs"))
    assert yaml.safe_load(pairs)["pairs"][0] == ["right parotid", "left parotid"]
    (example,) = fenced(page, "python")
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["noise"]({"image": torch.zeros(1, 8, 8, 8)})["image"].shape == (1, 8, 8, 8)
