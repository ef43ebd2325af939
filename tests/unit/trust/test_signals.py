"""Signals of a case against the same by NumPy and SciPy from whole probability maps, and against itself cut up."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from swin_unetr.config import InferenceConfig, IntensityConfig, PreprocessConfig
from swin_unetr.inference.engine.memory_plan import Summed, make_plan
from swin_unetr.inference.engine.windows import lay_windows
from swin_unetr.inference.predictor import Predictor
from swin_unetr.tasks import Task, brats, exclusive
from transforms.geometry import Geometry, Volume

CT = Task(name="x", modality="CT", channels=("CT",), targets=exclusive("abc"))
SHAPE = (24, 30, 17)
PREPROCESS = PreprocessConfig(
    spacing_mm=(1.5, 1.5, 1.5), intensity=IntensityConfig(scheme="hu_window", window=(-200.0, 300.0))
)
INFERENCE = InferenceConfig(roi_size=(16, 16, 16), overlap=0.25)
OPTIONS: dict[str, Any] = {"device": "cpu", "backend": "torch", "precision": "float32", "signals": True}
AFFINE = np.array([[0, -1.1, 0, 9.0], [0.9, 0, 0, -4], [0, 0, -2.3, 50], [0, 0, 0, 1]])


def scan(channels: int = 1) -> Volume:
    rng = np.random.default_rng(1)
    blobs = ndimage.gaussian_filter(rng.normal(size=(channels, *SHAPE)), (0, 2, 2, 2))
    return Volume((50 + 2000 * blobs).astype(np.int16), Geometry(SHAPE, AFFINE))


@pytest.fixture
def sharp(make_model):
    """A model whose scores differ enough that every structure is predicted somewhere."""

    def make(name: str, task: Task = CT, seed: int = 0, **inference: Any):
        preprocess = PREPROCESS
        if task is not CT:
            preprocess = PreprocessConfig(intensity=IntensityConfig(scheme="zscore_nonzero"))
        return make_model(name, task, seed=seed, preprocess=preprocess, inference=replace(INFERENCE, **inference))

    return make


def in_tiles(predictor: Predictor, volume: Volume, share: float) -> Any:
    prepared = predictor.prepare(volume)
    members = [
        Summed(lay_windows(prepared.grids.prepared_shape, each.inference), each.backend.channels)
        for each in predictor.ensemble.members
    ]
    whole = make_plan(members, prepared.grids, fixed=0, budget=1 << 60)
    plan = make_plan(members, prepared.grids, fixed=0, budget=int(whole.bytes * share))
    return predictor.segment_prepared(prepared, plan=plan), len(plan.tiles)


def expected_doubts(probabilities: np.ndarray, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Entropy and margin, written out."""
    p = probabilities.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        if task.activation == "sigmoid":
            both = np.nan_to_num(-p * np.log2(p)) + np.nan_to_num(-(1 - p) * np.log2(1 - p))
            return both.max(axis=0), np.abs(2 * p - 1).min(axis=0)
        ordered = np.sort(p, axis=0)
        return np.nan_to_num(-p * np.log(p)).sum(axis=0) / np.log(len(p)), ordered[-1] - ordered[-2]


@pytest.mark.slow
@pytest.mark.parametrize("task", [CT, brats("brats2021")], ids=["softmax", "sigmoid"])
def test_zones_are_those_of_the_whole_probability_map(sharp, task) -> None:
    predictor = Predictor(sharp("m", task), **OPTIONS)
    done = predictor.segment(scan(len(task.channels)), with_probabilities=True)
    entropy, margin = expected_doubts(done.probabilities, task)
    np.testing.assert_allclose(done.uncertainty / 255, entropy, atol=0.5 / 255 + 1e-5)
    cross = ndimage.generate_binary_structure(3, 1)
    assert any(of.voxels for of in done.signals.structures.values())
    first = task.num_classes - len(task.targets)
    for index, target in enumerate(task.targets):
        found = done.signals.structures[target.name]
        mask = np.isin(done.labels, target.labels)
        assert found.voxels == mask.sum()
        assert found.components == ndimage.label(mask, np.ones((3, 3, 3)))[1]
        assert found.volume_ml == pytest.approx(mask.sum() * 1.1 * 0.9 * 2.3 / 1000)
        inside = ndimage.binary_erosion(mask, cross, border_value=1)
        border = ndimage.binary_dilation(mask, cross) & ~inside
        for zone, where in {"inside": inside, "border": border, "outside": ~inside & ~border}.items():
            for of, values in ((found.entropy, entropy), (found.margin, margin)):
                if where.any():
                    assert getattr(of, zone) == pytest.approx(values[where].mean(), abs=0.003)
                else:
                    assert np.isnan(getattr(of, zone))
        if mask.any() and task.activation == "softmax":
            p = done.probabilities[first + index].astype(np.float64)
            assert found.expected_dice == pytest.approx(2 * p[mask].sum() / (mask.sum() + p.sum()), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("members", [1, 2])
def test_in_tiles_the_signals_are_those_of_one_piece(sharp, members) -> None:
    predictor = Predictor([sharp(f"m{seed}", seed=seed) for seed in range(members)], **OPTIONS)
    whole, one = in_tiles(predictor, scan(), 1)
    cut, several = in_tiles(predictor, scan(), 0.45)
    assert (one, several > 1) == (1, True)
    assert cut.windows_done > whole.windows_done
    assert cut.signals == whole.signals
    assert np.array_equal(cut.uncertainty, whole.uncertainty)
    assert len(whole.signals.features) == members
    assert len(whole.signals.features[0]) == 2 * predictor.ensemble.members[0].network.deepest_width


@pytest.mark.slow
def test_members_are_compared_pair_by_pair(sharp) -> None:
    models = [sharp(f"m{seed}", seed=seed) for seed in range(3)]
    signals = Predictor(models, **OPTIONS).segment(scan()).signals
    alone = [Predictor(model, **OPTIONS).segment(scan()) for model in models]
    assert signals.compared == "members"
    assert alone[0].signals.compared is None
    for target in CT.targets:
        masks = [each.labels == target.write_as for each in alone]
        pairs = [(masks[0], masks[1]), (masks[0], masks[2]), (masks[1], masks[2])]
        dice = [2 * (a & b).sum() / (a.sum() + b.sum()) if (a | b).any() else 1 for a, b in pairs]
        assert signals.structures[target.name].agreement == pytest.approx(np.mean(dice), abs=1e-6)
    assert [of.signals.features[0] for of in alone] == list(signals.features)


@pytest.mark.slow
def test_mirrored_views_of_a_single_model_are_compared_window_by_window(sharp) -> None:
    predictor = Predictor(sharp("m", tta=True, mirror_axes=(0,)), **OPTIONS)
    whole, _ = in_tiles(predictor, scan(), 1)
    cut, several = in_tiles(predictor, scan(), 0.45)
    assert several > 1
    assert whole.signals.compared == "mirrored views"
    assert cut.signals == whole.signals
    (member,) = predictor.ensemble.members
    prepared = predictor.prepare(scan())
    layout = lay_windows(prepared.grids.prepared_shape, member.inference)
    shared = np.zeros((3, 3))  # structures x (both, first, second)
    for start in layout:
        window = layout.cut(prepared.image, start)[None]
        views = [member.backend(window), member.backend(window.flip(2)).flip(2)]
        labels = [each[0].argmax(dim=0).numpy() for each in views]
        for index in range(3):
            first, second = (each == index + 1 for each in labels)
            shared[index] += (first & second).sum(), first.sum(), second.sum()
    for target, (both, first, second) in zip(CT.targets, shared, strict=True):
        agreement = whole.signals.structures[target.name].agreement
        assert agreement == pytest.approx(2 * both / (first + second) if first + second else 1)


def test_without_signals_nothing_is_recorded_and_labels_are_the_same(sharp) -> None:
    model = sharp("m")
    done = Predictor(model, **OPTIONS).segment(scan())
    plain = Predictor(model, **{**OPTIONS, "signals": False}).segment(scan())
    assert (plain.signals, plain.uncertainty) == (None, None)
    assert np.array_equal(plain.labels, done.labels)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "module"), [("openvino", "openvino"), ("onnx", "onnxscript")])
def test_other_backends_give_the_features_of_torch(sharp, backend, module) -> None:
    pytest.importorskip(module)
    model = sharp("m")
    expected = Predictor(model, **OPTIONS).segment(scan()).signals
    found = Predictor(model, **{**OPTIONS, "backend": backend}, cache=False).segment(scan()).signals
    np.testing.assert_allclose(found.features, expected.features, rtol=1e-3, atol=1e-3)
