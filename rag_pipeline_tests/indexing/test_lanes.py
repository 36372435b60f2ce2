"""Items flow through all stages, in order, with little waiting between, and one failure stops all."""

import threading

import pytest

from rag_pipeline.indexing.lanes import flow


def test_every_item_passes_all_stages_in_order() -> None:
    seen: list[int] = []
    flow(range(20), [lambda x: x + 1, lambda x: x * 2, seen.append])
    assert seen == [(x + 1) * 2 for x in range(20)]


def test_stages_work_side_by_side() -> None:
    meet = threading.Barrier(2, timeout=5)

    def first(item: int) -> int:
        if item == 1:
            meet.wait()
        return item

    def second(item: int) -> None:
        if item == 0:
            meet.wait()

    flow(range(3), [first, second])


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_failure_of_any_stage_is_raised_and_stops_the_others(stage: int) -> None:
    counts = [0, 0, 0]

    def work(position: int):  # type: ignore[no-untyped-def]
        def run(item: int) -> int:
            counts[position] += 1
            if position == stage and item == 3:
                raise ValueError("stage failed")
            return item

        return run

    with pytest.raises(ValueError, match="stage failed"):
        flow(range(1000), [work(0), work(1), work(2)])
    assert counts[0] < 1000


def test_few_items_wait_between_stages() -> None:
    made, used = [], []

    def make(item: int) -> int:
        made.append(item)
        return item

    def use(item: int) -> None:
        assert len(made) - len(used) <= 4
        used.append(item)

    flow(range(50), [make, use], depth=1)


def test_one_stage_needs_no_thread() -> None:
    seen: list[int] = []
    flow([1, 2], [seen.append])
    assert seen == [1, 2]
