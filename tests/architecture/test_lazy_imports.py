"""Help answers at once because nothing heavy is imported for it."""

import re
import subprocess
import sys
from importlib import import_module

import pytest

import swin_unetr
from swin_unetr.cli import COMMANDS

HEAVY = ("torch", "monai", "lightning", "itk", "SimpleITK", "nibabel", "matplotlib", "tensorboard")
SHOW_HEAVY = f"import sys; print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_importing_the_package_loads_nothing_heavy() -> None:
    result = run_python(f"import swin_unetr; dir(swin_unetr)\n{SHOW_HEAVY}")
    assert (result.returncode, result.stderr.strip()) == (0, "")


def test_the_check_sees_what_is_imported() -> None:
    assert run_python(f"import swin_unetr; swin_unetr.build_network\n{SHOW_HEAVY}").stderr.split()[0] == "torch"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([command, "--help"] for command in COMMANDS)])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    result = run_python(
        "from swin_unetr.cli import main\n"
        f"try: code = main({arguments!r})\n"
        "except SystemExit as end: code = end.code or 0\n"
        f"{SHOW_HEAVY}\n"
        "sys.exit(code)"
    )
    assert (result.returncode, result.stderr.strip()) == (0, "")
    assert result.stdout.strip()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_there_and_knows_its_name(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    module, function = COMMANDS[command][0].split(":")
    with pytest.raises(SystemExit):
        getattr(import_module(module), function)(["--help"])
    text = capsys.readouterr().out
    assert f"swin-unetr {command}" in text
    assert not re.search(r"<class|type: |Union\[|default: (null|False|\()", text)  # jargon of parsers


@pytest.mark.parametrize("name", swin_unetr.__all__)
def test_every_public_name_resolves_to_something_documented(name: str) -> None:
    assert getattr(swin_unetr, name).__doc__
