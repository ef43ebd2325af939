"""Labels and probabilities of a scan against the same by MONAI with everything in memory, and against itself cut up."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import sliding_window_inference
from monai.transforms import SpatialResample
from torch import Tensor, nn

from swin_unetr.checkpoints import LoadedModel
from swin_unetr.config import InferenceConfig, IntensityConfig, NetworkConfig, PreprocessConfig
from swin_unetr.inference.engine.finish import blocks
from swin_unetr.inference.engine.memory_plan import Summed, make_plan
from swin_unetr.inference.engine.windows import lay_windows
from swin_unetr.inference.predictor import Predictor
from swin_unetr.model_description import ModelDescription
from swin_unetr.tasks import Task, brats, exclusive
from transforms.geometry import Geometry, Volume
from transforms.labels import decode_activations
from transforms.preprocess import preprocess_volume

CT = Task(name="x", modality="CT", channels=("CT",), targets=exclusive("abcde"))
PREPROCESS = PreprocessConfig(
    spacing_mm=(1.5, 1.5, 1.5), intensity=IntensityConfig(scheme="hu_window", window=(-200.0, 300.0))
)
INFERENCE = InferenceConfig(roi_size=(16, 16, 16), overlap=0.5)
EXACT: dict[str, Any] = {"device": "cpu", "backend": "torch", "precision": "float32", "skip_empty": False}


class Toy(nn.Module):
    """Scores that depend on a voxel's surroundings and on its place in the window."""

    def __init__(self, channels: int, classes: int, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv3d(channels, classes, 3, padding=1)
            self.place = nn.Parameter(torch.randn(classes, 16, 16, 16) * 0.3)

    def forward(self, windows: Tensor) -> Tensor:
        return 4 * self.conv(windows) + self.place


def model(task: Task = CT, seed: int = 0, preprocess: PreprocessConfig = PREPROCESS, **inference: Any) -> LoadedModel:
    description = ModelDescription(
        kind="segmentation",
        network=NetworkConfig(
            in_channels=len(task.channels), num_classes=task.num_classes, depths=(1, 1), num_heads=(3, 6)
        ),
        task=task,
        preprocess=preprocess,
        inference=replace(INFERENCE, **inference),
    )
    return LoadedModel(Toy(len(task.channels), task.num_classes, seed), description)


def scan(shape: tuple[int, int, int] = (31, 44, 37), channels: int = 1) -> Volume:
    """Noise around a body, on a grid that is turned, flipped and anisotropic."""
    affine = np.array([[0, -1.1, 0, 9.0], [0.9, 0, 0, -4], [0, 0, -2.3, 50], [0, 0, 0, 1]])
    rng = np.random.default_rng(1)
    array = np.full((channels, *shape), -1000 if channels == 1 else 0, np.int16)
    body = tuple(slice(size // 8, size - size // 9) for size in shape)
    size = [each.stop - each.start for each in body]
    array[(slice(None), *body)] = rng.normal(50, 120, (channels, *size))
    return Volume(array, Geometry(shape, affine))


def by_monai(loaded: LoadedModel, volume: Volume) -> np.ndarray:
    """Probabilities on the grid of the file: scores by MONAI's inferer, resampled by MONAI, then activated."""
    settings, task = loaded.description.inference, loaded.description.task
    image = preprocess_volume(volume, loaded.description.preprocess)
    with torch.inference_mode():
        scores = sliding_window_inference(
            image.as_tensor()[None],
            settings.roi_size,
            settings.batch_size,
            loaded.network,
            overlap=settings.overlap,
            mode=settings.weights,
        )[0]
    back = SpatialResample(mode="bilinear", padding_mode="border", dtype=torch.float64)
    affine = torch.from_numpy(volume.geometry.affine)
    maps = MetaTensor(scores, affine=image.affine)
    on_source = back(maps, dst_affine=affine, spatial_size=volume.geometry.shape).as_tensor().float()
    probabilities = on_source.softmax(dim=0) if task.activation == "softmax" else on_source.sigmoid()
    outside = torch.from_numpy(~foreground_box(volume, loaded.description.preprocess))
    probabilities[:, outside] = 0
    if task.activation == "softmax":
        probabilities[0, outside] = 1
    return probabilities.numpy()


def foreground_box(volume: Volume, config: PreprocessConfig) -> np.ndarray:
    """Where the crop keeps voxels of a file."""
    kept = np.zeros(volume.geometry.shape, bool)
    bound = config.intensity.window[0] if config.intensity.scheme == "hu_window" else 0
    shown = np.argwhere((volume.array > bound if bound else volume.array != 0).any(axis=0))
    first, last = shown.min(axis=0), shown.max(axis=0) + 1
    kept[tuple(map(slice, first, last))] = True
    return kept


def compare(loaded: LoadedModel, volume: Volume) -> None:
    expected = by_monai(loaded, volume)
    result = Predictor(loaded, **EXACT).segment(volume, with_probabilities=True)
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)
    labels = decode_activations(torch.from_numpy(result.probabilities), loaded.description.task).numpy()
    assert (result.labels != labels).mean() < 1e-4  # two classes that are equal to rounding
    alone = Predictor(loaded, **EXACT).segment(volume)
    assert alone.probabilities is None
    assert np.array_equal(alone.labels, result.labels)
    assert len(np.unique(labels)) > 2


@pytest.mark.parametrize(
    ("shape", "inference"),
    [
        ((31, 44, 37), {}),
        ((31, 44, 37), {"weights": "constant", "overlap": 0.25, "batch_size": 4}),
        ((12, 70, 9), {"overlap": 0.75}),
        ((20, 23, 1), {"overlap": 0}),
    ],
)
def test_equals_monai_on_the_source_grid(shape, inference) -> None:
    compare(model(**inference), scan(shape))


def test_equals_monai_without_resampling() -> None:
    compare(model(preprocess=replace(PREPROCESS, spacing_mm=None)), scan())


def test_equals_monai_for_regions() -> None:
    task = brats("brats2021")
    preprocess = PreprocessConfig(intensity=IntensityConfig(scheme="zscore_nonzero"))
    loaded = model(task, preprocess=preprocess)
    volume = scan((31, 30, 37), channels=len(task.channels))
    result = Predictor(loaded, **EXACT).segment(volume, with_probabilities=True)
    expected = by_monai(loaded, volume)
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)
    alone = Predictor(loaded, **EXACT).segment(volume).labels
    labels = decode_activations(torch.from_numpy(result.probabilities), task).numpy()
    assert np.array_equal(result.labels, alone)
    assert (alone != labels).mean() < 1e-4


def in_tiles(loaded: LoadedModel | list[LoadedModel], volume: Volume, share: float, **options: Any) -> Any:
    """Segment with a share of what the sums of the whole scan take; also gives the number of tiles."""
    predictor = Predictor(loaded, **EXACT)
    prepared = predictor.prepare(volume)
    members = [
        Summed(lay_windows(prepared.grids.prepared_shape, each.inference), each.backend.channels)
        for each in predictor.ensemble.members
    ]
    whole = make_plan(members, prepared.grids, fixed=0, budget=1 << 60)
    plan = make_plan(members, prepared.grids, fixed=0, budget=int(whole.bytes * share))
    return predictor.segment_prepared(prepared, plan=plan, **options), len(plan.tiles)


@pytest.mark.parametrize("spacing", [None, (1.5, 1.5, 1.5)])
def test_labels_in_tiles_are_those_of_the_whole(spacing) -> None:
    loaded = model(preprocess=replace(PREPROCESS, spacing_mm=spacing))
    volume = scan((60, 64, 37))
    whole, one = in_tiles(loaded, volume, 1, with_probabilities=True)
    cut, several = in_tiles(loaded, volume, 0.4, with_probabilities=True)
    assert (one, several > 2) == (1, True)
    np.testing.assert_allclose(cut.probabilities, whole.probabilities, atol=1e-6)  # exponentials are rounded by layout
    assert np.array_equal(cut.labels, whole.labels)
    assert cut.windows_done > whole.windows_done


def test_labels_of_sums_in_half_precision_are_those_of_float32_but_where_two_are_nearly_equal() -> None:
    volume = scan((60, 64, 37))
    whole = Predictor(model(), **EXACT).segment(volume, with_probabilities=True)
    half = Predictor(model(), **EXACT, accumulate="float16").segment(volume, with_probabilities=True)
    assert (whole.plan.accumulate, half.plan.accumulate) == ("float32", "float16")
    assert half.plan.windows == whole.plan.windows
    assert 0 < np.abs(half.probabilities - whole.probabilities).max() < 0.01
    ordered = np.sort(whole.probabilities, axis=0)
    clear = ordered[-1] - ordered[-2] > 0.02
    assert clear.mean() > 0.9
    assert np.array_equal(half.labels[clear], whole.labels[clear])


@pytest.mark.slow
@pytest.mark.parametrize("share", [1, 0.4])
def test_features_give_the_same_as_scores(make_model, share) -> None:
    """A network with more classes than features is summed by features; told otherwise, by scores."""
    task = Task(name="many", modality="CT", channels=("CT",), targets=exclusive(map(str, range(19))))
    path = make_model("many", task, preprocess=PREPROCESS, inference=INFERENCE)
    volume = scan()
    predictor = Predictor(path, **EXACT)
    (member,) = predictor.ensemble.members
    assert (member.backend.output, member.backend.channels) == ("features", 12)
    found, tiles = in_tiles(path, volume, share, with_probabilities=True)
    assert (tiles > 1) == (share < 1)
    from swin_unetr.checkpoints import load_model

    np.testing.assert_allclose(found.probabilities, by_monai(_eval(load_model(path)), volume), atol=1e-5)


def _eval(loaded: LoadedModel) -> LoadedModel:
    loaded.network.eval()
    return loaded


def test_models_with_different_windows_are_averaged_in_tiles() -> None:
    models = [model(seed=1), model(seed=2, overlap=0.25)]
    volume = scan((60, 64, 37))
    mean = np.mean([by_monai(each, volume) for each in models], axis=0)
    for share in (1, 0.4):
        found, _ = in_tiles(models, volume, share, with_probabilities=True)
        np.testing.assert_allclose(found.probabilities, mean, atol=1e-5)
    labels, _ = in_tiles(models, volume, 1)
    assert np.array_equal(labels.labels, found.labels)


def test_mirror_images_are_averaged_window_by_window() -> None:
    loaded = model(mirror_axes=(0, 2), tta=True)
    toy = loaded.network
    volume = scan()

    class Mean(nn.Module):
        def forward(self, windows: Tensor) -> Tensor:
            passes = [toy(windows.flip(axes)).flip(axes) for axes in ((), (2,), (4,), (2, 4))]
            return torch.stack(passes).mean(dim=0)

    mean = by_monai(LoadedModel(Mean(), loaded.description), volume)
    result = Predictor(loaded, **EXACT).segment(volume, with_probabilities=True)
    np.testing.assert_allclose(result.probabilities, mean, atol=1e-5)


@pytest.mark.parametrize("share", [1, 0.5])
def test_empty_windows_are_left_out_and_are_background(share) -> None:
    preprocess = replace(PREPROCESS, crop_foreground=False, spacing_mm=None)
    loaded = model(preprocess=preprocess)
    array = np.full((1, 64, 48, 40), -1000, np.int16)
    array[:, :22] = np.random.default_rng(0).normal(50, 100, (22, 48, 40))
    volume = Volume(array, Geometry((64, 48, 40), np.eye(4)))
    everything = Predictor(loaded, **EXACT).segment(volume, with_probabilities=True)
    steps: list[tuple[int, int]] = []

    predictor = Predictor(loaded, **{**EXACT, "skip_empty": True})
    result = predictor.segment(
        volume, with_probabilities=True, on_windows=lambda done, total: steps.append((done, total))
    )
    # Along X windows start at 0, 8, ..., 48; those from 24 on show air alone.
    assert (result.windows_done, result.windows_skipped) == (3 * 5 * 4, 4 * 5 * 4)
    assert steps[-1] == (60, 60)
    assert everything.windows_skipped == 0
    np.testing.assert_array_equal(result.probabilities[:, :24], everything.probabilities[:, :24])
    assert (result.probabilities[0, 32:] == 1).all()
    assert not result.labels[32:].any()
    np.testing.assert_allclose(result.probabilities.sum(axis=0), 1, atol=1e-5)


def test_scan_without_anything_in_it_is_background() -> None:
    volume = Volume(np.full((1, 20, 30, 25), -1000, np.int16), Geometry((20, 30, 25), np.eye(4)))
    for models in (model(), [model(seed=1), model(seed=2)]):
        result = Predictor(models, **{**EXACT, "skip_empty": True}).segment(volume, with_probabilities=True)
        assert result.windows_done == 0
        assert not result.labels.any()
        assert (result.probabilities[0] == 1).all()


def test_blocks_make_up_the_box() -> None:
    counts = np.zeros((20, 33, 7), int)
    for box in blocks(((3, 20), (0, 33), (2, 7)), 50):
        assert np.prod([high - low for low, high in box]) <= 50
        counts[tuple(slice(*span) for span in box)] += 1
    assert (counts[3:, :, 2:] == 1).all()
    assert counts.sum() == 17 * 33 * 5
