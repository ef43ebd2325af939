"""The table of codes against pydicom's dictionary of DICOM's context groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from swin_unetr.config_io import to_dict
from swin_unetr.datasets.description import read_description, task_from
from swin_unetr.dicom.terminology import PRIVATE, code_of, find_term, is_private, keys, private_names, table
from swin_unetr.errors import ConfigError
from swin_unetr.tasks import BTCV, Task, Term, brats, exclusive

concepts = pytest.importorskip("pydicom.sr._concepts_dict").concepts
#: Codes outside DICOM's context groups: of the implementation guide "Body and Organ Analysis" (FHIR).
ELSEWHERE = {"110765007"}
OPENKBP = ("brainstem", "spinal cord", "right parotid", "left parotid", "oesophagus", "larynx", "mandible")
ACDC = ("right ventricle", "myocardium", "left ventricle")
SIDES = ("left", "right")
#: The 117 classes of TotalSegmentator v2, as it names them.
TOTAL = [
    "spleen",
    "kidney_right",
    "kidney_left",
    "gallbladder",
    "liver",
    "stomach",
    "pancreas",
    "adrenal_gland_right",
    "adrenal_gland_left",
    "lung_upper_lobe_left",
    "lung_lower_lobe_left",
    "lung_upper_lobe_right",
    "lung_middle_lobe_right",
    "lung_lower_lobe_right",
    "esophagus",
    "trachea",
    "thyroid_gland",
    "small_bowel",
    "duodenum",
    "colon",
    "urinary_bladder",
    "prostate",
    "kidney_cyst_left",
    "kidney_cyst_right",
    "sacrum",
    "vertebrae_S1",
    "heart",
    "aorta",
    "pulmonary_vein",
    "brachiocephalic_trunk",
    "subclavian_artery_right",
    "subclavian_artery_left",
    "common_carotid_artery_right",
    "common_carotid_artery_left",
    "brachiocephalic_vein_left",
    "brachiocephalic_vein_right",
    "atrial_appendage_left",
    "superior_vena_cava",
    "inferior_vena_cava",
    "portal_vein_and_splenic_vein",
    "iliac_artery_left",
    "iliac_artery_right",
    "iliac_vena_left",
    "iliac_vena_right",
    "spinal_cord",
    "brain",
    "skull",
    "sternum",
    "costal_cartilages",
]
TOTAL += [
    f"vertebrae_{part}{number}" for part, last in (("L", 5), ("T", 12), ("C", 7)) for number in range(1, last + 1)
]
TOTAL += [f"rib_{side}_{number}" for side in SIDES for number in range(1, 13)]
TOTAL += [
    f"{bone}_{side}"
    for bone in [
        "humerus",
        "scapula",
        "clavicula",
        "femur",
        "hip",
        "gluteus_maximus",
        "gluteus_medius",
        "gluteus_minimus",
    ]
    for side in SIDES
]
TOTAL += [f"{muscle}_{side}" for muscle in ("autochthon", "iliopsoas") for side in SIDES]


def _codes() -> dict[str, set[tuple[str, str]]]:
    """Values with their meanings, by scheme."""
    return {
        scheme: {(value, meaning) for entry in entries.values() for value, (meaning, _) in entry.items()}
        for scheme, entries in concepts.items()
    }


def test_every_code_is_one_of_dicom_or_private() -> None:
    known = _codes()
    for term in table():
        for text in filter(None, (term.category, term.type, term.modifier, term.region)):
            code = code_of(text)
            if code.scheme != PRIVATE and code.value not in ELSEWHERE:
                assert (code.value, code.meaning) in known[code.scheme], text
            assert len(code.meaning) <= 64


def test_no_name_belongs_to_two_terms_and_no_two_terms_are_coded_alike() -> None:
    names = [name for term in table() for name in keys(term)]
    assert len(set(names)) == len(names)
    coded = [(term.type, term.modifier, term.region) for term in table()]
    assert len(set(coded)) == len(coded)


def test_the_published_tasks_are_covered() -> None:
    assert len(TOTAL) == len(set(TOTAL)) == 117
    for names in (TOTAL, OPENKBP, ACDC, [target.name for target in (*BTCV.targets, *brats().targets)]):
        terms = [find_term(name) for name in names]
        assert all(term in table() for term in terms), [
            n for n, t in zip(names, terms, strict=True) if t not in table()
        ]
        assert len(set(terms)) == len(names)


def test_private_codes_are_those_that_dicom_lacks() -> None:
    lacking = {"rib", "hip", "gluteus", "autochthon", "iliopsoas", "vertebrae_S1"}
    assert all(any(word in name for word in lacking) for name in private_names(TOTAL))
    assert private_names(target.name for target in BTCV.targets) == []
    assert private_names(["TC", "WT", "ET"]) == ["TC"]


@pytest.mark.parametrize("name", ["right kidney", "kidney_right", "Kidney, Right"])
def test_sides_are_modifiers(name: str) -> None:
    term = find_term(name)
    assert (code_of(term.type).value, code_of(term.modifier).value) == ("64033007", "24028007")


def test_a_task_adds_and_replaces_terms() -> None:
    own = Term(name="spleen", type="SCT 1 mine", synonyms=("milz",))
    task = Task(name="t", modality="CT", channels=("CT",), targets=exclusive(["spleen", "thing"]), terms=(own,))
    assert find_term("spleen", task) == find_term("Milz", task) == own
    assert is_private(find_term("thing", task))
    assert find_term("thing").type == find_term("THING").type.replace("THING", "thing")


def test_terms_of_a_task_yaml_are_read_and_written_back(tmp_path: Path) -> None:
    file = tmp_path / "task.yaml"
    file.write_text(
        "name: t\nmodality: CT\nchannels: [CT]\ntargets: [{name: milz, labels: [1], write_as: 1}]\n"
        "terms:\n- {name: milz, type: SCT 78961009 Spleen, colour: '#aa3355'}\n"
    )
    task, _ = read_description(file)
    assert find_term("Milz", task).colour == "#aa3355"
    assert task_from(to_dict(task), source="again") == task
    file.write_text(file.read_text().replace("SCT 78961009 Spleen", "SCT 78961009"))
    with pytest.raises(ConfigError, match=r"task\.yaml.*a code is a scheme"):
        read_description(file)


def test_a_name_that_means_something_in_one_task_only() -> None:
    hippocampus = Task(name="Task04_Hippocampus", modality="MR", channels=("MR",), targets=exclusive(["Anterior"]))
    assert code_of(find_term("Anterior", hippocampus).modifier).meaning == "Anterior"
    assert is_private(find_term("Anterior"))


@pytest.mark.parametrize("wrong", [{"type": "78961009"}, {"type": "SCT 1 a", "colour": "red"}])
def test_a_wrong_term_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"code is a scheme|no colour"):
        Term(name="a", **wrong)
