"""Every reason that a document can be refused for comes with something to do."""

import re
from pathlib import Path

import rag_pipeline
from rag_pipeline.errors import DocumentError, EmptyDocumentError, ParseError, ParseLimitError, UnstableDocumentError
from rag_pipeline.indexing.quarantine import remedy_for

NO_REASON = "a reason that nobody knows"


def test_every_reason_has_a_remedy_of_its_own() -> None:
    sources = Path(rag_pipeline.__file__).parent.rglob("*.py")
    named = {reason for file in sources for reason in re.findall(r'reason="([a-z_]+)"', file.read_text(encoding="utf-8"))}
    errors = (DocumentError, EmptyDocumentError, ParseError, ParseLimitError, UnstableDocumentError)
    reasons = named | {error.reason for error in errors}
    assert len(reasons) > 15
    assert {reason for reason in reasons if remedy_for(reason) == remedy_for(NO_REASON)} == set()
