"""What a parsing process sends back: plain JSON, checked field by field, never a live object."""

import json
from typing import Any

from rag_pipeline.errors import DocumentError, EmptyDocumentError, ParseError, ParseLimitError
from rag_pipeline.ports import ParseOutcome
from rag_pipeline.schema import DocumentType, Element, ElementKind, Flag, ParsedDocument

_ERRORS: dict[str, type[DocumentError]] = {error.__name__: error for error in (ParseError, ParseLimitError, EmptyDocumentError)}


def dump_document(document: ParsedDocument) -> bytes:
    """The document as JSON."""
    return _dump(
        {
            "type": document.type,
            "format": document.format,
            "title": document.title,
            "elements": [[item.kind, item.text, item.heading_path, item.page] for item in document.elements],
            "metadata": dict(document.metadata),
            "flags": document.flags,
        }
    )


def dump_error(error: DocumentError, document_type: DocumentType | None) -> bytes:
    """The error as JSON."""
    return _dump({"error": type(error).__name__, "detail": error.detail, "reason": error.reason, "type": document_type})


def load_outcome(document_id: str, data: bytes) -> ParseOutcome:
    """The outcome that the bytes describe. Raises ValueError, KeyError or TypeError when they describe none."""
    values = json.loads(data)
    if "error" in values:
        document_type = DocumentType(values["type"]) if values["type"] else None
        error = _ERRORS[values["error"]](str(values["detail"]), reason=str(values["reason"]))
        return ParseOutcome(document_id, document_type, error)
    document = ParsedDocument(
        type=DocumentType(values["type"]),
        format=str(values["format"]),
        title=str(values["title"]),
        elements=tuple(_element(row) for row in values["elements"]),
        metadata=dict(values["metadata"]),
        flags=tuple(Flag(flag) for flag in values.get("flags", ())),
    )
    return ParseOutcome(document_id, document.type, document)


def _element(row: list[Any]) -> Element:
    kind, text, path, page = row
    return Element(ElementKind(kind), str(text), tuple(map(str, path)), None if page is None else int(page))


def _dump(values: dict[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
