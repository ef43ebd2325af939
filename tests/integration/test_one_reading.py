"""Every command reads a file in one way: what one refuses, all refuse, and what one accepts, all accept."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from pretrain.scans.cache import cache_scans
from pretrain.scans.find import ScanList, find_scans
from swin_unetr.config import InferenceConfig, IntensityConfig, PreprocessConfig
from swin_unetr.conversion.layouts import Writer
from swin_unetr.conversion.pieces import make
from swin_unetr.conversion.run import convert as convert_data
from swin_unetr.datasets import Case, read_dataset
from swin_unetr.doctor.diagnosis import diagnose
from swin_unetr.errors import DataError
from swin_unetr.evaluation.inputs.cases import Pair
from swin_unetr.evaluation.measures.measure import read_pair
from swin_unetr.inference.batch.run import predict
from swin_unetr.survey.case import Reading, read_case
from swin_unetr.tasks import Task, exclusive
from swin_unetr.viewer.cases import CaseFiles
from swin_unetr.viewer.scene import open_scene
from transforms.io import read_header, read_verdict
from transforms.preprocess import LoadCase

TASK = Task(name="one", modality="MR", channels=("MR",), targets=exclusive(("one", "two", "three")))
Z_SCORE = PreprocessConfig(spacing_mm=None, intensity=IntensityConfig(scheme="zscore"))
SHAPE = (12, 10, 8)
SPACING = np.diag([2.0, 2, 3, 1])

#: Name of a file to what makes it, and to words of its refusal, or to the code of its note.
ODD: dict[str, tuple[Callable[[Path], Any], str]] = {}


def odd(name: str, said: str) -> Callable[[Callable[[Path], Any]], Callable[[Path], Any]]:
    def register(function: Callable[[Path], Any]) -> Callable[[Path], Any]:
        ODD[name] = function, said
        return function

    return register


def nifti(path: Path, array: Any = None, affine: Any = SPACING, units: str = "mm", codes: Any = (1, 1)) -> Path:
    """A scan of which no two voxels side by side need be equal; it passes for a label map of three structures too."""
    values = np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.int16)
    image = nibabel.Nifti1Image(values if array is None else array, affine)
    image.header.set_xyzt_units(units)
    image.set_qform(affine, codes[0])
    image.set_sform(affine, codes[1])
    nibabel.save(image, path)
    return path


def series(path: Path) -> Path:
    """Four volumes, 2.5 s apart by the header."""
    image = nibabel.Nifti1Image(np.random.default_rng(0).integers(0, 4, (*SHAPE, 4)).astype(np.int16), SPACING)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2.5
    nibabel.save(image, path)
    return path


def patched(path: Path, offset: int, content: bytes) -> None:
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(content)] = content
    path.write_bytes(bytes(whole))


odd("sound.nii.gz", "")(nifti)
odd("misnamed.nii.gz", "misnamed")(lambda path: nifti(path.with_name("plain.nii")).rename(path))
odd("microns.nii", "units")(lambda path: nifti(path, affine=np.diag([200.0, 200, 300, 1]), units="micron"))
odd("wrong_unit.nii", "units")(lambda path: nifti(path, units="meter"))
odd("no_size.nii", "places voxels nowhere")(lambda path: patched(nifti(path, codes=(1, 0)), 84, bytes(4)))
odd("no_unit.nii", "the header's unit is micron")(lambda path: nifti(path, affine=SPACING * 1e-6, units="micron"))
odd("empty_sform.nii", "sform-unusable")(lambda path: patched(nifti(path), 280, bytes(48)))
odd("lost_sform.nii", "sform-unusable")(lambda path: patched(nifti(path), 280, np.eye(4)[:3].astype("<f4").tobytes()))
odd("rounded.nii", "qform-rounded")(
    lambda path: patched(nifti(path, codes=(1, 0)), 256, struct.pack("<3f", 0.0, 0.70710701, 0.70710701))
)
odd("picture.nii.gz", "is a picture of 12 x 10 pixels")(lambda path: nifti(path, np.ones((12, 10), np.int16)))
odd("complex.nii", "holds complex numbers")(lambda path: nifti(path, np.ones(SHAPE, np.complex64)))
odd("colours.nii", "is a colour picture")(
    lambda path: nifti(path, np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]))
)
odd("five.nii", "has shape 12 x 10 x 8 x 1 x 2")(lambda path: nifti(path, np.zeros((*SHAPE, 1, 2), np.int16)))
odd("flat.nrrd", "is a picture of 2 dimensions")(
    lambda path: sitk.WriteImage(sitk.GetImageFromArray(np.ones((10, 12), np.int16)), str(path))
)
odd("series.nii.gz", "is a time series of 4 volumes")(lambda path: series(path))
odd("pointer.nii.gz", "is a Git LFS pointer")(
    lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
)
odd("pointer.nrrd", "is a Git LFS pointer")(
    lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
)
odd("cut.nii", "is truncated")(lambda path: path.write_bytes(nifti(path).read_bytes()[:-900]))
odd("no_offset.nii", "")(lambda path: patched(nifti(path), 108, bytes(4)))
odd("far_offset.nii", "is truncated")(lambda path: patched(nifti(path), 108, struct.pack("<f", 1e6)))
odd("folder.nii.gz", "holds no DICOM file")(lambda path: path.mkdir())
odd("no_size.mha", "places voxels nowhere")(
    lambda path: path.write_bytes(
        b"ObjectType = Image\nNDims = 3\nDimSize = 12 10 8\nElementType = MET_SHORT\nElementSpacing = 0 1 1\n"
        b"ElementDataFile = LOCAL\n" + bytes(2 * 12 * 10 * 8)
    )
)
odd("flat_axes.nrrd", "places voxels nowhere")(
    lambda path: path.write_bytes(
        b"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 12 10 8\nendian: little\n"
        b"space directions: (1,0,0) (0,1,0) (1,1,0)\nencoding: raw\nspace origin: (0,0,0)\n\n" + bytes(2 * 12 * 10 * 8)
    )
)
odd("dead.nii.gz", "is a link that leads nowhere")(lambda path: os.symlink("elsewhere", path))
odd("loop.nii.gz", "is a link that leads nowhere")(lambda path: os.symlink(path.name, path))


def said_by(command: Callable[[], Any]) -> str:
    """What a command refuses a file with; empty where it accepts it."""
    try:
        command()
    except DataError as error:
        return str(error)
    return ""


def doctor(case: Case) -> None:
    """And `plan`, which works on the same survey."""
    facts = read_case(Reading(case))
    for problem in facts.problems:
        raise DataError(f"{problem.path}: {problem.words}")
    assert {note.code for note in facts.images[0].notes} <= {said for _, said in ODD.values()}


def pretrain(case: Case, cache: Path) -> None:
    cache_scans(ScanList(cases=(case,)), Z_SCORE, cache, workers=1, tell=lambda line: None)


def convert(case: Case, output: Path) -> None:
    writer = Writer(to="plain", output=output, suffix=".nii", task=None, values={}, any_label=False)
    for piece in writer.pieces(case):
        make(piece, link=False)


@pytest.mark.parametrize("name", sorted(ODD))
def test_no_command_accepts_what_another_refuses(name: str, make_model, tmp_path) -> None:
    write, words = ODD[name]
    path = tmp_path / name
    write(path)
    case, labelled = Case(id="a", images=(path,)), Case(id="a", images=(path,), label=path)
    model = make_model("model", TASK, preprocess=Z_SCORE, inference=InferenceConfig(roi_size=(16, 16, 16)))
    report = predict(model, path, tmp_path / "out", progress=False, device="cpu", backend="torch")
    said = {
        "verdict": said_by(lambda: read_header([path])),
        "doctor": said_by(lambda: doctor(case)),
        "finetune": said_by(lambda: LoadCase(TASK, with_label=True)({"case": labelled})),
        "pretrain": said_by(lambda: pretrain(case, tmp_path / "cache")),
        "predict": report.failures[0].message if report.failures else "",
        "evaluate": said_by(lambda: read_pair(Pair("a", path, path))),
        "convert": said_by(lambda: convert(case, tmp_path / "new")),
        "view": said_by(lambda: open_scene(CaseFiles("a", images=(path,)))),
    }
    refused = " " in words
    assert {command: bool(line) for command, line in said.items()} == dict.fromkeys(said, refused), said
    if refused:
        assert all(words in line for line in (said["verdict"], said["evaluate"], said["convert"])), said
    else:
        assert [note.code for note in read_verdict(path).notes] == ([words] if words else [])
        assert bool(report.warnings) == bool(words)


FOUR = Task(name="four", modality="MR", channels=("FLAIR", "T1w", "t1gd", "T2w"), targets=exclusive(("one",)))


def test_a_fourth_axis_holds_channels_where_as_many_are_named(make_model, tmp_path) -> None:
    """As in a data set of the Decathlon whose files have times in their headers."""
    root = tmp_path / "Task01"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    path, label = series(root / "imagesTr" / "a.nii.gz"), root / "labelsTr" / "a.nii.gz"
    nifti(label, (np.random.default_rng(1).random(SHAPE) > 0.5).astype(np.int16))
    described = {
        "modality": dict(enumerate(FOUR.channels)),
        "labels": {"0": "background", "1": "one"},
        "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
        "test": [],
    }
    (root / "dataset.json").write_text(json.dumps(described))
    (case,) = read_dataset(root, require_labels=True).cases
    assert said_by(lambda: doctor(case)) == ""
    assert LoadCase(FOUR, with_label=True)({"case": case})["image"].shape == (4, *SHAPE)
    pretrain(find_scans([root]).cases[0], tmp_path / "cache")
    model = make_model("model", FOUR, preprocess=Z_SCORE, inference=InferenceConfig(roi_size=(16, 16, 16)))
    assert not predict(model, root, tmp_path / "out", progress=False, device="cpu", backend="torch").failures
    scene = open_scene(CaseFiles("a", images=(path,), references=(label,), reference_task=FOUR))
    assert len(scene.description["scans"]) == 4
    for to, files in (("plain", 1), ("nnunet", 4), ("decathlon", 1)):
        report = convert_data(root, tmp_path / to, to=to, workers=1)
        assert not report.failures
        assert sum(report.files.values()) == files + 1


def test_a_time_series_is_refused_and_the_other_cases_go_on(tmp_path) -> None:
    (tmp_path / "scans").mkdir()
    nifti(tmp_path / "scans" / "b.nii.gz")
    path = series(tmp_path / "scans" / "a.nii.gz")
    line = f"{path}: is a time series of 4 volumes where a 3-D scan is wanted; split it, one file for each time"
    report = convert_data(tmp_path / "scans", tmp_path / "new", to="plain", workers=1)
    assert [failure.message for failure in report.failures] == [line]
    assert report.done == ["b"]
    diagnosis = diagnose(tmp_path / "scans", tolerance_mm=0.1)
    (finding,) = [finding for finding in diagnosis.findings if finding.code == "wrong-dimensions"]
    assert (finding.case, finding.severity) == ("a", "error")
    assert finding.words in line
