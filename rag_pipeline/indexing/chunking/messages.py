"""E-mail: what the sender wrote and what is quoted apart, each with subject and sender."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from rag_pipeline.indexing.chunking.context import NO_CONTEXT, ContextWriter
from rag_pipeline.indexing.chunking.cuts import Piece
from rag_pipeline.indexing.chunking.measured import Block, MeasuredDocument
from rag_pipeline.indexing.chunking.prose import cut_blocks
from rag_pipeline.schema import ElementKind

_QUOTING = re.compile(
    r"^[ \t]*(?:>|(?:On\b.{4,200}\bwrote:|Am\b.{4,200}\bschrieb\b.{0,80}:|Le\b.{4,200}\ba écrit\s?:|.{4,200}(?:작성|썼습니다):"
    r"|-{2,}\s*(?:Original Message|Forwarded message|Ursprüngliche Nachricht|원본 메시지)\s*-{2,})[ \t]*$)",
    re.MULTILINE,
)
"""Begins a quoted line, or is one that says who is quoted."""
_LINE = re.compile(r"[^\n]*\S[^\n]*")


def cut_message(document: MeasuredDocument, writer: ContextWriter) -> Iterator[Piece]:
    """Prose, never the sender's own words and quoted ones in one piece. The first piece names subject and sender in its text."""
    for piece in _cut_apart(document, writer):
        is_first = piece.start == document.blocks[0].start
        yield replace(piece, context=NO_CONTEXT) if is_first and _is_headed(document) else piece


def _is_headed(document: MeasuredDocument) -> bool:
    return document.blocks[0].element.kind is ElementKind.TITLE


def _cut_apart(document: MeasuredDocument, writer: ContextWriter) -> Iterator[Piece]:
    run: list[Block] = []
    is_quoted = False
    for block, block_is_quoted in _parts(document):
        if run and block_is_quoted != is_quoted:
            yield from cut_blocks(document, writer, run)
            run = []
        run.append(block)
        is_quoted = block_is_quoted
    yield from cut_blocks(document, writer, run)


def _parts(document: MeasuredDocument) -> Iterator[tuple[Block, bool]]:
    """The blocks, parted where quoting begins or ends inside one."""
    for block in document.blocks:
        if not _QUOTING.search(document.text, block.start, block.end):
            yield block, False
            continue
        for start, end, is_quoted in _stretches(document.text, block):
            start, end = document.trim(start, end)
            yield replace(block, start=start, end=end, tokens=document.tokens_between(start, end)), is_quoted


def _stretches(text: str, block: Block) -> Iterator[tuple[int, int, bool]]:
    lines = [(line.start(), bool(_QUOTING.match(line.group()))) for line in _LINE.finditer(text, block.start, block.end)]
    changes = [lines[0], *(now for before, now in pairwise(lines) if before[1] != now[1])]
    ends = [*(start for start, _ in changes[1:]), block.end]
    for (start, is_quoted), end in zip(changes, ends, strict=True):
        yield start, end, is_quoted
