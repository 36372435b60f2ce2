"""How large the embedded engine's segments become while points are written.

A segment is what is indexed in one piece. Small ones keep memory flat, since indexing maps one of them twice; each is one more
graph to search for every question. So the first eight have the size of the settings, and from then on a new one is an
eighth of what is there: written in one go, 8 segments at 256 MiB of vectors and some 22 at 1.5 GiB.
"""

SEGMENTS_OF_ONE_SIZE = 8


def segment_bytes(held_bytes: int, *, least_bytes: float) -> float:
    """Bytes of vectors that are worth an index of their own in a collection that holds so many."""
    return max(least_bytes, held_bytes / SEGMENTS_OF_ONE_SIZE)
