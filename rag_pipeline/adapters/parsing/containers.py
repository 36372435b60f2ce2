"""What a zip or OLE container holds, told from its directory, before anything is unpacked."""

import io
import zipfile
import zlib
from itertools import pairwise

from rag_pipeline.adapters.parsing.limits import current_limits
from rag_pipeline.adapters.parsing.xml_entities import refuse_entities
from rag_pipeline.errors import ParseError, ParseLimitError
from rag_pipeline.schema import DocumentType

_RATIO_FROM_BYTES = 20 << 20
"""Small texts pack well; below this the ratio says nothing."""
_LOCAL_HEADER_BYTES = 30
_XML_HEAD_BYTES = 1 << 20

_OFFICE_PARTS = {
    "word/document": (DocumentType.WORD, "docx"),
    "ppt/presentation": (DocumentType.SLIDES, "pptx"),
    "xl/workbook": (DocumentType.TABLE, "xlsx"),
}
_ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")


def identify_zip(data: bytes) -> tuple[DocumentType, str]:
    """Type and format of an office file. Raises ParseError for other archives, ParseLimitError for bombs."""
    names = _checked_names(data)
    if "[Content_Types].xml" in names:
        for part, found in _OFFICE_PARTS.items():
            if any(name.startswith(part) and name.endswith(".xml") for name in names):
                return found
    raise ParseError("a zip archive that holds no Word, PowerPoint or Excel document", reason="unsupported_type")


def refuse_ole(data: bytes) -> None:
    """Raises ParseError: ``encrypted`` for a protected office file, ``unsupported_type`` for a format of before 2007."""
    if _ENCRYPTED_STREAM in data:
        raise ParseError("a password-protected office file; remove the password and save it again", reason="encrypted")
    raise ParseError("a binary office file of before 2007; save it as docx, xlsx or pptx", reason="unsupported_type")


def _checked_names(data: bytes) -> set[str]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _refuse_bomb(entries, packed=len(data))
            for entry in entries:
                _check_part(archive, entry)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, NotImplementedError) as error:
        raise ParseError(f"a damaged zip container ({type(error).__name__}); replace the file") from None
    return {entry.filename for entry in entries}


def _refuse_bomb(entries: list[zipfile.ZipInfo], *, packed: int) -> None:
    """Told from the directory alone. Python's zipfile reads no more of a part than its directory says."""
    limits = current_limits()
    if len(entries) > limits.entries:
        raise ParseLimitError(f"holds {len(entries)} parts, more than parsing.max_entries", reason="limit_entries")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > limits.unpacked_bytes:
        raise ParseLimitError(
            f"unpacks to {unpacked / 2**20:.0f} MiB, more than parsing.max_unpacked_mb", reason="limit_expansion"
        )
    if unpacked > max(_RATIO_FROM_BYTES, limits.expansion_ratio * packed):
        raise ParseLimitError(f"unpacks to {unpacked / packed:.0f} times its size", reason="limit_expansion")
    placed = sorted(entries, key=lambda entry: entry.header_offset)
    if any(_end(entry) > following.header_offset for entry, following in pairwise(placed)):
        raise ParseLimitError("its parts lie over one another; only a bomb is packed so", reason="limit_expansion")
    if any(entry.flag_bits & 1 for entry in entries):
        raise ParseError("an encrypted zip container; save it without a password", reason="encrypted")


def _end(entry: zipfile.ZipInfo) -> int:
    return entry.header_offset + _LOCAL_HEADER_BYTES + len(entry.filename) + entry.compress_size


def _check_part(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Opens the part, which compares its two headers, and reads its declarations where it is XML."""
    with archive.open(entry) as part:
        if entry.filename.endswith((".xml", ".rels")):
            head = part.read(_XML_HEAD_BYTES)
            refuse_entities(head)
            if b"<!DOCTYPE" in head:  # Open Packaging Conventions forbid it, and a text around an entity would be lost
                raise ParseError("an office file whose XML declares a document type, which its format forbids; save it again")
