"""Scans without labels of an arm: test cases are refused by their voxels, and what a search judges by is left out."""

import shutil
from pathlib import Path

import nibabel
import pytest
from studies import RECIPE, write_study

from swin_unetr.datasets.found_scans import list_scans
from swin_unetr.errors import ConfigError
from swin_unetr.study.check import check_arms
from swin_unetr.study.config import ArmConfig, DataConfig, StudyConfig
from swin_unetr.study.data import StudyData, open_data
from swin_unetr.study.read import read_study
from swin_unetr.study.unlabelled import check_unlabelled, paths_of


@pytest.fixture
def data(phantom_data: Path, tmp_path: Path) -> StudyData:
    """The phantoms, of which number 1 is the test."""
    config = DataConfig(folder=str(phantom_data), held_back=("phantom_001",))
    return open_data("phantoms", config, tmp_path / "study", tmp_path / "store")


@pytest.fixture
def more(phantom_data: Path, tmp_path: Path) -> Path:
    """Two scans of nobody's, and training case 2 under another name."""
    folder = tmp_path / "more"
    shutil.copytree(phantom_data / "imagesTs", folder)
    nibabel.save(nibabel.load(phantom_data / "imagesTr" / "phantom_002.nii.gz"), folder / "copy.nii")
    return folder


def test_a_test_case_is_refused_and_training_cases_are_not(
    phantom_data: Path, data: StudyData, more: Path, tmp_path: Path
) -> None:
    arm = ArmConfig(unlabelled=str(more))
    (line,) = check_unlabelled("taught", arm, {"phantoms": data}, (0,), tmp_path / "store")
    assert line == "taught: 3 scans without labels, none of them a test case by its voxels"
    other = tmp_path / "other"
    other.mkdir()
    nibabel.save(nibabel.load(phantom_data / "imagesTr" / "phantom_001.nii.gz"), other / "renamed.nii")
    study = StudyConfig(data={"phantoms": DataConfig()}, arms={"taught": ArmConfig(unlabelled=str(other))})
    with pytest.raises(ConfigError, match=r"taught\.unlabelled: .*renamed\.nii: has the same voxels as phantom"):
        check_arms(study, {"phantoms": data}, tmp_path)


def test_a_training_does_not_learn_from_what_it_is_judged_by(data: StudyData, more: Path, tmp_path: Path) -> None:
    arm = ArmConfig(unlabelled=str(more))
    store, listed = tmp_path / "store", tmp_path / "listed"
    assert paths_of(arm, data, ("phantom_001",), listed, store) == (str(more),)
    assert not listed.exists()
    (path,) = paths_of(arm, data, ("phantom_002", "phantom_003"), listed, store)
    assert sorted(case.images[0].name for case in list_scans([path]).cases) == [
        file.name for file in sorted(more.glob("*.nii.gz"))
    ]
    assert paths_of(ArmConfig(), data, ("phantom_002",), listed, store) == ()


def test_a_study_file_names_it_with_variables_and_refuses_what_is_not_checked(
    data: StudyData, phantom_data: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("MORE", "somewhere")
    file = write_study(tmp_path, {"taught": {"recipe": str(tmp_path / "tiny.yaml"), "unlabelled": "$MORE/scans"}})
    study = read_study(file, {"phantoms": str(phantom_data)})
    assert study.arms["taught"].unlabelled == "somewhere/scans"
    for values, words in (
        ({"unlabelled": {"paths": ["here"]}}, "give unlabelled of the arm"),
        ({"transfer": {"rate": 0.1}}, r"transfer\.rate is for weights of init"),
    ):
        (tmp_path / "tiny.yaml").write_text(str({**RECIPE, **values}).replace("False", "false"))
        arms = {"x": ArmConfig(recipe=str(tmp_path / "tiny.yaml"))}
        with pytest.raises(ConfigError, match=words):
            check_arms(StudyConfig(data=study.data, arms=arms, budget=study.budget), {"phantoms": data}, tmp_path)
    with pytest.raises(ValueError, match=r"unlabelled\.paths is given by unlabelled of the arm"):
        ArmConfig(overrides={"unlabelled.paths": ["here"]})
