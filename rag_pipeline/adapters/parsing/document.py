"""What goes into a parser and what comes out of it, and the outline of headings that all of them keep."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rag_pipeline.schema import DocumentType, Element, ElementKind, Flag

_HEADING_CHARACTERS = 160


@dataclass(frozen=True, slots=True)
class Original:
    """A document before it is parsed, its type told."""

    type: DocumentType
    format: str
    data: bytes
    text: str = ""
    """The decoded text, where the type is a textual one."""
    flags: frozenset[Flag] = frozenset()
    """What telling the type and decoding found out; joined to the flags of the draft."""


@dataclass(slots=True)
class Draft:
    """A parsed document, its text not cleaned yet."""

    title: str = ""
    elements: list[Element] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    flags: set[Flag] = field(default_factory=set)
    """What a reader of the document should know about it."""


class Outline:
    """The headings above the place that a parser has reached."""

    __slots__ = ("_entries", "path")

    def __init__(self) -> None:
        self._entries: tuple[tuple[tuple[int, int], str], ...] = ()
        self.path: tuple[str, ...] = ()

    def enter(self, text: str, *, level: int, depth: int = 0) -> tuple[str, ...]:
        """The path above the new heading, which closes every heading of its level and below.

        ``depth`` decides between headings of one level: a deeper one stands below the other.
        """
        kept = list(self._entries)
        while kept and kept[-1][0] >= (level, depth):
            kept.pop()
        above = tuple(title for _, title in kept)
        self.restore((*kept, ((level, depth), shorten(text))))
        return above

    def mark(self) -> tuple[tuple[tuple[int, int], str], ...]:
        """The present place, to be restored."""
        return self._entries

    def restore(self, entries: Iterable[tuple[tuple[int, int], str]]) -> None:
        """Goes back to a marked place."""
        self._entries = tuple(entries)
        self.path = tuple(title for _, title in self._entries)


def shorten(text: str) -> str:
    """The text in one line, cut at a word so that it can stand in a path of headings."""
    line = " ".join(text.split())
    if len(line) <= _HEADING_CHARACTERS:
        return line
    return line[:_HEADING_CHARACTERS].rsplit(" ", 1)[0] + " …"


def table_text(rows: Iterable[Iterable[str]]) -> str:
    """One row a line, cells joined by `` | ``; empty rows are left out."""
    lines = (" | ".join(" ".join(cell.split()) for cell in row) for row in rows)
    return "\n".join(line for line in lines if line.strip(" |"))


def first_title(elements: Iterable[Element]) -> str:
    """The text of the first heading, or nothing."""
    return next((shorten(element.text) for element in elements if element.kind is ElementKind.TITLE), "")


def words(text: str) -> frozenset[str]:
    """The words of a written-out list."""
    return frozenset(text.split())
