"""Several data sets as one: names, values, ids, patients."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.union import folders_of, join, joint_task, label_table
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.tasks import BTCV, Target, Task, brats


def task(name: str, **values: int) -> Task:
    targets = tuple(Target(name=of.replace("_", " "), labels=(at,), write_as=at) for of, at in values.items())
    return Task(name=name, modality="CT", channels=("CT",), targets=targets)


def dataset(root: str, of: Task, *ids: str, **groups: str) -> Dataset:
    cases = tuple(
        Case(id=name, images=(Path(root) / f"{name}.nii",), label=Path(root) / f"{name}_l.nii", group=groups.get(name))
        for name in ids
    )
    return Dataset(root=Path(root), layout="plain", cases=cases, task=of)


A = task("a", liver=1, Right_Kidney=2)
B = task("b", right_kidney=1, spleen=2, LIVER=7)


def test_structures_are_matched_by_name_and_keep_the_values_of_the_first() -> None:
    both = join([dataset("/d/one", A, "x"), dataset("/d/two", B, "y")])
    assert [(target.name, target.labels) for target in both.task.targets] == [
        ("liver", (1,)),
        ("Right Kidney", (2,)),
        ("spleen", (3,)),  # 2 is taken
    ]
    x, y = both.cases
    assert (x.labelled, y.labelled) == (frozenset({"liver", "Right Kidney"}), None)  # the second names all three
    assert label_table(x.task, both.task) == {0: 0, 1: 1, 2: 2}
    assert label_table(y.task, both.task) == {0: 0, 1: 2, 2: 3, 7: 1}
    assert [str(folder) for folder in both.folders] == ["/d/one", "/d/two"]


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    """Some structures of five, in any spelling, with any values; other and ignored values."""
    names = draw(
        st.lists(st.sampled_from(("liver", "spleen", "aorta", "left lung", "right lung")), min_size=1, unique=True)
    )
    values = draw(st.lists(st.integers(1, 12), min_size=2 * len(names) + 2, max_size=2 * len(names) + 2, unique=True))
    spelt = [draw(st.sampled_from((name, name.upper(), name.replace(" ", "_")))) for name in names]
    labels = [tuple(values[2 * at : 2 * at + draw(st.integers(1, 2))]) for at in range(len(names))]
    targets = tuple(Target(name=name, labels=of, write_as=of[-1]) for name, of in zip(spelt, labels, strict=True))
    ignored = draw(st.sampled_from((None, values[-1])))
    return Task(
        name="t", modality="CT", channels=("CT",), targets=targets, other_labels=(values[-2],), ignore_label=ignored
    )


@settings(max_examples=100, deadline=None, derandomize=True)
@given(parts=st.lists(tasks(), min_size=2, max_size=3))
def test_no_value_changes_its_meaning(parts: list[Task]) -> None:
    both = join([dataset(f"/d/{at}", each, f"x{at}") for at, each in enumerate(parts)])

    def means(of: Task, value: int) -> object:
        named = [target.name.lower().replace("_", " ") for target in of.targets if value in target.labels]
        return "ignored" if value == of.ignore_label else named

    for own, case in zip(parts, both.cases, strict=True):
        table = label_table(case.task, both.task)
        assert {value: means(both.task, new) for value, new in table.items()} == {
            value: means(own, value) for value in own.known_labels
        }
        assert (case.labelled is None) == (len(own.targets) == len(both.task.targets))


def test_values_of_no_structure_and_ignored_ones_keep_their_meaning() -> None:
    first = Task(**{**vars(A), "other_labels": (5,)})
    second = Task(**{**vars(B), "other_labels": (3,), "ignore_label": 5})
    both = join([dataset("/d/one", first, "x"), dataset("/d/two", second, "y")])
    assert [target.write_as for target in both.task.targets] == [1, 2, 6]  # 5 is another label of the first
    assert both.task.ignore_label == 7
    x, y = both.cases
    assert label_table(x.task, both.task) == {0: 0, 1: 1, 2: 2, 5: 0}
    assert label_table(y.task, both.task) == {0: 0, 1: 2, 2: 6, 3: 0, 5: 7, 7: 1}


def test_pairs_of_all_parts_are_kept_by_the_names_of_the_joint_task() -> None:
    first = replace(task("a", left_lung=1, right_lung=2), pairs=(("right lung", "left lung"),))
    second = task("b", LEFT_LUNG=1, right_lung=2, eye_one=3, eye_two=4)
    paired = replace(second, pairs=(("LEFT LUNG", "right lung"), ("eye one", "eye two")))
    assert joint_task([(Path("a"), first), (Path("b"), paired)]).pairs == (*first.pairs, ("eye one", "eye two"))
    other = replace(second, pairs=(("LEFT LUNG", "eye one"),))
    with pytest.raises(DataError, match="b: pairs left lung with eye one"):
        joint_task([(Path("a"), first), (Path("b"), other)])


def test_ids_and_patients_that_both_have_stay_together() -> None:
    one = dataset("/d/one", A, "x", "p1", p1="anna")
    two = dataset("/e/two", B, "x", "p2", p2="anna")
    both = join([one, two])
    assert [case.id for case in both.cases] == ["one_x", "p1", "p2", "two_x"]
    assert both.groups == {"one_x": "x", "two_x": "x", "p1": "anna", "p2": "anna"}
    assert "1 id is in several data sets" in both.notes[0]
    assert "1 patient is in several data sets by name" in both.notes[1]
    same_name = join([dataset("/d/set", A, "x"), dataset("/e/set", B, "x")])
    assert [case.id for case in same_name.cases] == ["set1_x", "set2_x"]


def test_what_a_part_says_of_its_cases_holds() -> None:
    one = dataset("/d/one", A, "x")
    cases = (Case(**{**vars(one.cases[0]), "labelled": frozenset({"Right Kidney"})}),)
    both = join([Dataset(**{**vars(one), "cases": cases}), dataset("/d/two", B, "y")])
    assert both.cases[0].labelled == frozenset({"Right Kidney"})


def test_regions_are_joined_by_the_regions_that_a_value_lies_in() -> None:
    older, newer = brats("brats2021"), brats("brats2023")
    both = join([dataset("/d/one", older, "x"), dataset("/d/two", newer, "y")])
    assert both.task.targets == older.targets
    table = label_table(both.cases[1].task, both.task)
    assert table[3] == 4  # enhancing
    assert (table[1], table[2]) == (1, 2)
    whole = Task(
        name="whole",
        modality="MR",
        channels=older.channels,
        targets=(Target(name="WT", labels=(1,), write_as=1),),
        activation="sigmoid",
    )
    some = join([dataset("/d/one", older, "x"), dataset("/d/two", whole, "y")])
    assert label_table(some.cases[1].task, some.task) == {0: 0, 1: 2}  # oedema is in the whole tumour alone
    assert some.cases[1].labelled == frozenset({"WT"})


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (A, Task(**{**vars(B), "modality": "MR"}), "is MR, and"),
        (A, Task(**{**vars(B), "channels": ("PET",)}), "has the channels PET"),
        (A, Task(**{**vars(B), "channels": ("CT", "PET")}), "has the channels CT, PET"),
        (A, Task(**{**vars(B), "activation": "sigmoid"}), "regions that may overlap"),
        (A, task("c", label_1=1), "nothing names what label 1 is"),
        (A, task("c", liver=1, Liver=2), "two structures are called 'liver' but for spelling"),
    ],
)
def test_what_does_not_go_together_is_refused(first: Task, second: Task, words: str) -> None:
    with pytest.raises(DataError, match=words):
        join([dataset("/d/one", first, "x"), dataset("/d/two", second, "y")])


def test_regions_that_the_first_does_not_name() -> None:
    whole = Task(**{**vars(brats()), "targets": brats().targets[1:2]})
    with pytest.raises(DataError, match="does not name TC, ET; name the other one first"):
        join([dataset("/d/one", whole, "x"), dataset("/d/two", brats(), "y")])


def test_names_that_are_nearly_the_same_are_said() -> None:
    one, two = task("c", kidney_right=1, oesophagus=2, left_kidney=3), task("d", Right_Kidney=1, esophagus=2, liver=3)
    notes = join([dataset("/d/one", one, "x"), dataset("/d/two", two, "y")]).notes
    assert {note.partition(" count as")[0] for note in notes} == {
        "warning: kidney right of one and Right Kidney of two",
        "warning: oesophagus of one and esophagus of two",
    }
    assert not join([dataset("/d/one", A, "x"), dataset("/d/two", B, "y")]).notes


def test_a_folder_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="named twice"):
        folders_of([tmp_path, tmp_path / "." / ".." / tmp_path.name])
    assert folders_of(str(tmp_path)) == [tmp_path]
    assert BTCV.num_classes == 14
