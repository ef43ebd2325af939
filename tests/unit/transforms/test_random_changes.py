"""Our random crops and changes in a `Compose` of MONAI, equal to what a training makes of the same numbers."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from augmentations import ALL, NONE
from monai.data import DataLoader, Dataset, MetaTensor, set_track_meta
from monai.transforms import Compose, EnsureTyped, RandGibbsNoised, ScaleIntensityd

import transforms
from finetune.batches import Batches
from swin_unetr.config import AugmentConfig, SamplingConfig
from swin_unetr.tasks import Task, exclusive
from transforms import RandomChangesd, RandomCropsd
from transforms.crops import RandomCrops, ScanInMemory
from transforms.random_parameters import draw

TASK = Task(name="t", modality="CT", channels=("CT",), targets=exclusive(("kidney_l", "kidney_r")))
SIZE = (16, 12, 8)
EVERYTHING = replace(
    ALL,
    low_resolution_probability=0.5,
    contrast_probability=0.5,
    inverted_gamma_probability=0.5,
    exchange_sides=True,
    flip_probability=(0.5, 0.0, 0.5),  # with quarter turns, Y may not be mirrored where sides are exchanged
)


def scan(shape: tuple[int, int, int] = SIZE, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.zeros(1, *shape, dtype=torch.uint8)
    label[:, 2:6, 3:9, 2:6] = 1
    label[:, 9:14, 3:9, 2:6] = 2
    return {"image": torch.rand((1, *shape), generator=generator), "label": label}


def test_changes_are_those_of_a_training_with_the_same_numbers() -> None:
    crops, batches = RandomCrops(SamplingConfig(crop_size=SIZE), EVERYTHING, TASK), Batches(EVERYTHING, at_once=True)
    ours = RandomChangesd(augment=EVERYTHING, task=TASK)
    changed = set()
    for seed in range(20):
        (sample,) = crops(ScanInMemory(**scan()), torch.Generator().manual_seed(seed))
        batch = batches([[sample]])
        found = ours.changed(scan(), sample["draws"])
        for key in ("image", "label"):
            assert torch.equal(found[key], batch[key][0]), (seed, key)
        changed.add(torch.equal(found["image"], scan()["image"]))
    assert changed == {False}


def test_crops_are_those_of_a_training_with_the_same_seed() -> None:
    sampling = SamplingConfig(crop_size=SIZE, crops_per_scan=3, scheme="classes")
    ours = RandomCropsd(sampling=sampling, augment=EVERYTHING, task=TASK).set_random_state(7)
    generator = torch.Generator().manual_seed(int(np.random.RandomState(7).randint(2**32, dtype="uint32")))
    whole = scan((24, 20, 14))
    batch = Batches(EVERYTHING, at_once=True)(
        [RandomCrops(sampling, EVERYTHING, TASK)(ScanInMemory(**whole), generator)]
    )
    found = ours({**whole, "name": "one"})
    assert [of["name"] for of in found] == ["one"] * 3
    for index, of in enumerate(found):
        assert all(torch.equal(of[key], batch[key][index]) for key in ("image", "label"))


def test_what_comes_in_goes_out() -> None:
    augment = replace(NONE, flip_probability=(1, 0, 0))
    ours = RandomChangesd(augment=augment)
    image, label = scan().values()
    affine = torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0], dtype=torch.float64))
    meta = MetaTensor(image, affine=affine, meta={"filename_or_obj": "scan.nii.gz"})
    found = ours({"image": meta, "label": MetaTensor(label, affine=affine), "other": 3})
    assert isinstance(found["image"], MetaTensor)
    assert torch.equal(found["image"].affine, affine)
    assert found["image"].meta["filename_or_obj"] == "scan.nii.gz"
    assert torch.equal(found["image"].as_tensor(), image.flip(1))
    assert (found["label"].dtype, found["other"]) == (torch.uint8, 3)
    assert torch.equal(meta.as_tensor(), scan()["image"])  # what came in is left alone
    arrays = ours({"image": image.numpy(), "label": label.numpy().astype(np.int32)})
    assert {type(of) for of in arrays.values()} == {np.ndarray}
    assert arrays["label"].dtype == np.int32
    assert np.array_equal(arrays["label"], label.numpy()[:, ::-1])
    set_track_meta(False)
    try:
        assert type(ours(scan())["image"]) is torch.Tensor
    finally:
        set_track_meta(True)


def test_without_a_label() -> None:
    ours = RandomChangesd(label_key=None, augment=replace(NONE, flip_probability=(0, 1, 0)))
    assert torch.equal(ours({"image": scan()["image"]})["image"], scan()["image"].flip(2))
    with pytest.raises(KeyError):
        RandomChangesd(augment=NONE)({"image": scan()["image"]})
    with pytest.raises(KeyError):
        RandomChangesd(augment=NONE)({"label": scan()["label"]})
    kept = RandomChangesd(augment=NONE, allow_missing_keys=True)({"label": scan()["label"]})
    assert set(kept) == {"label"}


def test_in_a_compose_with_a_loader() -> None:
    """Seeds follow from MONAI's own, in any number of processes; every scan of every round gets others."""

    def images(workers: int, seed: int) -> torch.Tensor:
        steps = Compose(
            [
                EnsureTyped(["image", "label"]),
                ScaleIntensityd("image"),
                RandomCropsd(sampling=SamplingConfig(crop_size=SIZE, crops_per_scan=2), augment=EVERYTHING, task=TASK),
                RandomChangesd(augment=AugmentConfig(noise_probability=1.0)),
                RandGibbsNoised("image", prob=0.5),
            ]
        ).set_random_state(seed)
        torch.manual_seed(seed)
        loader = DataLoader(Dataset([scan((20, 16, 12), each) for each in range(3)], steps), num_workers=workers)
        return torch.cat([torch.as_tensor(batch["image"]) for batch in loader])

    one = images(0, 0)
    assert one.shape == (6, 1, *SIZE)
    assert torch.equal(one, images(0, 0))
    assert not torch.equal(one, images(0, 1))
    worked = images(1, 0)
    assert worked.shape == one.shape
    assert torch.equal(worked, images(1, 0))


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="exchange_sides needs it"):
        RandomChangesd(augment=AugmentConfig(exchange_sides=True))
    with pytest.raises(ValueError, match="one image"):
        RandomChangesd(["t1", "t2"], augment=NONE)


def test_numbers_are_drawn_as_for_a_training() -> None:
    ours = RandomChangesd(augment=NONE, seed=5)
    seed = int(np.random.RandomState(5).randint(2**32, dtype="uint32"))
    assert torch.equal(ours.randomize(), draw(1, torch.Generator().manual_seed(seed))[0])


def test_the_package_loads_them_when_they_are_used() -> None:
    code = (
        "import sys, transforms; assert 'torch' not in sys.modules; transforms.RandomCropsd; print(transforms.__all__)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        transforms.Nothing  # noqa: B018
