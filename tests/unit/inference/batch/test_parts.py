import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_unetr.datasets import Case
from swin_unetr.errors import ConfigError
from swin_unetr.inference.batch.parts import deal, parse_part, part_of_array


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.sets(st.text("abc", min_size=1, max_size=4)), st.integers(1, 9), st.randoms())
def test_every_case_is_in_one_part_in_whatever_order_they_are_listed(names, number, random) -> None:
    parts = []
    for part in range(1, number + 1):
        listed = [Case(id=name, images=()) for name in names]
        random.shuffle(listed)
        parts.append([case.id for case in deal(listed, (part, number))])
        assert parts[-1] == [case.id for case in listed if case.id in parts[-1]]  # their order is kept
    assert sorted(name for part in parts for name in part) == sorted(names)
    sizes = list(map(len, parts))
    assert max(sizes) - min(sizes) <= 1


def test_part_in_words() -> None:
    assert parse_part("2/8") == (2, 8)
    for text in ("0/3", "4/3", "2", "2/", "a/b", "-1/3", "1/0"):
        with pytest.raises(ConfigError, match="is no part; give K/N with K from 1 to N"):
            parse_part(text)


def array(number: int, first: int, count: int, **more: int) -> dict[str, str]:
    named = {"ID": number, "MIN": first, "COUNT": count, **more}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in named.items()}


def test_part_of_a_task_of_a_job_array() -> None:
    assert part_of_array({}) is None
    assert part_of_array({"SLURM_ARRAY_TASK_ID": "3"}) is None
    assert part_of_array(array(5, 5, 1)) is None
    assert [part_of_array(array(number, 0, 4)) for number in range(4)] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert part_of_array(array(7, 1, 4, STEP=2, MAX=7)) == (4, 4)
    with pytest.raises(ConfigError, match=r"the 3 tasks of this SLURM array are not numbered in even steps.*part 1/1"):
        part_of_array(array(9, 1, 3, MAX=9))  # --array=1,4,9
