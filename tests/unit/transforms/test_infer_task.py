"""What only the voxels tell: the year of BraTS labels, the structures of a folder without a description."""

from pathlib import Path

import numpy as np
import pytest

from swin_unetr.datasets import read_dataset
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.tasks import BTCV, Modality, Task, brats
from transforms.infer_task import settle_task
from transforms.io import write_image


def write(path: Path, *values: int) -> None:
    """A label map with these values and background."""
    array = np.zeros((len(values) + 1, 2, 2), np.uint8)
    array[1:, 0, 0] = values
    write_image(path, array, np.eye(4))


def write_brats(root: Path, *values_of_cases: tuple[int, ...], image: str = "_flair") -> Path:
    """Case folders named as until 2021, or with "-t2f" as from 2023."""
    for number, values in enumerate(values_of_cases):
        case = f"case{number:02d}"
        write(root / case / f"{case}{image[0]}seg.nii.gz", *values)
        (root / case / f"{case}{image}.nii.gz").touch()
    return root


def settled(root: Path, modality: Modality | None = None) -> Task:
    return settle_task(read_dataset(root, require_labels=True), modality)


@pytest.mark.parametrize(
    ("image", "values_of_cases", "convention"),
    [
        ("_flair", [(1, 2, 4)], "brats2021"),
        ("_flair", [(1, 2, 4), (1, 2, 3, 4)], "brats2013"),
        ("_flair", [(1, 2), (2,), (1, 2, 3)], "brats2023"),  # the voxels have the last word
        ("-t2f", [(1, 2, 4)], "brats2021"),
        ("-t2f", [(1, 2, 3)], "brats2023"),
        ("_flair", [(1, 2), ()], "brats2021"),  # no enhancing tumour: the names
        ("-t2f", [(1, 2), ()], "brats2023"),
    ],
)
def test_the_convention_of_brats(
    tmp_path: Path, image: str, values_of_cases: list[tuple[int, ...]], convention: str
) -> None:
    assert settled(write_brats(tmp_path, *values_of_cases, image=image)) == brats(convention, ("FLAIR",))


def test_a_value_of_no_year_names_its_file(tmp_path: Path) -> None:
    write_brats(tmp_path, (1, 2), (1, 5))
    with pytest.raises(DataError, match=r"case01_seg\.nii\.gz: label values \[5\]"):
        settled(tmp_path)


def test_the_fourth_label_of_2024_is_not_read_as_enhancing_tumour(tmp_path: Path) -> None:
    write_brats(tmp_path, (1, 2, 3), (3, 4), image="-t2f")
    with pytest.raises(DataError, match=r"case01-seg\.nii\.gz: .*resection cavity.*task\.yaml"):
        settled(tmp_path)
    names = {"core": [1, 3], "whole": [1, 2, 3], "enhancing": [3], "cavity": [4]}
    targets = "\n".join(f"- {{name: {name}, labels: {of}, write_as: {of[0]}}}" for name, of in names.items())
    (tmp_path / "task.yaml").write_text(
        f"name: brats2024\nmodality: MR\nchannels: [FLAIR]\nactivation: sigmoid\ntargets:\n{targets}\n"
    )
    assert [target.name for target in settled(tmp_path).targets] == list(names)


def test_not_every_file_is_read_where_the_year_is_clear(tmp_path: Path) -> None:
    write_brats(tmp_path, *[(1, 2, 4)] * 10, (1, 2, 4))
    (tmp_path / "case10" / "case10_seg.nii.gz").write_bytes(b"damaged")
    assert settled(tmp_path).name == "brats2021"
    (tmp_path / "case09" / "case09_seg.nii.gz").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"case09_seg\.nii\.gz"):
        settled(tmp_path)


def test_the_real_brats_is_of_2013(test_data: Path) -> None:
    assert settled(test_data / "brats2013") == brats("brats2013", ("FLAIR", "T1ce"))


def test_structures_of_a_plain_folder_are_the_values_that_occur(tmp_path: Path) -> None:
    for name, values in {"a": (7, 2), "b": (), "c": (300,)}.items():
        write(tmp_path / "images" / f"{name}.nii.gz", 1)
        path = tmp_path / "labels" / f"{name}.nii.gz"
        write_image(path, np.array([0, *values], np.uint16)[:, None, None], np.eye(4))
    task = settled(tmp_path, "CT")
    assert (task.modality, task.channels, task.activation) == ("CT", ("CT",), "softmax")
    assert [(target.name, target.labels, target.write_as) for target in task.targets] == [
        (f"label {value}", (value,), value) for value in (2, 7, 300)
    ]
    with pytest.raises(ConfigError, match=r"task\.yaml"):
        settled(tmp_path)


def test_a_folder_with_empty_labels_alone(tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.nii.gz", 1)
    write(tmp_path / "labels" / "a.nii.gz")
    with pytest.raises(DataError, match="nothing to learn"):
        settled(tmp_path, "MR")


def test_a_task_that_is_known_is_left_as_it_is(tmp_path: Path) -> None:
    write_brats(tmp_path, (1, 2, 3))
    dataset = read_dataset(tmp_path, require_labels=True, task=BTCV)
    assert settle_task(dataset) == BTCV
