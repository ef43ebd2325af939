"""Plans: what they count and estimate is what the sweep then does."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from swin_unetr.config import InferenceConfig
from swin_unetr.errors import ConfigError
from swin_unetr.inference.engine.accumulate import Sweep
from swin_unetr.inference.engine.memory_plan import MemoryPlan, Summed, make_plan
from swin_unetr.inference.engine.windows import blending_weights, lay_windows
from transforms.geometry import Geometry
from transforms.grids import Grids, Turn

INFERENCE = InferenceConfig(roi_size=(16, 16, 16), overlap=0.5)
HUGE = 1 << 60


def make_grids(shape: tuple[int, int, int], spacing: tuple[float, float, float] | None = None) -> Grids:
    geometry = Geometry(shape, np.diag([1.0, 1.0, 2.0, 1.0]))
    return Grids.of(Turn.to_ras(geometry), tuple((0, size) for size in shape), spacing)


def summed(grids: Grids, channels: int = 3, **options) -> Summed:
    return Summed(lay_windows(grids.prepared_shape, replace(INFERENCE, **options)), channels)


def held_by(plan: MemoryPlan, grids: Grids, member: Summed) -> tuple[int, int]:
    """The most values that sweeps really hold, and the windows that they really compute."""
    most = 0
    windows: list[int] = []
    for tile in plan.tiles:
        owned = tuple(grids.needed(axis, range(*span)) for axis, span in enumerate(tile))
        sweep = Sweep(
            torch.zeros(1, *grids.prepared_shape),
            member.layout,
            plan.axis,
            owned,
            lambda batch: batch.expand(-1, member.channels, -1, -1, -1),
            channels=member.channels,
            weights=blending_weights(INFERENCE, torch.device("cpu")),
            on_windows=windows.append,
        )
        for slab in plan.slabs(tile):
            first, stop = grids.needed(plan.axis, range(*slab[plan.axis]))
            sweep.release(first)
            sweep.reach(stop)
            most = max(most, sum(total.values.numel() for total in sweep._sums.values()))
    return most, sum(windows)


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [None, (1.5, 1.5, 1.5), (0.7, 2.0, 1.0)])
@pytest.mark.parametrize("overlap", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("share", [1.0, 0.4, 0.15])
def test_windows_and_memory_are_as_planned(spacing, overlap, share) -> None:
    grids = make_grids((40, 50, 60), spacing)
    member = summed(grids, overlap=overlap)
    whole = make_plan([member], grids, fixed=0, budget=HUGE)
    assert len(whole.tiles) == 1
    assert whole.windows == len(member.layout)
    try:
        plan = make_plan([member], grids, fixed=1000, budget=1000 + int(whole.bytes * share))
    except ConfigError:
        assert share == 0.15
        return
    values, windows = held_by(plan, grids, member)
    assert windows == plan.windows >= whole.windows
    assert plan.bytes <= plan.budget
    expected = (plan.bytes - 1000) / 4 * member.channels / (member.channels + 1)
    assert 0.85 * expected <= values <= expected


def test_tiles_cover_every_voxel_once() -> None:
    grids = make_grids((41, 53, 67), (1.5, 1.5, 1.5))
    member = summed(grids)
    whole = make_plan([member], grids, fixed=0, budget=HUGE)
    plan = make_plan([member], grids, fixed=0, budget=int(whole.bytes * 0.5))
    assert len(plan.tiles) > 1
    counts = np.zeros(grids.native_shape, int)
    for tile in plan.tiles:
        for slab in plan.slabs(tile):
            counts[tuple(slice(*span) for span in slab)] += 1
    assert (counts == 1).all()


def test_the_longest_axis_is_swept() -> None:
    for axis, shape in enumerate([(90, 40, 20), (40, 90, 20), (40, 40, 60)]):
        grids = make_grids(shape)
        assert make_plan([summed(grids)], grids, fixed=0, budget=HUGE).axis == axis


def test_less_memory_takes_no_fewer_windows() -> None:
    grids = make_grids((64, 80, 96))
    member = summed(grids)
    most = make_plan([member], grids, fixed=0, budget=HUGE).bytes
    windows = []
    for share in (1.0, 0.8, 0.6, 0.4, 0.3):
        windows.append(make_plan([member], grids, fixed=0, budget=int(most * share)).windows)
    assert windows == sorted(windows)
    assert windows[-1] > windows[0]


def test_too_little_memory_is_refused_with_the_least_that_would_do() -> None:
    grids = make_grids((64, 80, 96))
    member = summed(grids, channels=20_000)
    leasts = {}
    for accumulate, end in (("float32", "$"), ("auto", ", with sums in float16$")):
        options = {"fixed": 1000, "accumulate": accumulate}
        with pytest.raises(
            ConfigError, match=r"max_memory: 1.0 MB is too little .* at least [\d.]+ MB" + end
        ) as caught:
            make_plan([member], grids, budget=1_000_000, **options)
        leasts[accumulate] = least = float(re.search(r"at least ([\d.]+) MB", str(caught.value))[1])
        plan = make_plan([member], grids, budget=int((least + 0.5) * 1e6), **options)
        assert plan.accumulate == ("float16" if accumulate == "auto" else "float32")
        with pytest.raises(ConfigError):
            make_plan([member], grids, budget=int((least - 0.5) * 1e6), **options)
    assert leasts["float32"] > 10
    assert leasts["auto"] == pytest.approx(leasts["float32"] / 2, abs=0.6)


def test_sums_are_in_half_precision_only_where_no_tiles_fit_otherwise() -> None:
    grids = make_grids((64, 80, 96))
    member = summed(grids, channels=48)
    most = make_plan([member], grids, fixed=0, budget=HUGE).bytes
    found = []
    budget = most
    while True:
        try:
            found.append(make_plan([member], grids, fixed=0, budget=budget))
        except ConfigError:
            break
        budget = budget * 9 // 10
    kinds = [plan.accumulate for plan in found]
    assert kinds == sorted(kinds, reverse=True)
    assert set(kinds) == {"float32", "float16"}
    first = found[kinds.index("float16")]
    with pytest.raises(ConfigError):
        make_plan([member], grids, fixed=0, budget=first.budget, accumulate="float32")
    assert max(len(plan.tiles) for plan in found if plan.accumulate == "float32") > 4
    asked = make_plan([member], grids, fixed=0, budget=most * 6 // 10, accumulate="float16")
    assert (asked.accumulate, len(asked.tiles)) == ("float16", 1)
    assert asked.bytes * (4 * 48 + 4) == most * (2 * 48 + 4)
    assert "summed in float16 along" in str(asked)


def test_models_are_summed_at_the_same_time() -> None:
    grids = make_grids((40, 50, 60))
    one, other = summed(grids), summed(grids, 7, roi_size=(24, 24, 24))
    plans = [make_plan(members, grids, fixed=0, budget=HUGE) for members in ([one], [other], [one, other])]
    assert plans[2].bytes == plans[0].bytes + plans[1].bytes
    assert plans[2].windows == plans[0].windows + plans[1].windows


def test_plan_in_words() -> None:
    grids = make_grids((20, 20, 60))
    plan = make_plan([summed(grids)], grids, fixed=2_000_000_000, budget=4_000_000_000, summed="3 class scores")
    assert str(replace(plan, windows=1)).startswith("1 window; 3 class scores")
    assert str(plan) == "28 windows; 3 class scores summed along Z in one piece; at most 2.0 GB of 4.0 GB memory"
