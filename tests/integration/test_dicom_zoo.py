"""Real DICOM of many makers: read as pydicom and highdicom read it, to the voxel, or refused for the right reason."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SEGMENTATION, PLACE, COLOUR = "is a segmentation (SEG), not a scan", "gives no place in the patient", "colour picture"
FRAMES = "holds 10 frames without a place for each"
#: What is read: its voxels, by file or folder.
READ = {
    "dcmqi_seg/segmentations/23x38x3/image": [23, 38, 3],
    "dcmqi_seg/segmentations/23x38x3/multiframe/mf.dcm": [23, 38, 3],
    "dcmqi_seg/segmentations/24x38x3/image": [24, 38, 3],
    "dcmqi_seg/segmentations/24x38x3/multiframe/mf.dcm": [24, 38, 3],
    "dcmqi_seg/segmentations/ct-3slice": [512, 512, 3],
    **{f"enhanced_mr/In/Siemens/XA10/6_{number}.dcm": [64, 64, 6] for number in range(1, 5)},
    "gantry_tilt_ct/In/GE": [512, 512, 14],
    "mirp_dce_seg/UCSF-BR-06/image_dce_ser": [256, 256, 60],
    "mirp_seg_dicom4qi/data_5/image": [23, 38, 3],
    "pydicom_data/693_J2KR.dcm": [512, 512, 1],
    "pydicom_data/MR2_J2KI.dcm": [1024, 1024, 1],
    "pydicom_data/MR2_J2KR.dcm": [1024, 1024, 1],
    "pydicom_data/eCT_Supplemental.dcm": [512, 512, 2],
    "pydicom_data/parametric_map_double_float.dcm": [128, 128, 1],
    "pydicom_data/parametric_map_float.dcm": [128, 128, 1],
    **{f"transfer_syntaxes/In/{number}.dcm": [384, 384, 1] for number in range(1, 10)},
}
#: What is refused: words of the reason.
REFUSED = {
    "dcmqi_seg/segmentations/liver.dcm": SEGMENTATION,
    "dcmqi_seg/segmentations/partial_overlaps.dcm": SEGMENTATION,
    "dcmqi_seg/segmentations/sparse-labelmap-noppv.dcm": "is a Label Map Segmentation (SEG), not a scan",
    "dcmqi_seg/segmentations/sparse-labelmap-ppv5.dcm": "is a Label Map Segmentation (SEG), not a scan",
    "dcmqi_seg/sr-example/rwvm.dcm": "is a Real World Value Mapping, not a scan",
    "dcmqi_seg/sr-example/seg.dcm": SEGMENTATION,
    "dcmqi_seg/sr-example/sr.dcm": "is a report (SR), not a scan",
    "enhanced_mr/In/Philips/IM_0027_fMAP.dcm": "holds 2 whole volumes, by EffectiveEchoTime (1.52, 0.0)",
    "enhanced_mr/In/Siemens/XA10": "holds 4 whole volumes, each in its own file",
    "mirp_dce_seg/UCSF-BR-06/mask/1-1.dcm": SEGMENTATION,
    "mirp_seg_dicom4qi/data_5/mask/mask.dcm": SEGMENTATION,
    **{
        f"pydicom_data/{name}.dcm": COLOUR
        for name in (
            *("HTJ2KLossless_08_RGB", "HTJ2K_08_RGB", "JLSL_RGB_ILV0", "JLSL_RGB_ILV1", "JLSL_RGB_ILV2"),
            *("JLSN_RGB_ILV0", "US1_J2KI", "US1_J2KR"),
        )
    },
    **{
        f"pydicom_data/{name}.dcm": PLACE
        for name in (
            *("JLSL_08_07_0_1F", "JLSL_16_15_1_1F", "JPEG2000_UNC", "JPGLosslessP14SV1_1s_1f_8b"),
            *("RG1_J2KI", "RG3_J2KI", "RG3_J2KR"),
        )
    },
    **{
        f"pydicom_data/emri_small{name}.dcm": FRAMES
        for name in (
            *("", "_RLE", "_big_endian", "_jpeg_2k_lossless", "_jpeg_2k_lossless_too_short", "_jpeg_ls_lossless"),
        )
    },
    **{
        f"pydicom_data/liver{name}.dcm": SEGMENTATION
        for name in (
            *("", "_deflate", "_expb", "_j2k", "_rle"),
            *(f"_nonbyte_aligned{ending}" for ending in ("", "_deflate", "_j2k", "_rle")),
        )
    },
    "transfer_syntaxes/In": "lies where 1.dcm does",
}


@pytest.fixture(scope="module")
def table(project_root: Path, test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    data = test_data / "dicom_zoo"
    if not data.is_dir():
        pytest.skip(f"no DICOM files at {data}")
    output = tmp_path_factory.mktemp("zoo") / "zoo.json"
    command = [sys.executable, project_root / "scripts" / "check" / "dicom_zoo.py", "--data", data, "--output", output]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(project_root)})
    assert done.returncode == 0, done.stderr
    assert "9 encodings of one slice give 1 array" in done.stdout
    return {row["path"]: row for row in json.loads(output.read_text())}


def test_every_file_is_read_or_refused_as_it_should_be(table: dict[str, dict[str, Any]]) -> None:
    assert {path: row["shape"] for path, row in table.items() if row["read"]} == READ
    refused = {path: row["refused"] for path, row in table.items() if not row["read"]}
    assert set(refused) == set(REFUSED)
    for path, words in REFUSED.items():
        assert refused[path].startswith(f"{path}: ")
        assert words in refused[path]
        assert "\n" not in refused[path]


def test_voxels_and_positions_are_those_of_the_other_libraries(table: dict[str, dict[str, Any]]) -> None:
    for path in READ:
        row = table[path]
        assert row["position_mm"] < 1e-4, path
        if "cannot decode" not in row["oracle"]:
            assert row["voxels"] == 0, path
