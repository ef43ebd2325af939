"""What fits into a memory, with a footprint that is known beforehand."""

from dataclasses import replace
from pathlib import Path

import pytest

from swin_unetr.errors import ConfigError
from swin_unetr.planning.fingerprint import ChannelPrint, Fingerprint, TargetPrint
from swin_unetr.planning.fit import Setting, fit
from swin_unetr.planning.footprint import LARGE, Footprint
from swin_unetr.planning.target import EFFORTS, PlanTarget
from swin_unetr.tasks import Task, exclusive

MB = 1_000_000
GPU = PlanTarget(device="cuda", memory=24_000 * MB, bfloat16=True, cores=8)
CPU = PlanTarget(device="cpu", memory=8_000 * MB, bfloat16=False, cores=2, base=500 * MB)


def data_of(shape=(160, 160, 160), spacing=(1.0, 1.0, 1.0), cases=20, smallest_mm3=0.0) -> Fingerprint:
    return Fingerprint(
        root=Path("scans"),
        layout="plain",
        task=Task(name="scans", modality="MR", channels=("MR",), targets=exclusive(("one",))),
        cases=cases,
        patients=cases,
        shapes=(shape,) * cases,
        spacings_mm=(spacing,) * cases,
        channels=(ChannelPrint(name="MR", low=0, high=9, mean=5, std=1, zero_share=0.5),),
        targets=(TargetPrint(name="one", cases=cases, volume_mm3=smallest_mm3, share=0.01),),
    )


class Traced:
    """Every voxel of a crop takes 100 bytes for each feature, a third with checkpointing; weights take 100 MB."""

    def __init__(self) -> None:
        self.seen: list[Setting] = []

    def __call__(self, setting: Setting) -> Footprint:
        self.seen.append(setting)
        each = 33 if setting.gradient_checkpointing else 100
        batch = each * setting.features * setting.batch * setting.shape.voxels
        return Footprint(weights=25 * MB, training_state=75 * MB, peak=100 * MB + batch, large=batch)


def test_with_room_enough_the_best_is_taken() -> None:
    fitted = fit(data_of(), replace(GPU, memory=10**12), Traced())
    assert fitted.setting.shape.crop == (128, 128, 128)
    assert (fitted.setting.features, fitted.setting.gradient_checkpointing) == (48, False)
    assert fitted.setting.shape == fitted.wanted


def test_what_is_taken_fits_and_the_next_larger_crop_does_not() -> None:
    traced = Traced()
    fitted = fit(data_of(), GPU, traced)
    # 24 GB less 0.8 GB, over 1.2, less 100 MB of weights, are 19.23 GB: 2.0 million voxels of 2 x 48 x 100 bytes.
    assert fitted.setting.batch == 2
    assert not fitted.setting.gradient_checkpointing
    assert fitted.setting.shape.crop == (112, 128, 128)
    assert fitted.needs <= GPU.memory
    wider = replace(fitted.setting, shape=fitted.wanted)
    assert GPU.needs(traced(wider)) > GPU.memory
    assert len(traced.seen) < 8


@pytest.mark.parametrize(
    ("memory_mb", "features", "batch", "checkpointing"),
    [
        (8000, 48, 2, True),  # 40 % of 128 cubed take 8.1 GB without checkpointing, and 1.2 times as much here
        (3000, 48, 2, True),  # 12 % take 0.8 GB with it
        (1800, 48, 1, True),
        (1300, 24, 2, True),
        (1100, 24, 1, True),
        (1000, 12, 1, True),
    ],
)
def test_less_memory_takes_checkpointing_then_the_batch_then_the_features(
    memory_mb, features, batch, checkpointing
) -> None:
    setting = fit(data_of(), replace(GPU, memory=memory_mb * MB), Traced()).setting
    assert (setting.features, setting.batch, setting.gradient_checkpointing) == (features, batch, checkpointing)


def test_too_little_memory_is_refused_with_the_least_that_would_do() -> None:
    with pytest.raises(ConfigError) as caught:
        fit(data_of(), replace(CPU, memory=550 * MB), Traced())
    assert "550 MB is too little" in str(caught.value)
    assert "\n" not in str(caught.value)
    least = float(str(caught.value).split("needs at least ")[1].split(" MB")[0])
    fitted = fit(data_of(), replace(CPU, memory=int(least * MB)), Traced())
    assert fitted.setting.shape.voxels >= 16**3
    assert fitted.setting.features == EFFORTS["cpu"].features[-1]


def test_a_processor_is_given_small_crops_whatever_its_memory() -> None:
    fitted = fit(data_of(), replace(CPU, memory=10**12), Traced())
    assert fitted.setting.shape.voxels <= 64**3
    assert fitted.setting.features == 16


def test_a_scan_that_is_too_large_for_the_crop_is_coarsened() -> None:
    fitted = fit(data_of(shape=(512, 512, 512)), GPU, Traced())
    assert min(fitted.grid.spacing_mm) > 1.5
    assert "coarser" in fitted.grid.reason


def test_small_scans_fill_the_batch_up_to_a_twentieth_of_the_data() -> None:
    # 40 cubed a crop; 5 % of 166 scans of 36 cubed are 6 crops.
    assert fit(data_of((36, 36, 36), cases=166), GPU, Traced()).setting.batch == 4
    assert fit(data_of((36, 36, 36), cases=1660), GPU, Traced()).setting.batch == 8
    assert fit(data_of((36, 36, 36), cases=3), GPU, Traced()).setting.batch == 2


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((1, 1, 1), (1.0, 1.0, 1.0)), ((300, 300, 1), (0.5, 0.5, 8.0)), ((64, 64, 4), (0.1, 0.1, 50.0))],
)
def test_hostile_shapes_get_a_plan(shape, spacing) -> None:
    fitted = fit(data_of(shape, spacing, cases=1), CPU, Traced())
    assert all(size >= 1 for size in fitted.setting.shape.crop)


def test_small_blocks_cost_more_than_large_ones_on_a_processor() -> None:
    heap = Footprint(weights=0, training_state=0, peak=4 * LARGE, large=0)
    assert CPU.needs(heap) > CPU.needs(replace(heap, large=4 * LARGE)) > CPU.base + 4 * LARGE
