"""The command of another program: what is inserted into it stays what it is, and no shell reads it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_unetr.errors import ConfigError
from swin_unetr.study.config import BudgetConfig
from swin_unetr.study.peer import PLACEHOLDERS, arguments_of, check_command

VALUES = {name: f"<{name}>" for name in PLACEHOLDERS}
TEXT = st.text(min_size=1, max_size=20)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(TEXT, TEXT)
def test_a_value_is_one_argument_whatever_it_holds(folder: str, output: str) -> None:
    values = {**VALUES, "data": folder, "output": output}
    found = arguments_of("train 'in put' --data={data} {output}", values)
    assert found == ["train", "in put", f"--data={folder}", output]


def test_braces_and_quotes() -> None:
    assert arguments_of("""run "{{a: {seed}}}" '{output} x'""", VALUES) == ["run", "{a: <seed>}", "<output> x"]
    check_command("{python} run.py {output} {steps}", BudgetConfig(steps=3), "arms.x")
    with pytest.raises(ConfigError, match=r"arms.x.command: \{\} is no placeholder"):
        check_command("run {} {output}", BudgetConfig(steps=3), "arms.x")
    with pytest.raises(ConfigError, match="is empty"):
        check_command(" ", BudgetConfig(steps=3), "arms.x")
