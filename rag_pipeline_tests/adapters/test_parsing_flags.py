import pytest

from rag_pipeline.adapters.parsing import dispatch, plain_text
from rag_pipeline.adapters.parsing.document import Draft, Original
from rag_pipeline.schema import DocumentType, Flag


def test_flags_of_decoding_and_of_the_parser_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    real = plain_text.parse

    def flagging(original: Original) -> Draft:
        draft = real(original)
        draft.flags |= {Flag.PARTIAL, Flag.REPLACED}
        return draft

    monkeypatch.setattr(plain_text, "parse", flagging)
    original = Original(DocumentType.TEXT, "text", b"words", "words", frozenset({Flag.REPLACED, Flag.INVISIBLE_TEXT}))
    assert dispatch.parse_original(original).flags == ("invisible_text", "partial", "replaced")
