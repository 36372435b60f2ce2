"""Tables: whole rows, with the header repeated."""

from collections.abc import Iterator
from dataclasses import dataclass

from rag_pipeline.indexing.chunking.borders import PARAGRAPH, find_lines
from rag_pipeline.indexing.chunking.context import ContextWriter
from rag_pipeline.indexing.chunking.cuts import Cut, Piece, cut_span
from rag_pipeline.indexing.chunking.measured import Block, MeasuredDocument


@dataclass(frozen=True, slots=True)
class Table:
    """A table with the headings that stand right above it."""

    block: Block
    start: int
    """First character of the headings above, or of the table."""
    headings_above: tuple[str, ...]
    """The path that the text from ``start`` does not hold."""
    headings: tuple[str, ...]


def cut_table(document: MeasuredDocument, writer: ContextWriter, table: Table) -> Iterator[Piece]:
    """Rows of one table. The first piece holds the header in its text, the later ones in their context.

    A row longer than a piece is cut at words. Rows are not repeated: each stands for itself.
    """
    block = table.block
    header = document.text[block.start : block.end].split("\n", 1)[0].strip()
    first, later = writer.write(table.headings_above), writer.write(table.headings, header)
    cut = Cut(
        borders={position: PARAGRAPH for position, _ in find_lines(document.text, block.start, block.end)},
        context_at=lambda position: first if position == table.start else later,
        room=document.ruler.room - max(first.tokens, later.tokens),
        headings=table.headings,
    )
    return cut_span(document, start=table.start, end=block.end, cut=cut)
