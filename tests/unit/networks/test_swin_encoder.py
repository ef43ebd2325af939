"""Patch merging, stochastic depth, and the encoder's maps."""

import pytest
import torch

from swin_unetr.config import NetworkConfig
from swin_unetr.networks import SwinEncoder
from swin_unetr.networks.swin_encoder import PatchMerging, drop_path, merging_order


def digits(order: tuple[tuple[int, int, int], ...]) -> str:
    return " ".join("".join(map(str, offset)) for offset in order)


def test_the_three_published_orders() -> None:
    assert digits(merging_order("legacy", (2, 2, 2))) == "000 100 010 001 101 010 001 111"
    assert digits(merging_order("merging", (2, 2, 2))) == "000 100 010 001 110 101 011 111"
    assert digits(merging_order("mergingv2", (2, 2, 2))) == "000 001 010 011 100 101 110 111"


def test_the_order_for_other_strides() -> None:
    assert digits(merging_order("mergingv2", (1, 2, 3))) == "000 001 002 010 011 012"
    assert merging_order("mergingv2", (1, 1, 1)) == ((0, 0, 0),)


@pytest.mark.parametrize(
    ("form", "neighbours"),
    [
        ("legacy", [0, 4, 2, 1, 5, 2, 1, 7]),
        ("merging", [0, 4, 2, 1, 6, 5, 3, 7]),
        ("mergingv2", [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_merging_by_hand(form: str, neighbours: list[int]) -> None:
    merging = PatchMerging(1, (2, 2, 2), form)
    merging.norm = torch.nn.Identity()
    merging.reduction = torch.nn.Identity()
    tokens = torch.arange(8.0).view(1, 2, 2, 2, 1)  # value = 4x + 2y + z
    assert merging(tokens).flatten().tolist() == neighbours


def test_an_incomplete_group_is_filled_with_zeros() -> None:
    merging = PatchMerging(1, (1, 1, 2), "mergingv2")
    merging.norm = torch.nn.Identity()
    merging.reduction = torch.nn.Identity()
    assert merging(torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3, 1)).tolist() == [[[[[1.0, 2.0], [3.0, 0.0]]]]]


def test_drop_path_drops_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropped = drop_path(torch.ones(4000, 2, 3), 0.25, training=True)
    per_sample = dropped.flatten(1)
    assert torch.equal(per_sample.min(1).values, per_sample.max(1).values)
    assert set(per_sample[:, 0].tolist()) == {0.0, torch.tensor(4 / 3).item()}
    assert dropped.mean().item() == pytest.approx(1, abs=0.03)
    assert not drop_path(torch.ones(3, 2), 1.0, training=True).any()
    assert drop_path(torch.ones(3, 2), 0.5, training=False).all()


def test_stochastic_depth_grows_from_block_to_block() -> None:
    encoder = SwinEncoder(NetworkConfig(feature_size=6, depths=(2, 3), num_heads=(1, 2), drop_path_rate=0.4))
    rates = [block.drop_path_rate for stage in encoder.stages for block in stage.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_every_second_block_is_shifted() -> None:
    encoder = SwinEncoder(NetworkConfig(feature_size=6, depths=(3, 2), num_heads=(1, 2)))
    assert [[block.shifted for block in stage.blocks] for stage in encoder.stages] == [
        [False, True, False],
        [False, True],
    ]


def test_maps_are_normalised_over_channels_if_asked() -> None:
    config = {"feature_size": 12, "depths": (1, 1), "num_heads": (2, 2), "window_size": (4, 4, 4)}
    image = torch.randn(1, 1, 16, 16, 16)
    for hidden in SwinEncoder(NetworkConfig(**config))(image):
        assert hidden.mean(1).abs().max() < 1e-5
        torch.testing.assert_close(hidden.var(1, correction=0), torch.ones_like(hidden[:, 0]), atol=1e-2, rtol=0)
    plain = SwinEncoder(NetworkConfig(**config, normalize=False))(image)
    assert plain[0].mean(1).abs().max() > 1e-2


def test_a_shift_mask_is_made_once_for_maps_of_a_size() -> None:
    """Also where validation, in inference mode, comes before training."""
    encoder = SwinEncoder(NetworkConfig(feature_size=4, depths=(2, 2), num_heads=(1, 1), window_size=(3, 3, 3)))
    encoder.stages[0].blocks[0].attention.path = encoder.stages[0].blocks[1].attention.path = "explicit"

    def made() -> object:
        assert encoder.stages[0]._last_mask is not None
        return encoder.stages[0]._last_mask[1]

    with torch.inference_mode():
        encoder(torch.randn(1, 1, 16, 16, 16))
    first = made()
    encoder(torch.randn(2, 1, 16, 16, 16))[-1].sum().backward()
    assert made() is first
    encoder(torch.randn(1, 1, 16, 16, 8))
    assert made() is not first
