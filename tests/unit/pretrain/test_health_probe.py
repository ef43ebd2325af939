"""The probe on phantoms: it tells a good encoder from one that sees nothing, and leaves the encoder alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from monai.utils import convert_to_tensor

from pretrain.health import probe as probe_module
from pretrain.health.config import HealthConfig
from pretrain.health.probe import NEAR, Labelled, Probe, at_voxels, plain_vectors
from swin_unetr.config import IntensityConfig, NetworkConfig, PreprocessConfig
from swin_unetr.datasets.case import Case
from swin_unetr.errors import ConfigError
from swin_unetr.networks import SwinEncoder

NETWORK = NetworkConfig(feature_size=12, depths=(1, 1), num_heads=(2, 4), window_size=(4, 4, 4))
PREPROCESS = PreprocessConfig(intensity=IntensityConfig(scheme="hu_window"), crop_foreground=False)
CONFIG = HealthConfig(probe_voxels=50)
CASE = Case(id="case", images=(Path("case.nii.gz"),))


@pytest.fixture
def encoder() -> SwinEncoder:
    torch.manual_seed(0)
    return SwinEncoder(NETWORK)


def probe_on(folder: Path, config: HealthConfig = CONFIG, window: tuple[int, int, int] = (32, 32, 24)) -> Probe:
    return Probe(folder, config, preprocess=PREPROCESS, window=window, divisor=(8, 8, 8), in_channels=1)


@pytest.mark.parametrize("method", ["linear", "knn"])
def test_an_encoder_that_sees_beats_one_that_does_not(method, phantom_data: Path, encoder) -> None:
    probe = probe_on(phantom_data, replace(CONFIG, probe_method=method))
    seeing = probe.score(encoder)
    assert seeing.chance == pytest.approx(1 / 6)
    assert seeing.by_class.keys() == {"background", "liver", "spleen", "left kidney", "right kidney", "aorta"}
    assert seeing.accuracy == pytest.approx(sum(seeing.by_class.values()) / 6)
    with torch.no_grad():
        for parameter in encoder.patch_embedding.parameters():
            parameter.zero_()
    blind = probe.score(encoder)
    assert blind.accuracy < 0.35
    assert seeing.accuracy > blind.accuracy + 0.2


def test_the_same_encoder_has_the_same_score_and_is_left_as_it_was(phantom_data: Path, encoder) -> None:
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = probe_on(phantom_data).score(encoder)
    assert torch.equal(state, torch.get_rng_state())
    assert encoder.training
    assert probe_on(phantom_data).score(encoder) == first
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_crops_stay_within_their_scan(phantom_data: Path, encoder) -> None:
    probe = probe_on(phantom_data, window=(40, 24, 32))
    assert {tuple(scan.image.shape) for scan in probe._known} == {(1, 32, 24, 24)}
    assert probe.score(encoder).accuracy > probe.score(encoder).chance


def test_a_scan_smaller_than_any_crop_is_padded_by_voxels_of_no_class() -> None:
    codes = torch.ones(5, 20, 20, dtype=torch.long)
    codes[:3] = 0
    image = torch.rand(1, 5, 20, 20)
    found = probe_module._labelled({"image": image, "label": codes[None]}, CASE, 10000, (16, 16, 16), (8, 8, 8))
    assert found.image.shape == (1, 8, 16, 16)
    assert not found.image[:, 5:].any()
    assert found.voxels[:, 0].max() == 4
    assert found.classes.bincount().tolist() == [3 * 256, 2 * 256]


def test_background_is_taken_near_structures() -> None:
    codes = torch.zeros(32, 32, 32, dtype=torch.long)
    codes[16, 16, 16] = 2
    image = torch.rand(1, 32, 32, 32)
    found = probe_module._labelled({"image": image, "label": codes[None]}, CASE, 10000, (32, 32, 32), (8, 8, 8))
    assert ((found.voxels - 16).abs() <= NEAR).all()
    assert found.classes.bincount().tolist() == [9**3 - 1, 0, 1]


def test_place_and_value_alone_are_a_score_too(phantom_data: Path, encoder) -> None:
    score = probe_on(phantom_data).score(encoder)
    assert score.chance < score.plain < 1
    scan = Labelled(torch.rand(1, 8, 8, 8), torch.tensor([[0, 4, 6]]), torch.tensor([1]))
    found = plain_vectors(scan)[0]
    assert found[:12].tolist() == [-0.5, 0, 0.25, 0.25, 0, 0.0625, -0.125, 0, 0.015625, -0.125, 0, 0]
    assert found[12] == scan.image[0, 0, 4, 6]
    around = torch.nn.functional.pad(scan.image[0], (2,) * 6)[0:5, 4:9, 6:11]
    assert found[13] == pytest.approx(float(around.mean()))


def test_a_voxel_gets_the_vector_of_its_token() -> None:
    level = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    scan = Labelled(torch.zeros(1, 12, 8, 20), torch.tensor([[11, 7, 19], [3, 2, 4]]), torch.tensor([0, 1]))
    torch.testing.assert_close(at_voxels(level, scan), torch.stack([level[:, 2, 3, 4], level[:, 0, 1, 1]]))


def test_voxels_have_the_classes_of_the_labels(phantom_data: Path) -> None:
    from swin_unetr.datasets import read_dataset
    from transforms.preprocess import preprocessing

    dataset = read_dataset(phantom_data, require_labels=True)
    probe = probe_on(phantom_data)
    assert len(probe._known) == len(probe._asked) == 3
    steps = preprocessing(PREPROCESS, dataset.task, with_label=True)
    scans = [steps({"case": case}) for case in dataset.cases]
    for labelled in probe._known + probe._asked:
        (labels,) = (
            convert_to_tensor(scan["label"], track_meta=False)[0]
            for scan in scans
            if torch.equal(convert_to_tensor(scan["image"], track_meta=False), labelled.image)
        )
        assert labelled.classes.tolist() == labels[tuple(labelled.voxels.T)].tolist()
        assert max(labelled.classes.bincount()) <= CONFIG.probe_voxels


def test_an_encoder_of_other_channels_is_refused(phantom_data: Path) -> None:
    with pytest.raises(ConfigError, match="1 channel, the encoder takes 4"):
        Probe(phantom_data, CONFIG, preprocess=PREPROCESS, window=(32, 32, 24), divisor=(8, 8, 8), in_channels=4)


@pytest.mark.parametrize(("field", "value"), [("probe_scans", 1), ("picture_every", -1), ("probe_every", 0)])
def test_wrong_fields_are_named(field, value) -> None:
    with pytest.raises(ValueError, match=field):
        HealthConfig(**{field: value})
