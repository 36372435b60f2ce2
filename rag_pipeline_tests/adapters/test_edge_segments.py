"""How large segments become."""

from rag_pipeline.adapters.edge_segments import SEGMENTS_OF_ONE_SIZE, segment_bytes

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
