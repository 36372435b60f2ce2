"""The four stages side by side over slices of buckets: one is parsed, one cut, one embedded, one written.

A slice is smaller than a bucket, so that no stage waits for a whole bucket and only a few slices are in memory. What makes a
bucket safe stays with its last slice: the read-back, the deletions, and the ledger's digest.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rag_pipeline.indexing.build_report import BuildReport, add_bucket
from rag_pipeline.indexing.chunks import BucketChunks, ChunkStage
from rag_pipeline.indexing.document_slices import DocumentSlice
from rag_pipeline.indexing.documents import DocumentStage
from rag_pipeline.indexing.lanes import Lane, flow
from rag_pipeline.indexing.reconcile import ReconcileStage
from rag_pipeline.indexing.slices import BucketWork, Slice
from rag_pipeline.indexing.vectors import VectorStage
from rag_pipeline.ports import Progress

QUEUED_SLICES = 2
"""Slices that wait between two stages."""


@dataclass(frozen=True, slots=True)
class BucketNotes:
    """What the ledger is told of a bucket on its way."""

    distrust: Callable[[str], None]
    """Before anything of it is written, to an artifact or to the store."""
    remember: Callable[[BucketWork], None]
    """When it is in step, read back from the store."""
    is_fragmented: Callable[[str], None]


class Streaming:
    """One run over the stale buckets of a collection."""

    def __init__(
        self,
        *,
        documents: DocumentStage,
        chunks: ChunkStage,
        vectors: VectorStage,
        reconcile: ReconcileStage,
        notes: BucketNotes,
        stages: Collection[str],
        progress: Progress,
        should_stop: Callable[[], bool],
        after_bucket: Callable[[], None],
    ) -> None:
        self._documents = documents
        self._chunks = chunks
        self._vectors = vectors
        self._reconcile = reconcile
        self._notes = notes
        self._stages = stages
        self._progress = progress
        self._should_stop = should_stop
        self._after_bucket = after_bucket
        self._open: dict[str, BucketWork] = {}
        self._is_cut_off = False
        """Told to stop, so that documents are left."""

    def run(self, buckets: Sequence[str], report: BuildReport) -> None:
        """Brings the buckets in step, as far as the chosen stages go, or until it is told to stop."""
        lanes: dict[str, Lane] = {
            "documents": self._parse,
            "chunks": self._cut,
            "embeddings": self._embed,
            "collection": lambda slices: self._store(slices, report),
        }
        report.lanes = flow(self._chosen(buckets), lanes, depth=QUEUED_SLICES)
        for work in self._open.values():
            work.is_complete = False
            add_bucket(report, work)
        report.is_complete &= not self._is_cut_off

    def _chosen(self, buckets: Iterable[str]) -> Iterator[BucketWork]:
        """The buckets until it is told to stop, but always the first, so that every run gets on."""
        for number, bucket in enumerate(buckets):
            if number and (self._is_cut_off or self._should_stop()):
                self._is_cut_off = True
                return
            self._open[bucket] = BucketWork(bucket)
            yield self._open[bucket]

    def _parse(self, works: Iterator[BucketWork]) -> Iterator[Slice]:
        for work in works:
            for part in self._slices_of(work):
                work.documents = part.outcome
                if part.is_last and part.outcome.is_fragmented:
                    self._notes.is_fragmented(work.bucket)
                yield Slice(work, part.rows, is_last=part.is_last)
                if self._is_cut_off:
                    return

    def _slices_of(self, work: BucketWork) -> Iterator[DocumentSlice]:
        if "documents" in self._stages:
            return self._documents.stream(work.bucket, self._progress, before_write=lambda: self._distrust(work))
        return self._stored(work)

    def _stored(self, work: BucketWork) -> Iterator[DocumentSlice]:
        for part in self._documents.stream_stored(work.bucket):
            work.is_current &= self._documents.has_nothing_to_do(part.outcome)
            yield part

    def _distrust(self, work: BucketWork) -> None:
        """Of the lanes of a bucket the first that writes does it; that two do it makes no difference."""
        if not work.is_distrusted:
            self._notes.distrust(work.bucket)
            work.is_distrusted = True

    def _cut(self, slices: Iterator[Slice]) -> Iterator[Slice]:
        for piece in slices:
            work = piece.work
            if "chunks" in self._stages:
                work.chunks = work.chunks or self._open_chunks(work)
                piece.chunks = work.chunks.update(piece.documents, self._progress)
                work.counts = work.chunks.counts
            elif piece.is_last and work.documents is not None and set(self._stages) - {"documents"}:
                loaded = self._chunks.load(work.documents)
                work.is_current &= all(self._chunks.current(loaded, row) for row in work.documents.rows.values())
                piece.chunks = list(loaded.rows.values())
                work.counts.add(piece.chunks)
            piece.documents = ()
            if piece.is_last and work.chunks:
                work.chunks.close()
                work.chunks = None
            yield piece

    def _open_chunks(self, work: BucketWork) -> BucketChunks:
        return self._chunks.open(work.bucket, before_write=lambda: self._distrust(work))

    def _embed(self, slices: Iterator[Slice]) -> Iterator[Slice]:
        if "embeddings" not in self._stages:
            yield from slices
            return
        for piece in self._vectors.stream(slices, self._progress, should_stop=self._should_stop):
            self._is_cut_off |= not piece.work.is_complete
            yield piece

    def _store(self, slices: Iterator[Slice], report: BuildReport) -> Iterator[Slice]:
        for piece in slices:
            work = piece.work
            if work.is_complete and "collection" in self._stages:
                self._write(piece)
            if piece.is_last:
                del self._open[work.bucket]
                add_bucket(report, work)
                if work.is_complete:
                    self._progress.advance("buckets")
                    self._after_bucket()
            yield piece

    def _write(self, piece: Slice) -> None:
        """Writes the slice at once where the bucket is empty; else its points come together, with the last slice.

        A reader should not see old and new points of a document beside each other while the rest of its bucket is embedded,
        and a bucket whose texts cannot all be embedded is left as it is.
        """
        work = piece.work
        if work.documents is None:
            return
        if work.writing is None:
            work.writing = self._reconcile.open(work.bucket)
        points = work.writing
        work.waiting += piece.chunks
        if points.present and not piece.is_last:
            return
        self._distrust(work)
        self._reconcile.add(points, work.documents.records, work.waiting, piece.vectors, self._progress)
        work.waiting = []
        if piece.is_last:
            work.points = self._reconcile.finish(points, self._progress)
            self._notes.remember(work)
