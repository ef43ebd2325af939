"""Doctor finds what is planted: a plain folder of CT phantoms, each with one defect, in every file type."""

from __future__ import annotations

from pathlib import Path

import planted_files  # noqa: F401  # these three fill the table
import planted_grids  # noqa: F401
import planted_voxels  # noqa: F401
import pytest
from ct_samples import make_sample, write_dicom
from planted import PLANTED

from swin_unetr.doctor.diagnosis import Diagnosis, diagnose
from swin_unetr.phantoms import LABELS

HEALTHY = 12
TASK = "name: abdomen\nmodality: CT\nchannels: [CT]\ntargets:\n" + "".join(
    f"  - {{name: {name}, labels: [{value}], write_as: {value}}}\n" for value, name in enumerate((*LABELS, "ghost"), 1)
)


@pytest.fixture(scope="module")
def diagnosis(tmp_path_factory) -> Diagnosis:
    root = tmp_path_factory.mktemp("doctor") / "ct"
    kinds = (".nii.gz", ".nrrd", ".mha", ".hdr", ".nii")
    for index in range(HEALTHY):
        sample = make_sample(f"healthy_{index:02d}", root, index)
        end = kinds[index % len(kinds)]
        sample.image(end=end), sample.label(end=end if end != ".nii" else ".nii.gz")
    for index, (name, (_, _, function)) in enumerate(sorted(PLANTED.items()), HEALTHY):
        function(make_sample(name, root, 2 * index + 1 if name.startswith("dicom") else 2 * index))
    write_dicom(make_sample("healthy_dicom", root, 999))
    (root / "task.yaml").write_text(TASK)
    return diagnose(root, tolerance_mm=0.05, workers=1)


def found(diagnosis: Diagnosis) -> dict[str, set[str]]:
    """File below the root to codes."""
    codes: dict[str, set[str]] = {}
    for finding in diagnosis.findings:
        file = "" if finding.file is None else finding.file.relative_to(diagnosis.survey.root).as_posix()
        codes.setdefault(file, set()).add(finding.code)
    return codes


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PLANTED))
def test_a_planted_defect_is_found(diagnosis, name: str) -> None:
    code, file, _ = PLANTED[name]
    assert code in found(diagnosis).get(file, set())


def test_at_least_forty_are_planted() -> None:
    assert len(PLANTED) >= 40
    ends = {Path(file).suffix for _, file, _ in PLANTED.values()}
    assert ends >= {".gz", ".nii", ".nrrd", ".mha", ".hdr", ".dcm"}


def test_nothing_else_is_found(diagnosis) -> None:
    planted = {(file, code) for code, file, _ in PLANTED.values()}
    others = {(file, code) for file, codes in found(diagnosis).items() for code in codes} - planted
    assert others == {("", "class-absent")}  # the ghost of the task
    assert not [finding for finding in diagnosis.findings if "healthy" in str(finding.file)]
