"""Cutting a span that is too long: balanced pieces at the best borders, whole sentences repeated."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from rag_pipeline.indexing.chunking.borders import CLEAN, Borders, close_gaps
from rag_pipeline.indexing.chunking.context import Context
from rag_pipeline.indexing.chunking.measured import MeasuredDocument, Positions

FILL = 0.85
"""Share of the room that a piece of a long span aims at at most: some way below full, so that a better border may be reached."""
SLACK = 1.25
"""How far the rest of a span may pass the length aimed at before it is cut again."""
BALANCED_PIECES = 3
"""A rest of at most so many pieces is shared out evenly. Longer ones are cut from the front, so that an edit moves only the
borders near it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk to be: a span of the text and what is repeated before it."""

    start: int
    end: int
    fresh: int
    """First character that the piece before does not hold."""
    context: Context
    headings: tuple[str, ...] | None = None
    """Heading path; None: that of the element in which the fresh text begins."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How a span becomes pieces."""

    borders: dict[int, float]
    context_at: Callable[[int], Context]
    """What is repeated before a piece that starts there."""
    room: int
    """Tokens of text that fit beside the longest context."""
    headings: tuple[str, ...] | None = None
    """Heading path of every piece; None: that of the element in which its fresh text begins."""
    overlap: int = 0
    """Tokens that a piece may repeat from the one before, from a clean border on."""
    clean: float = CLEAN
    """The highest weight of a border at which repeated text may begin."""
    is_full: bool = False
    """Whether every piece is as long as can be; otherwise pieces are near the length aimed at, the last ones evenly."""


def cut_span(document: MeasuredDocument, *, start: int, end: int, cut: Cut) -> Iterator[Piece]:
    """The span in pieces that fit."""
    borders = close_gaps(document, cut.borders, start=start, end=end, room=cut.room)
    tokens = document.tokens_before(borders.positions)
    fresh, index, begin = start, -1, start
    while True:
        context = cut.context_at(fresh)
        room = document.ruler.room - context.tokens
        window = Window(document, begin, end, room, room if cut.is_full else min(room, document.ruler.aim))
        if window.holds_all or (begin == fresh and index + 1 == borders.positions.size):
            yield Piece(begin, end, fresh, context, cut.headings)
            return
        chosen = window.choose(borders, tokens, after=index, cut=cut)
        if chosen is None and begin < fresh:
            begin = fresh
            continue
        index = index + 1 if chosen is None else chosen
        end_here = int(borders.positions[index])
        yield Piece(begin, end_here, fresh, context, cut.headings)
        begin = _overlap_start(borders, tokens, index, after=document.index(fresh), cut=cut)
        fresh = end_here


@dataclass(frozen=True, slots=True)
class Window:
    """What one piece could hold: from ``begin``, at most ``room`` tokens."""

    document: MeasuredDocument
    begin: int
    end: int
    room: int
    aim: int

    @property
    def holds_all(self) -> bool:
        """Whether the rest of the span fits, and is not much longer than a piece should be."""
        return self.document.fits(self.begin, self.end, room=min(self.room, int(self.aim * SLACK)))

    def choose(self, borders: Borders, tokens: Positions, *, after: int, cut: Cut) -> int | None:
        """Index of the best border for the end of the piece; None where the repeated text leaves room for none."""
        base = self.document.index(self.begin)
        high = min(
            int(tokens.searchsorted(base + self.room, side="right")),
            int(borders.positions.searchsorted(self.begin + self.document.ruler.chars_max, side="right")),
        )
        low = after + 1
        if high <= low:
            return None
        target = self._target(cut)
        distance = np.abs(tokens[low:high] - base - target) / target
        return low + int(np.argmin(distance + borders.weights[low:high]))

    def _target(self, cut: Cut) -> float:
        if cut.is_full:
            return float(self.room)
        rest = self.document.tokens_between(self.begin, self.end)
        pieces = -(-(rest - cut.overlap) // max(1, self.aim - cut.overlap))
        if not 1 < pieces <= BALANCED_PIECES:
            return max(1.0, min(self.aim, self.room * FILL))
        return (rest + (pieces - 1) * cut.overlap) / pieces


def _overlap_start(borders: Borders, tokens: Positions, index: int, *, after: int, cut: Cut) -> int:
    """Where the piece that begins at the border ``index`` begins with what it repeats: not all that followed token ``after``."""
    low = max(
        int(tokens.searchsorted(tokens[index] - cut.overlap, side="left")),
        int(tokens.searchsorted(after, side="right")),
    )
    clean = np.flatnonzero(borders.weights[low:index] <= cut.clean)
    return int(borders.positions[low + clean[0] if clean.size else index])
