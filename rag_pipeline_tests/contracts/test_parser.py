from collections.abc import Iterator

import pytest

from rag_pipeline.adapters.parser_pool import ProcessPoolParser
from rag_pipeline.errors import EmptyDocumentError, ParseError
from rag_pipeline.ports import Parser, ParseRequest
from rag_pipeline.schema import DocumentType, Element, ElementKind, ParsedDocument
from rag_pipeline.settings import ParsingSettings
from rag_pipeline_tests.fakes.parser import FakeParser


@pytest.fixture(scope="module", params=["fake", "processes"])
def parser(request: pytest.FixtureRequest) -> Iterator[Parser]:
    made: Parser = FakeParser() if request.param == "fake" else ProcessPoolParser(ParsingSettings(workers=2, timeout_s=30))
    yield made
    made.close()


def test_every_request_gets_one_outcome_in_its_order(parser: Parser) -> None:
    requests = [
        ParseRequest(str(number), f"{number}.txt", f"text of {number} ".encode() * (1 + 500 * (number % 3)))
        for number in range(40)
    ]
    outcomes = list(parser.parse_all(requests))
    assert [outcome.document_id for outcome in outcomes] == [request.document_id for request in requests]
    assert all(isinstance(outcome.result, ParsedDocument) for outcome in outcomes)
    assert [outcome.result.elements[0].text[:9] for outcome in outcomes if isinstance(outcome.result, ParsedDocument)] == [
        f"text of {number}"[:9] for number in range(40)
    ]


def test_a_document_comes_back_with_its_headings(parser: Parser) -> None:
    (outcome,) = parser.parse_all([ParseRequest("a", "a.md", "# 제목\n\n본문입니다.".encode())])
    assert outcome.type is DocumentType.MARKDOWN
    assert outcome.result == ParsedDocument(
        DocumentType.MARKDOWN,
        "markdown",
        "제목",
        (Element(ElementKind.TITLE, "제목"), Element(ElementKind.TEXT, "본문입니다.", ("제목",))),
    )


def test_a_bad_document_is_an_outcome_and_the_next_one_is_parsed(parser: Parser) -> None:
    requests = [
        ParseRequest("binary", "a.txt", b"\x00\x01\x02\x03" * 50),
        ParseRequest("blank", "b.txt", b"\xef\xbb\xbf \n\n "),
        ParseRequest("good", "c.txt", b"words"),
    ]
    binary, blank, good = parser.parse_all(requests)
    assert isinstance(binary.result, ParseError)
    assert (binary.type, binary.result.reason) == (None, "unsupported_type")
    assert isinstance(blank.result, EmptyDocumentError)
    assert (blank.type, blank.result.reason) == (DocumentType.TEXT, "no_text")
    assert isinstance(good.result, ParsedDocument)


def test_requests_are_drawn_only_a_little_ahead(parser: Parser) -> None:
    drawn = 0

    def requests() -> Iterator[ParseRequest]:
        nonlocal drawn
        for number in range(1000):
            drawn += 1
            yield ParseRequest(str(number), "a.txt", b"words")

    outcomes = parser.parse_all(requests())
    next(outcomes)
    assert drawn < 50
    outcomes.close()  # type: ignore[attr-defined]
    assert [outcome.document_id for outcome in parser.parse_all([ParseRequest("after", "a.txt", b"words")])] == ["after"]


def test_the_same_bytes_give_the_same_outcome(parser: Parser) -> None:
    request = ParseRequest("a", "a.md", b"# Title\n\ntext\n\nmore")
    assert list(parser.parse_all([request])) == list(parser.parse_all([request]))


def test_fingerprints_are_stable_and_apart(parser: Parser) -> None:
    kinds = [None, *DocumentType]
    prints = [parser.fingerprint(kind) for kind in kinds]
    assert len(set(prints)) == len(kinds)
    assert prints == [parser.fingerprint(kind) for kind in kinds]


def test_nothing_in_gives_nothing_out(parser: Parser) -> None:
    assert list(parser.parse_all([])) == []


def test_closing_twice_is_fine_and_a_closed_parser_starts_again(parser: Parser) -> None:
    parser.close()
    parser.close()
    (outcome,) = parser.parse_all([ParseRequest("a", "a.txt", b"words")])
    assert isinstance(outcome.result, ParsedDocument)
