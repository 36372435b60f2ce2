"""Documents that are tables: every table for itself, notes between them as prose."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from rag_pipeline.indexing.chunking.context import ContextWriter
from rag_pipeline.indexing.chunking.cuts import Piece
from rag_pipeline.indexing.chunking.measured import Block, MeasuredDocument
from rag_pipeline.indexing.chunking.prose import cut_blocks
from rag_pipeline.indexing.chunking.tables import Table, cut_table
from rag_pipeline.schema import ElementKind


def cut_spreadsheet(document: MeasuredDocument, writer: ContextWriter) -> Iterator[Piece]:
    """Tables one by one, each in whole rows; a heading right above a table goes with it. Sheets never share a piece."""
    for _, sheet in groupby(document.blocks, key=lambda block: block.element.page):
        yield from _cut_sheet(document, writer, sheet)


def _cut_sheet(document: MeasuredDocument, writer: ContextWriter, blocks: Iterable[Block]) -> Iterator[Piece]:
    notes: list[Block] = []
    for block in blocks:
        if block.element.kind is not ElementKind.TABLE:
            notes.append(block)
            continue
        lead = _leading_titles(notes)
        yield from cut_blocks(document, writer, notes[: len(notes) - len(lead)])
        start = lead[0].start if lead else block.start
        above = (lead[0] if lead else block).element.heading_path
        yield from cut_table(document, writer, Table(block, start, above, block.element.heading_path))
        notes = []
    yield from cut_blocks(document, writer, notes)


def _leading_titles(notes: list[Block]) -> list[Block]:
    count = 0
    while count < len(notes) and notes[-1 - count].element.kind is ElementKind.TITLE:
        count += 1
    return notes[len(notes) - count :]
