"""Doctor on layouts with several channels, on lists, and on untouched real data, where it finds nothing but quirks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from swin_unetr.doctor.diagnosis import Diagnosis, diagnose
from swin_unetr.survey.run import survey
from swin_unetr.survey.survey_file import read_survey, write_survey

CHANNELS = ("flair", "t1ce")
GRID = np.diag([-4.0, -4.0, 4.0, 1.0])


def found(diagnosis: Diagnosis) -> set[tuple[str, str]]:
    """Pairs of the file below the root, or nothing, and the code."""
    root = diagnosis.survey.root
    return {("" if of.file is None else of.file.relative_to(root).as_posix(), of.code) for of in diagnosis.findings}


def save(array, path: Path, affine=None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


@pytest.fixture
def brats(tmp_path: Path, test_data: Path):
    """Twelve cases in BraTS's layout, of four patients: every fourth voxel along each axis, from three starts.

    Gives the root, and a function that reads and one that writes a file by case number and kind.
    """
    root = tmp_path / "brats"
    for patient in sorted((test_data / "brats2013").iterdir()):
        read = {end: nib.load(patient / f"{patient.name}_{end}.nii.gz") for end in (*CHANNELS, "seg")}
        for start in range(3):
            number = len(list(root.iterdir())) if root.exists() else 0
            for end, image in read.items():
                array = np.asarray(image.dataobj)[start::4, start::4, start::4]
                array = array.astype(np.uint8 if end == "seg" else np.float32)
                save(array, root / f"case{number:02d}" / f"case{number:02d}_{end}.nii.gz", GRID)

    def path(number: int, end: str) -> Path:
        return root / f"case{number:02d}" / f"case{number:02d}_{end}.nii.gz"

    return root, path


def test_channels(brats) -> None:
    root, path = brats
    path(1, "t1ce").unlink()
    path(2, "t1ce").write_bytes(path(2, "flair").read_bytes())
    flair, t1ce = path(3, "flair").read_bytes(), path(3, "t1ce").read_bytes()
    path(3, "flair").write_bytes(t1ce), path(3, "t1ce").write_bytes(flair)
    array = np.asarray(nib.load(path(4, "t1ce")).dataobj)
    save(array, path(4, "t1ce"), np.diag([-4, -4, 4.4, 1]))
    save(np.stack([np.asarray(nib.load(path(5, "t1ce")).dataobj)] * 2, axis=-1), path(5, "t1ce"), GRID)
    save(np.asarray(nib.load(path(6, "flair")).dataobj) * 1e4, path(6, "flair"), GRID)
    labels = np.asarray(nib.load(path(7, "seg")).dataobj).copy()
    labels[labels == 4] = 7
    save(labels, path(7, "seg"), GRID)
    assert found(diagnose(root, tolerance_mm=0.05, workers=1)) == {
        ("case01", "channel-missing"),
        ("case02/case02_t1ce.nii.gz", "channels-same"),
        ("case03/case03_flair.nii.gz", "channels-swapped"),
        ("case04/case04_t1ce.nii.gz", "channels-differ"),
        ("case05/case05_t1ce.nii.gz", "wrong-dimensions"),
        ("case06/case06_flair.nii.gz", "intensity-outlier"),
        ("case07/case07_seg.nii.gz", "label-unknown"),
    }


def test_what_a_decathlon_lists(tmp_path: Path, phantom_data: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(phantom_data, root)
    values = json.loads((phantom_data / "dataset.json").read_text())
    values["training"] = [
        *values["training"][:3],
        {"image": "./imagesTr/nowhere.nii.gz", "label": "./labelsTr/phantom_003.nii.gz"},
        {"image": "../../etc/passwd", "label": "./labelsTr/phantom_004.nii.gz"},
    ]
    (root / "dataset.json").write_text(json.dumps(values))
    codes = {of.code for of in diagnose(root, tolerance_mm=0.05, workers=1).findings}
    assert codes == {"missing", "layout", "few-cases", "unused-file"}


def test_a_channel_too_many_in_one_file(tmp_path: Path, phantom_data: Path) -> None:
    values = json.loads((phantom_data / "dataset.json").read_text())
    root = tmp_path / "data"
    for index, entry in enumerate(values["training"]):
        for key in ("image", "label"):
            source = nib.load(phantom_data / entry[key])
            array = np.asarray(source.dataobj)
            if key == "image":
                array = np.stack([array, array[::-1] + 7] + [array // 2] * (index == 0), axis=-1)
            save(array, root / entry[key], source.affine)
    values["modality"] = {"0": "CT", "1": "CT2"}
    (root / "dataset.json").write_text(json.dumps(values))
    diagnosis = diagnose(root, tolerance_mm=0.05, workers=1)
    assert found(diagnosis) == {("imagesTr/phantom_000.nii.gz", "channels-wrong")}


def test_nothing_is_read_twice_and_processes_do_not_matter(tmp_path: Path, phantom_data: Path, monkeypatch) -> None:
    first = diagnose(phantom_data, tolerance_mm=0.05, workers=1)
    assert not first.findings
    write_survey(first.survey, tmp_path / "survey.json")
    known = read_survey(tmp_path / "survey.json")
    assert known == first.survey
    in_parallel = survey(first.dataset, workers=2)
    assert in_parallel.cases == first.survey.cases

    def read(*_: object) -> None:
        raise AssertionError("a file was read again")

    monkeypatch.setattr("swin_unetr.survey.case.read_file", read)
    assert survey(first.dataset, workers=1, known=known).cases == first.survey.cases


def test_a_changed_file_is_read_again(tmp_path: Path, phantom_data: Path) -> None:
    for name in ("phantom_000", "phantom_001"):
        for folder in ("images", "labels"):
            (tmp_path / folder).mkdir(exist_ok=True)
            source = phantom_data / f"{folder}Tr" / f"{name}.nii.gz"
            (tmp_path / folder / source.name).write_bytes(source.read_bytes())
    first = diagnose(tmp_path, tolerance_mm=0.05, workers=1)
    image = nib.load(tmp_path / "images" / "phantom_001.nii.gz")
    save(np.asarray(image.dataobj) * 0 - 7, tmp_path / "images" / "phantom_001.nii.gz", image.affine)
    second = diagnose(tmp_path, tolerance_mm=0.05, workers=1, known=first.survey)
    assert "constant" in {of.code for of in second.findings} - {of.code for of in first.findings}
    assert second.survey.cases[0] == first.survey.cases[0]


# Real data, untouched

#: What is there, and why.
QUIRKS: dict[str, set[tuple[str, str]]] = {
    # Angiography and an 8-bit export: the one has 0 for everything but vessels, the other 0..255.
    "ct/volumes": {("CT_AVM.nii.gz", "not-hounsfield"), ("CT_pitch.nii.gz", "not-hounsfield")},
    "ct/dicom_series": set(),
    # The series is a case of this folder; those of the others are told to be none.
    "ct": {("labelled", "unused-folder"), ("volumes", "unused-folder")},
    # Four patients are there of 30.
    "brats2013": {("", "few-cases")},
}


@pytest.mark.parametrize("name", QUIRKS)
def test_untouched_scans(test_data: Path, name: str) -> None:
    assert found(diagnose(test_data / name, tolerance_mm=0.05, workers=1)) == QUIRKS[name]


def test_untouched_labels_of_a_torso(test_data: Path, tmp_path: Path) -> None:
    for folder, name in (("images", "torso_sm_ct"), ("labels", "torso_sm_totalseg117")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "torso.nii.gz").symlink_to(test_data / "ct" / "labelled" / f"{name}.nii.gz")
    assert found(diagnose(tmp_path, tolerance_mm=0.05, workers=1)) == {("", "few-cases")}


def test_untouched_hippocampi(test_data: Path, tmp_path: Path) -> None:
    source = test_data / "Task04_Hippocampus"
    values = json.loads((source / "dataset.json").read_text())
    values["training"] = sorted(values["training"], key=lambda entry: entry["image"])[::10][:20]
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        for entry in values["training"]:
            name = Path(entry["image"]).name
            (tmp_path / folder / name).symlink_to(source / folder / name)
    (tmp_path / "dataset.json").write_text(json.dumps(values))
    diagnosis = diagnose(tmp_path, tolerance_mm=0.05, workers=1)
    assert found(diagnosis) == set()
    assert len(diagnosis.survey.cases) == 20
    (note,) = diagnosis.dataset.notes
    assert note.startswith("MRI: intensities are on ")


def test_a_mirrored_hippocampus(test_data: Path, tmp_path: Path) -> None:
    """In crops as tight as these, where the mirrored label overlaps what it should cover."""
    source = test_data / "Task04_Hippocampus"
    for index, image in enumerate(sorted((source / "imagesTr").glob("*.nii.gz"))[:6]):
        scan, label = nib.load(image), nib.load(source / "labelsTr" / image.name)
        array = np.asarray(label.dataobj)
        save(np.asarray(scan.dataobj), tmp_path / "images" / image.name, scan.affine)
        save(array[::-1] if index == 3 else array, tmp_path / "labels" / image.name, label.affine)
    (flipped,) = diagnose(tmp_path, tolerance_mm=0.05, workers=1).findings
    assert flipped.code == "label-flipped"
    assert "left and right" in flipped.words
