"""Sides that names of structures tell."""

import pytest

from swin_unetr.sides import sided_axes
from swin_unetr.tasks import BTCV


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
