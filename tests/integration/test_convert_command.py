"""`swin-unetr convert` as a command: what it keeps, links, refuses and goes on after."""

import json
from pathlib import Path

import numpy as np
import pytest
from conversions import AFFINE, SHAPES, files, labels, require_same, run, scan, write_plain

from swin_unetr.cli import main
from swin_unetr.conversion.run import convert
from swin_unetr.datasets import read_dataset
from transforms.geometry import Geometry, Volume
from transforms.io import write_volume


def test_what_stands_and_is_equal_is_kept(tmp_path: Path) -> None:
    source, output = write_plain(tmp_path, "nii"), tmp_path / "out"
    run(source, "nnunet", output, file_type="mha")
    before = files(output)
    damaged, lost = output / "imagesTr" / "c0_0000.mha", output / "labelsTr" / "c1.mha"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    lost.unlink()
    report = run(source, "nnunet", output, file_type="mha")
    assert report.files == {"kept": 3, "written": 2}
    kept = {name for name, inode in files(output).items() if before[name] == inode and not name.endswith(".json")}
    assert kept == set(before) - {"imagesTr/c0_0000.mha", "labelsTr/c1.mha", "dataset.json", "convert.json"}
    require_same(*(read_dataset(path, require_labels=False) for path in (source, output)))


def test_links_and_copies(tmp_path: Path) -> None:
    source = write_plain(tmp_path, "nii.gz")
    assert run(source, "decathlon", tmp_path / "linked").files == {"linked": 5}
    assert run(source, "decathlon", tmp_path / "linked").files == {"kept": 5}
    assert run(source, "decathlon", tmp_path / "copied", link=False).files == {"copied": 5}
    assert (tmp_path / "linked" / "imagesTr" / "c0.nii.gz").samefile(source / "images" / "c0.nii.gz")
    assert not (tmp_path / "copied" / "imagesTr" / "c0.nii.gz").samefile(source / "images" / "c0.nii.gz")


def test_a_case_that_fails_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_plain(tmp_path, "nrrd", channels=2)
    (source / "labels" / "c0.nrrd").write_bytes(b"NRRD0004\n")
    arguments = ["convert", str(source), "--to", "nnunet", "--output", str(tmp_path / "Dataset007_X"), "--workers", "1"]
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert "layout plain: 3 cases, 2 with labels; channels m0, m1; structures one, two" in said.out
    assert "2 converted, 1 failed; files: 5 written" in said.out
    assert said.err.startswith(f"failed: c0: {source / 'labels' / 'c0.nrrd'}: cannot be read")
    assert "Dataset<3 digits>" not in said.out
    record = json.loads((tmp_path / "Dataset007_X" / "convert.json").read_text())
    assert (record["state"], [of["case"] for of in record["failures"]], sorted(record["cases"])) == (
        "finished",
        ["c0"],
        ["c1", "t"],
    )
    assert [case.id for case in read_dataset(tmp_path / "Dataset007_X", require_labels=False).cases] == ["c1", "t"]
    write_volume(source / "labels" / "c0.nrrd", labels(SHAPES[0], 1))
    assert main(arguments) == 0
    assert "files: 5 kept, 3 written" in capsys.readouterr().out


def test_a_case_that_cannot_be_listed_is_a_failure_too(tmp_path: Path) -> None:
    for name in ("a_flair", "a_t1", "a_seg", "b_flair", "b_seg"):
        write_volume(tmp_path / "in" / name[0] / f"{name}.nii", labels(SHAPES[0], 1))
    report = convert(tmp_path / "in", tmp_path / "out", to="plain", workers=1)
    assert (report.done, report.exit_code) == (["a"], 1)
    assert "lacks T1, which other cases have" in report.failures[0].message


def test_channels_on_two_grids_are_not_joined(tmp_path: Path) -> None:
    entry = {"id": "a", "image": {"x": "x.nii", "y": "y.nii"}}
    write_volume(tmp_path / "x.nii", scan(SHAPES[0]))
    moved = AFFINE.astype(np.float64)
    moved[0, 3] += 1
    write_volume(tmp_path / "y.nii", Volume(scan(SHAPES[0]).array, Geometry(SHAPES[0], moved)))
    (tmp_path / "cases.json").write_text(json.dumps([entry]))
    report = convert(tmp_path / "cases.json", tmp_path / "out", to="plain", workers=1)
    assert "y.nii: does not lie on the grid of" in report.failures[0].message


@pytest.mark.parametrize("broken", ["output", "source", "inside", "other", "nothing", "meaning"])
def test_what_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    source, output = write_plain(tmp_path, "nii"), tmp_path / "out"
    if broken == "output":
        output.mkdir()
        (output / "mine.txt").touch()
    elif broken == "source":
        output = source
    elif broken == "inside":
        output = source / "nnunet"
    elif broken == "other":
        run(source, "plain", output)
    elif broken == "nothing":
        source = tmp_path / "absent"
    else:
        (source / "task.yaml").unlink()
    before = files(tmp_path)
    assert main(["convert", str(source), "--to", "nnunet", "--output", str(output)]) == (
        1 if broken == "nothing" else 2
    )
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    words = {"output": "not an empty", "source": "files of the source", "inside": "lies in the source"}
    words |= {"other": "to plain, now nnunet", "nothing": "no such file", "meaning": "task.yaml"}
    assert words[broken] in said
    assert files(tmp_path) == before


def test_in_parallel_processes(tmp_path: Path) -> None:
    source = write_plain(tmp_path, "nii")
    report = convert(source, tmp_path / "out", to="decathlon", workers=2)
    assert (sorted(report.done), report.files) == (["c0", "c1", "t"], {"written": 5})
    require_same(*(read_dataset(path, require_labels=False) for path in (source, tmp_path / "out")))
