import pytest
import torch
from torch.nn.functional import pad

from swin_unetr.config import InferenceConfig, NetworkConfig
from swin_unetr.errors import ConfigError
from swin_unetr.inference.engine.sliding_window import check_roi_size, slide
from swin_unetr.inference.engine.windows import lay_windows


def network(windows: torch.Tensor) -> torch.Tensor:
    """Two classes that depend on a voxel's neighbours and on its place in the window."""
    ramp = torch.linspace(0, 1, windows.shape[-1])
    return torch.cat([windows + windows.roll(1, dims=2), windows * ramp], dim=1)


@pytest.mark.parametrize("size", [(40, 33, 24), (16, 16, 16), (10, 50, 7)])
@pytest.mark.parametrize(("overlap", "batch_size"), [(0, 1), (0.5, 3), (0.9, 4)])
def test_windows_are_counted_before_they_are_laid(size, overlap, batch_size) -> None:
    config = InferenceConfig(roi_size=(16, 16, 16), overlap=overlap, batch_size=batch_size)
    batches: list[int] = []
    scores = slide(torch.rand(1, *size), network, config, batches.append)
    assert scores.shape == (2, *size)
    assert sum(batches) == len(lay_windows(size, config))


def test_one_window_gives_what_the_network_gives() -> None:
    image = torch.rand(1, 16, 24, 16)
    scores = slide(image, network, InferenceConfig(roi_size=(16, 24, 16)))
    torch.testing.assert_close(scores, network(image[None])[0])


def test_small_image_is_padded_with_zeros_on_both_sides() -> None:
    image = torch.rand(1, 10, 24, 13)
    padded = network(pad(image, (1, 2, 0, 0, 3, 3))[None])[0]
    scores = slide(image, network, InferenceConfig(roi_size=(16, 24, 16)))
    torch.testing.assert_close(scores, padded[:, 3:-3, :, 1:-2])


def test_the_middle_of_a_window_weighs_more_than_its_edge() -> None:
    starts = iter((0.0, 1.0))  # two windows that disagree everywhere
    scores = slide(
        torch.zeros(1, 16, 16, 24),
        lambda windows: windows + next(starts),
        InferenceConfig(roi_size=(16, 16, 16), overlap=0.5),
    )
    line = scores[0, 8, 8]
    assert (line[:8] == 0).all()
    assert (line[16:] == 1).all()
    assert (line[8:16].diff() > 0).all()


def test_roi_that_the_network_cannot_take_is_refused_with_the_nearest_that_it_can() -> None:
    config = NetworkConfig(depths=(2, 2), num_heads=(3, 6), merge_strides=((2, 2, 1), (2, 2, 2)))
    check_roi_size((96, 96, 36), config)
    with pytest.raises(ConfigError, match=r"roi_size: 90 96 3 .* multiples of 8 8 4; .* is 88 96 4$"):
        check_roi_size((90, 96, 3), config)
