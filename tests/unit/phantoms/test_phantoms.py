import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from swin_unetr.cli import main
from swin_unetr.phantoms import LABELS, draw_affine, draw_phantom, make_phantoms

SIZE = (32, 32, 24)


def centre_mm(labels: np.ndarray, affine: np.ndarray, name: str) -> np.ndarray:
    voxels = np.argwhere(labels == LABELS.index(name) + 1)
    return affine[:3, :3] @ voxels.mean(0) + affine[:3, 3]


@pytest.mark.parametrize("lps", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_organs_lie_where_they_belong_in_the_patient_whatever_the_storage(seed: int, lps: bool) -> None:
    rng = np.random.default_rng(seed)
    affine = draw_affine(SIZE, rng, lps=lps, oblique=bool(seed % 2))
    _, labels = draw_phantom(affine, SIZE, rng)
    assert set(np.unique(labels)) == set(range(len(LABELS) + 1))
    place = {name: centre_mm(labels, affine, name) for name in LABELS}
    assert place["liver"][0] > place["spleen"][0] + 60
    assert place["right kidney"][0] > place["left kidney"][0] + 60
    assert place["right kidney"][1] < place["liver"][1]
    assert place["left kidney"][2] < place["spleen"][2]


def test_values_look_like_ct() -> None:
    rng = np.random.default_rng(0)
    hu, labels = draw_phantom(draw_affine((64, 64, 48), rng, lps=False, oblique=False), (64, 64, 48), rng)
    assert hu.dtype == np.int16
    assert np.median(hu[0]) == pytest.approx(-1000, abs=15)
    mean = {name: hu[labels == value].mean() for value, name in enumerate(LABELS, 1)}
    assert 60 < mean["liver"] < mean["aorta"] < 260
    assert 12 < hu[labels == 1].std() < 60


def test_same_seed_gives_the_same_data_whatever_the_number_of_cases(tmp_path: Path) -> None:
    small = make_phantoms(tmp_path / "a", cases=1, held_back=1, size=SIZE, seed=3)
    large = make_phantoms(tmp_path / "b", cases=2, held_back=0, size=SIZE, seed=3)
    other = make_phantoms(tmp_path / "c", cases=1, held_back=0, size=SIZE, seed=4)
    for one, two in (("Tr/phantom_000", "Tr/phantom_000"), ("Ts/phantom_001", "Tr/phantom_001")):
        for kind in ("images", "labels"):
            first, second = (nib.load(root / f"{kind}{name}.nii.gz") for root, name in ((small, one), (large, two)))
            assert np.array_equal(first.affine, second.affine)
            assert np.array_equal(first.dataobj, second.dataobj)
    same, new = (nib.load(root / "imagesTr/phantom_000.nii.gz").get_fdata() for root in (small, other))
    assert not np.array_equal(same, new)


def test_files_are_a_decathlon_data_set_of_mixed_orientation(phantom_data: Path) -> None:
    description = json.loads((phantom_data / "dataset.json").read_text())
    assert description["modality"] == {"0": "CT"}
    assert description["labels"]["3"] == "right kidney"
    assert len(description["training"]) == description["numTraining"] == 6
    assert len(description["test"]) == description["numTest"] == 2
    stored = set()
    for pair in description["training"]:
        image, label = (nib.load(phantom_data / pair[kind]) for kind in ("image", "label"))
        assert image.get_data_dtype() == np.int16
        assert image.shape == label.shape == SIZE
        assert np.allclose(image.affine, label.affine)
        pixel_x, pixel_y, thickness = image.header.get_zooms()
        assert pixel_x == pytest.approx(pixel_y, abs=1e-3)
        assert abs(thickness - pixel_x) > 0.01
        oblique = not np.allclose(image.affine[:3, :3], np.diag(np.diag(image.affine[:3, :3])))
        stored.add(("".join(nib.aff2axcodes(image.affine)), oblique))
    assert stored == {("RAS", False), ("LPS", False), ("RAS", True), ("LPS", True)}
    assert len(list((phantom_data / "labelsTs").glob("*.nii.gz"))) == 2


def test_command_tells_what_it_made_and_leaves_a_full_folder_alone(tmp_path: Path, capsys) -> None:
    arguments = ["phantoms", "--output", str(tmp_path / "new"), "--cases", "1", "--held-back", "0"]
    assert main([*arguments, "--size", "16", "16", "16"]) == 0
    assert "1 case to train on" in capsys.readouterr().out
    before = sorted(tmp_path.rglob("*"))
    assert main(arguments) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("wrong", [["--cases", "0"], ["--size", "64", "64", "4"], ["--size", "64"], ["--sede", "1"]])
def test_wrong_arguments_are_one_line_and_write_nothing(tmp_path: Path, wrong: list[str], capsys) -> None:
    assert main(["phantoms", "--output", str(tmp_path / "new"), *wrong]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "new").exists()
