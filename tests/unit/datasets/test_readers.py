"""The registry of layouts: what is generated from it, and what an entry must say."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.config import FinetuneConfig
from pretrain.config import PretrainConfig
from swin_unetr.config_io import CommandParser, from_dict
from swin_unetr.datasets import is_dataset, read_dataset
from swin_unetr.datasets.arguments import add_layout_argument
from swin_unetr.datasets.readers import CHOICES, LAYOUTS, READERS, find_reader, recognise
from swin_unetr.errors import ConfigError, DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_every_layout_says_in_a_line_what_it_is() -> None:
    assert len(set(LAYOUTS)) == len(READERS)
    for reader in READERS:
        for text in (reader.looks, reader.structures):
            assert text.strip() == text
            assert "\n" not in text
            assert text
        assert ";" not in reader.looks  # it separates the layouts in a message


@pytest.mark.parametrize("layout", CHOICES)
def test_recipes_take_every_layout(layout: str) -> None:
    assert from_dict(FinetuneConfig, {"layout": layout}, source="r.yaml").layout == layout
    assert from_dict(PretrainConfig, {"scans": {"layout": layout}}, source="r.yaml").scans.layout == layout


def test_a_recipe_with_an_unknown_layout() -> None:
    names = ", ".join(CHOICES)
    with pytest.raises(ConfigError, match=f"^r.yaml: layout: 'msd' is not one of {names}$"):
        from_dict(FinetuneConfig, {"layout": "msd"}, source="r.yaml")
    with pytest.raises(ConfigError, match=rf"^r.yaml: scans\.layout: 'msd' is not one of {names}$"):
        from_dict(PretrainConfig, {"scans": {"layout": "msd"}}, source="r.yaml")


def test_the_option_of_the_commands() -> None:
    parser = CommandParser(prog="swin-unetr test")
    add_layout_argument(parser, "DATA")
    assert parser.parse_args([]).layout == "auto"
    assert all(parser.parse_args(["--layout", layout]).layout == layout for layout in CHOICES)
    assert "{" + ",".join(CHOICES) + "}" in parser.format_help()
    with pytest.raises(ConfigError, match=", ".join(f"'{layout}'" for layout in CHOICES)):
        parser.parse_args(["--layout", "msd"])


def test_a_folder_that_no_layout_fits(tmp_path: Path) -> None:
    touch(tmp_path, "picture.png")
    with pytest.raises(DataError) as refused:
        read_dataset(tmp_path, require_labels=False)
    (line,) = str(refused.value).splitlines()
    assert all(f"{reader.name} needs {reader.looks}" in line for reader in READERS)


@pytest.mark.parametrize("layout", ["btcv", "bids", "brats", "folders", "plain"])
def test_a_named_layout_without_scans(tmp_path: Path, layout: str) -> None:
    reader = find_reader(tmp_path, layout)
    with pytest.raises(DataError, match="no scans found in layout") as refused:
        read_dataset(tmp_path, layout=layout, require_labels=False)
    assert f"this layout needs {reader.looks}; check" in str(refused.value)
    assert not any(other.looks in str(refused.value) for other in READERS if other is not reader)


def test_a_description_decides_whatever_the_folder_looks_like(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/img0001.nii.gz", "labelsTr/label0001.nii.gz")
    assert recognise(tmp_path).name == "btcv"
    (tmp_path / "cases.csv").write_text("image\nimagesTr/img0001.nii.gz\n")
    assert recognise(tmp_path).name == "list"
    (tmp_path / "layout.yaml").write_text('images: {CT: "imagesTr/{case}.nii.gz"}\n')
    assert recognise(tmp_path).name == "folders"
    for described, layout in (("cases.csv", "list"), ("layout.yaml", "folders")):
        path = tmp_path / described
        assert is_dataset(path)
        assert recognise(path).name == layout
        assert [case.id for case in read_dataset(path, require_labels=False).cases] == ["img0001"]


def test_a_file_that_is_no_data_set(tmp_path: Path) -> None:
    path = touch(tmp_path, "notes.txt") / "notes.txt"
    assert not is_dataset(path)
    for layout in CHOICES:
        with pytest.raises(DataError, match=r"notes\.txt: is a file where the folder of a data set is wanted"):
            find_reader(path, layout)


def test_a_part_of_a_data_set_knows_the_whole(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
    description = '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}'
    (tmp_path / "dataset.json").write_text(description)
    (tmp_path / "patients.csv").write_text("case,patient\na,P7\n")
    for root in (tmp_path, tmp_path / "imagesTr"):
        dataset = read_dataset(root, require_labels=True)
        assert (dataset.root, dataset.layout) == (root, "nnunet")
        assert dataset.groups == {"a": "P7"}  # of the file beside the description
