"""A file that was changed, in whatever way, has another stamp; what has the same bytes has the same hash."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from swin_unetr.file_stamps import bytes_hash, file_stamps, parts_of

MHD = "ObjectType = Image\nElementDataFile = "


def corrected(path: Path, how: str) -> None:
    """Other bytes of the same number under the same name."""
    stat, other = path.stat(), bytes(255 - byte for byte in path.read_bytes())
    if how == "replaced":
        beside = path.with_name("beside")
        beside.write_bytes(other)
        os.utime(beside, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        beside.replace(path)
        return
    with path.open("r+b") as file:
        file.write(other)
    if how == "time kept":
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.skipif(sys.platform == "win32", reason="has no time of the last change of anything")
@pytest.mark.parametrize("how", ["time kept", "replaced", "overwritten"])
@pytest.mark.parametrize("name", ["a.nii", "pair.hdr", "a.mhd", "a.nhdr", "list.mhd", "numbered.mhd", "series"])
def test_a_part_corrected_in_place_changes_stamp_and_hash(tmp_path: Path, name: str, how: str) -> None:
    path, parts = (
        tmp_path / name,
        {
            "a.nii": [],
            "pair.hdr": ["pair.img"],
            "a.mhd": ["voxels.raw"],
            "a.nhdr": ["voxels.raw"],
            "list.mhd": ["1.raw", "2.raw"],
            "numbered.mhd": ["slice01.raw", "slice02.raw"],
            "series": ["series/1", "series/deeper/2"],
        }[name],
    )
    for part in parts:
        (tmp_path / part).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / part).write_bytes(f"voxels {part}".encode())
    header = {
        "a.mhd": MHD + "voxels.raw\n",
        "a.nhdr": "NRRD0004\ntype: short\ndata file: voxels.raw\n",
        "list.mhd": MHD + "LIST\n1.raw\n2.raw\n",
        "numbered.mhd": MHD + "slice%02d.raw 1 2 1\n",
    }
    if name != "series":
        path.write_text(header.get(name, "header"))
        parts = [*parts, name]
    assert sorted(parts_of(path)) == sorted(tmp_path / part for part in parts)
    for part in parts[:-1] if name in header else parts:
        stamps, content = file_stamps(path), bytes_hash(path)
        assert (file_stamps(path), bytes_hash(path)) == (stamps, content)
        corrected(tmp_path / part, how)
        assert file_stamps(path) != stamps
        assert bytes_hash(path) != content


def test_a_copy_has_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"voxels")
    shutil.copy2(tmp_path / "a", tmp_path / "b")
    assert file_stamps(tmp_path / "a") != file_stamps(tmp_path / "b")
    assert bytes_hash(tmp_path / "a") == bytes_hash(tmp_path / "b")


def test_bytes_do_not_move_from_one_part_to_the_next(tmp_path: Path) -> None:
    for name, contents in {"one": (b"ab", b"c"), "other": (b"a", b"bc")}.items():
        for number, content in enumerate(contents):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / str(number)).write_bytes(content)
    assert bytes_hash(tmp_path / "one") != bytes_hash(tmp_path / "other")


@pytest.mark.parametrize("named", ["../secret", "/etc/hostname", "deeper/../../secret"])
def test_a_header_names_no_file_outside_its_folder(tmp_path: Path, named: str) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "scans" / "deeper").mkdir(parents=True)
    (tmp_path / "scans" / "a.mhd").write_text(MHD + named)
    assert parts_of(tmp_path / "scans" / "a.mhd") == [tmp_path / "scans" / "a.mhd"]


def test_a_header_that_names_a_link_in_a_loop_has_no_other_part(tmp_path: Path) -> None:
    (tmp_path / "voxels.raw").symlink_to("voxels.raw")
    (tmp_path / "a.mhd").write_text(MHD + "voxels.raw\n")
    assert parts_of(tmp_path / "a.mhd") == [tmp_path / "a.mhd"]
