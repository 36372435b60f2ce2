"""Whole documents: every place that is stored, every operator, and what is written down of what was masked."""

import json
import os
from typing import Any

import pytest

from rag_pipeline.adapters.pii_cipher import SivCipher, decrypt
from rag_pipeline.guardrails.pii.kinds import Kind
from rag_pipeline.guardrails.pii.masking import DocumentMasker
from rag_pipeline.guardrails.pii.policy import MaskingPolicy, masking_of
from rag_pipeline.guardrails.pii.subjects import subject_digest
from rag_pipeline.ports import MaskedDocument
from rag_pipeline.schema import DocumentType, Element, ElementKind, ParsedDocument

NUMBER, MAIL, CARD = "900101-1234567", "hong@example.com", "4111 1111 1111 1111"
KEY = b"a key"


def masker(operator: str = "replace", *, key: bytes = KEY) -> DocumentMasker:
    policy = MaskingPolicy(frozenset(map(str, Kind)), operator)
    return DocumentMasker(lambda _: policy, key=key, cipher=SivCipher(key))


def document(*texts: str, title: str = "", metadata: dict[str, Any] | None = None) -> ParsedDocument:
    elements = tuple(Element(ElementKind.TEXT, text, heading_path=(f"About {NUMBER}",)) for text in texts)
    return ParsedDocument(DocumentType.TEXT, "text", title, elements, metadata or {})


def mask(given: ParsedDocument, operator: str = "replace", *, key: bytes = KEY) -> MaskedDocument:
    return masker(operator, key=key).mask_all([("docs", given)])[0]


def stored(masked: MaskedDocument) -> str:
    one = masked.document
    return json.dumps([one.title, [[e.text, e.heading_path] for e in one.elements], dict(one.metadata)], ensure_ascii=False)


def test_every_place_is_masked() -> None:
    metadata = {"author": f"Hong <{MAIL}>", "deep": [{"cards": [CARD]}], NUMBER: 1, "number": 9001011234568, "pages": 3}
    masked = mask(document(f"call {NUMBER}", title=NUMBER, metadata=metadata))
    assert not [value for value in (NUMBER, MAIL, CARD, "9001011234568") if value in stored(masked)]
    assert masked.document.metadata["pages"] == 3
    assert masked.document.elements[0].text == "call [KR_RRN]"
    assert masked.entities["EMAIL"] == 1
    assert subject_digest(NUMBER, KEY) in masked.subjects
    assert mask(document(NUMBER), key=b"").subjects == ()


def test_both_halves_of_a_value_over_a_border_are_masked() -> None:
    masked = mask(document("my card 4111 1111", "1111 1111 is lost", "x hong@exam", "ple.com y"))
    assert [e.text for e in masked.document.elements] == [
        "my card [CREDIT_CARD]",
        "[CREDIT_CARD] is lost",
        "x [EMAIL]",
        "[EMAIL] y",
    ]
    assert subject_digest(CARD, KEY) in masked.subjects


def test_words_of_the_element_before_give_the_context() -> None:
    masked = mask(document("주민등록번호:", "9001011234567", "입금 계좌", "110123456789"))
    assert [e.text for e in masked.document.elements] == ["주민등록번호:", "[KR_RRN]", "입금 계좌", "[BANK_ACCOUNT]"]


@pytest.mark.parametrize("operator", ["replace", "mask", "hash", "encrypt"])
def test_masked_text_is_stable_and_holds_nothing_more_to_mask(operator: str) -> None:
    texts = [f"{NUMBER}, {MAIL} and {CARD} or +49 200 1234567", os.urandom(4).hex()]
    once = mask(document(*texts), operator)
    again = mask(once.document, operator)
    assert again.document == once.document
    assert masker(operator).count_leaks("docs", [stored(once)]) == {}
    assert mask(document(*texts), operator).document == once.document


def test_hash_and_encrypt_need_the_same_key_to_be_equal() -> None:
    for operator in ("hash", "encrypt"):
        first, second = mask(document(NUMBER), operator), mask(document(NUMBER), operator, key=b"another")
        assert first.document.elements != second.document.elements


def test_encrypted_values_come_back_with_the_key_alone() -> None:
    text = mask(document(f"Hong {NUMBER}, {MAIL}"), "encrypt").document.elements[0].text
    assert decrypt(text, "a key") == f"Hong {NUMBER}, {MAIL}"
    with pytest.raises(ValueError, match="another key"):
        decrypt(text, "another")


def test_the_fingerprint_follows_what_decides_the_text() -> None:
    policies = [MaskingPolicy(frozenset({"EMAIL"}), "replace"), MaskingPolicy(frozenset({"EMAIL", "PHONE"}), "replace")]
    policies += [MaskingPolicy(frozenset({"EMAIL"}), "mask")]
    keys = [DocumentMasker(lambda _, p=p: p, key=key).fingerprint("docs") for p in policies for key in (b"", b"1", b"2")]  # type: ignore[misc]
    assert len(set(keys)) == len(keys)
    assert DocumentMasker(lambda _: None).fingerprint("docs") == ""
    assert masking_of({"*": "a", "staff": ""}, "staff") == ""
    assert masking_of({"*": "a", "staff": ""}, "mail") == "a"
