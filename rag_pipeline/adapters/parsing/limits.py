"""What one document may cost. A parsing process sets the limits of its document, and parsers ask for them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:  # a parsing process gets its limits from outside and needs no library of settings
    from rag_pipeline.settings import ParsingSettings


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of `ParsingSettings`, in the units that a parser counts in."""

    timeout_s: float
    cpu_s: int
    memory_bytes: int
    open_files: int
    output_bytes: int
    unpacked_bytes: int
    expansion_ratio: float
    entries: int
    depth: int
    pages: int
    pixels: int
    cells: int
    field_characters: int
    keeps_hidden_text: bool
    """Whether text that a reader of the file does not see is text all the same."""

    @classmethod
    def of(cls, settings: ParsingSettings) -> Self:
        """The limits that the settings name."""
        return cls(
            timeout_s=settings.timeout_s,
            cpu_s=settings.cpu_s,
            memory_bytes=settings.memory_mb << 20,
            open_files=settings.max_open_files,
            output_bytes=settings.max_output_mb << 20,
            unpacked_bytes=settings.max_unpacked_mb << 20,
            expansion_ratio=settings.max_expansion_ratio,
            entries=settings.max_entries,
            depth=settings.max_depth,
            pages=settings.max_pages,
            pixels=settings.max_pixels,
            cells=settings.max_cells,
            field_characters=int(settings.max_field_mb * (1 << 20)),
            keeps_hidden_text=settings.hidden_text == "keep",
        )


_current: ContextVar[Limits | None] = ContextVar("limits of the document that is parsed", default=None)


def current_limits() -> Limits:
    """The limits of the document that is parsed now; outside a parsing process those of the default settings."""
    return _current.get() or _default_limits()


@contextlib.contextmanager
def limits_set(limits: Limits) -> Iterator[None]:
    """Makes these the limits of whatever is parsed inside."""
    token = _current.set(limits)
    try:
        yield
    finally:
        _current.reset(token)


@functools.cache
def _default_limits() -> Limits:
    from rag_pipeline.settings import ParsingSettings

    return Limits.of(ParsingSettings())
