"""The commands that the README and the documentation tell people to type."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """One line that a page tells to type."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def pages(root: Path) -> list[Path]:
    """README and all pages of the documentation."""
    return [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").rglob("*.md"))]


def fenced(text: str, language: str) -> list[str]:
    """The blocks of one language, without their indentation."""
    found = []
    for indent, name, block in _FENCE.findall(text):
        if name == language:
            found.append(re.sub(f"^{indent}", "", block, flags=re.MULTILINE))
    return found


def commands(root: Path) -> list[Command]:
    """Every line of a console block (`$ …`), and those of blocks without a language that start with the program."""
    found = []
    for page in pages(root):
        text = page.read_text(encoding="utf-8")
        lines = [line[2:] for block in fenced(text, "console") for line in block.splitlines() if line.startswith("$ ")]
        lines += [
            line for block in fenced(text, "") for line in block.splitlines() if re.match(r"(swin-unetr|make) ", line)
        ]
        name = str(page.relative_to(root))
        found += [Command(name, tuple(shlex.split(line, comments=True))) for line in lines]
    return found
