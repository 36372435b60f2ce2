"""How large segments become."""

import numpy as np
import pytest

from rag_pipeline.adapters.edge_segments import SEGMENTS_OF_ONE_SIZE, Filling
from rag_pipeline.schema import Point, SparseVector

LEAST_BYTES = 16_000
POINT = Point("", np.zeros(25, dtype=np.float32), SparseVector((), ()), {})
POINT_BYTES = 100


def segments(held_bytes: int) -> list[int]:
    """Bytes of each segment of a collection written point by point."""
    filling, sizes, size, held = Filling(least_bytes=LEAST_BYTES), [], 0, 0
    while held < held_bytes:
        filling.add([POINT])
        size, held = size + POINT_BYTES, held + POINT_BYTES
        if filling.is_segment(lambda held=held: held):  # type: ignore[misc]
            filling.clear()
            sizes.append(size)
            size = 0
    return sizes


def test_the_first_segments_have_the_size_of_the_settings() -> None:
    assert segments(SEGMENTS_OF_ONE_SIZE * LEAST_BYTES) == [LEAST_BYTES] * SEGMENTS_OF_ONE_SIZE


def test_a_later_segment_is_an_eighth_of_what_is_there() -> None:
    sizes = segments(50 * SEGMENTS_OF_ONE_SIZE * LEAST_BYTES)
    assert sizes[-1] == pytest.approx(sum(sizes) / SEGMENTS_OF_ONE_SIZE, abs=POINT_BYTES)


def test_a_hundred_times_as_much_takes_five_times_the_segments() -> None:
    """And not a hundred times: the number grows with the logarithm."""
    many = len(segments(100 * SEGMENTS_OF_ONE_SIZE * LEAST_BYTES))
    assert many == pytest.approx(5 * SEGMENTS_OF_ONE_SIZE, abs=3)


def test_a_small_filling_does_not_ask_how_much_there_is() -> None:
    filling = Filling(least_bytes=LEAST_BYTES)
    filling.add([POINT])
    assert not filling.is_segment(lambda: pytest.fail("asked"))
