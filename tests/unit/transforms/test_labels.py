"""Between label values and the network's channels."""

from pathlib import Path

import numpy as np
import pytest
import torch

from swin_unetr.errors import DataError
from swin_unetr.tasks import BRATS_CONVENTIONS, BTCV, Target, Task, brats, exclusive
from transforms.labels import check_labels, decode_activations, decode_one_by_one, encode_targets, label_names

#: Classes whose values are no 1, 2, 3, one of them joined from two values.
SCATTERED = Task(
    name="scattered",
    modality="CT",
    channels=("CT",),
    targets=(Target(name="b", labels=(300,), write_as=300), Target(name="a", labels=(2, 7), write_as=7)),
)


def every_value(task: Task) -> torch.Tensor:
    return torch.tensor(sorted(task.known_labels)).reshape(1, -1, 1, 1)


def test_classes_are_numbered_by_the_order_of_the_targets() -> None:
    encoded = encode_targets(every_value(SCATTERED), SCATTERED)
    assert encoded.dtype == torch.uint8
    assert dict(zip([0, 2, 7, 300], encoded.flatten().tolist(), strict=True)) == {0: 0, 2: 2, 7: 2, 300: 1}


def test_classes_come_back() -> None:
    for task in (BTCV, SCATTERED):
        encoded = encode_targets(every_value(task), task)[0].long()
        scores = torch.nn.functional.one_hot(encoded, task.num_classes).movedim(-1, 0).float()
        written = decode_activations(scores, task).flatten().tolist()
        assert written == [value if value != 2 or task is BTCV else 7 for value in sorted(task.known_labels)]


@pytest.mark.parametrize("convention", BRATS_CONVENTIONS)
def test_regions_of_brats_there_and_back(convention: str) -> None:
    task = brats(convention)
    values = every_value(task)
    encoded = encode_targets(values, task)
    assert encoded.dtype == torch.uint8
    for index, labels in enumerate(BRATS_CONVENTIONS[convention].values()):
        assert encoded[index].flatten().tolist() == [int(value in labels) for value in values.flatten().tolist()]
    decoded = decode_activations(encoded.float(), task)
    # In 2013 non-enhancing core (3) is written as necrotic core (1): no region tells them apart.
    expected = [1 if convention == "brats2013" and value == 3 else value for value in sorted(task.known_labels)]
    assert decoded.flatten().tolist() == expected
    assert torch.equal(encode_targets(decoded[None], task), encoded)


@pytest.mark.parametrize("convention", BRATS_CONVENTIONS)
def test_inner_regions_are_painted_over_outer_ones(convention: str) -> None:
    scores = torch.tensor(
        [[0.9, 0.9, 0.1, 0.9, 0.1, 0.5], [0.9, 0.9, 0.9, 0.1, 0.1, 0.5], [0.9, 0.1, 0.1, 0.9, 0.9, 0.5]]
    ).reshape(3, 6, 1, 1)
    enhancing = 3 if convention == "brats2023" else 4
    # Enhancing wins wherever it is found; exactly one half is not found.
    assert decode_activations(scores, brats(convention)).flatten().tolist() == [
        enhancing,
        1,
        2,
        enhancing,
        enhancing,
        0,
    ]


@pytest.mark.parametrize("task", [BTCV, SCATTERED, brats("brats2021")], ids=lambda task: task.name)
def test_one_channel_at_a_time_is_the_same(task: Task) -> None:
    scores = torch.rand((task.num_classes, 6, 7, 8), generator=torch.Generator().manual_seed(0))
    asked = []

    def channel(index: int) -> torch.Tensor:
        asked.append(index)
        return scores[index]

    labels = decode_one_by_one(channel, task, (6, 7, 8))
    assert sorted(asked) == list(range(task.num_classes))
    assert labels.dtype == (torch.int32 if task is SCATTERED else torch.uint8)
    assert torch.equal(labels.long(), decode_activations(scores, task))
    if task.activation == "softmax":
        values = torch.tensor([0, *(target.write_as for target in task.targets)])
        assert torch.equal(labels.long(), values[scores.argmax(0)])


def test_voxels_without_any_score_are_background() -> None:
    for task in (BTCV, brats()):
        assert not decode_activations(torch.zeros(task.num_classes, 2, 2, 2), task).any()


def test_unknown_values_are_named() -> None:
    path = Path("folder/label.nii.gz")
    check_labels(np.array([0, 1, 2, 4]), brats("brats2021"), path)
    with pytest.raises(
        DataError, match=r"^folder/label\.nii\.gz: holds label values \[3, 17\] .*'brats2021'.*0, 1, 2, 4"
    ):
        check_labels(np.array([0, 3, 17]), brats("brats2021"), path)


def test_names_of_what_is_written() -> None:
    assert label_names(Task(name="t", modality="CT", channels=("CT",), targets=exclusive(("a", "b")))) == {
        1: "a",
        2: "b",
    }
    assert label_names(brats("brats2023")) == {1: "TC+WT", 2: "WT", 3: "ET+TC+WT"}
