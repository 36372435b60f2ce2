"""Questions with known answers: read from a file, or made from headings where there is none."""

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_pipeline.errors import SettingsError
from rag_pipeline.indexing.identity import text_digest

SHORT_HEADING_WORDS = 3
"""A heading of fewer words ("Examples", "See also") says nothing without the one above it."""
HEADINGS_PER_QUESTION = 64
"""Headings remembered for each question wanted, since many turn out to occur in several documents."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the documents that answer it.

    ``relevant``: each equals the ``uri`` or ``path`` of a document, or is its end after a ``/``. ``quote``: words of the
    answer, as one of the documents has them.
    """

    query: str
    relevant: tuple[str, ...]
    quote: str | None = None

    def names_of(self, payload: Mapping[str, Any]) -> list[str]:
        """The names in ``relevant`` that mean the document of a point; empty when it is not relevant."""
        places = [str(payload[key]) for key in ("uri", "path") if payload.get(key)] + list(payload.get("uris") or ())
        return [name for name in self.relevant if any(_is_end_of(name, place) for place in places)]

    def is_quoted_in(self, text: str) -> bool:
        """Whether the text holds the quote, however either breaks its lines."""
        return self.quote is not None and plain(self.quote) in plain(text)


def plain(text: str) -> str:
    """The text with each run of white space as one blank."""
    return " ".join(text.split())


def load_questions(path: Path) -> list[Question]:
    """The questions of a file with a JSON object a line: ``query``, ``relevant``, optionally ``quote``; other keys are allowed.

    Raises SettingsError, which names file and line.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise SettingsError(f"the questions in {path} cannot be read: {error.strerror or error}; correct the path") from error
    questions = [_read_line(line, place=f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not questions:
        raise SettingsError(f"{path} holds no question; write one JSON object a line, or take the file out of the settings")
    return questions


def unknown_names(questions: Iterable[Question], places: Iterable[str]) -> list[str]:
    """The names in ``relevant`` that mean no document at any of these places (uris and paths), in order, each once."""
    ends = {end for place in places for end in _ends(place)}
    names = dict.fromkeys(name for question in questions for name in question.relevant)
    return [name for name in names if name not in ends and name.lstrip("/") not in ends]


def _ends(place: str) -> Iterator[str]:
    """The place, and what follows each of its slashes."""
    yield place
    while (slash := place.find("/")) >= 0:
        place = place[slash + 1 :]
        yield place


def known_items(payloads: Iterable[Mapping[str, Any]], *, limit: int = 100) -> list[Question]:
    """Up to ``limit`` questions that have to find a heading's own document, from headings that occur in one document only.

    The same payloads give the same questions, in whatever order they come. Memory depends on ``limit`` alone: headings are
    chosen by their digest before it is known which of them occur once.
    """
    sample = _HeadingSample(limit * HEADINGS_PER_QUESTION)
    for payload in payloads:
        heading = _heading(payload)
        if heading is not None:
            sample.add(heading, uri=str(payload.get("uri", "")))
    return _spread(sample.unique())[:limit]


def _is_end_of(name: str, place: str) -> bool:
    return place == name or place.endswith("/" + name.lstrip("/"))


def _read_line(line: bytes, *, place: str) -> Question:
    try:
        values = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{place}: not a JSON object in UTF-8 ({type(error).__name__}); correct the line") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{place}: not a JSON object; write {{'query': ..., 'relevant': [...]}} with double quotes")
    if not _is_text(values.get("query")):
        raise SettingsError(f"{place}: 'query' must be a text that is not empty")
    relevant, quote = values.get("relevant"), values.get("quote")
    if not isinstance(relevant, list) or not relevant or not all(map(_is_text, relevant)):
        raise SettingsError(f"{place}: 'relevant' must be a list of one or more uris or paths of documents")
    if quote is not None and not _is_text(quote):
        raise SettingsError(f"{place}: 'quote' must be a text that is not empty; leave it out where there is none")
    return Question(values["query"].strip(), tuple(dict.fromkeys(relevant)), quote)


def _is_text(value: Any) -> bool:
    """Whether it is a text with something in it that can be encoded; JSON may hold half a surrogate pair."""
    return isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= char <= "\udfff" for char in value)


def _heading(payload: Mapping[str, Any]) -> str | None:
    """The innermost heading above a chunk, with the one above it where it is short; None where nothing can be asked."""
    parts = [plain(str(part)) for part in payload.get("heading_path") or ()]
    parts = [part for part in parts if any(map(str.isalpha, part))]
    if not parts:
        return None
    is_short = len(parts[-1].split()) < SHORT_HEADING_WORDS
    return ": ".join(parts[-2:]) if is_short else parts[-1]


class _HeadingSample:
    """The headings with the smallest digests of all that were seen, each with its document, or None for several."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._found: dict[bytes, tuple[str, str | None]] = {}

    def add(self, heading: str, *, uri: str) -> None:
        digest = text_digest(heading.casefold())
        text, document = self._found.get(digest, (heading, uri))
        self._found[digest] = (min(text, heading), document if document == uri else None)
        if len(self._found) > 2 * self._size:
            self._shrink()

    def unique(self) -> list[tuple[str, str]]:
        """Headings of one document with its uri, by digest."""
        self._shrink()
        return [(text, uri) for _, (text, uri) in sorted(self._found.items()) if uri]

    def _shrink(self) -> None:
        # A heading of the final sample is among the smallest at any time, so all its occurrences are counted.
        self._found = {digest: self._found[digest] for digest in heapq.nsmallest(self._size, self._found)}


def _spread(headings: Iterable[tuple[str, str]]) -> list[Question]:
    """The first heading of every document, then the second ones, and so on: a long document must not decide alone."""
    earlier = Counter[str]()
    turns: list[tuple[int, Question]] = []
    for text, uri in headings:
        turns.append((earlier[uri], Question(text, (uri,))))
        earlier[uri] += 1
    return [question for _, question in sorted(turns, key=lambda turn: turn[0])]
