"""One reconcile of the index with the ledger: which buckets differ, and the four stages streaming over them."""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from itertools import chain, groupby
from operator import itemgetter

from rag_pipeline.indexing.build_report import STAGES, BuildReport, add_in_step, merge_reports
from rag_pipeline.indexing.chunks import ChunksOutcome, ChunkStage
from rag_pipeline.indexing.document_slices import DocumentsOutcome
from rag_pipeline.indexing.documents import DocumentStage
from rag_pipeline.indexing.identity import set_digest
from rag_pipeline.indexing.reconcile import ReconcileStage
from rag_pipeline.indexing.slices import BucketWork
from rag_pipeline.indexing.streaming import BucketNotes, Streaming
from rag_pipeline.indexing.vectors import VectorStage
from rag_pipeline.ports import Artifact, Ledger, Progress
from rag_pipeline.schema import BucketState, ChunkedDocument, DocumentRecord, QuarantineEntry

__all__ = ["STAGES", "Build", "BuildReport", "bucket_digest", "bucket_digests", "merge_reports"]

COMPACT_KEY = "buckets_to_compact"
UNSETTLED = "+unsettled"
"""Ends the digest of a bucket that is in step but for documents that could not be read: every run tries those again."""


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
        """Those that a run works on; from the ledger alone."""
        return find_stale(self._ledger, self._collection, buckets, self._spec_fingerprint)

    def out_of_step(self, buckets: Iterable[str]) -> list[str]:
        """Those of them that lack something: a document that cannot be read just now, and is in quarantine, is none's fault."""
        return find_out_of_step(self._ledger, self._collection, buckets, self._spec_fingerprint)

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
        streaming = Streaming(
            documents=self._documents,
            chunks=self._chunks,
            vectors=self._vectors,
            reconcile=self._reconcile,
            notes=BucketNotes(self._distrust, self._remember, self._note_fragmented),
            stages=stages,
            progress=progress,
            should_stop=should_stop,
            after_bucket=self._after_bucket,
        )
        streaming.run(stale, report)
        add_in_step(report, self._ledger.bucket_states(self._collection), set(buckets) - set(stale))
        return report

    def compact(self, buckets: Iterable[str]) -> int:
        """Rewrites fragmented artifacts without rows that nobody needs, once no bucket may still want to reuse them.

        Returns how many buckets were rewritten: none while any bucket of the index is out of step.
        """
        fragmented = self._fragmented()
        if not fragmented or self.out_of_step(buckets):
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

    def _distrust(self, bucket: str) -> None:
        """Forgets that the bucket was in step before anything of it is written.

        Without this a crash after the write, and a change back to the old documents, would leave half-written artifacts or
        points behind a digest that looks right.
        """
        state = self._ledger.bucket_states(self._collection).get(bucket)
        if state is not None and state.digest:
            self._ledger.put_bucket_state(self._collection, bucket, replace(state, digest=""))

    @property
    def _compact_key(self) -> str:
        return f"{COMPACT_KEY}:{self._collection}"

    def _fragmented(self) -> list[str]:
        return find_fragmented(self._ledger, self._collection)

    def _note_fragmented(self, bucket: str) -> None:
        self._ledger.add_to_meta(self._compact_key, bucket)

    def _remember(self, work: BucketWork) -> None:
        """The ledger comes last: what it says was read back from the store."""
        documents, points = work.documents, work.points
        if documents is None or points is None:
            return
        indexed = work.counts.indexed - documents.quarantined
        digest = bucket_digest(documents.records.values(), self._ledger.quarantine(bucket=work.bucket), self._spec_fingerprint)
        state = BucketState(
            digest=(digest + UNSETTLED if documents.unsettled else digest) if work.is_current else "",
            points=points.total,
            generation=self._ledger.generation(),
            seen=len(indexed) + len(documents.quarantined),
            quarantined=len(documents.quarantined),
        )
        self._ledger.put_bucket_state(self._collection, work.bucket, state)


def find_stale(ledger: Ledger, collection: str, buckets: Iterable[str], spec_fingerprint: str) -> list[str]:
    """Buckets that a build works on: out of step, or with a document that could not be read when it was last tried."""
    digests = _compared(ledger, collection, buckets, spec_fingerprint)
    return [bucket for bucket, held, wanted in digests if held != wanted]


def find_out_of_step(ledger: Ledger, collection: str, buckets: Iterable[str], spec_fingerprint: str) -> list[str]:
    """Buckets whose last finished reconcile is not of the ledger's documents and this spec."""
    digests = _compared(ledger, collection, buckets, spec_fingerprint)
    return [bucket for bucket, held, wanted in digests if held.removesuffix(UNSETTLED) != wanted]


def _compared(ledger: Ledger, collection: str, buckets: Iterable[str], spec_fingerprint: str) -> list[tuple[str, str, str]]:
    """Each bucket with the digest of its last finished reconcile, empty where there is none, and the one that it should have."""
    states = ledger.bucket_states(collection)
    wanted = bucket_digests(ledger, buckets, spec_fingerprint)
    return [(bucket, states[bucket].digest if bucket in states else "", digest) for bucket, digest in wanted.items()]


def find_fragmented(ledger: Ledger, collection: str) -> list[str]:
    """Buckets whose artifacts wait for ``compact``."""
    fragmented: list[str] = json.loads(ledger.meta(f"{COMPACT_KEY}:{collection}") or "[]")
    return fragmented


def bucket_digests(ledger: Ledger, buckets: Iterable[str], spec_fingerprint: str) -> dict[str, str]:
    """What each bucket should be, from the ledger alone."""
    failed = ledger.quarantine()
    digests = dict.fromkeys(buckets, _digest((), failed, spec_fingerprint))
    for bucket, rows in groupby(ledger.contents(), itemgetter(0)):
        if bucket in digests:
            digests[bucket] = _digest([facts for _, *facts in rows], failed, spec_fingerprint)
    return digests


def bucket_digest(records: Collection[DocumentRecord], failed: Iterable[QuarantineEntry], spec_fingerprint: str) -> str:
    """Digest of all that decides the points of a bucket: its documents, those of them known to fail, the spec."""
    return _digest([(record.document_id, record.content_hash, record.uri) for record in records], failed, spec_fingerprint)


def _digest(documents: Collection[Sequence[str]], failed: Iterable[QuarantineEntry], spec_fingerprint: str) -> str:
    ids = {document for document, _, _ in documents}
    return set_digest(
        [
            f"spec\0{spec_fingerprint}",
            *(f"{document}\0{content}\0{uri}" for document, content, uri in documents),
            *(f"failed\0{e.document_id}\0{e.content_hash}\0{e.parser_fingerprint}" for e in failed if e.document_id in ids),
        ]
    )
