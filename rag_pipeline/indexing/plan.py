"""What a run would do and why, without doing it: stored documents are counted exactly, unread ones estimated by size."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rag_pipeline.indexing.chunks import ChunksOutcome, ChunkStage
from rag_pipeline.indexing.cost import ASSUMED_TOKENS_PER_S, Duration, Rates, Work, duration_of
from rag_pipeline.indexing.document_slices import DocumentsOutcome
from rag_pipeline.indexing.documents import DocumentStage
from rag_pipeline.indexing.identity import text_digest
from rag_pipeline.indexing.reconcile import ReconcileStage
from rag_pipeline.indexing.scan_report import ScanResult
from rag_pipeline.ports import Ledger, VectorArtifact, VectorStore
from rag_pipeline.schema import ChunkedDocument, DocumentRecord, StoredDocument

ASSUMED_TOKENS_PER_BYTE = 0.15
"""For files of which nothing is indexed yet: between plain English (0.25) and HTML or office files (0.05)."""


class DryLedger:
    """A ledger that takes a scan without writing it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.upserts: dict[str, DocumentRecord] = {}
        self.deletes: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def commit_scan(
        self,
        *,
        generation: int,  # noqa: ARG002 - the port's form
        upserts: Iterable[DocumentRecord],
        deletes: Iterable[str],
        summary: Mapping[str, Any],  # noqa: ARG002 - the port's form
    ) -> None:
        """Keeps the changes here."""
        self.upserts = {record.document_id: record for record in upserts}
        self.deletes = set(deletes)

    def add_decision(self, kind: str, content: Mapping[str, Any]) -> None:
        """Nothing was decided."""

    def documents(self, *, source: str | None = None, bucket: str | None = None) -> dict[str, DocumentRecord]:
        """The documents as they would be after the scan."""
        held = {k: r for k, r in self._ledger.documents(source=source, bucket=bucket).items() if k not in self.deletes}
        fresh = self.upserts.values()
        held.update({r.document_id: r for r in fresh if source in (None, r.source) and bucket in (None, r.bucket)})
        return held

    def contents(self) -> Iterator[tuple[str, str, str, str]]:
        """Of the documents as they would be, bucket by bucket."""
        return iter(sorted((r.bucket, r.document_id, r.content_hash, r.uri) for r in self.documents().values()))


@dataclass(slots=True)
class Plan:
    """The work of the next run."""

    buckets: int = 0
    """Buckets with any work."""
    parse: int = 0
    """Documents to parse."""
    chunk: int = 0
    """Stored documents to cut again."""
    embed: int = 0
    """Chunks to embed, those of unread documents estimated."""
    tokens: int = 0
    upsert: int = 0
    delete: int = 0
    is_estimate: bool = False
    """Some documents have not been read yet."""
    scan: ScanResult | None = None
    """What a scan finds now."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Documents by why they are touched."""

    def duration(self, tokens_per_s: float | None, dimension: int) -> Duration:
        """At the measured rate of the model or the assumed one; the store's rates are assumed."""
        work = Work(self.tokens, self.upsert, dimension)
        return duration_of(work, Rates(tokens_per_s or ASSUMED_TOKENS_PER_S))


class Planner:
    """Walks the stale buckets and counts."""

    def __init__(
        self,
        *,
        documents: DocumentStage,
        chunks: ChunkStage,
        vectors: VectorArtifact,
        reconcile: ReconcileStage,
        store: VectorStore,
        collection: str,
    ) -> None:
        self._documents = documents
        self._chunks = chunks
        self._vectors = vectors
        self._reconcile = reconcile
        self._store = store
        self._collection = collection
        self._ratio = _Ratio()

    def plan(self, stale: Iterable[str]) -> Plan:
        """The work in these buckets."""
        plan = Plan()
        exists = self._store.describe(self._collection) is not None
        known = {digest for bucket in self._vectors.buckets() for digest in self._vectors.digests(bucket)}
        unread: list[DocumentRecord] = []
        for bucket in stale:
            documents, pending = self._documents.preview(bucket)
            chunks = self._chunks.load(documents)
            self._ratio.learn(documents, chunks)
            unread += pending
            future = self._recut(plan, documents, chunks, known)
            desired = self._reconcile.desired(future)
            present = self._store.point_ids(self._collection, bucket) if exists else set()
            plan.upsert += len(desired.keys() - present)
            plan.delete += len(present - desired.keys())
            plan.buckets += 1
        self._estimate(plan, unread)
        return plan

    def _recut(self, plan: Plan, documents: DocumentsOutcome, chunks: ChunksOutcome, known: set[bytes]) -> ChunksOutcome:
        """The chunks as they would be, of documents whose text is stored."""
        rows: dict[str, ChunkedDocument] = {}
        for key, row in documents.rows.items():
            rows[key] = self._chunks.current(chunks, row) or self._cut(plan, row)
            for chunk in rows[key].chunks:
                digest = text_digest(chunk.embedded_text)
                if digest not in known:
                    known.add(digest)
                    plan.embed += 1
                    plan.tokens += chunk.token_count
        return replace(chunks, rows=rows)

    def _cut(self, plan: Plan, row: StoredDocument) -> ChunkedDocument:
        plan.chunk += 1
        plan.reasons[f"chunks of {row.document.type} documents are missing or were cut by other settings"] += 1
        return self._chunks.chunk(row)

    def _estimate(self, plan: Plan, unread: list[DocumentRecord]) -> None:
        plan.parse = len(unread)
        plan.is_estimate = bool(unread)
        for record in unread:
            tokens, chunks = self._ratio.of(record)
            plan.tokens += tokens
            plan.embed += chunks
            plan.upsert += chunks
            plan.reasons["documents are new, changed, or of another parser"] += 1


class _Ratio:
    """Tokens and chunks per byte of source, by suffix, learnt from what is indexed."""

    def __init__(self) -> None:
        self._bytes: dict[str, int] = defaultdict(int)
        self._tokens: dict[str, int] = defaultdict(int)
        self._chunks: dict[str, int] = defaultdict(int)

    def learn(self, documents: DocumentsOutcome, chunks: ChunksOutcome) -> None:
        for key, row in chunks.rows.items():
            suffix = _suffix(documents.records[key])
            self._bytes[suffix] += documents.records[key].stat.size_bytes
            self._tokens[suffix] += sum(chunk.token_count for chunk in row.chunks)
            self._chunks[suffix] += len(row.chunks)

    def of(self, record: DocumentRecord) -> tuple[int, int]:
        """Tokens and chunks to be expected of a file."""
        suffix, size = _suffix(record), record.stat.size_bytes
        if not self._bytes[suffix]:
            tokens = round(size * ASSUMED_TOKENS_PER_BYTE)
            return tokens, max(1, tokens // 300)
        share = size / self._bytes[suffix]
        return round(self._tokens[suffix] * share), max(1, round(self._chunks[suffix] * share))


def _suffix(record: DocumentRecord) -> str:
    return record.path.rpartition(".")[2].lower()
