"""What the ``documents`` stage leaves for a bucket, and passes on of it, a few documents at a time."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rag_pipeline.schema import DocumentRecord, StoredDocument


@dataclass(slots=True)
class DocumentsOutcome:
    """What the stage left for one bucket."""

    bucket: str
    records: dict[str, DocumentRecord]
    rows: dict[str, StoredDocument]
    """Newest good version by document id; a quarantined document keeps its last good one. What went on in a slice has no text."""
    garbage: int = 0
    """Rows of documents that are gone."""
    taken_over: list[StoredDocument] = field(default_factory=list)
    """Rows that only another artifact holds so far."""
    quarantined: set[str] = field(default_factory=set)
    unsettled: set[str] = field(default_factory=set)
    """Documents that could not be read; the next run tries again."""
    parsed: int = 0
    reused: int = 0
    is_fragmented: bool = False
    """The artifact holds rows that nobody needs: worth compacting."""
    size_bytes: int = 0
    entities: Counter[str] = field(default_factory=Counter)
    """What was masked now, by kind."""
    masking_seconds: float = 0.0
    preview: list[tuple[str, str, int]] = field(default_factory=list)
    """Path, type and number of elements of some documents parsed now."""
    before_write: Callable[[], None] = field(default=lambda: None, repr=False, compare=False)
    """Called before rows are added to the artifact."""


@dataclass(frozen=True, slots=True)
class DocumentSlice:
    """A few documents of a bucket on their way to the next stage, in their version to be indexed."""

    outcome: DocumentsOutcome
    """Of the whole bucket; complete with its last slice, which may hold no document."""
    rows: Sequence[StoredDocument]
    is_last: bool = False
