"""The order in which scans are visited: pinned, the same on any number of processes, gone on with after a stop."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_unetr.training.sampler import Visit, VisitSampler

#: Scans that every earlier version visited, by batch, processes, epoch and process: of 7, seed 3, less than a step left
#: out, as in fine-tuning.
ORDERS_OF_7 = {
    (2, 1, 0, 0): [2, 5, 1, 0, 4, 6],
    (2, 1, 1, 0): [3, 6, 0, 2, 4, 5],
    (2, 1, 2, 0): [2, 4, 0, 1, 6, 3],
    (2, 2, 0, 0): [2, 1],
    (2, 2, 0, 1): [5, 0],
    (2, 2, 1, 0): [3, 0],
    (2, 2, 1, 1): [6, 2],
    (2, 2, 2, 0): [2, 0],
    (2, 2, 2, 1): [4, 1],
}
#: The same of 5 scans, two visits of each, seed 3, the last step filled up, as in pre-training.
ORDERS_OF_5 = {
    (2, 1, 0, 0): [1, 0, 4, 3, 2, 1, 4, 0, 2, 3],
    (2, 1, 1, 0): [1, 4, 2, 3, 0, 1, 0, 3, 4, 2],
    (2, 1, 2, 0): [4, 2, 3, 0, 1, 1, 2, 4, 3, 0],
    (2, 2, 0, 0): [1, 4, 2, 4, 2, 1],
    (2, 2, 0, 1): [0, 3, 1, 0, 3, 0],
    (2, 2, 1, 0): [1, 2, 0, 0, 4, 1],
    (2, 2, 1, 1): [4, 3, 1, 3, 2, 4],
    (2, 2, 2, 0): [4, 3, 1, 2, 3, 4],
    (2, 2, 2, 1): [2, 0, 1, 4, 0, 2],
}


@pytest.mark.parametrize(("batch", "world_size", "epoch", "rank"), ORDERS_OF_7)
def test_the_orders_are_those_of_every_earlier_version(batch: int, world_size: int, epoch: int, rank: int) -> None:
    place = {"batch": batch, "seed": 3, "rank": rank, "world_size": world_size}
    for sampler, orders in (
        (VisitSampler(7, drop_last=True, **place), ORDERS_OF_7),
        (VisitSampler(5, visits=2, **place), ORDERS_OF_5),
    ):
        sampler.set_epoch(epoch)
        scans = orders[batch, world_size, epoch, rank]
        places = range(rank, rank + len(scans) * world_size, world_size)
        assert list(sampler) == [Visit(epoch, *visit) for visit in zip(places, scans, strict=True)]


@pytest.mark.parametrize(("world_size", "length"), [(1, 6), (2, 6), (3, 6), (15, 7)])
def test_an_epoch_visits_every_scan_once_and_in_an_order_of_its_own(world_size: int, length: int) -> None:
    def visits(epoch: int, seed: int = 0) -> list[tuple[int, int]]:
        parts = [
            VisitSampler(length, drop_last=True, seed=seed, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        for part in parts:
            part.set_epoch(epoch)
        assert {len(list(part)) for part in parts} == {len(part) for part in parts} == {-(-length // world_size)}
        return [(visit.epoch, visit.scan) for part in parts for visit in part]

    assert {index for _, index in visits(3)} == set(range(length))
    assert {epoch for epoch, _ in visits(3)} == {3}
    assert visits(3) == visits(3)
    assert [index for _, index in visits(3)] != [index for _, index in visits(4)]
    assert visits(3) != visits(3, seed=1)


@pytest.mark.parametrize("length", [1, 4, 7, 8, 13])
def test_a_step_visits_the_same_scans_on_any_number_of_processes(length: int) -> None:
    def steps(world_size: int, batch: int) -> list[set[tuple[int, int]]]:
        parts = [
            [
                (visit.epoch, visit.scan)
                for visit in VisitSampler(length, batch=batch, drop_last=True, rank=rank, world_size=world_size)
            ]
            for rank in range(world_size)
        ]
        starts = range(0, len(parts[0]), batch)
        return [{visit for part in parts for visit in part[start : start + batch]} for start in starts]

    assert steps(1, 4) == steps(2, 2) == steps(4, 1)
    assert len(steps(1, 4)) == max(1, length // 4)


def test_visits_that_were_made_are_left_out_once() -> None:
    sampler = VisitSampler(5, drop_last=True)
    whole = list(sampler)
    sampler.skip(2)
    assert list(sampler) == whole[2:]
    assert list(sampler) == whole


def test_processes_share_an_epoch_and_never_draw_the_same_crop() -> None:
    for world, batch, visits in ((2, 2, 1), (3, 1, 2), (4, 2, 1), (2, 4, 3)):
        ranks = [
            list(VisitSampler(5, visits=visits, batch=batch, seed=1, rank=rank, world_size=world))
            for rank in range(world)
        ]
        assert len({len(rank) for rank in ranks}) == 1
        assert len(ranks[0]) % batch == 0
        everything = [visit for rank in ranks for visit in rank]
        assert len(set(everything)) == len(everything)  # no (epoch, place, scan) twice
        in_order = [scan for _, _, scan in sorted(everything)]
        for start in range(0, 5 * visits, 5):
            assert sorted(in_order[start : start + 5]) == list(range(5))


def test_orders_differ_between_epochs_and_skipping_goes_on() -> None:
    sampler = VisitSampler(50, batch=5, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert [scan for *_, scan in first] != [scan for *_, scan in second]
    sampler.skip(20)
    assert list(sampler) == second[20:]
    assert list(sampler) == second
    one_of_two = VisitSampler(50, batch=5, seed=1, rank=1, world_size=2)
    whole = list(one_of_two)
    one_of_two.skip(10)
    assert list(one_of_two) == whole[10:]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    scans=st.integers(1, 20),
    visits=st.integers(1, 3),
    batch=st.integers(1, 5),
    world_size=st.integers(1, 4),
    drop_last=st.booleans(),
    epoch=st.integers(0, 9),
)
def test_batches_are_those_of_the_epoch_and_none_is_missing(scans, visits, batch, world_size, drop_last, epoch) -> None:
    for rank in range(world_size):
        sampler = VisitSampler(scans, visits=visits, batch=batch, drop_last=drop_last, rank=rank, world_size=world_size)
        batches = [sampler.batch_at(epoch, step) for step in range(sampler.steps)]
        assert all(batches)
        assert not sampler.batch_at(epoch, sampler.steps)
        assert len(sampler) == sum(map(len, batches))
        sampler.set_epoch(epoch)
        assert list(sampler) == [visit for batch in batches for visit in batch]
