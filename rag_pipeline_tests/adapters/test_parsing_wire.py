import json
from typing import Any

import pytest

from rag_pipeline.adapters.parsing.wire import dump_document, dump_error, load_outcome, load_type
from rag_pipeline.errors import DocumentError, ParseLimitError
from rag_pipeline.schema import DocumentType, Element, ElementKind, Flag, ParsedDocument

DOCUMENT = ParsedDocument(
    DocumentType.PDF,
    "pdf",
    "제목",
    (Element(ElementKind.TITLE, "제목", (), 1), Element(ElementKind.TEXT, 'a \\ "b" \\ud800 \u2028', ("제목",), None)),
    {"pages": 2, "author": "somebody", "names": ["a", "b"], "share": 0.5, "done": True, "none": None},
    flags=(Flag.PARTIAL,),
)


def test_a_document_comes_back_as_it_was() -> None:
    assert load_outcome("a", dump_document(DOCUMENT)).result == DOCUMENT


def test_an_error_comes_back_in_one_short_line() -> None:
    error = ParseLimitError("took\x1b[31m\nlong\u202e" + "x" * 10_000, reason="timeout")
    outcome = load_outcome("a", dump_error(error, DocumentType.PDF))
    assert isinstance(outcome.result, ParseLimitError)
    assert (outcome.type, outcome.result.reason) == (DocumentType.PDF, "timeout")
    assert outcome.result.detail.startswith("took [31m long x")
    assert len(outcome.result.detail) == 500


def changed(**changes: Any) -> bytes:
    return json.dumps(json.loads(dump_document(DOCUMENT)) | changes).encode()


BAD = {
    "no json": b"{",
    "not UTF-8": b'"\xff"',
    "a list": b"[]",
    "nothing": b"{}",
    "endless depth": b"[" * 200_000,
    "type": changed(type="exe"),
    "type of a type": changed(type=["pdf"]),
    "format": changed(format="../../etc"),
    "format at length": changed(format="x" * 100),
    "title": changed(title={"a": 1}),
    "elements": changed(elements="text"),
    "element": changed(elements=[["text", "a"]]),
    "kind": changed(elements=[["virus", "a", [], None]]),
    "text": changed(elements=[["text", 5, [], None]]),
    "path": changed(elements=[["text", "a", [1], None]]),
    "page as a text": changed(elements=[["text", "a", [], "1"]]),
    "page as a truth": changed(elements=[["text", "a", [], True]]),
    "page below none": changed(elements=[["text", "a", [], -1]]),
    "page beyond all": changed(elements=[["text", "a", [], 2**63]]),
    "half a character": changed(elements=[["text", "\ud800", [], None]]),
    "metadata": changed(metadata=[]),
    "nested metadata": changed(metadata={"a": {"b": 1}}),
    "too much metadata": changed(metadata={str(number): 1 for number in range(1000)}),
    "no number": changed(metadata={"a": float("nan")}),
    "a number beyond all": changed(metadata={"a": 10**30}),
    "flag": changed(flags=["trusted"]),
    "no flags": changed(flags=None),
    "error": b'{"error": "SystemExit", "detail": "", "reason": "a", "type": null}',
    "reason": b'{"error": "ParseError", "detail": "", "reason": "a\\nb", "type": null}',
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_an_answer_that_no_parser_gives_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, RecursionError)):
        load_outcome("a", data)


def test_a_type_is_one_of_those_that_there_are() -> None:
    assert [load_type(data) for data in (b"pdf", b"", b"exe", b"\xff")] == [DocumentType.PDF, None, None, None]


def test_an_outcome_is_an_error_or_a_document() -> None:
    assert not isinstance(load_outcome("a", dump_document(DOCUMENT)).result, DocumentError)
