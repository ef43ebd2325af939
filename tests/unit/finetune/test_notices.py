"""What a fine-tuning says of mirrored sides."""

from dataclasses import replace

import pytest

from finetune.notices import of_exchanged_sides, of_mirrored_sides
from swin_unetr.config import AugmentConfig
from swin_unetr.tasks import Task, exclusive

EXCHANGED = AugmentConfig(exchange_sides=True)


def task(*names: str, pairs: tuple[tuple[str, str], ...] = ()) -> Task:
    return Task(name="t", modality="CT", channels=("CT",), targets=exclusive(names), pairs=pairs)


def mirrored(augment: AugmentConfig, of: Task) -> str:
    return "\n".join(of_mirrored_sides(augment, of))


def test_mirrored_sides_are_said_unless_they_are_exchanged() -> None:
    kidneys = task("kidney_l", "liver", "kidney_r")
    assert "augment.flip_probability mirrors left and right" in mirrored(AugmentConfig(), kidneys)
    assert not mirrored(EXCHANGED, kidneys)
    assert of_exchanged_sides(EXCHANGED, kidneys) == "mirrored along X with exchanged labels: kidney_l and kidney_r"
    for augment in (AugmentConfig(), replace(EXCHANGED, flip_probability=(0, 0.5, 0.5))):
        assert of_exchanged_sides(augment, kidneys) == ""
    assert "changes nothing" in mirrored(replace(EXCHANGED, flip_probability=(0, 0, 0)), kidneys)
    assert not mirrored(replace(AugmentConfig(), flip_probability=(0, 0.5, 0.5)), kidneys)


def test_sides_without_partner_are_listed_and_x_is_not_mirrored() -> None:
    heart = task("LV", "RV", "lung_l", "lung_r")
    line = mirrored(EXCHANGED, heart)
    assert "crops are not mirrored along X: the mirror image of LV, RV is not known" in line
    assert "\n" not in line
    assert of_exchanged_sides(EXCHANGED, heart) == ""
    given = replace(heart, pairs=(("LV", "LV"), ("RV", "RV")))
    assert not mirrored(EXCHANGED, given)
    assert of_exchanged_sides(EXCHANGED, given).endswith(": lung_l and lung_r")


def test_pairs_that_are_given_are_sides() -> None:
    given = task("one", "two", pairs=(("one", "two"),))
    assert "mirrors left and right" in mirrored(AugmentConfig(), given)
    assert not mirrored(AugmentConfig(), task("one", "two"))
    assert of_exchanged_sides(EXCHANGED, given).endswith(": one and two")


@pytest.mark.parametrize("augment", [AugmentConfig(), EXCHANGED])
def test_mirrors_of_monai_exchange_nothing(augment: AugmentConfig) -> None:
    plain = replace(augment, exchange_sides=False, flip_probability=(0, 0, 0))
    flips = replace(augment, monai=({"RandFlipd": {"keys": ["image", "label"]}},))
    for axes, said in ((1, False), ([1, 2], False), ([0, 1], True), (-3, True), (None, True)):
        along = replace(plain, monai=({"RandFlipd": {"spatial_axis": axes}},))
        assert bool(mirrored(along, task("eye_l", "eye_r"))) == said
    assert "RandFlipd of augment.monai mirrors left and right" in mirrored(flips, task("eye_l", "eye_r"))
    assert not mirrored(flips, task("liver"))


def test_one_warning_does_not_hide_another() -> None:
    flips = replace(AugmentConfig(), monai=({"RandFlipd": {"keys": ["image", "label"]}},))
    of_monai, of_ours = of_mirrored_sides(flips, task("eye_l", "eye_r"))
    assert "augment.monai mirrors left and right" in of_monai
    assert "augment.flip_probability mirrors left and right" in of_ours
