"""Crops and networks that suit each other, against cases worked out by hand."""

import pytest

from swin_unetr.planning.shape import crop_sizes, shape_of, shapes


def test_sizes_are_halved_down_to_a_window() -> None:
    assert crop_sizes(100)[-12:] == [16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112]
    assert crop_sizes(50)[-4:] == [32, 40, 48, 56]
    assert crop_sizes(9) == [1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert crop_sizes(1) == [1]


def test_a_cube_of_96_gives_the_published_network() -> None:
    shape = shape_of((96, 96, 96), (1.0, 1.0, 1.0))
    network = shape.network(48, gradient_checkpointing=False)
    assert (network.depths, network.num_heads) == ((2, 2, 2, 2), (3, 6, 12, 24))
    assert (network.patch_size, network.strides) == ((2, 2, 2), ((2, 2, 2),) * 4)
    assert shape.maps == ((48,) * 3, (24,) * 3, (12,) * 3, (6,) * 3)
    assert shape.window == (6, 6, 6)


def test_the_hippocampus_gives_the_network_that_was_made_by_hand() -> None:
    shape = shape_of((40, 56, 40), (1.0, 1.0, 1.0))
    assert shape.patch == (2, 2, 2)
    assert shape.strides == ((2, 2, 2), (2, 2, 2), (1, 1, 1))
    assert shape.window == (5, 7, 5)


def test_thick_slices_wait_until_pixels_have_caught_up() -> None:
    # 0.8 mm and 5 mm: pixels become 1.6 mm by the patch, 3.2 mm by the first merging; only then 5 mm is less than
    # twice that, and Z is halved too.
    shape = shape_of((192, 192, 16), (0.8, 0.8, 5.0))
    assert shape.patch == (2, 2, 1)
    assert shape.strides[:2] == ((2, 2, 1), (2, 2, 2))
    assert shape.maps == ((96, 96, 16), (48, 48, 16), (24, 24, 8), (12, 12, 4))
    assert shape.window == (6, 6, 8)


def test_a_single_slice_is_never_halved() -> None:
    shape = shape_of((256, 256, 1), (1.0, 1.0, 8.0))
    assert shape.patch == (2, 2, 1)
    assert {stride[2] for stride in shape.strides} == {1}
    assert shape.window == (8, 8, 1)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.5, 6.0), (9.0, 1.0, 2.0)])
@pytest.mark.parametrize("median", [(35, 50, 36), (512, 512, 400), (1, 256, 256), (3, 3, 3), (20, 20, 900)])
def test_every_shape_suits_its_network_and_its_windows(median, spacing) -> None:
    found = list(shapes(median, spacing, 128**3))
    voxels = [shape.voxels for shape in found]
    assert voxels == sorted(voxels, reverse=True)
    assert voxels[0] <= 128**3
    assert voxels[-1] == 1
    for shape in found:
        divisor = shape.network(16, gradient_checkpointing=False).size_divisor
        assert not [size for size, step in zip(shape.crop, divisor, strict=True) if size % step]
        for tokens in shape.maps:
            for count, width in zip(tokens, shape.window, strict=True):
                assert count % width == 0 or count <= width
        assert 2 <= len(shape.strides) <= 4


def test_the_largest_covers_the_scan_and_the_longest_axis_gives_way_first() -> None:
    crops = [shape.crop for shape in shapes((35, 50, 36), (1.0, 1.0, 1.0), 10**9)]
    assert crops[:4] == [(40, 56, 40), (40, 48, 40), (40, 40, 40), (32, 40, 40)]
    in_millimetres = [shape.crop for shape in shapes((64, 64, 32), (1.0, 1.0, 4.0), 10**9)]
    assert in_millimetres[1] == (64, 64, 28)
