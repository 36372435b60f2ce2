"""What a scan found: counts that add up, changes to show, errors that fail the run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from rag_pipeline.errors import DeleteBrakeError, RagPipelineError, SourceUnavailableError
from rag_pipeline.indexing.blocking import ERASED
from rag_pipeline.indexing.changes import Change, ChangeKind

SHOWN_CHANGES = 100
"""Changes of one source that a report lists; all are counted."""


def count_of(number: int, noun: str) -> str:
    """``1 document``, ``2 documents``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass(frozen=True, slots=True)
class ScanCounts:
    """Documents of a scan by what happened to them."""

    new: int = 0
    modified: int = 0
    renamed: int = 0
    deleted: int = 0
    unchanged: int = 0
    excluded: int = 0
    blocked: int = 0
    """Gone, but kept by the delete brake."""
    unreadable: int = 0
    """Among new, modified and unchanged."""

    @property
    def seen(self) -> int:
        """Everything that the listing held."""
        return self.new + self.modified + self.renamed + self.unchanged + self.excluded

    def __add__(self, other: "ScanCounts") -> "ScanCounts":
        return ScanCounts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A document that the scan could not read; what is indexed of it stays, and every scan tries again."""

    document_id: str
    source: str
    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class SourceScan:
    """What the scan of one source found."""

    name: str
    counts: ScanCounts = ScanCounts()
    changes: tuple[Change, ...] = ()
    """The first ones, at most ``SHOWN_CHANGES``."""
    excluded: Mapping[str, int] | None = None
    """Exclusions by reason."""
    error: SourceUnavailableError | None = None
    """The source could not be listed or read; nothing of it was changed."""
    brake: DeleteBrakeError | None = None
    """Its deletions wait for an approval; its other changes were taken."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a scan found and wrote."""

    generation: int
    has_changes: bool
    sources: tuple[SourceScan, ...]
    unreadable: tuple[UnreadableFile, ...]
    seconds: float = 0.0
    kinds: Mapping[str, ChangeKind] = field(default_factory=dict)
    """Every modified and every renamed document by id; whatever else has this generation is new."""

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes to show of all sources."""
        return tuple(change for source in self.sources for change in source.changes)

    @property
    def counts(self) -> ScanCounts:
        """Counts of all sources together."""
        return sum((source.counts for source in self.sources), ScanCounts())

    @property
    def errors(self) -> tuple[RagPipelineError, ...]:
        """What has to fail the run once the good part is indexed: sources not listed, deletions stopped."""
        return tuple(error for source in self.sources for error in (source.error, source.brake) if error)

    @property
    def problems(self) -> tuple[str, ...]:
        """The messages of ``errors``."""
        return tuple(str(error) for error in self.errors)

    def summary(self) -> dict[str, Any]:
        """The scan as JSON values."""
        return {
            "generation": self.generation,
            "counts": {**asdict(self.counts), "seen": self.counts.seen},
            "sources": {source.name: _source_summary(source) for source in self.sources},
        }


@dataclass(frozen=True, slots=True)
class ChangeSummary:
    """Whether a scan would find something, and what; true in a condition exactly when it would."""

    reasons: tuple[str, ...]
    files: int

    def __bool__(self) -> bool:
        return bool(self.reasons)


def with_erased(summary: Mapping[str, Any], erased: Mapping[str, int]) -> dict[str, Any]:
    """The summary of a scan after documents of its sources were erased: what was indexed counts as left out."""
    sources = {name: _with_excluded(told, ERASED, erased.get(name, 0)) for name, told in summary.get("sources", {}).items()}
    return {**summary, "sources": sources} if sources else dict(summary)


def _with_excluded(told: Mapping[str, Any], reason: str, more: int) -> dict[str, Any]:
    if not more:
        return dict(told)
    by_reason = {**told["excluded_by_reason"], reason: told["excluded_by_reason"].get(reason, 0) + more}
    return {**told, "excluded": told["excluded"] + more, "excluded_by_reason": by_reason}


def _source_summary(source: SourceScan) -> dict[str, Any]:
    return {
        **asdict(source.counts),
        "seen": source.counts.seen,
        "excluded_by_reason": dict(source.excluded or {}),
        "error": str(source.error) if source.error else None,
        "brake": str(source.brake) if source.brake else None,
    }
