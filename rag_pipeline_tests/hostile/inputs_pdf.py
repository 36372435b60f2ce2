"""Rows 1 and 3 to 11: PDFs that lie, loop, hide or blow up."""

import gzip
import io
import pickle
import zlib
from pathlib import Path

from pypdf import PdfReader, PdfWriter

from rag_pipeline_tests import documents
from rag_pipeline_tests.hostile.case import LISTENER, OUTSIDE, PLANTED, Case, indexed, quarantined

_FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
_WORDS = b"BT /F1 12 Tf 72 700 Td (The harbour opens at dawn) Tj ET"
HELD = "The harbour opens at dawn"


class Planted:
    """Leaves a file where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (PLANTED.with_name(OUTSIDE[-1]),)


def plant() -> None:
    """Puts the pickle where the PDF's CMap leads a reader that loads such (pdfminer did)."""
    PLANTED.with_suffix(".pickle.gz").write_bytes(gzip.compress(pickle.dumps(Planted())))


def pdf(
    *,
    kids: bytes = b"4 0 R",
    count: int = 1,
    catalog: bytes = b"",
    page: bytes = b"",
    content: bytes = _WORDS,
    more: tuple[bytes, ...] = (),
    trailer: bytes = b"",
) -> bytes:
    """One page of text whose parts can be replaced; ``START`` in the trailer becomes the offset of the table."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R %s >>" % catalog,
        b"<< /Type /Pages /Count %d /Kids [%s] >>" % (count, kids),
        _FONT,
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> /Contents 5 0 R %s >>"
        % page,
        stream(content),
        *more,
    ]
    out = io.BytesIO()
    out.write(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % offset for offset in offsets)
    end = trailer.replace(b"START", b"%d" % start)
    out.write(b"trailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, end, start))
    return out.getvalue()


def stream(data: bytes, head: bytes = b"") -> bytes:
    """A stream object."""
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (head, len(data), data)


def flat_megabytes(count: int) -> bytes:
    """A zlib stream of that many MiB of blanks, made from one of them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    one = packer.compress(b" " * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\x9c" + one * count + b"\x03\x00" + b"\0\0\0\0"


def _cut() -> bytes:
    pages = [
        f"Chapter {number}\n" + "\n".join(f"The harbour opens at dawn on day {day}." for day in range(20)) for number in range(9)
    ]
    whole = documents.raw_pdf([documents.page_stream(page) for page in pages])
    return whole[: len(whole) * 6 // 10]


def _cut_beyond_repair() -> bytes:
    whole = documents.pdf("Title\nThe harbour opens at dawn")
    return whole[: len(whole) // 5]


def _outline_loop() -> bytes:
    entries = (
        b"<< /First 7 0 R /Last 8 0 R /Count 2 >>",
        b"<< /Title (a) /Parent 6 0 R /Next 8 0 R /Dest [4 0 R /Fit] >>",
        b"<< /Title (b) /Parent 6 0 R /Next 7 0 R /First 7 0 R /Last 7 0 R /Dest [4 0 R /Fit] >>",
    )
    return pdf(catalog=b"/Outlines 6 0 R", more=entries)


def _page_tree_loop() -> bytes:
    return pdf(kids=b"6 0 R", count=3, more=(b"<< /Type /Pages /Parent 2 0 R /Count 3 /Kids [2 0 R 6 0 R] >>",))


def _encrypted(*, user: str, may_copy: bool = True) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf())))
    from pypdf.constants import UserAccessPermissions

    allowed = UserAccessPermissions.all() if may_copy else UserAccessPermissions.PRINT
    writer.encrypt(user, "the owner's own", algorithm="AES-256", permissions_flag=allowed)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def _bomb() -> bytes:
    packed = zlib.compress(flat_megabytes(1024), 9)
    more = (stream(packed, b"/Filter [/FlateDecode /FlateDecode]"),)
    return pdf(more=more).replace(b"/Contents 5 0 R", b"/Contents 6 0 R")


def _flat_bomb() -> bytes:
    more = (stream(flat_megabytes(1024), b"/Filter /FlateDecode"),)
    return pdf(more=more).replace(b"/Contents 5 0 R", b"/Contents 6 0 R")


def _planted_cmap() -> bytes:
    name = ("../" * 12 + str(PLANTED).lstrip("/")).replace("/", "#2f").encode()
    more = (
        b"<< /Type /Font /Subtype /Type0 /BaseFont /Evil /Encoding /%s /DescendantFonts [7 0 R] >>" % name,
        b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Evil "
        b"/CIDSystemInfo << /Registry (../../) /Ordering (planted) /Supplement 0 >> >>",
    )
    content = _WORDS + b" BT /F2 12 Tf 72 650 Td <00410042> Tj ET"
    return pdf(content=content, more=more).replace(b"/F1 3 0 R >>", b"/F1 3 0 R /F2 6 0 R >>")


def _script() -> bytes:
    script = f"app.launchURL\\('{LISTENER}/js'\\)".encode()
    return pdf(catalog=b"/OpenAction << /S /JavaScript /JS (%s) >>" % script)


def _launch() -> bytes:
    link = b"/Annots [<< /Type /Annot /Subtype /Link /Rect [0 0 99 99] /A << /S /Launch /F (/bin/sh) >> >>]"
    return pdf(page=link)


def _attachment() -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf())))
    writer.add_attachment("../../../outside.txt", b"attached words")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def _endless_streams() -> bytes:
    """Streams that begin and never end, each with a filter before it."""
    return pdf().replace(b"xref\n0 6", b"<< /Filter /FlateDecode >> stream\n" * 100_000 + b"xref\n0 6")


def _pages(count: int) -> bytes:
    return pdf(kids=b"4 0 R " * count, count=count)


CASES: tuple[Case, ...] = (
    quarantined(1, "nothing.pdf", bytes, "empty"),
    indexed(3, "cut.pdf", _cut, "partial", holds=HELD),
    quarantined(3, "cut-beyond-repair.pdf", _cut_beyond_repair, "malformed"),
    quarantined(4, "xref-circle.pdf", lambda: pdf(trailer=b"/Prev START"), "malformed"),
    quarantined(4, "page-tree-circle.pdf", _page_tree_loop, "malformed"),
    quarantined(4, "outline-circle.pdf", _outline_loop, "malformed"),
    quarantined(5, "user-password.pdf", lambda: _encrypted(user="open sesame"), "encrypted"),
    indexed(6, "owner-password.pdf", lambda: _encrypted(user="", may_copy=False), "restricted", holds=HELD),
    quarantined(7, "stream-twice-packed.pdf", _bomb, "limit_expansion"),
    quarantined(7, "stream-of-a-gigabyte.pdf", _flat_bomb, "limit_expansion"),
    indexed(7, "streams-without-end.pdf", _endless_streams, holds=HELD),
    indexed(8, "planted-cmap.pdf", _planted_cmap, holds=HELD),
    indexed(9, "script.pdf", _script, "active_content", holds=HELD, lacks="launchURL"),
    indexed(9, "launch.pdf", _launch, "active_content", holds=HELD, lacks="/bin/sh"),
    indexed(9, "attachment.pdf", _attachment, "active_content", holds=HELD, lacks="attached words"),
    quarantined(10, "pictures.pdf", documents.scanned_pdf, "needs_ocr"),
    indexed(11, "pages-5000.pdf", lambda: _pages(5_000), holds=HELD, is_slow=True),
    quarantined(11, "pages-20000.pdf", lambda: _pages(20_000), "limit_pages"),
)
