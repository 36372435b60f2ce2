"""Lines of pages to paragraphs and headings."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rag_pipeline.adapters.parsing.document import Outline
from rag_pipeline.schema import Element, ElementKind

_HEADING_RATIO = 1.15
_HEADING_CHARACTERS = 160
_HEADING_LEVELS = 4
_MIN_GAP_RATIO = 0.75
_MAX_GAP_RATIO = 2.5
_GAP_FACTOR = 1.5
_RUNNING_SHARE = 0.5
_RUNNING_PAGES = 4
_HYPHENS = ("-", "\u2010", "\u00ad")
_BULLET = re.compile(r"^(?:[•·▪◦‣\u2013●○■□➢✓\uf0b7]|\(?\d{1,2}[.)]|[-*])\s+\S")
_NUMBERING = re.compile(r"^(?:chapter|appendix|part|section)?\s*[\dA-Z]{0,3}(?:\.\d+)*[.:)]?\s+", re.I)
_DIGITS = re.compile(r"\d+|\b[ivxlc]+\b", re.I)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a page; sizes in points, the origin at the lower left."""

    text: str
    size: float
    top: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Bookmark:
    """An entry of the document's own outline."""

    title: str
    level: int
    page: int


def compose(pages: Sequence[Sequence[Line]], bookmarks: Sequence[Bookmark]) -> list[Element]:
    """Elements in reading order; running heads and page numbers are left out."""
    running = _running_lines(pages)
    kept = [_trimmed(lines, running) for lines in pages]
    if not any(kept):  # the same page over and over: nothing runs beside the text, it is the text
        kept = [list(lines) for lines in pages]
    levels = _Levels(kept, bookmarks)
    gap_ratio = _paragraph_gap(kept)
    outline = Outline()
    elements: list[Element] = []
    for number, lines in enumerate(kept, start=1):
        for block, level in _blocks(lines, [levels.level(line, number) for line in lines], gap_ratio=gap_ratio):
            text = _joined(block)
            if level:
                elements.append(Element(ElementKind.TITLE, text, outline.enter(text, level=level), number))
            else:
                kind = ElementKind.LIST_ITEM if _BULLET.match(text) else ElementKind.TEXT
                elements.append(Element(kind, text, outline.path, number))
    return _over_pages(elements)


def headline(pages: Sequence[Sequence[Line]]) -> str:
    """The largest lines of the first page, where they are larger than the text of the document; else nothing."""
    first = pages[0] if pages else ()
    largest = max((round(line.size) for line in first), default=0)
    found = [line.text for line in first if round(line.size) == largest]
    is_title = largest >= _body_size(pages) * _HEADING_RATIO and len(" ".join(found)) <= _HEADING_CHARACTERS
    return " ".join(found) if is_title and any(map(str.isalpha, "".join(found))) else ""


def _body_size(pages: Sequence[Sequence[Line]]) -> int:
    """The size that most letters have."""
    sizes: Counter[int] = Counter()
    for lines in pages:
        for line in lines:
            sizes[round(line.size)] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 0


class _Levels:
    """Which lines are headings, and of which level."""

    def __init__(self, pages: Sequence[Sequence[Line]], bookmarks: Sequence[Bookmark]) -> None:
        body = _body_size(pages)
        sizes = {round(line.size) for lines in pages for line in lines}
        larger = sorted((size for size in sizes if size >= body * _HEADING_RATIO), reverse=True)
        self._by_size = {size: min(rank, _HEADING_LEVELS) for rank, size in enumerate(larger, start=1)}
        self._marks: Mapping[tuple[int, str], int] = {(mark.page, _key(mark.title)): mark.level for mark in bookmarks}

    def level(self, line: Line, page: int) -> int:
        """1 for the highest heading, 0 for a line that is none."""
        if not any(character.isalpha() for character in line.text) or len(line.text) > _HEADING_CHARACTERS:
            return 0
        if self._marks:
            return self._marks.get((page, _key(line.text)), 0)
        return self._by_size.get(round(line.size), 0)


def _blocks(lines: Sequence[Line], levels: Sequence[int], *, gap_ratio: float) -> Iterator[tuple[list[Line], int]]:
    """Runs of lines that belong together, each with its heading level or 0."""
    block: list[Line] = []
    block_level = 0
    for line, level in zip(lines, levels, strict=True):
        if block and (level != block_level or _is_break(block[-1], line, gap_ratio=max(gap_ratio, float(level > 0)))):
            yield block, block_level
            block = []
        block.append(line)
        block_level = level
    if block:
        yield block, block_level


def _is_break(above: Line, line: Line, *, gap_ratio: float) -> bool:
    if _BULLET.match(line.text):
        return True
    size = max(above.size, line.size, 1.0)
    gap = above.bottom - line.top
    if gap < -1.5 * size:
        return not above.text.endswith(_HYPHENS)  # the next column
    return gap > size * gap_ratio


def _paragraph_gap(pages: Sequence[Sequence[Line]]) -> float:
    """The gap between lines, in heights of a line, from which a paragraph ends: well above the usual one."""
    gaps = Counter(
        round((above.bottom - line.top) / above.size, 1)
        for lines in pages
        for above, line in pairwise(lines)
        if above.size > 0 and 0 <= above.bottom - line.top < 3 * above.size
    )
    usual = max(gaps, key=lambda gap: (gaps[gap], -gap)) if gaps else 0.0
    return min(max(_MIN_GAP_RATIO, _GAP_FACTOR * usual), _MAX_GAP_RATIO)


def _joined(block: Sequence[Line]) -> str:
    """The lines as one text, words cut at a line's end put together again."""
    text = ""
    for line in block:
        if text.endswith(_HYPHENS) and len(text) > 1 and text[-2].isalpha() and line.text[:1].islower():
            text = text[:-1] + line.text
        elif text and not (_is_wide(text[-1]) and _is_wide(line.text[0])):
            text += " " + line.text
        else:
            text += line.text
    return text


def _is_wide(character: str) -> bool:
    """Whether the script writes no blanks between words (Chinese, Japanese)."""
    return "\u3040" <= character <= "\u30ff" or "\u4e00" <= character <= "\u9fff"


def _over_pages(elements: list[Element]) -> list[Element]:
    """Paragraphs cut by a page's end put together; they keep the page where they begin."""
    merged: list[Element] = []
    for element in elements:
        last = merged[-1] if merged else None
        if last is not None and _continues(last, element):
            hyphenated = last.text.endswith(_HYPHENS) and last.text[-2:-1].isalpha()
            text = last.text[:-1] + element.text if hyphenated else f"{last.text} {element.text}"
            merged[-1] = Element(last.kind, text, last.heading_path, last.page)
        else:
            merged.append(element)
    return merged


def _continues(last: Element, element: Element) -> bool:
    is_next_page = last.page is not None and element.page == last.page + 1
    is_prose = last.kind in (ElementKind.TEXT, ElementKind.LIST_ITEM) and element.kind is ElementKind.TEXT
    return is_next_page and is_prose and element.text[:1].islower() and last.text[-1:] not in ".!?:;"


def _key(title: str) -> str:
    return "".join(character for character in _NUMBERING.sub("", title.strip()).casefold() if character.isalnum())


def _running_lines(pages: Sequence[Sequence[Line]]) -> frozenset[str]:
    """Shapes of the first and last lines that repeat: on most pages, or on several with nothing but the number changed."""
    if len(pages) < _RUNNING_PAGES:
        return frozenset()
    edges: dict[str, list[str]] = defaultdict(list)
    for lines in filter(None, pages):
        for line in {lines[0], lines[-1]}:
            edges[_shape(line)].append(line.text)
    repeated = (
        shape
        for shape, texts in edges.items()
        if len(texts) > _RUNNING_SHARE * len(pages) or len(texts) == len(set(texts)) >= _RUNNING_PAGES - 1
    )
    return frozenset(["#", *repeated])


def _shape(line: Line) -> str:
    return _DIGITS.sub("#", line.text)


def _trimmed(lines: Sequence[Line], running: frozenset[str]) -> Sequence[Line]:
    start, end = 0, len(lines)
    while start < end and _shape(lines[start]) in running:
        start += 1
    while end > start and _shape(lines[end - 1]) in running:
        end -= 1
    return lines[start:end]
