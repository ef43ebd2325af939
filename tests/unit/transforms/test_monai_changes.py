"""MONAI's transforms in a recipe: which are made, with which seeds, and what is refused in one line."""

from typing import Any

import numpy as np
import pytest
import torch
import yaml
from monai.transforms import RandAffined, RandGibbsNoised

from swin_unetr.config import AugmentConfig
from swin_unetr.config_io import from_dict
from swin_unetr.errors import ConfigError
from swin_unetr.tasks import Task, brats, exclusive
from transforms.labels import IGNORED
from transforms.monai_changes import MonaiChanges, try_monai_changes

TASK = Task(name="t", modality="MR", channels=("T1", "T2"), targets=exclusive(("a", "b", "c")), ignore_label=9)
SIZE = (12, 12, 8)
GIBBS = {"RandGibbsNoised": {"prob": 0.5, "alpha": [0, 0.5]}}
AFFINE = {
    "RandAffined": {
        "keys": ["image", "label"],
        "mode": ["bilinear", "nearest"],
        "prob": 0.5,
        "rotate_range": [0.3, 0.3, 0.3],
        "padding_mode": "zeros",
    }
}


def crop(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(4, (1, *SIZE), generator=generator).to(torch.uint8)
    label[:, :2] = IGNORED
    return torch.rand((2, *SIZE), generator=generator), label


def test_a_transform_is_monai_s_own_with_the_seed_of_the_crop() -> None:
    changes = MonaiChanges([GIBBS, AFFINE])
    changed = 0
    for seed in range(12):
        image, label = crop(seed)
        new, labels = changes(image.clone(), label.clone(), seed)
        assert {type(new), type(labels)} == {torch.Tensor}
        assert (new.dtype, labels.dtype) == (torch.float32, torch.uint8)
        seeds = np.random.RandomState(seed).randint(2**32, size=2, dtype="uint32")
        gibbs = RandGibbsNoised(["image"], **GIBBS["RandGibbsNoised"]).set_random_state(int(seeds[0]))
        affine = RandAffined(**AFFINE["RandAffined"]).set_random_state(int(seeds[1]))
        theirs = affine(gibbs({"image": image.clone(), "label": label.clone()}))
        assert torch.equal(new, theirs["image"].as_tensor())
        assert torch.equal(labels, theirs["label"].as_tensor().to(torch.uint8))
        assert set(labels.unique().tolist()) <= {0, 1, 2, 3, IGNORED}
        changed += not torch.equal(new, image)
    assert changed > 5


def test_a_crop_depends_on_its_seed_alone() -> None:
    image, label = crop()
    one, other = MonaiChanges([GIBBS, AFFINE]), MonaiChanges([GIBBS, AFFINE])
    other(image.clone(), label.clone(), 99)  # what came before does not matter
    torch.manual_seed(5)
    for seed in (3, 4, 5):
        first, second = one(image.clone(), label.clone(), seed), other(image.clone(), label.clone(), seed)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "listed",
    [
        GIBBS,
        AFFINE,
        {"RandGibbsNoised": None},
        {"RandGaussianNoised": {"keys": "image", "prob": 1.0}},
        {"RandFlipd": {"keys": ["label", "image"], "prob": 0.5, "spatial_axis": 1}},
        {"RandSimulateLowResolutiond": {"prob": 0.3}},
        {"RandCoarseDropoutd": {"holes": 2, "spatial_size": 3, "prob": 0.2}},
        {"RandBiasFieldd": {"prob": 0.2}},
        {"RandHistogramShiftD": {"prob": 0.2}},
        {"Rand3DElasticd": {"keys": ["image", "label"], "sigma_range": [1, 2], "magnitude_range": [1, 2],
                            "mode": ["bilinear", "nearest"]}},
        {"RandGaussianSharpend": {"prob": 0.2}},
        {"RandKSpaceSpikeNoised": {"prob": 0.2}},
    ],
    ids=lambda of: next(iter(of)),
)  # fmt: skip
@pytest.mark.parametrize("task", [TASK, brats("brats2021", ("FLAIR", "T1ce"))], ids=["classes", "regions"])
def test_transforms_that_are_made(listed: dict[str, Any], task: Task) -> None:
    try_monai_changes([listed], task, SIZE)


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ({"RandGibsNoised": {}}, r"monai.transforms has no RandGibsNoised \(did you mean RandGibbsNoised\?\)"),
        ({"system": {}}, "monai.transforms has no system"),
        ({"Any": {}}, "monai.transforms has no Any"),
        ({"RandGibbsNoise": {}}, "RandGibbsNoise is not a dictionary transform; take RandGibbsNoised"),
        ({"Compose": {"transforms": []}}, "Compose is not a dictionary transform"),
        ({"RandGibbsNoised": {"alpa": 1}}, r"RandGibbsNoised has no argument alpa \(did you mean alpha\?\)"),
        ({"RandCoarseDropoutd": {"prob": 1.0}}, "RandCoarseDropoutd: .*missing.*holes"),
        ({"RandGibbsNoised": {"alpha": [2, 3]}}, "RandGibbsNoised: .*alpha"),
        ({"RandGibbsNoised": {"keys": ["img"]}}, "keys: there is no img; a crop has image and label"),
        ({"MaskIntensityd": {"mask_key": "mask"}}, "MaskIntensityd: fails on a crop of 12 x 12 x 8: .*mask"),
        ({"RandAffined": {"prob": 0.5}}, r"RandAffined moves voxels.*keys: \[image, label\]"),
        ({"RandFlipd": {"keys": ["label"]}}, "RandFlipd moves voxels"),
        (
            {"RandRotated": {"keys": ["image", "label"], "range_x": 0.5}},
            "RandRotated: gives labels that were not there",
        ),
        ({"RandGibbsNoised": {"keys": ["image", "label"]}}, "changes intensities, and a label has none"),
        ({"RandSpatialCropd": {"keys": ["image", "label"], "roi_size": 4}}, "RandSpatialCropd: makes 4 x 4 x 4 of a"),
        ({"RandRotate90d": {"keys": ["image", "label"], "spatial_axes": [0, 2]}}, "its shape must not change"),
        ({"RandSpatialCropSamplesd": {"keys": ["image", "label"]}}, "does not change the voxels of a crop"),
        ({"LoadImaged": {}}, "LoadImaged does not change the voxels of a crop"),
        ({"SaveImaged": {}}, "SaveImaged does not change the voxels of a crop"),
        ({"Lambdad": {"func": "print"}}, "Lambdad does not change the voxels of a crop"),
        ({"TorchVisiond": {"name": "ColorJitter"}}, "TorchVisiond does not change the voxels of a crop"),
        ({"MapTransform": {}}, "MapTransform does not change the voxels of a crop"),
    ],
    ids=lambda of: next(iter(of)) if isinstance(of, dict) else "",
)
def test_what_is_refused_in_one_line(listed: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=f"^augment.monai: .*{words}") as caught:
        try_monai_changes([listed], TASK, SIZE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ("[RandFlipd]", "augment.monai|monai"),
        ("[{RandFlipd: {prob: 1.0}, RandZoomd: {}}]", "each entry is one name"),
        ("[{}]", "each entry is one name"),
        ("[{os.system: {command: ls}}]", "'os.system' is not the name of a transform"),
        ("[{RandFlipd: 3}]", "monai"),
        ("[{RandFlipd: {prob: $print(1)}}]", "looks like code"),
        ("[{Lambdad: {_target_: print}}]", "'_target_' looks like code"),
        ("[{Lambdad: {func: {_target_: print}}}]", "'_target_' looks like code"),
        ("[{RandFlipd: {func: {class_path: torch.nn.Linear}}}]", "class_path"),
    ],
)
def test_the_shape_of_a_list_is_checked_where_it_is_read(listed: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        from_dict(AugmentConfig, yaml.safe_load(f"monai: {listed}"), source="mine.yaml")
    assert "\n" not in str(caught.value)


def test_arguments_come_through_as_they_are_written() -> None:
    text = "monai: [{RandGibbsNoised: {prob: 0.1, alpha: [0, 0.5]}}, {RandFlipd: null}]"
    config = from_dict(AugmentConfig, yaml.safe_load(text), source="mine.yaml")
    assert config.monai == ({"RandGibbsNoised": {"prob": 0.1, "alpha": [0, 0.5]}}, {"RandFlipd": None})
