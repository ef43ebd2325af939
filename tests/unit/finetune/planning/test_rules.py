"""Each rule against data for which it is known by hand what should be chosen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune.config import FinetuneConfig
from finetune.planning.plan import Plan
from finetune.planning.rules import ct_intensity, num_folds, rules, training_cases
from swin_unetr.config import IntensityConfig
from swin_unetr.config_io import from_dict
from swin_unetr.planning.fingerprint import ChannelPrint, Fingerprint, TargetPrint
from swin_unetr.planning.fit import Fitted, Setting
from swin_unetr.planning.footprint import Footprint
from swin_unetr.planning.grid import Grid
from swin_unetr.planning.shape import shape_of
from swin_unetr.planning.target import PlanTarget
from swin_unetr.tasks import Task, brats, exclusive

CPU = PlanTarget(device="cpu", memory=8_000_000_000, bfloat16=False, cores=2)
GPU = PlanTarget(device="cuda", memory=24_000_000_000, bfloat16=True, cores=16)
SPACING = (1.0, 1.0, 1.0)


def data_of(task: Task, *, cases=50, patients=None, shape=(100, 100, 100), spacing=SPACING, zeros=0.0, share=0.01):
    return Fingerprint(
        root=Path("scans"),
        layout="plain",
        task=task,
        cases=cases,
        patients=patients or cases,
        shapes=(shape,) * cases,
        spacings_mm=(spacing,) * cases,
        channels=tuple(
            ChannelPrint(name=name, low=-80.7, high=211.2, mean=60, std=30, zero_share=zeros) for name in task.channels
        ),
        targets=tuple(TargetPrint(name=each.name, cases=cases, volume_mm3=9000, share=share) for each in task.targets),
    )


def fitted_of(crop=(48, 48, 48), features=16, batch=2) -> Fitted:
    shape = shape_of(crop, SPACING)
    nothing = Footprint(weights=0, training_state=0, peak=0, large=0)
    return Fitted(Grid(SPACING, ""), Setting(shape, features, batch, False), nothing, 0, shape)


def chosen(data: Fingerprint, machine: PlanTarget = CPU, crop=(48, 48, 48), batch=2, features=16) -> dict[str, Any]:
    fitted = fitted_of(crop, features, batch)
    return {choice.path: choice.value for choice in rules(data, fitted, machine)}


def task_of(*names: str, modality="CT", channels=("CT",)) -> Task:
    return Task(name="task", modality=modality, channels=channels, targets=exclusive(names))


def test_ct_is_clipped_to_percentiles_of_the_structures() -> None:
    values = chosen(data_of(task_of("liver")))
    assert values["preprocess.intensity"] == {"scheme": "hu_window", "window": [-81, 212]}
    assert values["preprocess.crop_foreground"] is True
    assert values["augment.gamma_probability"] == 0


def test_ct_can_be_planned_by_mean_and_deviation(monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_of(task_of("liver"))
    found = ct_intensity(data.channels, "hu_zscore")
    assert found == {"scheme": "hu_zscore", "window": [-81, 212], "mean": 60.0, "std": 30.0}
    two = (replace(data.channels[0], mean=10.0, std=3.0), replace(data.channels[0], mean=20.0, std=4.0))
    # Of two channels with as many voxels: the variance within them, and that of their means.
    assert ct_intensity(two, "hu_zscore")["mean"] == 15
    assert ct_intensity(two, "hu_zscore")["std"] == pytest.approx((12.5 + 25) ** 0.5, abs=0.01)
    monkeypatch.setattr("finetune.planning.rules.CT_SCHEME", "hu_zscore")
    values = chosen(data)
    assert values["preprocess.intensity"] == found
    assert values["augment.noise_std"] == 0.15  # in deviations
    assert from_dict(IntensityConfig, found, source="plan").is_hounsfield


@pytest.mark.parametrize(("zeros", "scheme", "crop"), [(0.6, "zscore_nonzero", True), (0.1, "zscore", False)])
def test_mr_leaves_out_a_background_of_zeros_where_there_is_one(zeros, scheme, crop) -> None:
    values = chosen(data_of(task_of("tumour", modality="MR", channels=("T1", "T2")), zeros=zeros))
    assert values["preprocess.intensity"] == {"scheme": scheme}
    assert values["preprocess.crop_foreground"] is crop


@pytest.mark.parametrize(
    ("names", "flips"),
    [
        (("liver", "spleen"), [0.5, 0.0, 0.0]),
        (("left kidney", "right kidney"), [0.0, 0.0, 0.0]),
        (("kidney_left",), [0.0, 0.0, 0.0]),
        (("bright spot", "cleft"), [0.5, 0.0, 0.0]),
        (("Anterior", "Posterior"), [0.5, 0.0, 0.0]),
    ],
)
def test_sides_that_have_names_are_not_mirrored(names, flips) -> None:
    assert chosen(data_of(task_of(*names)))["augment.flip_probability"] == flips


def test_pairs_that_the_task_gives_are_not_mirrored() -> None:
    task = replace(task_of("one", "two"), pairs=(("one", "two"),))
    assert chosen(data_of(task))["augment.flip_probability"] == [0.0, 0.0, 0.0]


def test_regions_of_a_lesion_are_mirrored_along_all_axes() -> None:
    data = data_of(brats(channels=("FLAIR", "T1ce")))
    assert chosen(data)["augment.flip_probability"] == [0.5, 0.5, 0.5]


def test_thick_slices_are_turned_within_their_plane_alone() -> None:
    values = chosen(data_of(task_of("liver"), spacing=(0.8, 0.8, 5.0)))
    assert values["augment.rotate_degrees"] == [0.0, 0.0, 15.0]
    assert chosen(data_of(task_of("liver")))["augment.rotate_degrees"] == [15.0, 15.0, 15.0]


@pytest.mark.parametrize(
    ("names", "crop", "share", "scheme", "positive"),
    [
        (("liver",), (80, 80, 80), 0.01, "random", None),  # 51 % of 100 cubed
        (("liver",), (48, 48, 48), 0.01, "positive_negative", 1),
        (("liver", "duct"), (48, 48, 48), 0.01, "classes", 1),
        (("liver", "duct"), (48, 48, 48), 0.0001, "classes", 2),
    ],
)
def test_small_crops_are_centred_on_structures_and_on_rare_ones_more_often(
    names, crop, share, scheme, positive
) -> None:
    values = chosen(data_of(task_of(*names), share=share), crop=crop)
    assert values["sampling.scheme"] == scheme
    assert values.get("sampling.positive") == positive


def test_epochs_make_the_steps_that_the_machine_can_afford() -> None:
    # 208 cases, 5 folds: 166 to train on, 83 batches of 2 an epoch; 2,000 steps are 24 epochs.
    values = chosen(data_of(task_of("liver"), cases=208))
    assert values["trainer.max_epochs"] == 24
    assert values["trainer.validate_every"] == 8
    assert values["sampling.scans_per_batch"] == 2
    assert values["trainer.ema_decay"] == 0.99
    on_gpu = chosen(data_of(task_of("liver"), cases=208), GPU)
    assert on_gpu["trainer.max_epochs"] == round(25_000 / 83)


def test_few_scans_give_several_crops_each() -> None:
    values = chosen(data_of(task_of("liver"), cases=4), batch=8)
    assert (values["sampling.scans_per_batch"], values["sampling.crops_per_scan"]) == (1, 8)
    assert values["trainer.max_epochs"] == round(2000 / 3)


@pytest.mark.parametrize(
    ("cases", "patients", "folds", "training"),
    [(208, 208, 5, 166), (9, 3, 3, 6), (4, 4, 4, 3), (1, 1, 2, 1), (6, 1, 2, 6)],
)
def test_folds_are_as_many_as_patients_allow(cases, patients, folds, training) -> None:
    data = data_of(task_of("liver"), cases=cases, patients=patients)
    assert num_folds(data) == folds
    assert training_cases(data) == training
    (choice,) = [each for each in rules(data, fitted_of(), CPU) if each.path == "num_folds"]
    assert ("patients" in choice.reason) == (1 < patients < cases)
    assert ("--fold all" in choice.reason) == (patients == 1)


def test_the_rate_falls_with_the_width() -> None:
    data = data_of(task_of("liver"))
    assert chosen(data)["optimizer.learning_rate"] == 2e-3
    assert chosen(data, features=48)["optimizer.learning_rate"] == 6.7e-4


def test_precision_is_what_the_machine_multiplies_in() -> None:
    data = data_of(task_of("liver"))
    assert chosen(data)["trainer.precision"] == "32-true"
    assert chosen(data, replace(CPU, bfloat16=True))["trainer.precision"] == "bf16-mixed"
    assert chosen(data, GPU)["sampling.num_workers"] == 8


def mixed(*channels: ChannelPrint, modality="CT") -> Fingerprint:
    names = tuple(channel.name for channel in channels)
    return replace(data_of(task_of("lesion", modality=modality, channels=names)), channels=channels)


def channel(name: str, low: float, high: float, zeros=0.0, like_ct=False) -> ChannelPrint:
    return ChannelPrint(name=name, low=low, high=high, mean=0, std=1, zero_share=zeros, like_ct=like_ct)


HOUNSFIELD = {"scheme": "hu_window", "window": [-150, 250]}


@pytest.mark.parametrize(("order", "modality"), [((0, 1), "CT"), ((1, 0), "MR")])
@pytest.mark.parametrize(("zeros", "scheme"), [(0.0, "zscore"), (0.6, "zscore_nonzero")])
def test_ct_and_pet_have_intensities_of_their_own(order, modality, zeros, scheme) -> None:
    both = (channel("CT", -149.5, 249.2, like_ct=True), channel("PET", 3, 42_000, zeros))
    values = chosen(mixed(*(both[at] for at in order), modality=modality))
    assert values["preprocess.intensity_of"] == {"CT": HOUNSFIELD, "PET": {"scheme": scheme}}
    assert values["preprocess.crop_foreground"] is True
    assert values["augment.gamma_probability"] == 0
    assert "42000" not in str(values)


def test_ct_without_a_name_is_known_by_its_air() -> None:
    values = chosen(mixed(channel("0", 3, 42_000), channel("1", -149.5, 249.2, like_ct=True), modality="MR"))
    assert values["preprocess.intensity_of"] == {"0": {"scheme": "zscore"}, "1": HOUNSFIELD}


def test_phases_of_one_ct_share_a_window() -> None:
    values = chosen(mixed(channel("arterial", -149.5, 200, like_ct=True), channel("venous", -90, 249.2, like_ct=True)))
    assert values["preprocess.intensity"] == HOUNSFIELD
    assert "preprocess.intensity_of" not in values


def test_what_is_planned_for_several_modalities_is_a_recipe() -> None:
    data = mixed(channel("CT", -149.5, 249.2, like_ct=True), channel("PET", 3, 42_000))
    fitted = fitted_of((64, 64, 64))
    plan = Plan(data, CPU, fitted, tuple(rules(data, fitted, CPU)))
    recipe = from_dict(FinetuneConfig, yaml.safe_load(plan.text()), source="plan")
    schemes = [of.scheme for of in recipe.preprocess.intensities(("CT", "PET"))]
    assert schemes == ["hu_window", "zscore"]
