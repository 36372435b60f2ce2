"""What one looks for after an erasure, and how the documents of a person are found. Lives in memory only."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from rag_pipeline.guardrails.pii.folding import fold
from rag_pipeline.guardrails.pii.subjects import subject_value
from rag_pipeline.schema import DocumentRecord, StoredDocument

PIECES_OF_A_DOCUMENT = 12
PIECE_CHARACTERS = 40
SHORTEST_PIECE = 12
SHORTEST_NAME = 6
SHORTEST_SUBJECT = 3
COMPACT_SUBJECT = 7
"""Characters from which on a value with digits is also looked for without its separators."""

_PLAIN = re.compile(r'[^\x00-\x1f\x7f-\x9f"\\\u2028\u2029]+')
"""Runs that every encoder writes as one: no line ends, quotes or backslashes."""


def pieces_of(row: StoredDocument) -> list[str]:
    """Some pieces of the document's text, spread over all of it, and its title."""
    runs = [run.strip() for element in row.document.elements for run in _PLAIN.findall(element.text)]
    cut = [run[start : start + PIECE_CHARACTERS].strip() for run in runs for start in range(0, len(run), PIECE_CHARACTERS)]
    whole = [piece for piece in cut if len(piece) >= SHORTEST_PIECE] or [run for run in runs if len(run) >= SHORTEST_NAME]
    step = max(1, len(whole) // PIECES_OF_A_DOCUMENT)
    return [*whole[::step][:PIECES_OF_A_DOCUMENT], *_names([row.document.title])]


def names_of(record: DocumentRecord) -> list[str]:
    """Path and address of the document."""
    return _names([record.path, record.uri])


def without_common(pieces: Iterable[str], others: Iterable[str]) -> list[str]:
    """The pieces that stand in none of the other texts, each once."""
    left = dict.fromkeys(pieces)
    for text in others:
        for piece in [piece for piece in left if piece in text]:
            del left[piece]
    return list(left)


def all_text(row: StoredDocument) -> str:
    """Everything that is stored of a document, as one text."""
    document = row.document
    return "\n".join([document.title, *(element.text for element in document.elements), *strings_in(document.metadata)])


def strings_in(value: Any) -> Iterator[str]:
    """Every string of JSON values, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (int, float)):
        yield json.dumps(value)
    elif isinstance(value, dict):
        for key, below in value.items():
            yield str(key)
            yield from strings_in(below)
    elif isinstance(value, (list, tuple)):
        for below in value:
            yield from strings_in(below)


class Subject:
    """A person's value as one looks for it: disguises undone, letter case and white space of no weight."""

    def __init__(self, value: str) -> None:
        self._folded = _flat(value)
        compact = subject_value(value)
        has_digits = any(character.isdigit() for character in compact)
        self._compact = compact if has_digits and len(compact) >= COMPACT_SUBJECT else ""

    @property
    def is_usable(self) -> bool:
        """Whether it is long enough not to stand in everything."""
        return len(self._folded) >= SHORTEST_SUBJECT

    def stands_in(self, text: str) -> bool:
        """Whether the text holds it, at whatever place."""
        if self._folded in _flat(text):
            return True
        return bool(self._compact) and self._compact in subject_value(text)


def _flat(text: str) -> str:
    return " ".join(fold(text).text.casefold().split())


def _names(values: Iterable[str]) -> list[str]:
    return [value for value in values if len(value) >= SHORTEST_NAME and _PLAIN.fullmatch(value)]
