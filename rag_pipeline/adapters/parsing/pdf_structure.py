"""What a PDF's structure tells beside its text: circles, damage, bombs, what its author forbids, what it would run."""

import re
import zlib
from collections.abc import Iterator
from ctypes import addressof
from itertools import islice
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from rag_pipeline.adapters.parsing.document import shorten
from rag_pipeline.adapters.parsing.limits import current_limits
from rag_pipeline.adapters.parsing.pdf_layout import Bookmark
from rag_pipeline.errors import ParseError, ParseLimitError
from rag_pipeline.schema import Flag

_MAX_BOOKMARKS = 5_000
_BOOKMARK_DEPTH = 6
_TAIL_BYTES = 2048
_MAX_SECTIONS = 10_000
_START = re.compile(rb"startxref\s+(\d+)")
_PREVIOUS = re.compile(rb"/Prev\s+(\d+)")
_CATALOG = re.compile(rb"(\d+)\s+(\d+)\s+obj\s*<<(?:(?!endobj|stream).){0,2000}?/Type\s*/Catalog\b", re.S)
_STREAM = re.compile(rb"(?<!end)stream\r?\n")
_DICTIONARY_BYTES = 1024
_FLATE = re.compile(rb"/(?:FlateDecode|Fl)\b")
_DEFLATE_RATIO = 1032
"""More than this no single deflate stream grows."""
_RATIO_FROM_BYTES = 20 << 20
_STEP_BYTES = 1 << 20
_COPYING = 1 << 4
_OBJECT_STREAM = re.compile(rb"/ObjStm\b[^<>]{0,500}>>\s*stream\r?\n")
_MAX_OBJECT_STREAM_BYTES = 8 << 20
_ACTIVE = re.compile(rb"/(?:JavaScript|JS|Launch|EmbeddedFiles?|RichMedia)(?![A-Za-z])")


def refuse_bombs(data: bytes) -> None:
    """Raises ParseLimitError (``limit_expansion``) for a stream that inflates past the limits; PDFium would just do it.

    Looked at are streams long enough to pass the limit at the best ratio, and those packed several times.
    """
    limits = current_limits()
    for start, end in _streams(data):
        head = data[max(0, start - _DICTIONARY_BYTES) : start].rpartition(b"obj")[2]
        layers = len(_FLATE.findall(head))
        if not layers or (layers == 1 and b"/Image" in head):
            continue
        if layers == 1 and (end - start) * _DEFLATE_RATIO <= limits.unpacked_bytes:
            continue
        packed = data[start:end]
        allowed = limits.unpacked_bytes
        if layers > 1:
            allowed = min(allowed, max(_RATIO_FROM_BYTES, int(limits.expansion_ratio * len(packed))))
        if _is_longer(_inflated(iter([packed]), layers=min(layers, 8)), allowed):
            raise ParseLimitError(
                f"pdf: a stream of {len(packed)} bytes unpacks to more than {allowed}; replace the file",
                reason="limit_expansion",
            )


def _streams(data: bytes) -> Iterator[tuple[int, int]]:
    """Where the bodies of streams begin and end, in one pass; one without an end goes on to the file's."""
    place = 0
    while found := _STREAM.search(data, place):
        end = data.find(b"endstream", found.end())
        place = len(data) if end < 0 else end + len(b"endstream")
        yield found.end(), len(data) if end < 0 else end


def refuse_circles(data: bytes) -> None:
    """Raises ParseError where the chain of cross-reference sections comes back to one that it has passed."""
    starts = _START.findall(data[-_TAIL_BYTES:])
    seen: set[int] = set()
    place = int(starts[-1]) if starts else -1
    while 0 <= place < len(data) and len(seen) < _MAX_SECTIONS:
        if place in seen:
            raise ParseError("pdf: its table of objects runs in a circle; write the file again")
        seen.add(place)
        previous = _PREVIOUS.search(data, place, _end_of_section(data, place))
        place = int(previous[1]) if previous else -1


def _end_of_section(data: bytes, place: int) -> int:
    """Where the section's dictionary ends: at ``startxref`` of a table, at its ``stream`` otherwise."""
    ends = [end for end in (data.find(b"startxref", place), data.find(b"stream", place)) if end > 0]
    return min(ends, default=len(data))


def is_cut(data: bytes) -> bool:
    """Whether the end is missing, where every PDF says that it is one."""
    tail = data.rstrip(b"\0 \t\r\n\f")[-_TAIL_BYTES:]
    return b"startxref" not in tail and b"%%EOF" not in tail


def with_end(data: bytes) -> bytes | None:
    """A cut file with an end that names its catalogue, so that PDFium looks for what is left; None where that is lost."""
    catalogs = _CATALOG.findall(data)
    if not catalogs:
        return None
    number, generation = catalogs[-1]
    return data + b"\nendstream\nendobj\ntrailer\n<< /Root %s %s R >>\nstartxref\n0\n%%%%EOF\n" % (number, generation)


def flags_of(document: Any, data: bytes) -> set[Flag]:
    """Whether its author forbids copying, and whether a viewer would run or unpack something."""
    flags: set[Flag] = set()
    is_protected = pdfium.FPDF_GetSecurityHandlerRevision(document) >= 0
    if is_protected and not pdfium.FPDF_GetDocPermissions(document) & _COPYING:
        flags.add(Flag.RESTRICTED)
    counts = (pdfium.FPDFDoc_GetJavaScriptActionCount(document), pdfium.FPDFDoc_GetAttachmentCount(document))
    if any(count > 0 for count in counts) or any(map(_ACTIVE.search, _dictionaries(data))):
        flags.add(Flag.ACTIVE_CONTENT)
    return flags


def _dictionaries(data: bytes) -> Iterator[bytes]:
    """What stands outside of streams, and objects packed in streams of their own; elsewhere chance alone writes ``/JS``."""
    starts, ends = zip(*_streams(data), strict=True) if _STREAM.search(data) else ((), ())
    yield b" ".join(data[end:start] for end, start in zip((0, *ends), (*starts, len(data)), strict=True))
    for found in _OBJECT_STREAM.finditer(data):
        body = data[found.end() : found.end() + _MAX_OBJECT_STREAM_BYTES]
        yield b"".join(islice(_inflated_once(iter([body])), _MAX_OBJECT_STREAM_BYTES // _STEP_BYTES))


def bookmarks_of(document: Any) -> list[Bookmark]:
    """The document's own outline. Raises ParseError where it runs in a circle."""
    found: list[Bookmark] = []
    for mark in _marks(document):
        target = mark.get_dest()
        title = shorten(mark.get_title())
        if title and target is not None and target.get_index() is not None:
            found.append(Bookmark(title, level=mark.level + 1, page=target.get_index() + 1))
    return found


def _marks(document: Any) -> Iterator[Any]:
    seen: set[int] = set()
    pending: list[tuple[Any, int]] = [(pdfium.FPDFBookmark_GetFirstChild(document, None), 0)]
    while pending and len(seen) < _MAX_BOOKMARKS:
        raw, level = pending.pop()
        if not raw:
            continue
        address = addressof(raw.contents)
        if address in seen:
            raise ParseError("pdf: its outline runs in a circle; write the file again")
        seen.add(address)
        yield pypdfium2.PdfBookmark(raw, document, level)
        pending.append((pdfium.FPDFBookmark_GetNextSibling(document, raw), level))
        if level + 1 < _BOOKMARK_DEPTH:
            pending.append((pdfium.FPDFBookmark_GetFirstChild(document, raw), level + 1))


def _inflated(pieces: Iterator[bytes], *, layers: int) -> Iterator[bytes]:
    for _ in range(layers):
        pieces = _inflated_once(pieces)
    return pieces


def _inflated_once(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """What the pieces inflate to, no piece of it large; ends where they are no deflate stream."""
    inflater = zlib.decompressobj()
    for piece in pieces:
        rest = piece
        while rest and not inflater.eof:
            try:
                yield inflater.decompress(rest, _STEP_BYTES)
            except zlib.error:
                return
            rest = inflater.unconsumed_tail


def _is_longer(pieces: Iterator[bytes], allowed: int) -> bool:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > allowed:
            return True
    return False
