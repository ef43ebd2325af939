"""Sides that names of structures tell."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_unetr.sides import mirror_image, sided_axes
from swin_unetr.tasks import BTCV, Task, exclusive


@pytest.mark.parametrize(
    "name",
    [
        "LeftKidney",
        "kidneyL",
        "leftlung",
        "lungright",
        "Lung_L1",
        "Kidney_Lt",
        "KIDNEY-RT",
        "parotid_l",
        "Parotid.R",
        "Right kidney",
        "kidney_right",
        "RKidney",
        "rt optic nerve",
        "LV",
        "RV",
        "LA",
        "ra blood",
        "LVMyo",
        "heart_la",
        "Left-Hippocampus",
        "ctx-lh-insula",
        "ren_sinister",
        "Niere links",
        "rein gauche",
        "femur_left_head",
        "LEFT_KIDNEY",
        "Lung_upper_lobe_left",
        "kidney (L)",
    ],
)
def test_sided(name: str) -> None:
    assert sided_axes(["background tissue", name])[0], name


@pytest.mark.parametrize(
    "names",
    [
        ["liver", "gallbladder", "larynx", "trachea", "Label1", "label 2", "L1", "R2"],
        ["lesion", "Lung", "rectum", "lymph node", "RECTUM", "LIVER", "Liver", "Rectum", "renal pelvis"],
        ["vertebrae_L1", "vertebrae L5", "Vertebra_L4", "disc_L2", "spinal canal"],
        ["TC", "WT", "ET", "necrosis", "cleft palate", "BrightSpot", "uprightness"],
        ["Anterior", "Posterior", "esophagus", "oesophagus", "aorta", "bladder", "brain", "colon"],
        ["lungs", "rung", "river", "tumor", "tumour", "vessel"],
        ["myocardium", "artery", "class3", "structure 12"],
        ["large bowel", "larger vessel", "lens", "retina", "rib", "lar", "ral"],
    ],
)
def test_not_sided(names: list[str]) -> None:
    assert not sided_axes(names)[0], [name for name in names if sided_axes([name])[0]]


def test_pairs_are_sides() -> None:
    assert sided_axes(["lkidney", "rkidney"])[0]
    assert sided_axes(["kidneyl", "kidneyr", "liver"])[0]
    assert not sided_axes(["lkidney", "liver"])[0]


def test_the_other_axes() -> None:
    assert sided_axes(["Anterior", "Posterior"]) == (False, True, False)
    assert sided_axes(["upperLobe", "lobe_inferior"]) == (False, False, True)
    assert sided_axes(["background"]) == (False, False, False)
    assert sided_axes(target.name for target in BTCV.targets) == (True, False, True)


def paired(*names: str, told: tuple[tuple[str, str], ...] = ()) -> tuple[set[frozenset[str]], set[str]]:
    """The pairs, and the names whose partner is unknown."""
    found = mirror_image(names, told)
    assert all(found.partners[found.partners[index]] == index for index in range(len(names)))  # twice is nothing
    return {frozenset(pair) for pair in found.pairs(names)}, set(found.unknown)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("left kidney", "right kidney"),
        ("LeftKidney", "RightKidney"),
        ("kidney_L", "kidney_R"),
        ("kidney_L", "Right Kidney"),
        ("L-Kidney", "kidney right"),
        ("Lt parotid", "Rt parotid"),
        ("parotid_lt", "parotid_rt"),
        ("parotid_l", "parotid_r"),
        ("Parotid-L", "Right Parotid"),
        ("Parotis_li", "Parotis_re"),
        ("Parotis links", "Parotis rechts"),
        ("linke Niere", "rechte Niere"),
        ("rein gauche", "rein droit"),
        ("Rein_G", "Rein_D"),
        ("riñón izquierdo", "riñón derecho"),
        ("rinon_izq", "rinon_der"),
        ("rene sx", "rene dx"),
        ("parotis sin", "parotis dex"),
        ("ren sinister", "ren dexter"),
        ("nerka lewa", "nerka prawa"),
        ("nerka L", "nerka P"),
        ("левая почка", "правая почка"),
        ("左肾", "右肾"),
        ("lkidney", "rkidney"),
        ("kidneyl", "kidneyr"),
        ("LKidney", "rkidney"),
        ("leftlung", "rightlung"),
        ("Left-Lateral-Ventricle", "Right-Lateral-Ventricle"),
        ("ctx-lh-insula", "ctx-rh-insula"),
        ("femur_left_head", "femur_right_head"),
        ("Lung_upper_lobe_left", "Lung_upper_lobe_right"),
        ("rib_left_7", "rib_right_7"),
        ("left_lung_lower_left", "right_lung_lower_right"),
    ],
)
def test_pairs_in_any_spelling(one: str, other: str) -> None:
    both = {frozenset((one, other))}
    for names in ((one, "spinal cord", other), (other, one), ("mandible", one, other, "larynx")):
        assert paired(*names) == (both, set()), names
        assert sided_axes(names)[0]


@pytest.mark.parametrize(
    ("names", "pairs", "unknown"),
    [
        (("left kidney", "liver"), set(), {"left kidney"}),
        (("left kidney", "kidney_L", "right kidney"), set(), {"left kidney", "kidney_L", "right kidney"}),
        (("LV", "RV", "myocardium"), set(), {"LV", "RV"}),
        (("lvmyo", "rvmyo"), set(), {"lvmyo", "rvmyo"}),
        (("left ventricle", "right ventricle"), set(), {"left ventricle", "right ventricle"}),
        (("left liver lobe", "right liver lobe"), set(), {"left liver lobe", "right liver lobe"}),
        (("left right thing", "right left thing"), set(), {"left right thing", "right left thing"}),
        (("class d", "class e", "class g"), set(), set()),
        (("rib_left_7", "rib_right_8"), set(), {"rib_left_7", "rib_right_8"}),
        (("vertebrae_L1", "vertebrae_R1"), set(), set()),
        (("TC", "WT", "ET"), set(), set()),
        (
            ("eye_l", "eye_r", "lens_l", "lens_r", "chiasm"),
            {frozenset(("eye_l", "eye_r")), frozenset(("lens_l", "lens_r"))},
            set(),
        ),
    ],
)
def test_what_cannot_be_told_is_unknown(names, pairs, unknown) -> None:
    assert paired(*names) == (pairs, unknown)


def test_pairs_that_are_given_come_first() -> None:
    names = ("structure 1", "structure 2", "eye_l", "eye_r", "LV", "RV")
    both = {frozenset(("structure 1", "structure 2")), frozenset(("eye_l", "eye_r"))}
    assert paired(*names, told=(("structure 1", "structure 2"),)) == (both, {"LV", "RV"})
    assert paired(*names, told=(("structure 1", "structure 2"), ("LV", "LV"), ("RV", "RV"))) == (both, set())
    # Against the names, too.
    against = paired("left a", "right a", "left b", "right b", told=(("left a", "right b"),))
    assert against == ({frozenset(("left a", "right b"))}, {"right a", "left b"})


def test_sides_of_pairs_that_are_given() -> None:
    assert sided_axes(["one", "two"], [("one", "two")])[0]
    assert not sided_axes(["LV", "RV"], [("LV", "LV"), ("RV", "RV")])[0]
    assert sided_axes(["LV", "RV"])[0]


SIDES = [
    ("left ", "right "),
    ("L_", "R_"),
    ("Lt ", "Rt "),
    ("linke ", "rechte "),
    ("gauche ", "droite "),
    ("sin-", "dex-"),
]
ORGANS = ["kidney", "parotid gland", "eye", "femur head", "lung lower lobe", "optic nerve"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_every_organ_finds_its_other_side_however_each_is_spelt(data: st.DataObject) -> None:
    organs = data.draw(st.lists(st.sampled_from(ORGANS), min_size=1, unique=True))
    names, pairs = ["spinal cord", "mandible"], set()
    for organ in organs:
        spelt = [
            data.draw(st.sampled_from([f"{side[place]}{organ}", f"{organ} {side[place]}".strip(" -_")]))
            for place, side in enumerate(data.draw(st.tuples(st.sampled_from(SIDES), st.sampled_from(SIDES))))
        ]
        change = data.draw(st.sampled_from([str, str.lower, str.upper]))
        spelt = [change(name) for name in spelt]
        names += spelt
        pairs.add(frozenset(spelt))
    assert paired(*data.draw(st.permutations(names))) == (pairs, set())


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ((("liver", "spleen"),), "'spleen' is no structure"),
        ((("left kidney", "right kidney"), ("left kidney", "liver")), "'left kidney' is in two pairs"),
    ],
)
def test_pairs_of_a_task_are_of_its_structures(pairs, words: str) -> None:
    targets = exclusive(("left kidney", "right kidney", "liver"))
    with pytest.raises(ValueError, match=words):
        Task(name="t", modality="CT", channels=("CT",), targets=targets, pairs=pairs)
