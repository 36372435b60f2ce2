"""Where a text may be cut, and how much each place is worth."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sentencex

from rag_pipeline.indexing.chunking.graphemes import snap_to_grapheme
from rag_pipeline.indexing.chunking.measured import BLANK, Block, MeasuredDocument, Positions
from rag_pipeline.schema import ElementKind

# Weights: what a cut costs, in shares of a chunk's length by which a better place may lie away from the wished one.
PARAGRAPH = 0.0
LIST = 0.15
SENTENCE = 0.25
LINE = 0.4
WORD = 1.0
INSIDE_WORD = 1.5
CLEAN = SENTENCE
"""The highest weight at which an overlap may begin."""

SENTENCE_SLICE_CHARS = 10_000
WORD_CHOICES = 32
WIDE_STOPS = frozenset("\u3002\uff01\uff1f\uff61\uff0e\u2026\u300d\u300f\u201d")
"""Full-width stops and closing quotes: the only ones after which a sentence begins without a blank."""
_LINE = re.compile(r"\n(?=[^\n])")


@dataclass(frozen=True, slots=True)
class Borders:
    """Places for cuts inside one span, ascending, each the first character of what follows."""

    positions: Positions
    weights: npt.NDArray[np.float64]


def make_borders(weighed: dict[int, float]) -> Borders:
    """Borders from a weight by position."""
    positions = np.array(sorted(weighed), dtype=np.int64)
    weights = np.array([weighed[position] for position in positions.tolist()], dtype=np.float64)
    return Borders(positions, weights)


def find_prose_borders(document: MeasuredDocument, blocks: Sequence[Block], *, room: int) -> dict[int, float]:
    """Paragraphs and sentences of the blocks. Code, list items and tables that fit stay whole; headings stay with their text."""
    weighed: dict[int, float] = {}
    before: Block | None = None
    for block in blocks:
        kind = block.element.kind
        if before is not None and before.element.kind is not ElementKind.TITLE:
            weighed[block.start] = LIST if kind is ElementKind.LIST_ITEM else PARAGRAPH
        if kind is ElementKind.TEXT or block.tokens > room:
            find = find_lines if kind in (ElementKind.CODE, ElementKind.TABLE) else find_sentences
            weighed.update(find(document.text, block.start, block.end))
        before = block
    return weighed


def find_sentences(text: str, start: int, end: int) -> Iterator[tuple[int, float]]:
    """First characters of the sentences after the first one."""
    for begin in range(start, end, SENTENCE_SLICE_CHARS):
        # A sentence that a slice cuts gains no border there: the pieces' own starts are left out.
        piece = text[begin : min(end, begin + SENTENCE_SLICE_CHARS)]
        position = begin
        for sentence in sentencex.segment("en", piece)[:-1]:
            position += len(sentence)
            if text[position - 1] in BLANK or text[position - 1] in WIDE_STOPS:
                yield position, SENTENCE


def find_lines(text: str, start: int, end: int) -> Iterator[tuple[int, float]]:
    """First characters of the lines after the first one."""
    for line in _LINE.finditer(text, start, end):
        yield line.end(), LINE


def close_gaps(document: MeasuredDocument, weighed: dict[int, float], *, start: int, end: int, room: int) -> Borders:
    """The borders, with lines, then words, then places inside words, wherever two of them lie further apart than the room."""
    weighed = {position: weight for position, weight in weighed.items() if start < position < end}
    for weight, find in ((LINE, _line_borders), (WORD, find_words), (INSIDE_WORD, _inner_borders)):
        for gap_start, gap_end in list(_wide_gaps(document, weighed, start=start, end=end, room=room)):
            weighed.update((position, weight) for position in find(document, gap_start, gap_end, room))
    return make_borders(weighed)


def _wide_gaps(
    document: MeasuredDocument, weighed: dict[int, float], *, start: int, end: int, room: int
) -> Iterator[tuple[int, int]]:
    edges = np.array([start, *sorted(weighed), end], dtype=np.int64)
    is_wide = np.diff(document.tokens_before(edges)) > room
    is_wide |= np.diff(edges) > document.ruler.chars_max
    for index in np.flatnonzero(is_wide).tolist():
        yield int(edges[index]), int(edges[index + 1])


def _line_borders(document: MeasuredDocument, start: int, end: int, room: int) -> Iterator[int]:
    del room
    return (position for position, _ in find_lines(document.text, start, end))


def find_words(document: MeasuredDocument, start: int, end: int, room: int) -> list[int]:
    """Enough words for a choice: one in each small step, and every one that a long word follows."""
    words = document.word_starts
    words = words[words.searchsorted(start, side="right") : words.searchsorted(end, side="left")]
    if not words.size:
        return []
    step = max(1, room // WORD_CHOICES)
    places = document.tokens_before(words)
    is_chosen = np.diff(places // step, prepend=-1) > 0
    is_chosen[:-1] |= (np.diff(places) > step) | (np.diff(words) > document.ruler.chars_max // WORD_CHOICES)
    chosen: list[int] = words[is_chosen].tolist()
    return chosen


def _inner_borders(document: MeasuredDocument, start: int, end: int, room: int) -> Iterator[int]:
    """Steps of most of the room, at borders of tokens that are borders of characters too."""
    step = max(1, room * 9 // 10)
    position = start
    while document.tokens_between(position, end) > room or end - position > document.ruler.chars_max:
        wished = document.index(position) + step
        starts = document.token_starts
        cut = int(starts[wished]) if wished < starts.size else end
        cut = min(cut, position + document.ruler.chars_max, end - 1)
        position = snap_to_grapheme(document.text, position, max(position + 1, cut))
        if position >= end:
            return
        yield position
