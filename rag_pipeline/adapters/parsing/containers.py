"""What a zip or OLE container holds, told from its directory, before anything is unpacked."""

import io
import zipfile

from rag_pipeline.errors import ParseError, ParseLimitError
from rag_pipeline.schema import DocumentType

MAX_ENTRIES = 10_000
MAX_UNPACKED_BYTES = 500 * 1024 * 1024
MAX_RATIO = 100
_RATIO_FROM_BYTES = 20 * 1024 * 1024

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
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise ParseError(f"a damaged zip container ({type(error).__name__}); replace the file") from None
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ENTRIES or unpacked > MAX_UNPACKED_BYTES:
        raise ParseLimitError(f"unpacks to {len(entries)} parts and {unpacked} bytes", reason="expansion")
    if unpacked > max(_RATIO_FROM_BYTES, MAX_RATIO * len(data)):
        raise ParseLimitError(f"unpacks to more than {MAX_RATIO} times its size", reason="expansion")
    if any(entry.flag_bits & 1 for entry in entries):
        raise ParseError("an encrypted zip container; save it without a password", reason="encrypted")
    return {entry.filename for entry in entries}
