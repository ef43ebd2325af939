import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swin_unetr.batch import BatchReport, Failure
from swin_unetr.config import PreprocessConfig
from swin_unetr.datasets import Case
from swin_unetr.files import replacing
from swin_unetr.inference.backends.compute import Compute
from swin_unetr.inference.batch.record import (
    Records,
    clear_partial,
    labels_path,
    probabilities_path,
    record_path,
    source_files,
)
from swin_unetr.inference.engine.models import Ensemble
from swin_unetr.tasks import BTCV

FLOAT32 = Compute(torch.device("cpu"), "float32")


class Models(Ensemble):
    """Stands for models: what they say of themselves."""

    overlap = 0.5
    cache = "kept"

    def facts(self):
        return [{"path": "/model", "sha256": "12ab", "roi_size": (96, 96, 96), "overlap": self.overlap, "tta": False}]

    def method(self):
        return {"windows": self.overlap}

    def backends(self):
        return [{"name": "torch", "cache": self.cache}]


@pytest.fixture
def case(tmp_path) -> Case:
    path = tmp_path / "scans/a.nii.gz"
    path.parent.mkdir()
    path.write_bytes(b"voxels")
    return Case(id="a", images=(path,))


@pytest.fixture
def models() -> Models:
    return Models((), FLOAT32, BTCV, PreprocessConfig())


@pytest.fixture
def open_records(tmp_path, models):
    def make(compute: Compute = FLOAT32, **options: object) -> Records:
        return Records(tmp_path / "out", models, compute, [tmp_path / "scans"], {"skip_empty": True, **options})

    return make


@pytest.fixture
def done(open_records, case, tmp_path) -> Case:
    """A case whose results stand."""
    open_records().write_case(case, source_files(case), {"seconds": 1.0})
    labels_path(tmp_path / "out", case.id).write_bytes(b"labels")
    return case


def stands(records: Records, case: Case, *, with_probabilities: bool = False) -> bool:
    return records.is_done(case, with_probabilities=with_probabilities)


def test_a_result_stands_when_it_was_made_of_the_same_files_in_the_same_way(open_records, done, models) -> None:
    assert stands(open_records(), done)
    models.cache = "none: the folder cannot be written"
    assert stands(open_records(replace(FLOAT32, backend="openvino")), done)  # what runs the same function
    assert not stands(open_records(replace(FLOAT32, precision="bfloat16")), done)
    assert not stands(open_records(skip_empty=False), done)
    assert stands(open_records(accumulate="auto"), done)
    assert stands(open_records(accumulate="float32"), done)  # as it was made when nothing else could be asked for
    assert not stands(open_records(accumulate="float16"), done)
    models.overlap = 0.25
    assert not stands(open_records(), done)


def test_a_scan_that_was_replaced_is_done_anew(open_records, done) -> None:
    (path,) = done.images
    before = path.stat().st_mtime_ns
    path.write_bytes(b"other voxels")
    os.utime(path, ns=(before, before))
    assert not stands(open_records(), done)  # by its size
    path.write_bytes(b"Voxels")
    os.utime(path, ns=(before + 1, before + 1))
    assert not stands(open_records(), done)  # by its time
    path.write_bytes(b"voxels")
    os.utime(path, ns=(before, before))
    assert stands(open_records(), done)  # by its bytes
    path.write_bytes(b"Voxels")
    os.utime(path, ns=(before, before))
    assert not stands(open_records(), done)  # though size and time are the same
    path.unlink()
    assert not stands(open_records(), done)


def test_all_files_of_the_result_are_wanted(open_records, done, tmp_path) -> None:
    assert not stands(open_records(), done, with_probabilities=True)
    probabilities_path(tmp_path / "out", done.id).write_bytes(b"probabilities")
    assert stands(open_records(), done, with_probabilities=True)
    labels_path(tmp_path / "out", done.id).unlink()
    assert not stands(open_records(), done)


def test_what_was_summed_in_half_precision_is_done_anew_where_that_is_not_wanted(open_records, done) -> None:
    open_records(accumulate="auto").write_case(done, source_files(done), {"accumulate": "float16"})
    assert stands(open_records(accumulate="auto"), done)
    assert stands(open_records(accumulate="float16"), done)
    assert not stands(open_records(accumulate="float32"), done)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"models": 3}', '{"models": [3]}', "null"])
def test_a_record_that_is_none_of_ours_vouches_for_nothing(open_records, done, tmp_path, text) -> None:
    record_path(tmp_path / "out", done.id).write_text(text)
    assert not stands(open_records(), done)


def test_files_beside_a_header_and_in_a_folder_count(tmp_path) -> None:
    series = tmp_path / "series"
    series.mkdir()
    for index in range(3):
        (series / f"{index}.dcm").write_bytes(b"12345")
        os.utime(series / f"{index}.dcm", ns=(index, index))
    (tmp_path / "pair.hdr").write_bytes(b"123")
    (tmp_path / "pair.img").write_bytes(b"4567")
    stamps = source_files(Case(id="a", images=(series, tmp_path / "pair.hdr", tmp_path / "absent.nii")))
    assert {key: stamps[0][key] for key in ("path", "bytes", "modified")} == {
        "path": str(series),
        "bytes": 15,
        "modified": 2,
    }
    assert (stamps[1]["path"], stamps[1]["bytes"]) == (str(tmp_path / "pair.hdr"), 7)
    assert stamps[2] == {"path": str(tmp_path / "absent.nii")}


def test_what_a_killed_process_left_of_the_case_is_removed(tmp_path) -> None:
    kept = [tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", tmp_path / ".partial-of-mine"]
    for path in kept:
        path.touch()
    left = [labels_path(tmp_path, "a"), record_path(tmp_path, "a"), probabilities_path(tmp_path, "a")]
    for path in [*left, labels_path(tmp_path, "b"), labels_path(tmp_path, "aa")]:
        with replacing(path) as temporary:
            temporary.touch()
            os.link(temporary, tmp_path / "saved")
            name = temporary
        (tmp_path / "saved").rename(name)  # as if the process had been killed within the block
    for path in left:
        path.unlink(missing_ok=True)
    kept[0].touch()
    clear_partial(tmp_path, "a")
    names = {path.name.partition("-")[2][9:] or path.name for path in tmp_path.iterdir() if path not in kept}
    assert names == {"b.nii.gz", "aa.nii.gz"}
    assert all(path.exists() for path in kept)


def test_record_of_the_run(open_records, tmp_path) -> None:
    report = BatchReport(done=["a"], failures=[Failure("b", "is damaged")])
    open_records().write_run("stopped", report, 12.3456)
    record = json.loads((tmp_path / "out/predictions.json").read_text())
    assert (record["status"], record["cases"], record["seconds"]) == ("stopped", ["a"], 12.346)
    assert record["failures"] == [{"case": "b", "message": "is damaged"}]
    assert (record["backend"], record["skip_empty"]) == ("torch", True)
    assert Path(record["inputs"][0]) == tmp_path / "scans"
