"""The lines that are repeated before a chunk's text so that it can be understood, and found, alone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from rag_pipeline.indexing.chunking.ruler import Ruler

ARROW = " > "


@dataclass(frozen=True, slots=True)
class Context:
    """Repeated lines and what they cost."""

    text: str
    tokens: int


NO_CONTEXT = Context("", 0)


@dataclass(slots=True)
class ContextWriter:
    """Writes contexts of one document, each once."""

    ruler: Ruler
    title: str
    has_headings: bool
    _written: dict[tuple[tuple[str, ...], str], Context] = field(default_factory=dict)

    def write(self, headings: Sequence[str] = (), repeated: str = "") -> Context:
        """Title and headings on one line, then the repeated line; each within its share of the chunk.

        Where headings do not fit, the outer ones go first: the title and the innermost say most.
        """
        key = (tuple(headings) if self.has_headings else (), repeated)
        if key not in self._written:
            self._written[key] = self._write(*key)
        return self._written[key]

    def _write(self, headings: tuple[str, ...], repeated: str) -> Context:
        lines = [self._heading_line(headings), truncate(repeated, ruler=self.ruler, tokens_max=self.ruler.context_room)]
        text = "\n".join(line for line in lines if line)
        return Context(text, self.ruler.tokenizer.count(text)) if text else NO_CONTEXT

    def _heading_line(self, headings: tuple[str, ...]) -> str:
        if not self.has_headings:
            return ""
        parts = [" ".join(part.split()) for part in (self.title, *headings)]
        parts = _without_repeats([part for part in parts if part])
        while len(parts) > 1 and self.ruler.tokenizer.count(ARROW.join(parts)) > self.ruler.context_room:
            parts.pop(1 if len(parts) > 2 else 0)
        return truncate(ARROW.join(parts), ruler=self.ruler, tokens_max=self.ruler.context_room)


def truncate(line: str, *, ruler: Ruler, tokens_max: int) -> str:
    """The longest beginning of the line, in whole words, that costs no more; empty where not even one word does."""
    line = line[: tokens_max * ruler.size]
    if not line or ruler.tokenizer.count(line) <= tokens_max:
        return line
    words = line.split(" ")
    low, high = 0, len(words) - 1
    while low < high:
        middle = (low + high + 1) // 2
        fits = ruler.tokenizer.count(" ".join(words[:middle])) <= tokens_max
        low, high = (middle, high) if fits else (low, middle - 1)
    return " ".join(words[:low]).rstrip(" |")


def _without_repeats(parts: list[str]) -> list[str]:
    """The parts without those that the one before them says already: a page's title often holds its first heading."""
    kept = parts[:1]
    for part in parts[1:]:
        if not re.search(rf"(?<![\w.]){re.escape(part)}(?![\w.])", kept[-1]):
            kept.append(part)
    return kept
