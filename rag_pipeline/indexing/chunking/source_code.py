"""Source code of any language: by definitions, told from blank lines and indentation."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from rag_pipeline.indexing.chunking.context import Context, ContextWriter
from rag_pipeline.indexing.chunking.cuts import Cut, Piece, cut_span
from rag_pipeline.indexing.chunking.measured import MeasuredDocument
from rag_pipeline.schema import ElementKind

_LINE = re.compile(r"[^\n]*\S[^\n]*")
_NOT_AN_OPENER = re.compile(r"\s*[\])}\W]*$|\s*[\])}]")
AFTER_BLANK, AFTER_DEDENT, IN_BLOCK = 0.0, 0.1, 0.5
DEPTH_WEIGHT, DEPTH_MAX = 0.15, 4
CLOSING_WEIGHT = 0.3
ENCLOSING_MAX = 3
ENCLOSING_CHARS_MAX = 200
TAB_COLUMNS = 4


@dataclass(slots=True)
class Outline:
    """Borders between lines, and for each the lines that enclose it: its class, its function."""

    borders: dict[int, float] = field(default_factory=dict)
    enclosing: dict[int, tuple[str, ...]] = field(default_factory=dict)
    _open: list[tuple[int, str]] = field(default_factory=list)
    _columns: int = 0

    def add(self, line: str, start: int, *, is_after_blank: bool) -> None:
        """Takes the next line that is not blank."""
        columns = _columns(line)
        while self._open and self._open[-1][0] >= columns and not _NOT_AN_OPENER.match(line):
            self._open.pop()
        self.borders[start] = self._weight(line, columns, is_after_blank=is_after_blank)
        self.enclosing[start] = tuple(text for opened, text in self._open if opened < columns)[-ENCLOSING_MAX:]
        if not _NOT_AN_OPENER.match(line):
            self._open.append((columns, line.strip()[:ENCLOSING_CHARS_MAX]))
        self._columns = columns

    def _weight(self, line: str, columns: int, *, is_after_blank: bool) -> float:
        depth = sum(opened < columns for opened, _ in self._open)
        place = AFTER_BLANK if is_after_blank else AFTER_DEDENT if columns < self._columns else IN_BLOCK
        closing = CLOSING_WEIGHT if _NOT_AN_OPENER.match(line) else 0.0
        return place + closing + DEPTH_WEIGHT * min(depth, DEPTH_MAX)


def cut_code(document: MeasuredDocument, writer: ContextWriter) -> Iterator[Piece]:
    """Definitions, small neighbours together; the lines that enclose a piece are its context. Nothing is repeated as text."""
    if not document.blocks:
        return iter(())
    outline = _outline(document)

    def context_at(position: int) -> Context:
        headings = _headings_at(document, position)
        enclosing = [line for line in outline.enclosing.get(position, ()) if not any(part in line for part in headings)]
        return writer.write(headings, "\n".join(enclosing))

    room = document.ruler.room - 2 * document.ruler.context_room
    start, end = document.blocks[0].start, document.blocks[-1].end
    return cut_span(document, start=start, end=end, cut=Cut(outline.borders, context_at, room))


def _headings_at(document: MeasuredDocument, position: int) -> tuple[str, ...]:
    """The path at a line; at the first line of a definition without its own name, which the line says."""
    block, before = document.block_at(position), document.block_at(position - 1)
    path = block.element.heading_path
    is_definition = position == block.start and (block is before or before.element.heading_path != path)
    return path[:-1] if is_definition else path


def _outline(document: MeasuredDocument) -> Outline:
    outline = Outline()
    end = 0
    for block in document.blocks:
        for line in _LINE.finditer(document.text, block.start, block.end):
            gap = document.text.count("\n", end, line.start())
            outline.add(line.group(), line.start(), is_after_blank=gap > 1)
            end = line.end()
    for before, block in pairwise(document.blocks):
        if before.element.kind is ElementKind.TITLE:
            del outline.borders[block.start]
    return outline


def _columns(line: str) -> int:
    blank = line[: len(line) - len(line.lstrip())]
    return len(blank) + (TAB_COLUMNS - 1) * blank.count("\t")
