"""How large segments become and how far each is searched."""

import pytest

from rag_pipeline.adapters.edge_segments import SEGMENTS_OF_ONE_SIZE, candidates, segment_bytes

MIB = 2**20


def test_the_first_segments_have_the_size_of_the_settings() -> None:
    held = SEGMENTS_OF_ONE_SIZE * 16 * MIB
    assert segment_bytes(0, least_bytes=16 * MIB) == 16 * MIB
    assert segment_bytes(held, least_bytes=16 * MIB) == 16 * MIB


def test_a_later_segment_is_an_eighth_of_what_is_there() -> None:
    assert segment_bytes(800 * MIB, least_bytes=16 * MIB) == 100 * MIB


def test_a_hundred_times_as_much_takes_six_times_the_segments() -> None:
    """And not a hundred times: the number grows with the logarithm."""
    held, segments = 0.0, 0
    while held < 100 * SEGMENTS_OF_ONE_SIZE * 16 * MIB:
        held += segment_bytes(round(held), least_bytes=16 * MIB)
        segments += 1
    assert 5 * SEGMENTS_OF_ONE_SIZE < segments <= 6 * SEGMENTS_OF_ONE_SIZE


@pytest.mark.parametrize(
    ("segments", "expected"), [(1, None), (4, None), (5, 80), (8, 50), (10, 40), (12, 34), (13, 32), (500, 32)]
)
def test_the_more_segments_the_fewer_candidates_in_each(segments: int, expected: int | None) -> None:
    assert candidates(segments, ef_construct=100) == expected


def test_never_more_candidates_than_the_graph_was_built_with() -> None:
    assert candidates(50, ef_construct=16) == 16
