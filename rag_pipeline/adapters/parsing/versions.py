"""Versions of the parsers. An index parses a document again when the version behind its type changes.

Raise a number when its parser gives another title, text, kind, heading path, page or fact for documents that real
people have. Library updates alone do not count: they would parse whole corpora again for nothing. Where an update does
change the output, raise the number with it.
"""

import json
from hashlib import sha256

from rag_pipeline.indexing.cleaning import CLEANING_VERSION
from rag_pipeline.schema import DocumentType

DETECTION_VERSION = 2
"""Raise it when some file gets another type, format or decoding."""

PARSER_VERSIONS = {
    DocumentType.TEXT: 1,
    DocumentType.MARKDOWN: 1,
    DocumentType.RST: 1,
    DocumentType.HTML: 2,
    DocumentType.PDF: 3,
    DocumentType.WORD: 1,
    DocumentType.SLIDES: 1,
    DocumentType.TABLE: 1,
    DocumentType.EMAIL: 2,
    DocumentType.CODE: 1,
}
HIDING_TYPES = frozenset(
    {DocumentType.HTML, DocumentType.MARKDOWN, DocumentType.PDF, DocumentType.WORD, DocumentType.EMAIL, DocumentType.SLIDES}
)
"""Types whose parsers look for hidden text."""
_BUILT_ON = {
    DocumentType.MARKDOWN: (DocumentType.HTML,),
    DocumentType.RST: (DocumentType.TEXT,),
    DocumentType.WORD: (DocumentType.HTML,),
    DocumentType.SLIDES: (DocumentType.HTML,),
    DocumentType.EMAIL: (DocumentType.TEXT, DocumentType.HTML),
}


def fingerprint(document_type: DocumentType | None, *, keeps_hidden_text: bool = False) -> str:
    """Digest of all that decides how the type is parsed; for None, how a type is told."""
    decides: dict[str, int] = {"detection": DETECTION_VERSION}
    if document_type is not None:
        used = (document_type, *_BUILT_ON.get(document_type, ()))
        decides |= {"cleaning": CLEANING_VERSION} | {name.value: PARSER_VERSIONS[name] for name in used}
    if document_type in HIDING_TYPES and keeps_hidden_text:
        decides["keeps_hidden_text"] = 1
    return sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
