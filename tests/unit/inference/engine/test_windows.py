"""Windows and their weights against MONAI's."""

from itertools import product

import pytest
import torch
from monai.data.utils import dense_patch_slices

from swin_unetr.config import InferenceConfig
from swin_unetr.inference.engine.windows import blending_weights, empty_windows, lay_windows


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.75, 0.9, 0.99])
@pytest.mark.parametrize("size", [(40, 33, 24), (16, 17, 31), (100, 48, 16)])
def test_windows_lie_where_monai_lays_them(size, overlap) -> None:
    layout = lay_windows(size, InferenceConfig(roi_size=(16, 16, 16), overlap=overlap))
    step = tuple(16 if each == 16 else max(1, int(16 * (1 - overlap))) for each in size)
    expected = [tuple(axis.start for axis in window) for window in dense_patch_slices(size, (16, 16, 16), step)]
    assert list(layout) == expected
    assert len(set(layout)) == len(layout) == len(expected)


def test_window_larger_than_the_image_is_filled_with_zeros() -> None:
    image = torch.rand(2, 5, 20, 16) + 1
    layout = lay_windows((5, 20, 16), InferenceConfig(roi_size=(8, 16, 16), overlap=0.5))
    assert layout.starts == ((-1,), (0, 4), (0,))
    window = layout.cut(image, (-1, 4, 0))
    assert window.shape == (2, 8, 16, 16)
    assert torch.equal(window[:, 1:6], image[:, :, 4:])
    assert not window[:, 0].any()
    assert not window[:, 6:].any()


def test_empty_windows_are_those_without_any_difference() -> None:
    image = torch.full((2, 32, 16, 16), -3.0)
    image[1] = 7
    image[1, 31, 15, 15] = 8
    layout = lay_windows((32, 16, 16), InferenceConfig(roi_size=(16, 16, 16), overlap=0.5))
    assert empty_windows(image, layout) == {(0, 0, 0), (8, 0, 0)}
    image[0, 3, 5, 15] = 0
    assert empty_windows(image, layout) == {(8, 0, 0)}


def test_every_voxel_has_some_weight() -> None:
    for weights, size in product(("gaussian", "constant"), ((96, 96, 96), (8, 16, 32))):
        config = InferenceConfig(roi_size=size, weights=weights)
        assert blending_weights(config, torch.device("cpu")).min() > 0
