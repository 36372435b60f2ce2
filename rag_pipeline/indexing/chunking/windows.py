"""Fixed windows: as many tokens as fit, a fixed share repeated, no look at the text."""

from collections.abc import Iterator

from rag_pipeline.indexing.chunking.borders import INSIDE_WORD, WORD, find_words
from rag_pipeline.indexing.chunking.context import Context, ContextWriter
from rag_pipeline.indexing.chunking.cuts import Cut, Piece, cut_span
from rag_pipeline.indexing.chunking.measured import MeasuredDocument


def cut_windows(document: MeasuredDocument, writer: ContextWriter) -> Iterator[Piece]:
    """Full windows over the whole text, cut at words."""
    if not document.blocks:
        return iter(())

    def context_at(position: int) -> Context:
        return writer.write(document.block_at(position).element.heading_path)

    start, end = document.blocks[0].start, document.blocks[-1].end
    cut = Cut(
        borders=dict.fromkeys(find_words(document, start, end, document.ruler.room), WORD),
        context_at=context_at,
        room=document.ruler.room - document.ruler.context_room,
        overlap=int(document.ruler.overlap_share * document.ruler.size),
        clean=INSIDE_WORD,
        is_full=True,
    )
    return cut_span(document, start=start, end=end, cut=cut)
