"""As many structures as uint8 holds and more: from the label files through store, crops and loss to an evaluation."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from finetune.config import FinetuneConfig, LossConfig
from finetune.losses import SegmentationLoss
from finetune.scans import ScansInMemory, ScansOnDisk
from finetune.validation import dice_of, overlap
from swin_unetr.checkpoints import LoadedModel
from swin_unetr.config import AugmentConfig, IntensityConfig, NetworkConfig, PreprocessConfig, SamplingConfig
from swin_unetr.config_io import to_dict
from swin_unetr.datasets import read_dataset
from swin_unetr.errors import ConfigError
from swin_unetr.evaluation.run import evaluate
from swin_unetr.inference.batch.run import predict
from swin_unetr.model_description import ModelDescription
from swin_unetr.networks import build_network
from swin_unetr.store.scan_file import stored_bytes, write_scan
from swin_unetr.tasks import Task, exclusive
from transforms.class_places import class_places
from transforms.crops import ANY, RandomCrops, class_mask
from transforms.labels import MOST_CLASSES, encode_targets, ignored_value, target_type

SHAPE = (20, 18, 16)
#: Intensities are label values, so that a voxel tells its class.
PREPROCESS = PreprocessConfig(intensity=IntensityConfig(scheme="hu_window", window=(0, 1000)), crop_foreground=False)
IGNORE = 40_000


def task_of(structures: int) -> Task:
    names = (f"structure {number}" for number in range(1, structures + 1))
    return Task(name="many", modality="CT", channels=("CT",), targets=exclusive(names), ignore_label=IGNORE)


@pytest.fixture(params=[255, 256, 300])
def folder(request, tmp_path: Path) -> Path:
    """Two cases with every structure, and a few voxels that nobody has labelled."""
    task = task_of(request.param)
    size = int(np.prod(SHAPE))
    for case in range(2):
        labels = (np.roll(np.arange(size), 100 * case) * task.num_classes // size).reshape(SHAPE).astype(np.int64)
        labels[:1, :1] = IGNORE
        for part in ("images", "labels"):
            path = tmp_path / "data" / part / f"case{case}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(labels.astype(np.uint16), np.eye(4)), path)
    (tmp_path / "data" / "task.yaml").write_text(yaml.safe_dump(to_dict(task)))
    return tmp_path / "data"


class Nearest(nn.Module):
    """Scores of which the highest is that of the class whose number is the intensity."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("numbers", torch.arange(classes).view(-1, 1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return -(1000 * image - self.numbers).abs()


@pytest.mark.slow
def test_from_files_to_an_evaluation(folder: Path, tmp_path: Path) -> None:
    dataset = read_dataset(folder, require_labels=True)
    task = dataset.task
    assert task is not None
    structures = len(task.targets)
    stored = ScansOnDisk(dataset.cases, task, PREPROCESS, tmp_path / "store")
    assert stored.prepare() == []
    in_memory = ScansInMemory(dataset.cases, task, PREPROCESS)
    network = Nearest(task.num_classes)
    for index in range(2):
        sample = in_memory[index]
        assert torch.equal(stored[index]["label"], sample["label"])
        assert stored.class_voxels(index) == in_memory.class_voxels(index)
        assert min(stored.class_voxels(index)) > 0
        label = sample["label"]
        ignored = label == ignored_value(label)
        assert int(ignored.sum()) == SHAPE[2]
        assert torch.equal(label[~ignored].long(), (1000 * sample["image"][~ignored]).round().long())
        dice = dice_of(overlap(network(sample["image"]), label, task))
        assert dice.shape == (structures,)
        assert (dice == 1).all()

    sampling = SamplingConfig(crop_size=(8, 8, 8), scheme="classes", crops_per_scan=3)
    crops = RandomCrops(sampling, AugmentConfig(), task)(stored.scan(0), torch.Generator().manual_seed(0))
    images, targets = (torch.stack([crop[key] for crop in crops]) for key in ("image", "label"))
    for class_weights in (None, tuple(1.0 for _ in range(task.num_classes))):
        loss = SegmentationLoss(LossConfig(), task, class_weights)
        right = network(images) * 50
        assert float(loss(right, targets)) < float(loss(right.roll(1, dims=1), targets)) - 0.5

    description = ModelDescription(
        kind="segmentation",
        network=NetworkConfig(num_classes=task.num_classes, feature_size=12, depths=(1, 1), num_heads=(1, 2)),
        task=task,
        preprocess=PREPROCESS,
        inference=replace(FinetuneConfig().inference, roi_size=(16, 16, 16)),
    )
    report = predict(LoadedModel(network, description), folder, tmp_path / "out", progress=False, device="cpu")
    assert report.exit_code == 0
    written = np.asanyarray(nib.load(tmp_path / "out" / "case0.nii.gz").dataobj)
    assert written.max() >= structures
    result = evaluate(tmp_path / "out", folder, workers=1, metrics=["dice"])
    assert len(result.rows) == 2 * structures
    assert {row.value for row in result.rows} == {1.0}
    # Our own network has fewer features than classes, and sums the former.
    own = LoadedModel(build_network(description.network), description)
    assert predict(own, folder, tmp_path / "own", progress=False, device="cpu").exit_code == 0


def test_no_class_is_taken_for_ignored() -> None:
    for structures in (254, 255, 256, 300):
        task = task_of(structures)
        labels = torch.tensor([0, 1, 254, structures, IGNORE]).view(1, 5, 1, 1)
        encoded = encode_targets(labels, task)
        assert encoded.dtype == target_type(task)
        assert (encoded == ignored_value(encoded)).flatten().tolist() == [False] * 4 + [True]
        assert class_mask(encoded.numpy(), ANY).flatten().tolist() == [False, True, True, True, False]
        assert class_mask(encoded.numpy(), structures).sum() == (2 if structures == 254 else 1)


def test_one_type_as_long_as_it_holds_all() -> None:
    assert target_type(task_of(254)) == torch.uint8
    assert target_type(task_of(255)) == torch.int16
    regions = replace(task_of(300), activation="sigmoid")
    assert target_type(regions) == torch.uint8


def test_more_than_can_be_told_apart_are_refused() -> None:
    assert target_type(task_of(MOST_CLASSES)) == torch.int16
    with pytest.raises(ConfigError, match=f"has 32,767 structures; at most {MOST_CLASSES:,} can be trained"):
        target_type(task_of(MOST_CLASSES + 1))


def test_a_store_is_no_larger_than_was_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3000, (1, 40, 30, 20)).astype(np.int16)
    image = rng.uniform(0, 1, label.shape).astype(np.float32)
    places = class_places(label, 3000)
    scan = write_scan(tmp_path / "a.scan", "a", image, label, places)
    listed = sum(len(flat) for _, flat in places)
    said = stored_bytes(1, label.shape[1:], 1, listed, label_bytes=2, classes=len(places))
    assert scan.file.stat().st_size <= said
    assert scan.crop((0, 0, 0), label.shape[1:])[1].dtype == np.int16
