"""How large the embedded engine's segments become while points are written.

A segment is what is indexed in one piece. Small ones keep memory flat, since indexing maps one of them twice; each is one more
graph to search for every question. So the first eight have the size of the settings, and from then on a new one is an
eighth of what is there: written in one go, 8 segments at 256 MiB of vectors and some 22 at 1.5 GiB.
"""

from collections.abc import Callable, Sequence

from rag_pipeline.schema import Point

SEGMENTS_OF_ONE_SIZE = 8


class Filling:
    """The vectors of a collection that no graph holds yet."""

    def __init__(self, *, least_bytes: float) -> None:
        """``least_bytes``: of vectors that are worth an index of their own in a small collection."""
        self._least_bytes = least_bytes
        self._unindexed_bytes = 0

    def add(self, points: Sequence[Point]) -> None:
        """To be told of everything that is written."""
        self._unindexed_bytes += sum(point.vector.nbytes for point in points)

    def is_segment(self, held_bytes: Callable[[], int]) -> bool:
        """Whether so much is worth an index of its own. ``held_bytes``: of the whole collection, asked only where it matters."""
        return self._unindexed_bytes >= self._least_bytes and self._unindexed_bytes * SEGMENTS_OF_ONE_SIZE >= held_bytes()

    def clear(self) -> None:
        """All is indexed."""
        self._unindexed_bytes = 0
