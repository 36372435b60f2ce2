"""One reconcile of the index with the ledger: which buckets differ, and the four stages streaming over them."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from rag_pipeline.indexing.chunks import ChunksOutcome, ChunkStage
from rag_pipeline.indexing.documents import DocumentsOutcome, DocumentStage
from rag_pipeline.indexing.identity import set_digest
from rag_pipeline.indexing.lanes import flow
from rag_pipeline.indexing.reconcile import PointsOutcome, ReconcileStage
from rag_pipeline.indexing.vectors import VectorsOutcome, VectorStage
from rag_pipeline.ports import Artifact, Ledger, Progress
from rag_pipeline.schema import BucketState, ChunkedDocument, DocumentRecord, QuarantineEntry

STAGES = ("documents", "chunks", "embeddings", "collection")
COMPACT_KEY = "buckets_to_compact"
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
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    documents_preview: list[tuple[str, str, int]] = field(default_factory=list)
    chunks_preview: list[tuple[str, str, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Work:
    """One bucket on its way through the stages."""

    bucket: str
    documents: DocumentsOutcome | None = None
    chunks: ChunksOutcome | None = None
    vectors: VectorsOutcome | None = None
    points: PointsOutcome | None = None

    @property
    def is_complete(self) -> bool:
        return self.vectors is None or self.vectors.is_complete


class Build:
    """The stages of one collection."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        collection: str,
        spec_fingerprint: str,
        documents: DocumentStage,
        chunks: ChunkStage,
        vectors: VectorStage,
        reconcile: ReconcileStage,
        sharing: Sequence[Artifact[ChunkedDocument]] = (),
        after_bucket: Callable[[], None] = lambda: None,
    ) -> None:
        """``sharing``: chunks of other collections whose vectors lie in the same artifact."""
        self._sharing = sharing
        self._after_bucket = after_bucket
        self._ledger = ledger
        self._collection = collection
        self._spec_fingerprint = spec_fingerprint
        self._documents = documents
        self._chunks = chunks
        self._vectors = vectors
        self._reconcile = reconcile

    def stale_buckets(self, buckets: Iterable[str]) -> list[str]:
        """Those whose last finished reconcile is not of the ledger's documents and this spec; from the ledger alone."""
        states = self._ledger.bucket_states(self._collection)
        wanted = bucket_digests(self._ledger, buckets, self._spec_fingerprint)
        return [bucket for bucket, digest in wanted.items() if bucket not in states or states[bucket].digest != digest]

    def run(
        self,
        buckets: Sequence[str],
        *,
        stages: Collection[str] = STAGES,
        only_stale: bool = True,
        progress: Progress,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> BuildReport:
        """Brings the buckets in step, as far as the chosen stages go, or until it is told to stop."""
        stale = self.stale_buckets(buckets) if only_stale else list(buckets)
        report = BuildReport(buckets=len(buckets), in_step=len(buckets) - len(stale))
        progress.extend("buckets", len(stale))

        def prepare(bucket: str) -> _Work:
            return self._prepare(bucket, stages, progress)

        def embed(work: _Work) -> _Work:
            if "embeddings" in stages and work.chunks is not None:
                work.vectors = self._vectors.update(work.chunks, progress, should_stop=should_stop)
            return work

        def store(work: _Work) -> None:
            if not work.is_complete:
                report.is_complete = False
                _add(report, work)
                return
            if "collection" in stages and work.chunks is not None:
                self._distrust(work.bucket)
                work.points = self._reconcile.update(work.chunks, progress)
                self._remember(work)
            _add(report, work)
            progress.advance("buckets")
            self._after_bucket()

        def until_stopped() -> Iterator[str]:
            for number, bucket in enumerate(stale):
                if number and should_stop():
                    report.is_complete = False
                    return
                yield bucket

        flow(until_stopped(), [prepare, embed, store])
        _add_in_step(report, self._ledger.bucket_states(self._collection), set(buckets) - set(stale))
        return report

    def compact(self, buckets: Iterable[str]) -> int:
        """Rewrites fragmented artifacts without rows that nobody needs, once no bucket may still want to reuse them.

        Returns how many buckets were rewritten: none while any bucket of the index is out of step.
        """
        fragmented = self._fragmented()
        if not fragmented or self.stale_buckets(buckets):
            return 0
        for bucket in fragmented:
            self._documents.drop_vanished(bucket)
            documents = self._documents.load(bucket)
            self._chunks.drop_vanished(documents)
            rows = list(self._chunks.load(documents).rows.values())
            self._vectors.keep_only(bucket, chain(rows, *(other.read(bucket) for other in self._sharing)))
        self._ledger.set_meta(self._compact_key, "[]")
        return len(fragmented)

    def load(self, bucket: str) -> tuple[DocumentsOutcome, ChunksOutcome]:
        """What the artifacts of a bucket hold."""
        documents = self._documents.load(bucket)
        return documents, self._chunks.load(documents)

    def _prepare(self, bucket: str, stages: Collection[str], progress: Progress) -> _Work:
        work = _Work(bucket)
        documents = self._documents.update(bucket, progress) if "documents" in stages else self._documents.load(bucket)
        work.documents = documents
        if documents.is_fragmented:
            self._ledger.add_to_meta(self._compact_key, bucket)
        if len(stages) > ("documents" in stages):
            work.chunks = self._chunks.update(documents, progress) if "chunks" in stages else self._chunks.load(documents)
            documents.rows = {}  # parsed text is the largest thing in memory, and only chunks are needed from here
        return work

    def _distrust(self, bucket: str) -> None:
        """Forgets that the bucket was in step before anything of it is written.

        Without this a crash after the write, and a change back to the old documents, would leave the half-written points
        behind a digest that looks right.
        """
        state = self._ledger.bucket_states(self._collection).get(bucket)
        if state is not None and state.digest:
            self._ledger.put_bucket_state(self._collection, bucket, replace(state, digest=""))

    @property
    def _compact_key(self) -> str:
        return f"{COMPACT_KEY}:{self._collection}"

    def _fragmented(self) -> list[str]:
        fragmented: list[str] = json.loads(self._ledger.meta(self._compact_key) or "[]")
        return fragmented

    def _remember(self, work: _Work) -> None:
        """The ledger comes last: what it says was read back from the store."""
        documents, chunks, points = work.documents, work.chunks, work.points
        if documents is None or chunks is None or points is None:
            return
        indexed = {key for key, row in chunks.rows.items() if row.chunks} - documents.quarantined
        digest = bucket_digest(documents.records.values(), self._ledger.quarantine(bucket=work.bucket), self._spec_fingerprint)
        state = BucketState(
            digest="" if documents.unsettled else digest,
            points=points.total,
            generation=self._ledger.generation(),
            seen=len(indexed) + len(documents.quarantined),
            quarantined=len(documents.quarantined),
        )
        self._ledger.put_bucket_state(self._collection, work.bucket, state)


def merge_reports(first: BuildReport, second: BuildReport) -> BuildReport:
    """Both slices of one work as one: sums of what was done, the newer of what stands."""
    done = {name: getattr(first, name) + getattr(second, name) for name in _DONE}
    seconds = {stage: first.seconds[stage] + second.seconds[stage] for stage in STAGES}
    previews = {name: (getattr(first, name) + getattr(second, name))[:PREVIEW_ROWS] for name in _PREVIEWS}
    longest = max(first.longest_tokens, second.longest_tokens)
    return replace(
        second,
        **done,
        seconds=seconds,
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


def bucket_digests(ledger: Ledger, buckets: Iterable[str], spec_fingerprint: str) -> dict[str, str]:
    """What each bucket should be, from the ledger alone."""
    records: dict[str, list[DocumentRecord]] = defaultdict(list)
    for record in ledger.documents().values():
        records[record.bucket].append(record)
    failed = ledger.quarantine()
    return {bucket: bucket_digest(records[bucket], failed, spec_fingerprint) for bucket in buckets}


def bucket_digest(records: Collection[DocumentRecord], failed: Iterable[QuarantineEntry], spec_fingerprint: str) -> str:
    """Digest of all that decides the points of a bucket: its documents, those of them known to fail, the spec."""
    ids = {record.document_id for record in records}
    return set_digest(
        [
            f"spec\0{spec_fingerprint}",
            *(f"{record.document_id}\0{record.content_hash}\0{record.uri}" for record in records),
            *(f"failed\0{e.document_id}\0{e.content_hash}\0{e.parser_fingerprint}" for e in failed if e.document_id in ids),
        ]
    )


def _add(report: BuildReport, work: _Work) -> None:
    report.touched.append(work.bucket)
    if work.documents is not None:
        report.entities += work.documents.entities
        report.masking_seconds += work.documents.masking_seconds
        report.parsed += work.documents.parsed
        report.reused += work.documents.reused
        report.quarantined += len(work.documents.quarantined)
        report.seconds["documents"] += work.documents.seconds
        report.documents_preview = (report.documents_preview + work.documents.preview)[:PREVIEW_ROWS]
    if work.chunks is not None:
        report.chunked += work.chunks.chunked
        report.chunks += sum(len(row.chunks) for row in work.chunks.rows.values())
        report.sizes += work.chunks.sizes
        report.longest_tokens = max(report.longest_tokens, work.chunks.longest_tokens)
        report.seconds["chunks"] += work.chunks.seconds
        report.chunks_preview = (report.chunks_preview + work.chunks.preview)[:PREVIEW_ROWS]
    if work.vectors is not None:
        report.embedded += work.vectors.embedded
        report.copied += work.vectors.copied
        report.tokens += work.vectors.tokens
        report.padded_tokens += work.vectors.padded_tokens
        report.seconds["embeddings"] += work.vectors.seconds
    if work.points is not None:
        report.upserted += work.points.upserted
        report.deleted += work.points.deleted
        report.points += work.points.total
        report.seconds["collection"] += work.points.seconds


def _add_in_step(report: BuildReport, states: Mapping[str, BucketState], buckets: Iterable[str]) -> None:
    for bucket in buckets:
        if bucket in states:
            report.points += states[bucket].points
            report.chunks += states[bucket].points
            report.quarantined += states[bucket].quarantined
