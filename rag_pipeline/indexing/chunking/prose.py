"""Running text: by headings, then paragraphs, then sentences."""

from collections.abc import Iterator, Sequence

from rag_pipeline.indexing.chunking.borders import find_prose_borders
from rag_pipeline.indexing.chunking.context import ContextWriter
from rag_pipeline.indexing.chunking.cuts import SLACK, Cut, Piece, cut_span
from rag_pipeline.indexing.chunking.measured import Block, MeasuredDocument
from rag_pipeline.indexing.chunking.sections import Section, find_sections, pack_sections
from rag_pipeline.indexing.chunking.tables import Table, cut_table
from rag_pipeline.schema import ElementKind


def cut_prose(document: MeasuredDocument, writer: ContextWriter) -> Iterator[Piece]:
    """Sections as they are near the length aimed at, small ones joined, long ones cut with whole sentences repeated."""
    return cut_blocks(document, writer, document.blocks)


def cut_blocks(document: MeasuredDocument, writer: ContextWriter, blocks: Sequence[Block]) -> Iterator[Piece]:
    """The same for a part of a document."""
    ruler = document.ruler
    whole = int(ruler.aim * SLACK)
    for section in pack_sections(document, find_sections(blocks), aim=min(ruler.aim, ruler.room - ruler.context_room)):
        yield from cut_section(document, writer, section, whole=whole)


def cut_section(document: MeasuredDocument, writer: ContextWriter, section: Section, *, whole: int) -> Iterator[Piece]:
    """One section, in one piece where it has at most ``whole`` tokens and fits."""
    context = writer.write(section.headings_above)
    if document.fits(section.start, section.end, room=min(whole, document.ruler.room - context.tokens)):
        yield Piece(section.start, section.end, section.start, context, section.headings)
        return
    run: list[Block] = []
    room = document.ruler.room - writer.write(section.headings).tokens
    for block in section.blocks:
        if block.element.kind is not ElementKind.TABLE or document.fits(block.start, block.end, room=room):
            run.append(block)
            continue
        is_lead = all(each.element.kind is ElementKind.TITLE for each in run)
        start = run[0].start if run and is_lead else block.start
        if run and not is_lead:
            yield from _cut_run(document, writer, section, run)
        above = section.headings_above if start == section.start else section.headings
        yield from cut_table(document, writer, Table(block, start, above, section.headings))
        run = []
    if run:
        yield from _cut_run(document, writer, section, run)


def _cut_run(document: MeasuredDocument, writer: ContextWriter, section: Section, blocks: Sequence[Block]) -> Iterator[Piece]:
    above, full = writer.write(section.headings_above), writer.write(section.headings)
    room = document.ruler.room - max(above.tokens, full.tokens)
    cut = Cut(
        borders=find_prose_borders(document, blocks, room=room),
        context_at=lambda position: above if position == section.start else full,
        room=room,
        headings=section.headings,
        overlap=document.ruler.overlap,
    )
    return cut_span(document, start=blocks[0].start, end=blocks[-1].end, cut=cut)
