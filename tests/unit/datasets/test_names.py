"""Which patient a scan is of, by its name; and which channel a name means."""

import json
from pathlib import Path

import pytest
from layouts import touch

from swin_unetr.datasets import read_dataset
from swin_unetr.datasets.channels import match_channels
from swin_unetr.datasets.names import patients_by_names


@pytest.mark.parametrize(
    ("scans", "patients"),
    [
        ("BraTS-GLI-00000-000 BraTS-GLI-00000-100 BraTS-GLI-00001-000", "BraTS-GLI-00000 = BraTS-GLI-00001"),
        ("BraTS-MEN-RT-0001-1 BraTS-MEN-RT-0001-2 BraTS-MEN-RT-0002-1", "BraTS-MEN-RT-0001 = BraTS-MEN-RT-0002"),
        ("Brats18_CBICA_AAB_1 Brats18_CBICA_AAB_2 Brats18_TCIA01_1_1", "Brats18_CBICA_AAB = Brats18_TCIA01_1"),
        ("patient001_frame01 patient001_frame12 patient002_frame01", "patient001 = patient002"),
        ("sub-01_ses-1 sub-01_ses-2_T1w sub-02_ses-1", "sub-01 = sub-02"),
        ("OAS1_0001_MR1 OAS1_0001_MR2 OAS1_0002_MR1", "OAS1_0001 = OAS1_0002"),
        ("UPENN-GBM-00001_11 UPENN-GBM-00001_21 UPENN-GBM-00002_11", "UPENN-GBM-00001 = UPENN-GBM-00002"),
        ("10000_1000000 10000_1000001 10001_1000002", "10000 = 10001"),
        ("100002_T0 100002_T1 100004_T0", "100002 = 100004"),
        (
            "PatientID_0003_Timepoint_1 PatientID_0003_Timepoint_2 PatientID_0004_Timepoint_1",
            "PatientID_0003 = PatientID_0004",
        ),
        ("P7-visit1_frame3 P7-visit2 P8_V1", "P7 = P8"),
        ("K5_2019-03-02 K5_20200911 K6_2020.09.11", "K5 = K6"),
        ("UCSF-PDGM-0429 UCSF-PDGM-0429_FU001d UCSF-PDGM-0433_FU007d", "UCSF-PDGM-0429 = UCSF-PDGM-0433"),
        ("Patient-001_week-012-1 Patient-001_week-012-2 Patient-002_week-000", "Patient-001 = Patient-002"),
        ("lung3_pre lung3_post lung4_T1", "lung3 = lung4"),
    ],
)
def test_patients(scans: str, patients: str) -> None:
    first, second = patients.split(" = ")
    one, again, other = scans.split()
    assert patients_by_names([one, again, other]) == {one: first, again: first, other: second}


@pytest.mark.parametrize(
    "scans",
    [
        "BraTS20_Training_001 BraTS20_Training_002",
        "BraTS2021_00000 BraTS2021_00002",
        "BraTS-GLI-00000-000 BraTS-GLI-00001-000",
        "hippocampus_001 hippocampus_003",
        "img0001 img0002",
        "case_00001 case_00002",
        "s0011 s0012",
        "LIDC-IDRI-0001 LIDC-IDRI-0002",
        "1.2.840.1 1.2.840.2",
        "visit1 visit2",
        "scan_t1 scan_t2",
        "amos_0001 amos_0002",
        "volume-0 volume-1",
        "ct_train_1001 ct_train_1002",
        "FLARE22_Tr_0001 FLARE22_Tr_0002",
        "CHUM-001 CHUM-002",
        "0001_1 0001_2",
        "ds7_t01 ds7_t02 ds7_t03",
        "site1_scan1 site1_scan2",
        "liver_1_test liver_1_tesla",
        "liver_1 liver_1_pred",
    ],
)
def test_scans_that_are_not_known_to_be_of_one_patient(scans: str) -> None:
    assert patients_by_names(scans.split()) == {}


def nnunet(root: Path, cases: list[str]) -> Path:
    touch(root, *(f"imagesTr/{case}_0000.nii.gz" for case in cases), *(f"labelsTr/{case}.nii.gz" for case in cases))
    values = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "x": 1}, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(values))
    return root


def decathlon(root: Path, cases: list[str]) -> Path:
    entries = [{"image": f"imagesTr/{case}.nii.gz", "label": f"labelsTr/{case}.nii.gz"} for case in cases]
    touch(root, *(entry[key] for entry in entries for key in entry))
    (root / "dataset.json").write_text(json.dumps({"training": entries, "labels": {"1": "x"}, "modality": {"0": "CT"}}))
    return root


def plain(root: Path, cases: list[str]) -> Path:
    return touch(root, *(f"images/{case}.nii" for case in cases), *(f"labels/{case}.nii" for case in cases))


def brats(root: Path, cases: list[str]) -> Path:
    return touch(root, *(f"{case}/{case}-{name}.nii.gz" for case in cases for name in ("t2f", "t1n", "seg")))


@pytest.mark.parametrize("layout", [nnunet, decathlon, plain, brats])
def test_every_layout_keeps_the_scans_of_a_patient_together(tmp_path: Path, layout) -> None:
    cases = [f"BraTS-GLI-{patient:05d}-{scan:03d}" for patient in (0, 1) for scan in (100, 101)]
    dataset = read_dataset(layout(tmp_path, cases), require_labels=True)
    assert dataset.groups == {case: case[:-4] for case in cases}
    assert "4 scans of 2 patients, by their names (a patients.csv overrules them)" in dataset.summary()
    (tmp_path / "patients.csv").write_text("case,patient\n" + "".join(f"{case},{case}\n" for case in cases))
    dataset = read_dataset(tmp_path, require_labels=True)
    assert dataset.groups == {case: case for case in cases}
    assert "by their names" not in dataset.summary()


@pytest.mark.parametrize(
    ("there", "wanted", "places"),
    [
        ("FLAIR T1w", "FLAIR T1w", (0, 1)),
        ("t1 flair", "FLAIR T1w", (1, 0)),
        ("T2-FLAIR T1", "FLAIR T1w", (0, 1)),
        ("t1c t1n t2f t2w", "FLAIR T1ce T1 T2", (2, 0, 1, 3)),
        ("T1_Gd MR-T1 T2W T2/FLAIR", "FLAIR T1ce T1 T2", (3, 0, 1, 2)),
        ("CT PET", "pet", (1,)),
        ("MRI", "MR", (0,)),
        ("channel_b channel_a", "Channel-A Channel-B", (1, 0)),
        ("T2 ADC", "FLAIR T1w", None),
        ("T1 T1w", "T1", (0,)),
        ("t1n T1w", "T1", None),
        ("T1 T2", "T1 T1w", None),
        ("", "CT", None),
    ],
)
def test_channels_by_their_meaning(there: str, wanted: str, places: tuple[int, ...] | None) -> None:
    assert match_channels(there.split(), wanted.split()) == places
