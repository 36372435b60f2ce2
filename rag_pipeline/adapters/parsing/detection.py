"""The type of a document, told from its bytes; its name decides only between plain texts."""

import re
import struct

from rag_pipeline.adapters.parsing import names
from rag_pipeline.adapters.parsing.charsets import decode_text, is_binary
from rag_pipeline.adapters.parsing.containers import identify_zip, refuse_ole
from rag_pipeline.adapters.parsing.delimited import is_tabular
from rag_pipeline.adapters.parsing.document import Original
from rag_pipeline.adapters.parsing.limits import current_limits
from rag_pipeline.errors import EmptyDocumentError, ParseError, ParseLimitError
from rag_pipeline.schema import DocumentType

_HEAD_BYTES = 4096
_PDF = re.compile(rb"(?:\A|[\r\n])\s*%PDF-\d")
_BINARY_OR_OBJECTS = re.compile(rb"obj|[\0-\x08]")
"""A text may well begin by quoting a PDF's first line; a damaged PDF still holds bytes that no text has, or its name."""
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_PNG = b"\x89PNG\r\n\x1a\n"
_REFUSED = (
    (_PNG, "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"GIF8", "GIF image"),
    (b"II*\0", "TIFF image"),
    (b"MM\0*", "TIFF image"),
    (b"RIFF", "RIFF medium"),
    (b"\0\0\1\0", "icon"),
    (b"8BPS", "Photoshop image"),
    (b"OggS", "Ogg medium"),
    (b"fLaC", "FLAC sound"),
    (b"ID3", "MP3 sound"),
    (b"\x1aE\xdf\xa3", "Matroska video"),
    (b"\x1f\x8b", "gzip archive"),
    (b"BZh", "bzip2 archive"),
    (b"\xfd7zXZ\0", "xz archive"),
    (b"\x28\xb5\x2f\xfd", "zstd archive"),
    (b"7z\xbc\xaf\x27\x1c", "7z archive"),
    (b"Rar!\x1a\x07", "RAR archive"),
    (b"!<arch>\n", "ar archive"),
    (b"\x7fELF", "ELF program"),
    (b"\xca\xfe\xba\xbe", "Java class or Mach-O program"),
    (b"\xcf\xfa\xed\xfe", "Mach-O program"),
    (b"\0asm", "WebAssembly program"),
    (b"SQLite format 3\0", "SQLite database"),
    (b"PAR1", "Parquet table"),
    (b"wOFF", "font"),
    (b"wOF2", "font"),
    (b"%!PS", "PostScript file"),
    (b"{\\rtf", "RTF document"),
)
_HTML_DOCUMENT = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*(?:<!doctype\s+html|<html[\s>])", re.I | re.S)
_HTML_FRAGMENT = re.compile(
    r"\s*(?:<!--.*?-->\s*)*<(?:head|body|title|meta|div|p|h[1-6]|table|ul|ol|dl|section|article|main|header|nav)\b[^>]*>",
    re.I | re.S,
)
_CLOSING_TAG = re.compile(r"</(?:p|div|h[1-6]|table|tr|li|ul|ol|dl|body|head|section|article|title)\s*>", re.I)
_SVG = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*(?:<!doctype\s+svg|<svg[\s>])", re.I | re.S)
_HEADER_BLOCK = re.compile(r"(?:From [^\n]+\n)?((?:[!-9;-~]+:[^\n]*\n(?:[ \t][^\n]*\n)*)+)")
_HEADER_NAME = re.compile(r"^([!-9;-~]+):", re.M)
_SENDER_HEADERS = {"from", "received", "return-path", "message-id", "mime-version"}
_OTHER_HEADERS = {"to", "subject", "date", "delivered-to", "content-type", "cc", "reply-to"}


def detect_type(data: bytes, path: str) -> tuple[DocumentType, str]:
    """Type and format (``docx``, ``csv``, ``python`` ...) of a document.

    Raises ParseError: ``unsupported_type``, ``encrypted``, ``encoding`` or ``malformed``; EmptyDocumentError for no bytes.
    """
    original = identify(data, path)
    return original.type, original.format


def identify(data: bytes, path: str) -> Original:
    """The document with its type told and, where it is a text, decoded. Raises as `detect_type`."""
    if not data.strip(b"\0 \t\r\n\f"):
        reason = None if data else "empty"
        raise EmptyDocumentError("the file holds no text; fill or delete it", reason=reason)
    if _PDF.search(data[:1024]) and (path.lower().endswith(".pdf") or _BINARY_OR_OBJECTS.search(data)):
        return Original(type=DocumentType.PDF, format="pdf", data=data)
    if data.startswith(_ZIP):
        return Original(*identify_zip(data), data)
    if data.startswith(_OLE):
        refuse_ole(data)
    claim = names.identify_name(path)
    if _is_email(data[:_HEAD_BYTES].decode("latin-1")) and claim[1] != "diff":
        return Original(DocumentType.EMAIL, "eml", data)
    _refuse_media(data)
    text = decode_text(data).replace("\r\n", "\n").replace("\r", "\n")
    return Original(*_identify_text(text, claim), data, text)


def _refuse_media(data: bytes) -> None:
    _refuse_huge_picture(data)
    kind = next((name for magic, name in _REFUSED if data.startswith(magic)), None)
    if kind and (len(data) < 16 or is_binary(data) or kind.endswith(("document", "file"))):
        raise ParseError(f"a {kind}, which no parser reads; exclude it or convert it", reason="unsupported_type")
    if is_binary(data):
        raise ParseError("a binary file of an unknown kind, which no parser reads; exclude it", reason="unsupported_type")


def _refuse_huge_picture(data: bytes) -> None:
    """Told from the header; no picture is ever unpacked here, but whoever converts it for us should be warned."""
    if data.startswith(_PNG) and data[12:16] == b"IHDR":
        width, height = struct.unpack(">II", data[16:24].ljust(8, b"\0"))
        if width * height > (most := current_limits().pixels):
            detail = f"a picture of {width} x {height} pixels, more than parsing.max_pixels ({most}); exclude it"
            raise ParseLimitError(detail, reason="limit_pixels")


def _identify_text(text: str, claim: tuple[DocumentType, str]) -> tuple[DocumentType, str]:
    head = text[:_HEAD_BYTES]
    if _SVG.match(head):
        raise ParseError("an SVG image, which no parser reads; exclude it or convert it", reason="unsupported_type")
    if _HTML_DOCUMENT.match(head) and claim[1] not in names.TEMPLATE_FORMATS:
        return DocumentType.HTML, "html"
    return _settle_claim(text, claim)


def _settle_claim(text: str, claim: tuple[DocumentType, str]) -> tuple[DocumentType, str]:
    """The claim of the name, where the content does not contradict it."""
    claimed, _ = claim
    if claimed is DocumentType.HTML and not ("<" in text and ">" in text):
        return DocumentType.TEXT, "text"
    if claimed is DocumentType.TABLE and not is_tabular(text):
        return DocumentType.TEXT, "text"
    if claimed is not DocumentType.TEXT:
        return claim
    if language := names.identify_shebang(text):
        return DocumentType.CODE, language
    if _HTML_FRAGMENT.match(text[:_HEAD_BYTES]) and _CLOSING_TAG.search(text):
        return DocumentType.HTML, "html"
    return DocumentType.TEXT, "text"


def _is_email(head: str) -> bool:
    head = head.replace("\r\n", "\n").lstrip("\n")
    block = _HEADER_BLOCK.match(head)
    if not block:
        return False
    found = {name.lower() for name in _HEADER_NAME.findall(block.group(1))}
    return bool(found & _SENDER_HEADERS) and len(found & (_SENDER_HEADERS | _OTHER_HEADERS)) >= 2
