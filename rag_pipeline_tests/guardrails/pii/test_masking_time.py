"""Masking costs about the same whatever the text, and a document that takes too long costs nobody else."""

import time

import pytest

from rag_pipeline.errors import ParseLimitError
from rag_pipeline.guardrails.pii.kinds import Kind
from rag_pipeline.guardrails.pii.masking import DocumentMasker
from rag_pipeline.guardrails.pii.policy import MaskingPolicy
from rag_pipeline.ports import MaskedDocument
from rag_pipeline.schema import DocumentType, Element, ElementKind, ParsedDocument

POLICY = MaskingPolicy(frozenset(map(str, Kind)), "replace")
CHARACTERS = 50_000
LONGEST_S = 5
"""Of CPU; seen were 0.1 to 0.8, and 2 for nothing but addresses; before windows were told by length, 20 and more."""


def document(*texts: str) -> ParsedDocument:
    return ParsedDocument(DocumentType.TEXT, "text", "", tuple(Element(ElementKind.TEXT, text) for text in texts))


def repeated(text: str) -> ParsedDocument:
    return document(text * (CHARACTERS // len(text)))


@pytest.mark.parametrize("text", ["1 2-", "123 4 56 78 ", "1234 ", "1 | 22 | 333\n", "O ", "DE12 ", "8.8.4.4 ", "a@b.de "])
def test_no_small_text_takes_seconds(text: str) -> None:
    started = time.thread_time()
    DocumentMasker(lambda _: POLICY).mask_all([("docs", repeated(text))])
    assert time.thread_time() - started < LONGEST_S


def test_letters_around_one_digit_are_read_once() -> None:
    started = time.thread_time()
    DocumentMasker(lambda _: POLICY).mask_all([("docs", document("0 " + "O " * (CHARACTERS // 2) + "0"))])
    assert time.thread_time() - started < LONGEST_S


def test_many_short_elements_with_values_are_masked_one_by_one() -> None:
    started = time.thread_time()
    (masked,) = DocumentMasker(lambda _: POLICY).mask_all([("docs", document(*["a.b@example.com"] * 3_000))])
    assert time.thread_time() - started < LONGEST_S
    assert isinstance(masked, MaskedDocument)
    assert masked.entities == {"EMAIL": 3_000}


def test_a_document_that_takes_too_long_is_given_up_and_the_next_is_masked() -> None:
    masker = DocumentMasker(lambda _: POLICY, cpu_s=0.05)
    given_up, masked = masker.mask_all([("docs", document("1 2-" * 200_000)), ("docs", document("to hong@example.com"))])
    assert isinstance(given_up, ParseLimitError)
    assert given_up.reason == "timeout"
    assert isinstance(masked, MaskedDocument)
    assert masked.document.elements[0].text == "to [EMAIL]"
