"""Slides: one slide, one chunk."""

from collections.abc import Iterator
from functools import reduce
from itertools import groupby, takewhile

from rag_pipeline.indexing.chunking.context import ContextWriter
from rag_pipeline.indexing.chunking.cuts import Piece
from rag_pipeline.indexing.chunking.measured import Block, MeasuredDocument
from rag_pipeline.indexing.chunking.prose import cut_section
from rag_pipeline.indexing.chunking.sections import Section, common_path, title_path
from rag_pipeline.schema import ElementKind


def cut_slides(document: MeasuredDocument, writer: ContextWriter) -> Iterator[Piece]:
    """Every slide that fits is one piece. A slide of a heading alone goes before the next one; long slides are cut as prose."""
    for blocks in _slides(document):
        yield from cut_section(document, writer, _as_section(blocks), whole=document.ruler.room)


def _slides(document: MeasuredDocument) -> Iterator[list[Block]]:
    lone: list[Block] = []
    for _, group in groupby(document.blocks, key=lambda block: block.element.page):
        blocks = [*lone, *group]
        if all(block.element.kind is ElementKind.TITLE for block in blocks):
            lone = blocks
            continue
        yield blocks
        lone = []
    if lone:
        yield lone


def _as_section(blocks: list[Block]) -> Section:
    """The slide under the last of its opening headings, which its text holds; without one, under the path its blocks share."""
    titles = list(takewhile(lambda block: block.element.kind is ElementKind.TITLE, blocks))
    if titles:
        return Section(tuple(blocks), title_path(titles[-1].element), 1)
    return Section(tuple(blocks), reduce(common_path, (block.element.heading_path for block in blocks)), 0)
