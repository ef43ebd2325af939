"""Windows, relative positions and masks against cases small enough to write out."""

import itertools

import pytest
import torch

from swin_unetr.config import AttentionPath
from swin_unetr.networks.window_attention import (
    MASKED_LOGIT,
    ShiftMask,
    WindowAttention,
    added_logits,
    bias_of_window,
    fit_window,
    join_windows,
    mix_values,
    padding_to_windows,
    partition_windows,
    position_bias,
    relative_position_index,
    shift_mask,
)


def test_a_window_is_clamped_to_the_map_and_then_not_shifted() -> None:
    assert fit_window((24, 24, 24), (7, 7, 7)) == ((7, 7, 7), (3, 3, 3))
    assert fit_window((8, 7, 6), (7, 7, 7)) == ((7, 7, 6), (3, 0, 0))
    assert fit_window((1, 2, 3), (4, 2, 2)) == ((1, 2, 2), (0, 0, 1))


def test_padding_fills_the_last_window() -> None:
    assert padding_to_windows((24, 7, 8), (7, 7, 7)) == (4, 0, 6)


def test_windows_by_hand() -> None:
    features = torch.arange(4 * 2 * 3).view(1, 4, 2, 3, 1)  # value = 6x + 3y + z
    windows = partition_windows(features, (2, 1, 3))
    assert windows[0, :, :, 0].tolist() == [
        [0, 1, 2, 6, 7, 8],
        [3, 4, 5, 9, 10, 11],
        [12, 13, 14, 18, 19, 20],
        [15, 16, 17, 21, 22, 23],
    ]


@pytest.mark.parametrize("window", [(2, 3, 4), (4, 6, 8), (1, 1, 1), (4, 1, 2)])
def test_joining_undoes_partitioning(window: tuple[int, int, int]) -> None:
    features = torch.randn(2, 4, 6, 8, 5)
    assert torch.equal(join_windows(partition_windows(features, window), window, (4, 6, 8)), features)


def test_relative_positions_by_hand() -> None:
    # Window 1x1x3: offsets -2..2 are rows 0..4, query minus key.
    assert relative_position_index((1, 1, 3)).tolist() == [[2, 1, 0], [3, 2, 1], [4, 3, 2]]
    # Window 2x1x2: offsets (dx, dz) in lexicographic order, 3 possible dz for each dx.
    assert relative_position_index((2, 1, 2)).tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


def test_equal_offsets_and_only_they_share_a_row() -> None:
    window = (2, 3, 2)
    index = relative_position_index(window)
    positions = list(itertools.product(*map(range, window)))
    rows: dict[tuple[int, ...], set[int]] = {}
    for (i, query), (j, key) in itertools.product(enumerate(positions), repeat=2):
        rows.setdefault(tuple(a - b for a, b in zip(query, key, strict=True)), set()).add(int(index[i, j]))
    assert all(len(row) == 1 for row in rows.values())
    assert set().union(*rows.values()) == set(range(3 * 5 * 3))


def test_the_shift_mask_by_hand() -> None:
    # Four tokens in windows of two, shifted by one: the last window holds token 3 and token 0, which are no neighbours.
    mask = shift_mask((1, 1, 4), (1, 1, 2), (0, 0, 1), torch.device("cpu"), torch.float32)
    assert mask.of_windows().tolist() == [[[0, 0], [0, 0]], [[0, MASKED_LOGIT], [MASKED_LOGIT, 0]]]


def test_the_shift_mask_parts_what_was_apart_before_the_shift() -> None:
    size, window, shift = (6, 4, 2), (3, 2, 2), (1, 1, 0)
    positions = torch.stack(torch.meshgrid(*map(torch.arange, size), indexing="ij"), -1)[None]
    rolled = torch.roll(positions, [-step for step in shift], (1, 2, 3))
    windows = partition_windows(rolled, window)[0]
    # Neighbours in a shifted window were less than a window apart on every axis.
    distance = (windows[:, :, None] - windows[:, None, :]).abs()
    apart = (distance >= torch.tensor(window)).any(-1)
    mask = shift_mask(size, window, shift, torch.device("cpu"), torch.float32)
    assert torch.equal(mask.of_windows() != 0, apart)
    assert len(mask.patterns) == 4  # two axes are shifted


def test_attention_by_hand() -> None:
    # Equal queries and keys leave the bias to decide; exp(log 3) : exp(0) = 3 : 1.
    query = key = torch.zeros(1, 1, 1, 2, 1)
    value = torch.tensor([4.0, 8.0]).view(1, 1, 1, 2, 1)
    bias = torch.tensor([[[3.0, 1.0], [1.0, 1.0]]]).log()
    assert mix_values(query, key, value, bias, None, 0.0).flatten().tolist() == pytest.approx([5.0, 6.0])
    mask = ShiftMask(torch.tensor([[[0.0, MASKED_LOGIT], [MASKED_LOGIT, 0.0]]]), torch.tensor([0]))
    assert mix_values(query, key, value, bias, mask, 0.0).flatten().tolist() == pytest.approx([4.0, 8.0])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("path", ["fused", "blockwise"])
def test_the_ways_of_attention_agree(path: AttentionPath, masked: bool) -> None:
    parts = [
        part.double().requires_grad_() for part in (*torch.randn(3, 2, 4, 3, 8, 5).unbind(0), torch.randn(3, 8, 8))
    ]
    patterns = torch.randint(0, 2, (3, 8, 8)) * MASKED_LOGIT
    mask = ShiftMask(patterns.double(), torch.tensor([0, 2, 1, 2])) if masked else None
    explicit, other = (mix_values(*parts, mask, 0.0, way) for way in ("explicit", path))
    assert other.shape == parts[0].shape
    torch.testing.assert_close(other, explicit)
    weights = torch.randn_like(explicit)
    for wanted, found in zip(*(torch.autograd.grad(out, parts, weights) for out in (explicit, other)), strict=True):
        torch.testing.assert_close(found, wanted)


def test_dropout_of_attention_is_reproducible_and_only_for_training() -> None:
    attention = WindowAttention(8, 2, (2, 2, 2), attn_drop_rate=0.5)
    windows, index = torch.randn(1, 3, 8, 8), relative_position_index((2, 2, 2))
    outputs = []
    for _ in range(2):
        torch.manual_seed(1)
        outputs.append(attention(windows, index, None))
    assert torch.equal(*outputs)
    assert not torch.equal(attention(windows, index, None), outputs[0])
    attention.eval()
    assert torch.equal(attention(windows, index, None), attention(windows, index, None))


@pytest.mark.parametrize("window", [(1, 1, 1), (3, 3, 3), (2, 3, 4), (1, 5, 2)])
def test_the_bias_of_a_whole_window_is_that_of_the_index(window: tuple[int, int, int]) -> None:
    offsets = (2 * window[0] - 1) * (2 * window[1] - 1) * (2 * window[2] - 1)
    table = torch.randn(offsets, 2, dtype=torch.float64, requires_grad=True)
    wanted = position_bias(table, relative_position_index(window))
    found = bias_of_window(table, window)
    assert torch.equal(found, wanted)
    weights = torch.randn_like(found)
    gradients = [torch.autograd.grad((bias * weights).sum(), table)[0] for bias in (found, wanted)]
    torch.testing.assert_close(*gradients)


def test_no_step_back_from_the_bias_sorts_or_scatters() -> None:
    """These are what a GPU is slow at, or adds up in another order each time."""
    table = torch.randn(125, 2, requires_grad=True)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as trace:
        bias_of_window(table, (3, 3, 3)).sum().backward()
    names = {event.key for event in trace.key_averages()}
    assert "aten::unfold_backward" in names
    assert not any(word in name for name in names for word in ("scatter", "index_put", "sort", "embedding"))


@pytest.mark.parametrize("masked", [False, True])
def test_added_logits_lie_in_rows_that_fused_kernels_take_as_they_are(masked: bool) -> None:
    mask = shift_mask((6, 6, 6), (3, 3, 3), (1, 1, 1), torch.device("cpu"), torch.float32) if masked else None
    bias = torch.randn(2, 27, 27, requires_grad=True)
    found = added_logits(bias, mask)
    wanted = bias if mask is None else (bias + mask.of_windows()[:, None]).flatten(0, 1)
    assert torch.equal(found, wanted)
    assert found.stride() == (27 * 32, 32, 1)
    weights = torch.randn_like(wanted)
    gradients = [torch.autograd.grad((logits * weights).sum(), bias)[0] for logits in (found, wanted)]
    torch.testing.assert_close(*gradients)
