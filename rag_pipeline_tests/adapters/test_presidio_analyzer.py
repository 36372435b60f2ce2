"""The real model from its package: names in batches, in other processes, and never a download."""

import socket
from typing import Any, NoReturn

import pytest

from rag_pipeline.adapters import presidio_analyzer
from rag_pipeline.adapters.presidio_analyzer import PresidioFinder, find_names
from rag_pipeline.errors import SettingsError
from rag_pipeline.guardrails.pii.kinds import NAMES, Kind
from rag_pipeline.guardrails.pii.masking import DocumentMasker
from rag_pipeline.guardrails.pii.policy import MaskingPolicy
from rag_pipeline.schema import DocumentType, Element, ElementKind, ParsedDocument

BOTH = frozenset(NAMES)
SENTENCE = "Please ask Alice Johnson in Berlin about the invoice."


def test_names_are_found_in_place_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    finder = PresidioFinder(BOTH, threshold=0.5, workers=1)
    nothing, found = finder.find_all(["no name here at all", SENTENCE], BOTH)
    assert nothing == []
    assert [(f.kind, SENTENCE[f.start : f.end]) for f in found] == [("PERSON", "Alice Johnson"), ("LOCATION", "Berlin")]


def test_several_processes_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = PresidioFinder(BOTH, threshold=0.5, workers=2)
    monkeypatch.setattr(presidio_analyzer, "SHARE_CHARACTERS", 20_000)
    texts = [SENTENCE * 200, SENTENCE, "Robert Miller moved to Chicago last year. " * 600]
    try:
        in_processes = finder.find_all(texts, BOTH)
        assert "_pool" in vars(finder)
    finally:
        finder.close()
    assert in_processes == PresidioFinder(BOTH, threshold=0.5, workers=1).find_all(texts, BOTH)
    assert all(in_processes)


def test_tokens_of_masked_values_and_classes_are_no_names() -> None:
    assert find_names(["See [KR_RRN:enc-abcdefgh] and DeprecationWarning of StandardError."], tuple(NAMES), 0.5) == [[]]


def test_a_name_found_in_the_text_is_masked_in_title_and_metadata() -> None:
    policy = MaskingPolicy(frozenset((*map(str, Kind), *NAMES)), "replace")
    masker = DocumentMasker(lambda _: policy, finder=PresidioFinder(BOTH, threshold=0.5, workers=1))
    document = ParsedDocument(
        DocumentType.TEXT, "text", "alice: Alice Johnson", (Element(ElementKind.TEXT, SENTENCE),), {"by": "x Alice Johnson x"}
    )
    masked = masker.mask_all([("docs", document)])[0].document
    assert "Alice Johnson" not in f"{masked}"


def test_kinds_of_presidio_are_found_by_setting() -> None:
    kinds = frozenset({"UK_NHS"})
    text = "NHS number ９４３ 476 5919"
    found = PresidioFinder(kinds, threshold=0.5, workers=1).find_all([text], kinds)
    assert [(f.kind, text[f.start : f.end]) for f in found[0]] == [("UK_NHS", "９４３ 476 5919")]
    with pytest.raises(SettingsError, match="NOBODY_KNOWS"):
        PresidioFinder(frozenset({"NOBODY_KNOWS"}), threshold=0.5, workers=1)
