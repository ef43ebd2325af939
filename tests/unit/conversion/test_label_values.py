"""What label values become in nnU-Net and the Decathlon, read back by the readers of these layouts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_unetr.config_io import load
from swin_unetr.conversion.labels import (
    decathlon_labels,
    describe,
    new_values,
    nnunet_channels,
    nnunet_labels,
    renumbered,
)
from swin_unetr.datasets.decathlon import decathlon_task
from swin_unetr.tasks import Target, Task, brats

MERGED = Task(
    name="t",
    modality="CT",
    channels=("CT",),
    targets=(Target(name="liver", labels=(3, 8), write_as=8), Target(name="spleen", labels=(5,), write_as=5)),
    other_labels=(4,),
    ignore_label=2,
)


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    """Exclusive structures of one or several values, other values, and perhaps one that is ignored."""
    values = draw(st.lists(st.integers(1, 40), min_size=2, max_size=9, unique=True))
    number = draw(st.integers(1, min(4, len(values))))
    groups: list[list[int]] = [[] for _ in range(number)]
    rest = []
    for place, value in enumerate(values):
        of = place if place < number else draw(st.integers(0, number))
        (groups[of] if of < number else rest).append(value)
    ignored = rest.pop() if rest and draw(st.booleans()) else None
    targets = tuple(
        Target(name=f"s{place}", labels=tuple(of), write_as=draw(st.sampled_from(of)))
        for place, of in enumerate(groups)
    )
    return Task(
        name="t", modality="MR", channels=("T1", "T2"), targets=targets, other_labels=tuple(rest), ignore_label=ignored
    )


def meaning(task: Task) -> dict[int, str]:
    """What each value of a label file is."""
    named = {value: target.name for target in task.targets for value in target.labels}
    return (
        named
        | dict.fromkeys(task.other_labels, "other")
        | ({task.ignore_label: "ignored"} if task.ignore_label else {})
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(task=tasks(), to=st.sampled_from(["nnunet", "decathlon"]))
def test_a_value_means_the_same_after_it(task: Task, to: str) -> None:
    mapping = new_values(task, to)
    after = renumbered(task, mapping)
    assert {mapping.get(value, value): of for value, of in meaning(task).items()} == meaning(after)
    for target in after.targets:
        assert target.labels == (target.write_as,)  # one value of one structure
    values = sorted(after.known_labels - {0})
    if to == "nnunet":
        assert values == list(range(1, len(values) + 1))
        assert after.ignore_label in (None, len(values))
    assert new_values(after, to) == {}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(task=tasks())
def test_nnunet_describes_it_so_that_it_is_read_back(task: Task) -> None:
    after = renumbered(task, new_values(task, "nnunet"))
    read = decathlon_task({"channel_names": nnunet_channels(after), **nnunet_labels(after)}, Path("dataset.json"))
    structures = {value: of for value, of in meaning(read).items() if not of.startswith("other ")}
    assert structures == {value: of for value, of in meaning(after).items() if of != "other"}
    assert read.known_labels == after.known_labels
    assert read.channels == after.channels


def test_values_of_one_structure_are_merged() -> None:
    assert new_values(MERGED, "decathlon") == {2: 2, 3: 8, 4: 4, 5: 5, 8: 8}
    assert new_values(MERGED, "nnunet") == {3: 1, 8: 1, 4: 2, 5: 3, 2: 4}
    assert new_values(MERGED, "plain") == {}
    assert renumbered(MERGED, {}) is MERGED


def test_names_in_the_decathlon() -> None:
    after = renumbered(MERGED, new_values(MERGED, "decathlon"))
    assert decathlon_labels(after) == {"0": "background", "2": "ignore", "4": "other 4", "5": "spleen", "8": "liver"}
    twice = Task(
        name="t",
        modality="MR",
        channels=("T1",),
        targets=(Target(name="tumour", labels=(1, 2), write_as=1), Target(name="core", labels=(3,), write_as=3)),
        activation="sigmoid",
    )
    assert decathlon_labels(twice) == {"0": "background", "1": "tumour (1)", "2": "tumour (2)", "3": "core"}


def test_regions_of_nnunet_come_outer_ones_first() -> None:
    assert nnunet_labels(brats("brats2023")) == {
        "labels": {"background": 0, "WT": [1, 2, 3], "TC": [1, 3], "ET": [3]},
        "regions_class_order": [2, 1, 3],
    }


@pytest.mark.parametrize(
    ("modality", "channels", "expected"),
    [
        ("CT", ("abdomen",), {"0": "CT"}),
        ("CT", ("early", "late"), {"0": "early", "1": "late"}),
        ("MR", ("T1",), {"0": "T1"}),
    ],
)
def test_a_single_ct_channel_has_the_name_that_nnunet_knows(modality, channels, expected) -> None:
    task = Task(name="t", modality=modality, channels=channels, targets=MERGED.targets)
    assert nnunet_channels(task) == expected


def test_a_task_yaml_says_what_the_description_does_not(tmp_path: Path) -> None:
    simple = renumbered(
        Task(name="t", modality="CT", channels=("CT",), targets=(Target(name="liver", labels=(1,), write_as=1),)), {}
    )
    described = {"name": "t", "channel_names": nnunet_channels(simple), **nnunet_labels(simple)}
    describe(tmp_path, simple, described)
    assert not list(tmp_path.iterdir())
    describe(tmp_path, MERGED, described)
    assert load(Task, tmp_path / "task.yaml") == MERGED
    describe(tmp_path, simple, None)  # a plain folder has no other description
    assert load(Task, tmp_path / "task.yaml") == simple
