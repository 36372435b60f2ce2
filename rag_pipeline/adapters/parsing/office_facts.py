"""The properties that Office documents carry about themselves."""

from typing import Any

from rag_pipeline.adapters.parsing.document import shorten

_NAMES = {
    "title": "title",
    "author": "author",
    "creator": "author",
    "subject": "subject",
    "keywords": "keywords",
    "category": "category",
    "language": "language",
    "created": "created",
    "modified": "modified",
}


def read_facts(properties: Any) -> dict[str, Any]:
    """Title, author, dates and the like; those that are set."""
    facts: dict[str, Any] = {}
    for name, fact in _NAMES.items():
        value = getattr(properties, name, None)
        if value:
            facts[fact] = value.isoformat() if hasattr(value, "isoformat") else shorten(str(value))
    return facts
