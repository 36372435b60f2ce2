"""What a build did: counts over its buckets, and where its time went."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rag_pipeline.indexing.lanes import LaneTimes
from rag_pipeline.indexing.slices import BucketWork
from rag_pipeline.schema import BucketState

STAGES = ("documents", "chunks", "embeddings", "collection")
PREVIEW_ROWS = 10


@dataclass(slots=True)
class BuildReport:
    """What one build did; totals over its buckets."""

    buckets: int = 0
    in_step: int = 0
    """Buckets that had nothing to do."""
    parsed: int = 0
    reused: int = 0
    quarantined: int = 0
    entities: Counter[str] = field(default_factory=Counter)
    """What was masked in documents parsed now, by kind."""
    masking_seconds: float = 0.0
    touched: list[str] = field(default_factory=list)
    """Buckets that had something to do."""
    chunked: int = 0
    chunks: int = 0
    embedded: int = 0
    copied: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    upserted: int = 0
    deleted: int = 0
    points: int = 0
    longest_tokens: int = 0
    is_complete: bool = True
    """False when it was told to stop before every bucket was in step."""
    sizes: Counter[int] = field(default_factory=Counter)
    lanes: dict[str, LaneTimes] = field(default_factory=lambda: {stage: LaneTimes() for stage in STAGES})
    """Where the time of each stage went; each adds up to ``wall_s``."""
    documents_preview: list[tuple[str, str, int]] = field(default_factory=list)
    chunks_preview: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def seconds(self) -> dict[str, float]:
        """Busy seconds of each stage."""
        return {stage: times.busy_s for stage, times in self.lanes.items()}

    @property
    def wall_s(self) -> float:
        """From the first document to the last point."""
        return max(times.wall_s for times in self.lanes.values())

    @property
    def bottleneck(self) -> str | None:
        """The busiest stage, which a faster run has to make faster; None when there was nothing to do."""
        busiest = max(self.lanes, key=lambda stage: self.lanes[stage].busy_s)
        return busiest if self.touched else None


def merge_reports(first: BuildReport, second: BuildReport) -> BuildReport:
    """Both slices of one work as one: sums of what was done, the newer of what stands."""
    done = {name: getattr(first, name) + getattr(second, name) for name in _DONE}
    lanes = {stage: first.lanes[stage].plus(second.lanes[stage]) for stage in STAGES}
    previews = {name: (getattr(first, name) + getattr(second, name))[:PREVIEW_ROWS] for name in _PREVIEWS}
    longest = max(first.longest_tokens, second.longest_tokens)
    return replace(
        second,
        **done,
        lanes=lanes,
        longest_tokens=longest,
        sizes=first.sizes + second.sizes,
        **previews,
        **_masked(first, second),
    )


def _masked(first: BuildReport, second: BuildReport) -> dict[str, Any]:
    return {
        "entities": first.entities + second.entities,
        "masking_seconds": first.masking_seconds + second.masking_seconds,
        "touched": sorted({*first.touched, *second.touched}),
    }


_DONE = ("parsed", "reused", "chunked", "embedded", "copied", "tokens", "padded_tokens", "upserted", "deleted")
_PREVIEWS = ("documents_preview", "chunks_preview")


def add_bucket(report: BuildReport, work: BucketWork) -> None:
    """Counts what was done to one bucket."""
    report.touched.append(work.bucket)
    report.is_complete &= work.is_complete
    if work.documents is not None:
        report.entities += work.documents.entities
        report.masking_seconds += work.documents.masking_seconds
        report.parsed += work.documents.parsed
        report.reused += work.documents.reused
        report.quarantined += len(work.documents.quarantined)
        report.documents_preview = (report.documents_preview + work.documents.preview)[:PREVIEW_ROWS]
    report.chunked += work.counts.chunked
    report.chunks += work.counts.chunks
    report.sizes += work.counts.sizes
    report.longest_tokens = max(report.longest_tokens, work.counts.longest_tokens)
    report.chunks_preview = (report.chunks_preview + work.counts.preview)[:PREVIEW_ROWS]
    report.embedded += work.vectors.embedded
    report.copied += work.vectors.copied
    report.tokens += work.vectors.tokens
    report.padded_tokens += work.vectors.padded_tokens
    if work.points is not None:
        report.upserted += work.points.upserted
        report.deleted += work.points.deleted
        report.points += work.points.total


def add_in_step(report: BuildReport, states: Mapping[str, BucketState], buckets: Iterable[str]) -> None:
    """Counts what stands in buckets that had nothing to do."""
    for bucket in buckets:
        if bucket in states:
            report.points += states[bucket].points
            report.chunks += states[bucket].points
            report.quarantined += states[bucket].quarantined
