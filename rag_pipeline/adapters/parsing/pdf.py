"""PDF text by PDFium: paragraphs with their page, under headings told by the bookmarks or by the size of the letters."""

import re
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any, NoReturn

import pypdfium2
import pypdfium2.raw as pdfium

from rag_pipeline.adapters.parsing.document import Draft, Original, first_title, shorten
from rag_pipeline.adapters.parsing.limits import current_limits
from rag_pipeline.adapters.parsing.pdf_hidden import hidden_texts, take_out
from rag_pipeline.adapters.parsing.pdf_layout import Line, compose, headline
from rag_pipeline.adapters.parsing.pdf_structure import bookmarks_of, flags_of, is_cut, refuse_bombs, refuse_circles, with_end
from rag_pipeline.errors import EmptyDocumentError, ParseError, ParseLimitError
from rag_pipeline.schema import Element, Flag

_CUT_WORD = re.compile("(.)[\ufffe\x02](.)")
_DATE = re.compile(r"D:(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d))?")
_FACTS = {"Author": "author", "Subject": "subject", "Keywords": "keywords", "CreationDate": "created", "ModDate": "modified"}


def parse(original: Original) -> Draft:
    """Elements with 1-based pages. Raises ParseError (``encrypted``), ParseLimitError, EmptyDocumentError (``needs_ocr``)."""
    refuse_circles(original.data)
    refuse_bombs(original.data)
    with closing(_open(original.data)) as document:
        most = current_limits().pages
        if len(document) > most:
            raise ParseLimitError(
                f"pdf: {len(document)} pages, more than parsing.max_pages ({most}); split it or raise the limit",
                reason="limit_pages",
            )
        flags = flags_of(document, original.data)
        found = [_read_page(document, number, flags) for number in range(len(document))]
        pages = [lines or [] for lines in found]
        is_damaged = None in found or is_cut(original.data)
        elements = compose(pages, bookmarks_of(document))
        if not elements:
            _refuse_empty(document, is_damaged=is_damaged)
        draft = _draft(document, pages, elements=elements)
        draft.flags = flags | ({Flag.PARTIAL} if is_damaged else set())
        return draft


def _open(data: bytes) -> Any:
    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if pdfium.FPDF_GetLastError() == pdfium.FPDF_ERR_PASSWORD or "password" in str(error).lower():
            raise ParseError("pdf: it needs a password; save it without one", reason="encrypted") from None
        mended = with_end(data) if is_cut(data) else None
        if mended is None:
            raise
    return pypdfium2.PdfDocument(mended)


def _read_page(document: Any, number: int, flags: set[Flag]) -> list[Line] | None:
    """Its lines; None for one broken page of a document that opens, as the others still count."""
    try:
        page = document[number]
    except pypdfium2.PdfiumError:
        return None
    with closing(page):
        if hidden := hidden_texts(page):
            flags.add(Flag.HIDDEN_TEXT)
            if not current_limits().keeps_hidden_text:
                take_out(page, hidden)
        with closing(page.get_textpage()) as text_page:
            return list(_lines(text_page))


def _lines(text_page: Any) -> Iterator[Line]:
    """Lines with the height of their letters and their place, taken at the first and the last letter.

    Where PDFium has joined a word cut at a line's end it leaves a mark, and the line then covers two.
    """
    position = 0
    for raw in text_page.get_text_range().split("\n"):
        text = raw.strip()
        if text:
            first = position + len(raw) - len(raw.lstrip())
            bottom, top = _vertical(text_page, first)
            last_bottom, last_top = _vertical(text_page, first + len(text) - 1)
            size = round(min(top - bottom, (last_top - last_bottom) or (top - bottom)), 1)
            yield Line(_CUT_WORD.sub(_mended, text), size=size, top=top, bottom=min(bottom, last_bottom))
        position += len(raw) + 1


def _mended(cut: re.Match[str]) -> str:
    return cut[1] + ("" if cut[2].islower() else "-") + cut[2]


def _vertical(text_page: Any, index: int) -> tuple[float, float]:
    try:
        _, bottom, _, top = text_page.get_charbox(index, loose=True)
    except (pypdfium2.PdfiumError, ValueError, IndexError):
        return 0.0, 0.0
    return round(bottom, 1), round(top, 1)


def _refuse_empty(document: Any, *, is_damaged: bool) -> NoReturn:
    for number in range(len(document)):
        with suppress(pypdfium2.PdfiumError), closing(document[number]) as page:
            if next(page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE]), None) is not None:
                raise EmptyDocumentError("pdf: its pages are pictures; run OCR over it and index the result", reason="needs_ocr")
    if is_damaged:
        raise ParseError("pdf: damaged, and no text is left in it; replace the file")
    raise EmptyDocumentError("pdf: it holds no text; exclude or replace it")


def _draft(document: Any, pages: list[list[Line]], *, elements: list[Element]) -> Draft:
    stored = document.get_metadata_dict(skip_empty=True)
    facts: dict[str, Any] = {fact: _fact(stored[name]) for name, fact in _FACTS.items() if name in stored}
    facts["pages"] = len(pages)
    if without_text := sum(not lines for lines in pages):
        facts["pages_without_text"] = without_text
    title = shorten(stored.get("Title", "")) or shorten(headline(pages)) or first_title(elements)
    return Draft(title=title, elements=elements, metadata=facts)


def _fact(value: str) -> str:
    """The value in one line, a date of the format as ISO 8601 gives it."""
    date = _DATE.match(value)
    if not date:
        return shorten(value)
    day = "-".join(date.groups()[:3])
    return f"{day}T{':'.join(date.groups()[3:])}" if date[4] else day
