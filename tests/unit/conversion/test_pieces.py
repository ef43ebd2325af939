"""How one file of a new data set is made: kept, linked, copied or written."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conversions import AFFINE, SHAPES, labels, scan

from swin_unetr.conversion.pieces import Piece, make
from swin_unetr.errors import DataError
from swin_unetr.tasks import Target, Task
from transforms.geometry import Geometry, Volume
from transforms.io import read_file, write_volume

TASK = Task(name="t", modality="MR", channels=("T1",), targets=(Target(name="one", labels=(1,), write_as=1),))


def write(path: Path, volume: Volume) -> Path:
    write_volume(path, volume)
    return path


def test_a_file_that_stays_as_it_is(tmp_path: Path) -> None:
    source = write(tmp_path / "a.nii.gz", scan(SHAPES[0]))
    linked, copied = (Piece(target=tmp_path / name / "b.nii.gz", sources=(source,)) for name in ("linked", "copied"))
    assert make(linked, link=True) == "linked"
    assert make(copied, link=False) == "copied"
    assert linked.target.samefile(source)
    assert not copied.target.samefile(source)
    assert copied.target.read_bytes() == source.read_bytes()
    assert [make(linked, link=True), make(copied, link=True)] == ["kept", "kept"]


def test_where_the_disk_allows_no_links_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "a.nii.gz", scan(SHAPES[0]))

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert make(Piece(target=tmp_path / "b.nii.gz", sources=(source,)), link=True) == "copied"


def test_another_file_in_its_place_is_replaced_and_the_same_one_kept(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mha", scan(SHAPES[0]))
    piece = Piece(target=tmp_path / "b.nrrd", sources=(source,))
    assert [make(piece, link=True), make(piece, link=True)] == ["written", "kept"]
    write(source, scan(SHAPES[0], seed=1))
    assert make(piece, link=True) == "written"
    np.testing.assert_array_equal(read_file(piece.target).array, scan(SHAPES[0], seed=1).array)
    piece.target.write_bytes(b"NRRD0004\n")
    assert make(piece, link=True) == "written"


def test_channels_are_taken_out_and_joined(tmp_path: Path) -> None:
    whole = scan(SHAPES[0], "float32", channels=3)
    source = write(tmp_path / "all.nii", whole)
    parts = tuple(tmp_path / f"{number}.mha" for number in range(3))
    for number, part in enumerate(parts):
        assert make(Piece(target=part, sources=(source,), channel=number), link=True) == "written"
        np.testing.assert_array_equal(read_file(part).array, whole.array[number : number + 1])
    assert make(Piece(target=tmp_path / "joined.nrrd", sources=parts), link=True) == "written"
    np.testing.assert_array_equal(read_file(tmp_path / "joined.nrrd").array, whole.array)


def test_channels_on_two_grids_are_not_joined(tmp_path: Path) -> None:
    moved = AFFINE.astype(np.float64)
    moved[0, 3] += 1
    one = write(tmp_path / "one.nii", scan(SHAPES[0]))
    two = write(tmp_path / "two.nii", Volume(scan(SHAPES[0]).array, Geometry(SHAPES[0], moved)))
    with pytest.raises(DataError, match=r"two\.nii: does not lie on the grid of"):
        make(Piece(target=tmp_path / "joined.nii", sources=(one, two)), link=True)
    assert not (tmp_path / "joined.nii").exists()


@pytest.mark.parametrize(("new", "dtype"), [({1: 2, 2: 1}, np.uint8), ({1: 300, 2: 1}, np.uint16)])
def test_label_values_are_renumbered_at_once(tmp_path: Path, new: dict[int, int], dtype: type) -> None:
    """1 to 2 and 2 to 1: one after the other would merge them. A large value gets a type that holds it."""
    before = labels(SHAPES[0], 1, 2)
    source = write(tmp_path / "a.nii.gz", before)
    piece = Piece(target=tmp_path / "b.nii.gz", sources=(source,), values=tuple(new.items()))
    assert make(piece, link=True) == "written"
    after = read_file(piece.target).array
    assert after.dtype == dtype
    np.testing.assert_array_equal(after, np.vectorize({0: 0, **new}.get)(before.array))


def test_a_value_that_the_task_does_not_know(tmp_path: Path) -> None:
    source = write(tmp_path / "a.nii.gz", labels(SHAPES[0], 1, 7))
    piece = Piece(target=tmp_path / "b.nii.gz", sources=(source,), task=TASK)
    with pytest.raises(DataError, match=r"a\.nii\.gz: .*7"):
        make(piece, link=True)
    assert not piece.target.exists()
    assert make(replace(piece, task=None), link=True) == "linked"


def test_a_file_whose_name_says_another_kind_is_written_anew(tmp_path: Path) -> None:
    """Other programs would refuse the link."""
    source = write(tmp_path / "a.nii", scan(SHAPES[0]))
    misnamed = source.rename(tmp_path / "a.nii.gz")
    piece = Piece(target=tmp_path / "b.nii.gz", sources=(misnamed,))
    assert make(piece, link=True) == "written"
    assert piece.target.read_bytes()[:2] == b"\x1f\x8b"
    np.testing.assert_array_equal(read_file(piece.target).array, scan(SHAPES[0]).array)
