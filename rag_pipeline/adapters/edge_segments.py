"""How large the embedded engine's segments become, and how far each of them is searched.

A segment is what is indexed in one piece. Small ones keep memory flat while a collection is loaded, since indexing maps one
of them twice; each is one more graph to search for every question. So the first eight have the size of the settings, and
from then on a new one is an eighth of what is there: 8 segments at 256 MiB of vectors, some 22 at 1.5 GiB.
"""

import math

SEGMENTS_OF_ONE_SIZE = 8
_FULL_WIDTH_SEGMENTS = 4
_CANDIDATES_MIN = 32


def segment_bytes(held_bytes: int, *, least_bytes: float) -> float:
    """Bytes of vectors that are worth an index of their own in a collection that holds so many."""
    return max(least_bytes, held_bytes / SEGMENTS_OF_ONE_SIZE)


def candidates(segments: int, *, ef_construct: int) -> int | None:
    """Candidates to follow in each segment; None for as many as the graph was built with.

    The engine follows its ``ef_construct`` in every segment, and of what ten segments find, nine tenths are thrown away. All
    together follow four times ``ef_construct`` here, and the engine itself never fewer in a segment than hits are wanted.
    60,000 vectors of low rank, 50 hits, recall beside comparing everything (28 November 2026): one graph in two segments
    0.95 with 100 candidates in each, six segments 0.98 with 50, 0.99 with 64, 0.997 with 100.
    """
    if segments <= _FULL_WIDTH_SEGMENTS:
        return None
    return min(ef_construct, max(_CANDIDATES_MIN, math.ceil(_FULL_WIDTH_SEGMENTS * ef_construct / segments)))
