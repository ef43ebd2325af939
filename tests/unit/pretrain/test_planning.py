"""Plans for pre-training: from scans to a recipe, on phantoms and on scans that nobody would wish for."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from pretrain.config import PretrainConfig
from pretrain.planning import PLAN
from pretrain.planning.plan import PretrainPlan, make_plan
from swin_unetr.cli import main
from swin_unetr.config_io import from_dict
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.planning.fingerprint import ChannelPrint, ScanPrint, scan_print
from swin_unetr.planning.target import PlanTarget
from swin_unetr.survey.facts import Survey

MACHINE = PlanTarget(device="cpu", memory=8_000_000_000, bfloat16=False, cores=1, base=500_000_000)
CT = ChannelPrint(name="0", low=-1000, high=900, mean=-400, std=400, zero_share=0.0, like_ct=True)
MR = ChannelPrint(name="0", low=0, high=900, mean=300, std=100, zero_share=0.4)


def scans(shapes, spacings, channels=(CT,)) -> ScanPrint:
    return ScanPrint(
        root=Path("scans"),
        layout="auto",
        cases=len(shapes),
        shapes=tuple(shapes),
        spacings_mm=tuple(spacings),
        channels=tuple(channels),
        ids=tuple(map(str, range(len(shapes)))),
    )


def values(plan: PretrainPlan) -> dict[str, object]:
    return {choice.path: choice.value for choice in plan.choices}


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((40, 40, 30), (1.0, 1.0, 1.0)),
        ((9, 9, 9), (1.0, 1.0, 1.0)),  # tiny
        ((64, 64, 6), (0.8, 0.8, 6.0)),  # thick slices
    ],
)
def test_a_plan_is_a_recipe_that_trains(shape, spacing) -> None:
    plan = make_plan(scans([shape], [spacing]), MACHINE)  # a single scan
    config = from_dict(PretrainConfig, yaml.safe_load(plan.text()), source="plan")
    assert config == plan.recipe()
    assert config.preprocess.intensity.window == (-1000, 1000)
    assert config.proxies.masked.weight == 1
    assert len(config.proxies.chosen) == 1
    cubes = [-(-size // config.proxies.masked.cube) for size in config.scans.crop_size]
    assert np.prod(cubes) >= 27 or config.proxies.masked.cube == max(config.network.patch_size)
    assert config.trainer.max_steps is not None
    assert plan.fitted.needs <= MACHINE.memory
    assert all(choice.reason for choice in plan.choices)


def test_intensities_follow_the_scans() -> None:
    shape, spacing = (24, 24, 24), (1.0, 1.0, 1.0)
    mr = values(make_plan(scans([shape], [spacing], [MR]), MACHINE))
    assert (mr["preprocess.intensity"], mr["preprocess.crop_foreground"]) == ({"scheme": "zscore_nonzero"}, True)
    both = (ChannelPrint(**{**vars(CT), "name": "0"}), ChannelPrint(**{**vars(MR), "name": "1", "zero_share": 0.0}))
    mixed = make_plan(scans([shape], [spacing], both), MACHINE).recipe().preprocess.intensities(("0", "1"))
    assert [of.scheme for of in mixed] == ["hu_window", "zscore"]


def test_mixed_voxels_get_their_median_and_little_memory_is_refused() -> None:
    spacings = [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (3.0, 3.0, 3.0)]
    data = scans([(24, 24, 24)] * 3, spacings)
    assert make_plan(data, MACHINE, max_steps=7).recipe().preprocess.spacing_mm == (2.0, 2.0, 2.0)
    with pytest.raises(ConfigError, match="too little for any training"):
        make_plan(data, PlanTarget(device="cpu", memory=501_000_000, bfloat16=False, cores=1, base=500_000_000))


def test_scans_of_unlike_channels_and_unreadable_ones(tmp_path: Path, capsys) -> None:
    with pytest.raises(DataError, match="no scan can be read"):
        scan_print(Survey(root=tmp_path, layout="plain", task=None, cases=()))
    folder = tmp_path / "scans"
    folder.mkdir()
    for name, channels in (("a", 1), ("b", 2)):
        volume = np.arange(512 * channels, dtype=np.float32).reshape(8, 8, 8, channels)
        nib.save(nib.Nifti1Image(volume.copy(), np.eye(4)), folder / f"{name}.nii.gz")
    assert main(["pretrain", "--data", str(folder), "--output", str(tmp_path / "run")]) == 1
    assert "a has 1 channels and b 2; pre-train on scans of one kind" in capsys.readouterr().err


def test_the_command_plans_and_then_trains(phantom_data: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    arguments = ["pretrain", "--data", str(phantom_data), "--output", str(run), "--steps", "2"]
    assert main([*arguments, "--plan-only"]) == 0
    planned = (run / PLAN).read_text()
    assert "trainer:" in planned
    assert "masked" in capsys.readouterr().out
    assert not (run / "run.json").exists()
    assert main([*arguments, "--scans.num_workers", "0", "--health.picture_every", "0"]) == 0
    assert (run / PLAN).read_text() == planned
    assert (run / "best" / "model.safetensors").is_file()
    assert main([*arguments, "--config", "ct", "--plan-only"]) == 2
