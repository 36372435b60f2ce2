"""A document's text with its tokens: tokenised once, then every length is a difference of two positions."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rag_pipeline.indexing.chunking.graphemes import snap_to_grapheme
from rag_pipeline.indexing.chunking.ruler import Ruler
from rag_pipeline.schema import Element, ElementKind, ParsedDocument

Positions = npt.NDArray[np.int64]
"""Character offsets or token indices, ascending."""

JOINT = "\n\n"
BLANK = frozenset(
    " \t\n\r\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""Characters at which every tokenizer parts words. Form feeds and other controls are not among them: some normalisers
delete these, which makes one word of two."""
_IS_BLANK = np.isin(np.arange(0x3002), np.array(sorted(map(ord, BLANK))))
_LAST_BLANK = re.compile(f"(?s).*[{re.escape(''.join(sorted(BLANK)))}]")
SLICE_CHARS = 50_000


@dataclass(frozen=True, slots=True)
class Block:
    """An element with text, blanks around it left out; code keeps the indentation of its first line."""

    element: Element
    start: int
    end: int
    tokens: int


@dataclass(frozen=True, slots=True)
class MeasuredDocument:
    """The text of a document, its blocks in order, and where its tokens start."""

    title: str
    text: str
    blocks: tuple[Block, ...]
    block_starts: tuple[int, ...]
    ruler: Ruler
    token_starts: Positions
    """One a token, and ``joint_tokens`` more before each block of a tokenizer that counts the blank line between two."""
    word_starts: Positions
    """Where a token follows a blank."""
    seams: Positions
    """Where a word too long to be tokenised whole was parted; counts across a seam are not exact."""

    def tokens_before(self, positions: Positions) -> Positions:
        """For each character offset, how many tokens start before it."""
        return np.searchsorted(self.token_starts, positions, side="left")

    def index(self, position: int) -> int:
        """How many tokens start before the character offset."""
        return int(self.token_starts.searchsorted(position, side="left"))

    def tokens_between(self, start: int, end: int) -> int:
        """Tokens that start in the span."""
        return self.index(end) - self.index(start)

    def fits(self, start: int, end: int, *, room: int) -> bool:
        """Whether the span can be one piece in so many tokens."""
        return end - start <= self.ruler.chars_max and self.tokens_between(start, end) <= room

    def block_at(self, position: int) -> Block:
        """The last block that starts at or before the character offset; the first where none does."""
        return self.blocks[max(0, bisect_right(self.block_starts, position) - 1)]

    def blocks_between(self, start: int, end: int) -> Sequence[Block]:
        """The blocks that the span touches; it begins in or after one."""
        first = max(0, bisect_right(self.block_starts, start) - 1)
        return self.blocks[first : max(first + 1, bisect_left(self.block_starts, end))]

    def is_exact(self, start: int, end: int) -> bool:
        """Whether ``tokens_between`` is what the tokenizer would count for the span alone."""
        if not self.ruler.additivity.is_exact:
            return False
        if start > 0 and self.text[start - 1] not in BLANK:
            return False
        if end < len(self.text) and self.text[end] not in BLANK:
            return False
        return not (self.seams.size and self.seams.searchsorted(start, side="right") < self.seams.searchsorted(end, side="left"))

    def trim(self, start: int, end: int) -> tuple[int, int]:
        """The span without blanks around it; the first line keeps its indentation where its block has any."""
        piece = self.text[start:end]
        lead = len(piece) - len(piece.lstrip())
        if lead:
            line = start + piece.rfind("\n", 0, lead) + 1
            first = max(line, self.block_at(start + lead).start)
            return min(first, start + lead), start + len(piece.rstrip())
        return start, start + len(piece.rstrip())


def join_texts(document: ParsedDocument) -> str:
    """The canonical text of a document."""
    return JOINT.join(element.text for element in document.elements)


def measure(document: ParsedDocument, ruler: Ruler) -> MeasuredDocument:
    """Tokenises a document."""
    text = join_texts(document)
    places = list(_places(document.elements))
    slices, seams = _slices(text, [(start, end) for _, start, end in places])
    spans = ruler.tokenizer.spans([text[start:end] for start, end in slices])
    starts = _token_starts(spans, slices)
    edges = np.searchsorted(starts, np.array([(start, end) for _, start, end in places], dtype=np.int64).reshape(-1, 2))
    blocks = tuple(
        Block(element, start, end, int(last - first))
        for (element, start, end), (first, last) in zip(places, edges.tolist(), strict=True)
    )
    return MeasuredDocument(
        title=" ".join(document.title.split()),
        text=text,
        blocks=blocks,
        block_starts=tuple(block.start for block in blocks),
        ruler=ruler,
        token_starts=_with_joints(starts, blocks, ruler.additivity.joint_tokens),
        word_starts=_word_starts(text, starts),
        seams=np.array(seams, dtype=np.int64),
    )


def _places(elements: Sequence[Element]) -> Iterator[tuple[Element, int, int]]:
    offset = 0
    for element in elements:
        lead = len(element.text) - len(element.text.lstrip())
        if lead < len(element.text):
            if element.kind is ElementKind.CODE:
                lead = element.text.rfind("\n", 0, lead) + 1
            yield element, offset + lead, offset + len(element.text.rstrip())
        offset += len(element.text) + len(JOINT)


def _slices(text: str, spans: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, int]], list[int]]:
    """The spans, long ones parted at blanks so that the tokenizer's memory stays small; and the seams inside words."""
    slices: list[tuple[int, int]] = []
    seams: list[int] = []
    for start, end in spans:
        while end - start > SLICE_CHARS:
            blank = _LAST_BLANK.match(text, start + SLICE_CHARS // 2, start + SLICE_CHARS)
            cut = blank.end() if blank else snap_to_grapheme(text, start, start + SLICE_CHARS)
            if not blank:
                seams.append(cut)
            slices.append((start, cut))
            start = cut
        slices.append((start, end))
    return slices, seams


def _token_starts(spans: list[npt.NDArray[np.int32]], slices: list[tuple[int, int]]) -> Positions:
    if not spans:
        return np.empty(0, dtype=np.int64)
    lengths = [len(each) for each in spans]
    offsets = np.repeat(np.array([start for start, _ in slices], dtype=np.int64), lengths)
    starts: Positions = np.concatenate(spans)[:, 0] + offsets
    # Some tokenizers give a token without text the offset 0.
    return np.maximum.accumulate(starts) if starts.size else starts


def _with_joints(starts: Positions, blocks: Sequence[Block], joint_tokens: int) -> Positions:
    if not joint_tokens or len(blocks) < 2:
        return starts
    joints = np.repeat(np.array([block.start for block in blocks[1:]], dtype=np.int64), joint_tokens)
    return np.sort(np.concatenate([starts, joints]), kind="stable")


def _word_starts(text: str, starts: Positions) -> Positions:
    if not starts.size:
        return starts
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    inner = starts[np.diff(starts, prepend=0) > 0]
    return inner[_IS_BLANK[np.minimum(codes[inner - 1], len(_IS_BLANK) - 1)]]
