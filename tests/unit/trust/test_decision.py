"""Decisions on simulated cases whose truth is known."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from swin_unetr.files import plain_json
from swin_unetr.trust.calibration import Calibration, load_calibration, save_calibration
from swin_unetr.trust.decision import Trust, decide, triage_order, trust_from
from swin_unetr.trust.distances import FeatureBank
from swin_unetr.trust.fit import KnownCase, fit_structure, held_out_predictions, known_risks
from swin_unetr.trust.signals import CaseSignals, StructureSignals, ZoneMeans

NAMES = ("liver", "spleen")
BANK = FeatureBank.of(np.random.default_rng(9).normal(size=(40, 12)))


def structure(rng: np.random.Generator, dice: float, volume: float = 100.0) -> StructureSignals:
    """Signals that get worse as the Dice does, with noise."""
    doubt = float(np.clip(1 - dice + rng.normal(0, 0.03), 0, 1))
    zones = ZoneMeans(inside=doubt, border=min(1, doubt + 0.3), outside=doubt / 10)
    margins = ZoneMeans(inside=1 - doubt, border=0.5, outside=1 - doubt / 10)
    return StructureSignals(
        voxels=1000, volume_ml=volume, components=1, entropy=zones, margin=margins, expected_dice=1 - doubt
    )


def case(number: int, rng: np.random.Generator, quality: float, shift: float = 0.0) -> KnownCase:
    dice = {name: float(np.clip(quality + rng.normal(0, 0.03), 0, 1)) for name in NAMES}
    volumes = {name: float(rng.lognormal(4.6, 0.2)) for name in NAMES}
    features = rng.normal(size=12) + shift
    signals = CaseSignals(
        structures={name: structure(rng, dice[name], volumes[name] * 0.95) for name in NAMES},
        features=(tuple(map(float, features)),),
    )
    distances = {
        "mahalanobis": float(BANK.mahalanobis(features[None])[0]),
        "nearest": float(BANK.nearest(features[None])[0]),
    }
    return KnownCase(
        case=str(number), patient=str(number), signals=signals, distances=distances, dice=dice, reference_ml=volumes
    )


def cases(number: int, seed: int, low: float = 0.85, high: float = 0.95) -> list[KnownCase]:
    rng = np.random.default_rng(seed)
    return [case(index, rng, rng.uniform(low, high)) for index in range(number)]


def calibrated(known: list[KnownCase]) -> Calibration:
    structures = {name: fit_structure(name, known, 0.1) for name in NAMES}
    risks, values = known_risks(known, structures)
    names = ("mahalanobis", "nearest")
    return Calibration(
        weights="w", windows="v", source="simulated", cases=len(known), patients=len(known), miss=0.1,
        false_alarms=0.1, structures=structures, risks=risks, known_risks=values, bank=BANK,
        distances={name: np.array([of.distances[name] for of in known]) for name in names},
    )  # fmt: skip


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrated(cases(60, seed=0))


def test_false_alarms_bounds_and_intervals_are_as_stated_on_new_cases(calibration) -> None:
    new = cases(300, seed=1)
    trusts = [decide(of.signals, [calibration], ()) for of in new]
    assert np.mean([of.decision != "accept" for of in trusts]) <= 0.16  # 0.1, one calibration of 60 cases
    held = [
        of.dice[name] >= trust.structures[name].dice_bound
        for of, trust in zip(new, trusts, strict=True)
        for name in NAMES
    ]
    assert 0.85 <= np.mean(held) <= 0.96
    inside = [
        low <= of.reference_ml[name] <= high
        for of, trust in zip(new, trusts, strict=True)
        for name in NAMES
        for low, high in [trust.structures[name].volume_interval_ml]
    ]
    assert np.mean(inside) >= 0.85


def test_poor_cases_are_flagged_and_come_first(calibration) -> None:
    rng = np.random.default_rng(2)
    new = [*cases(100, seed=3), *(replace(case(0, rng, 0.5), case=f"poor{index}") for index in range(20))]
    trusts = {of.case: decide(of.signals, [calibration], ()) for of in new}
    poor = [name.startswith("poor") for name in trusts]
    assert all(trusts[name].decision != "accept" for name in trusts if name.startswith("poor"))
    order = triage_order(trusts)
    assert roc_auc_score(poor, [-order.index(name) for name in trusts]) > 0.97
    words = next(iter(trusts[name] for name in trusts if name.startswith("poor"))).reasons
    assert any("predicted Dice" in word and "usually" in word for word in words)


def test_features_far_from_training_are_rejected_and_named(calibration) -> None:
    found = decide(case(0, np.random.default_rng(4), 0.9, shift=8.0).signals, [calibration], ())
    assert found.decision == "reject"
    assert any("features unlike the training scans" in reason for reason in found.reasons)


def test_a_structure_that_nearly_every_case_has_is_missed(calibration) -> None:
    of = case(0, np.random.default_rng(5), 0.9)
    gone = replace(of.signals.structures["liver"], voxels=0, volume_ml=0.0, components=0, expected_dice=math.nan)
    signals = replace(of.signals, structures={**of.signals.structures, "liver": gone})
    found = decide(signals, [calibration], ())
    assert found.decision == "reject"
    assert "liver was not found; 100% of the cases had it" in found.reasons
    assert found.structures["liver"].predicted_dice is None


def test_members_that_disagree_are_reviewed(calibration) -> None:
    of = case(0, np.random.default_rng(6), 0.92)
    features = of.signals.features * 2
    for agreement, decision in ((0.95, "accept"), (0.61, "review")):
        structures = {name: replace(each, agreement=agreement) for name, each in of.signals.structures.items()}
        signals = replace(of.signals, structures=structures, compared="members", features=features)
        found = decide(signals, [calibration, calibration], ())
        assert found.decision == decision
        assert ("the members disagree on liver (pairwise Dice 0.61)" in found.reasons) == (decision == "review")


def test_a_scan_of_another_kind_is_rejected_with_and_without_a_calibration(calibration) -> None:
    of = case(0, np.random.default_rng(7), 0.92).signals
    for known in (calibration, None):
        found = decide(of, [known], ("looks like a label map",))
        assert (found.decision, found.reasons[0]) == ("reject", "looks like a label map")
    assert decide(of, [None], ()).decision is None


def test_fewer_than_fifteen_cases_give_no_dice_and_say_why() -> None:
    few = calibrated(cases(14, seed=8))
    found = decide(case(0, np.random.default_rng(8), 0.9).signals, [few], ())
    assert (found.decision, found.predicted_dice) == (None, None)
    assert found.reasons == (
        "no predicted Dice and no decision: the model was calibrated on 14 cases of 14 patients, and 15 are needed",
    )
    assert calibrated(cases(15, seed=8)).decides


def test_cases_of_the_calibration_are_predicted_without_their_patient() -> None:
    known = cases(30, seed=10)
    structures = {name: fit_structure(name, known, 0.1) for name in NAMES}
    predicted = held_out_predictions(known, structures)
    for index in (0, 17):
        others = known[:index] + known[index + 1 :]
        without = {name: fit_structure(name, others, 0.1) for name in NAMES}
        found = decide(known[index].signals, [replace(calibrated(others), structures=without)], ())
        for name in NAMES:
            assert predicted[index][name] == pytest.approx(found.structures[name].predicted_dice, abs=1e-9)


def test_what_is_written_is_read_back(calibration, tmp_path: Path) -> None:
    save_calibration(calibration, tmp_path)
    again = load_calibration(tmp_path)
    of = case(0, np.random.default_rng(11), 0.7).signals
    found = decide(of, [calibration], ())
    assert decide(of, [again], ()) == found
    read = trust_from(json.loads(json.dumps(plain_json(found.facts()))))
    assert isinstance(read, Trust)
    assert (read.decision, read.reasons, read.alarm) == (found.decision, found.reasons, found.alarm)
    assert {path.name for path in tmp_path.iterdir()} == {"trust.json", "trust.safetensors"}
