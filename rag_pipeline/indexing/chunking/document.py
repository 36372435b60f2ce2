"""Documents to chunks. Lengths are those of the whole model input in the model's own tokens; no chunk is ever longer."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import reduce

from rag_pipeline.errors import DocumentError
from rag_pipeline.indexing.chunking.context import ContextWriter
from rag_pipeline.indexing.chunking.cuts import Piece
from rag_pipeline.indexing.chunking.graphemes import snap_to_grapheme
from rag_pipeline.indexing.chunking.measured import Block, MeasuredDocument, join_texts, measure
from rag_pipeline.indexing.chunking.messages import cut_message
from rag_pipeline.indexing.chunking.prose import cut_prose
from rag_pipeline.indexing.chunking.ruler import make_ruler
from rag_pipeline.indexing.chunking.rules import ChunkingRule, Strategy
from rag_pipeline.indexing.chunking.sections import common_path
from rag_pipeline.indexing.chunking.slides import cut_slides
from rag_pipeline.indexing.chunking.source_code import cut_code
from rag_pipeline.indexing.chunking.spreadsheets import cut_spreadsheet
from rag_pipeline.indexing.chunking.windows import cut_windows
from rag_pipeline.ports import Tokenizer
from rag_pipeline.schema import Chunk, DocumentType, ElementKind, ParsedDocument

CHUNKING_VERSION = 1
"""Goes up whenever the same document and rule give other chunks."""

STRATEGIES: dict[Strategy, Callable[[MeasuredDocument, ContextWriter], Iterator[Piece]]] = {
    "prose": cut_prose,
    "table": cut_spreadsheet,
    "code": cut_code,
    "slides": cut_slides,
    "email": cut_message,
    "fixed": cut_windows,
}


def document_text(document: ParsedDocument) -> str:
    """The canonical text: the elements' texts, a blank line between two. Offsets of chunks refer to it."""
    return join_texts(document)


def chunk_document(
    document: ParsedDocument, *, rule: ChunkingRule, tokenizer: Tokenizer, prompt_tokens: int = 0
) -> tuple[Chunk, ...]:
    """The chunks of a document, in order; together they hold every character of its text that is not blank.

    ``token_count`` is exact: where counts of parts do not add up (byte-pair tokenizers, cuts inside words) the chunk
    is tokenised again, and halved should it be too long. Raises SettingsError when the rule leaves no room for text,
    DocumentError when a single character has more tokens than a chunk may hold.
    """
    ruler = make_ruler(rule, tokenizer=tokenizer, prompt_tokens=prompt_tokens)
    measured = measure(document, ruler)
    writer = ContextWriter(ruler, _source_line(document), has_headings=rule.heading_context)
    pieces = STRATEGIES[rule.strategy](measured, writer)
    fitted = enumerate(_fit_all(measured, pieces))
    return tuple(_chunk(measured, piece, tokens=tokens, ordinal=ordinal) for ordinal, (piece, tokens) in fitted)


def _source_line(document: ParsedDocument) -> str:
    title = " ".join(document.title.split())
    sender = document.metadata.get("from")
    if document.type is DocumentType.EMAIL and sender:
        return f"Subject: {title}, From: {sender}"
    return title


def _fit_all(document: MeasuredDocument, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, int]]:
    last = -1
    for piece in pieces:
        # The last half of a halved piece must not be repeated whole.
        apart = piece if piece.start > last else replace(piece, start=piece.fresh)
        for fitting, tokens in _fit(document, apart):
            last = fitting.start
            yield fitting, tokens


def _fit(document: MeasuredDocument, piece: Piece) -> Iterator[tuple[Piece, int]]:
    """The piece with its count; without its repeated text, then in halves, when the tokenizer finds it too long after all."""
    start, end = document.trim(piece.start, piece.end)
    fresh = max(piece.fresh, start)
    if end <= fresh:
        return
    piece = replace(piece, start=start, end=end, fresh=fresh)
    tokens = _count(document, piece)
    if tokens <= document.ruler.size:
        yield piece, tokens
    elif start < fresh:
        yield from _fit(document, replace(piece, start=fresh))
    else:
        middle = _middle(document, start, end)
        yield from _fit(document, replace(piece, end=middle))
        yield from _fit(document, replace(piece, start=middle, fresh=middle))


def _count(document: MeasuredDocument, piece: Piece) -> int:
    if document.is_exact(piece.start, piece.end):
        return document.ruler.overhead + piece.context.tokens + document.tokens_between(piece.start, piece.end)
    return document.ruler.input_tokens(piece.context.text, document.text[piece.start : piece.end])


def _middle(document: MeasuredDocument, start: int, end: int) -> int:
    if end - start < 2:
        raise DocumentError("a single character has more tokens than a chunk may hold; raise the chunking size", reason="limit")
    middle = (start + end) // 2
    words = document.word_starts
    following = words[words.searchsorted(middle) :][:1].tolist()
    if following and following[0] < end:
        return int(following[0])
    return max(start + 1, snap_to_grapheme(document.text, start, middle))


def _chunk(document: MeasuredDocument, piece: Piece, *, tokens: int, ordinal: int) -> Chunk:
    blocks = document.blocks_between(piece.fresh, piece.end)
    return Chunk(
        ordinal=ordinal,
        text=document.text[piece.start : piece.end],
        context=piece.context.text,
        start=piece.start,
        end=piece.end,
        kind=_kind(blocks),
        heading_path=_headings(blocks) if piece.headings is None else piece.headings,
        page=blocks[0].element.page,
        token_count=tokens,
    )


def _headings(blocks: Sequence[Block]) -> tuple[str, ...]:
    """The path that the blocks share; that of the first where they share none."""
    paths = [block.element.heading_path for block in blocks]
    return reduce(common_path, paths) or paths[0]


def _kind(blocks: Sequence[Block]) -> ElementKind:
    """What all the blocks are, headings left aside; text where they differ."""
    kinds = {block.element.kind for block in blocks}
    if len(kinds) > 1:
        kinds.discard(ElementKind.TITLE)
    return kinds.pop() if len(kinds) == 1 else ElementKind.TEXT
