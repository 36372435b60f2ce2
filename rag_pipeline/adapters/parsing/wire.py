"""What a parsing process sends back: plain JSON, checked field by field, never a live object.

The process may have been taken over by the document that it parsed, so nothing in an answer is taken on trust: every field
has its type and its most, and every text can be encoded.
"""

import json
import re
from typing import Any

from rag_pipeline.errors import DocumentError, EmptyDocumentError, ParseError, ParseLimitError
from rag_pipeline.ports import ParseOutcome
from rag_pipeline.schema import DocumentType, Element, ElementKind, Flag, ParsedDocument

_ERRORS: dict[str, type[DocumentError]] = {error.__name__: error for error in (ParseError, ParseLimitError, EmptyDocumentError)}
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+#/-]{0,63}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")
_LINE_CHARACTERS = 500
_LARGEST = 2**63 - 1
_MOST_FACTS = 256


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
    """The outcome that the bytes describe. Raises ValueError, KeyError, TypeError or RecursionError when they describe none."""
    values = json.loads(data.decode(), parse_constant=_refuse_constant)
    if b"\\u" in data:
        json.dumps(values, ensure_ascii=False).encode()  # half a pair of surrogates passes json, and nothing after it
    if not isinstance(values, dict):
        raise TypeError("an answer is an object")
    if "error" in values:
        error = _ERRORS[_text(values["error"])](_line(values["detail"]), reason=_word(values["reason"]))
        told = values["type"]
        return ParseOutcome(document_id, None if told is None else DocumentType(_text(told)), error)
    document = ParsedDocument(
        type=DocumentType(_text(values["type"])),
        format=_word(values["format"]),
        title=_text(values["title"]),
        elements=tuple(_element(row) for row in _list(values["elements"])),
        metadata=_facts(values["metadata"]),
        flags=tuple(Flag(_text(flag)) for flag in _list(values["flags"])),
    )
    return ParseOutcome(document_id, document.type, document)


def load_type(data: bytes) -> DocumentType | None:
    """The type that the bytes name; None when they name none."""
    try:
        return DocumentType(data.decode())
    except ValueError:
        return None


def _element(row: object) -> Element:
    kind, text, path, page = _list(row)
    if page is not None and (type(page) is not int or not 0 <= page <= _LARGEST):
        raise TypeError("a page is a whole number")
    return Element(ElementKind(_text(kind)), _text(text), tuple(map(_text, _list(path))), page)


def _facts(values: object) -> dict[str, Any]:
    if not isinstance(values, dict) or len(values) > _MOST_FACTS:
        raise TypeError("metadata is an object of some facts")
    return {name: [_fact(item) for item in value] if isinstance(value, list) else _fact(value) for name, value in values.items()}


def _fact(value: object) -> object:
    is_small = not isinstance(value, int) or abs(value) <= _LARGEST
    if value is not None and not (isinstance(value, (str, int, float)) and is_small):
        raise TypeError("a fact is a text or a number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _word(value: object) -> str:
    if not _WORD.fullmatch(_text(value)):
        raise ValueError("not a word")
    return _text(value)


def _line(value: object) -> str:
    """A message in one line, so that no document can write whole paragraphs into somebody's terminal."""
    return _UNPRINTABLE.sub(" ", _text(value))[:_LINE_CHARACTERS]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _dump(values: dict[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
