"""Items flow through all lanes, in order, with little waiting between; one failure stops all; the times add up."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rag_pipeline.indexing.lanes import Lane, LaneTimes, flow


def each(work: Callable[[Any], Any]) -> Lane:
    """A lane that does one thing to every item."""
    return lambda items: (work(item) for item in items)


def lanes(*works: Callable[[Any], Any]) -> dict[str, Lane]:
    return {str(position): each(work) for position, work in enumerate(works)}


def test_every_item_passes_all_lanes_in_order() -> None:
    seen: list[int] = []
    flow(range(20), lanes(lambda x: x + 1, lambda x: x * 2, seen.append))
    assert seen == [(x + 1) * 2 for x in range(20)]


def test_a_lane_may_gather_items_before_it_gives_one() -> None:
    def pairs(items: Iterator[int]) -> Iterator[tuple[int, int]]:
        for first in items:
            yield first, next(items)

    seen: list[tuple[int, int]] = []
    flow(range(6), {"gather": pairs, "see": each(seen.append)})
    assert seen == [(0, 1), (2, 3), (4, 5)]


def test_lanes_work_side_by_side() -> None:
    meet = threading.Barrier(2, timeout=5)

    def first(item: int) -> int:
        if item == 1:
            meet.wait()
        return item

    def second(item: int) -> None:
        if item == 0:
            meet.wait()

    flow(range(3), lanes(first, second))


@pytest.mark.parametrize("lane", [0, 1, 2])
def test_failure_of_any_lane_is_raised_and_stops_the_others(lane: int) -> None:
    counts = [0, 0, 0]

    def work(position: int) -> Callable[[int], int]:
        def run(item: int) -> int:
            counts[position] += 1
            if position == lane and item == 3:
                raise ValueError("lane failed")
            return item

        return run

    with pytest.raises(ValueError, match="lane failed"):
        flow(range(1000), lanes(work(0), work(1), work(2)))
    assert counts[0] < 1000


def test_an_input_that_is_cut_off_does_not_look_like_its_end() -> None:
    ended = []

    def fail(items: Iterator[int]) -> Iterator[int]:
        yield next(items)
        raise ValueError("lane failed")

    def gather(items: Iterator[int]) -> Iterator[int]:
        yield from list(items)
        ended.append(True)

    with pytest.raises(ValueError, match="lane failed"):
        flow(range(5), {"fail": fail, "gather": gather})
    assert not ended


def test_few_items_wait_between_lanes() -> None:
    made, used = [], []

    def make(item: int) -> int:
        made.append(item)
        return item

    def use(item: int) -> None:
        assert len(made) - len(used) <= 4
        used.append(item)

    flow(range(50), lanes(make, use), depth=1)


def test_one_lane_needs_no_thread() -> None:
    seen: list[int] = []
    flow([1, 2], lanes(seen.append))
    assert seen == [1, 2]


def test_the_times_of_each_lane_add_up_to_the_wall_time() -> None:
    def slow(item: int) -> int:
        time.sleep(0.05)
        return item

    started_s = time.perf_counter()
    times = flow(range(8), {"quick": each(lambda item: item), "slow": each(slow), "last": each(lambda item: item)}, depth=1)
    wall_s = time.perf_counter() - started_s
    for lane in times.values():
        assert lane.wall_s == pytest.approx(times["slow"].wall_s, abs=1e-6)
        assert 8 * 0.05 <= lane.wall_s <= wall_s
    assert times["slow"].busy_s >= 8 * 0.05
    assert times["quick"].output_wait_s + times["quick"].input_wait_s > times["quick"].busy_s
    assert times["last"].input_wait_s > times["last"].busy_s


def test_times_of_two_flows_add_up() -> None:
    both = LaneTimes(1, 2, 3).plus(LaneTimes(10, 20, 30))
    assert (both.busy_s, both.input_wait_s, both.output_wait_s, both.wall_s) == (11, 22, 33, 66)
