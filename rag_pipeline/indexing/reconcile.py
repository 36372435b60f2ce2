"""The ``collection`` stage: a bucket's points, made equal to what its chunks say.

Order of writes: upsert what is missing, wait, read back, delete what is extra, read back, then the ledger. A crash at any
arrow leaves points that the next run finds equal or replaces; no document is ever without its old or its new points.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rag_pipeline.errors import BackendRejectedError
from rag_pipeline.indexing.chunks import ChunksOutcome
from rag_pipeline.indexing.identity import points_fingerprint
from rag_pipeline.indexing.points import DesiredPoint, desired_points
from rag_pipeline.ports import Progress, SparseEncoder, VectorArtifact, VectorStore
from rag_pipeline.schema import ChunkedDocument, DocumentRecord, IndexSpec, Point, SparseVector, Vector

SLICE_POINTS = 512
"""Points whose vectors are in memory at one time."""


@dataclass(slots=True)
class PointsOutcome:
    """What the stage did to one bucket."""

    bucket: str
    upserted: int = 0
    deleted: int = 0
    total: int = 0


@dataclass(slots=True)
class BucketPoints:
    """A bucket while its points are written."""

    bucket: str
    present: set[str]
    """Ids that the store held before."""
    desired: set[str] = field(default_factory=set)
    upserted: int = 0


class ReconcileStage:
    """Brings the points of a bucket in step with its chunks."""

    def __init__(
        self,
        *,
        store: VectorStore,
        collection: str,
        spec: IndexSpec,
        vectors: VectorArtifact,
        sparse: SparseEncoder,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        """``guard`` raises before a write that must not happen any more, because another writer took over."""
        self._guard = guard
        self._store = store
        self._collection = collection
        self._points_fingerprint = points_fingerprint(spec)
        self._vectors = vectors
        self._sparse = sparse

    def desired(self, chunks: ChunksOutcome) -> dict[str, DesiredPoint]:
        """The points that the bucket should hold, by id."""
        return self._desired(chunks.records, [row for _, row in sorted(chunks.rows.items())])

    def _desired(self, records: Mapping[str, DocumentRecord], rows: Iterable[ChunkedDocument]) -> dict[str, DesiredPoint]:
        return {
            point.id: point
            for row in rows
            for point in desired_points(records[row.document_id], row, points_fingerprint=self._points_fingerprint)
        }

    def weights(self, points: Iterable[DesiredPoint]) -> dict[str, SparseVector]:
        """The sparse vectors that the points should have, by id."""
        wanted = list(points)
        sparse = self._sparse.encode_documents([point.embedded_text for point in wanted])
        return {point.id: weights for point, weights in zip(wanted, sparse, strict=True)}

    def update(self, chunks: ChunksOutcome, progress: Progress) -> PointsOutcome:
        """Brings a whole bucket in step at once."""
        points = self.open(chunks.bucket)
        self.add(points, chunks.records, [row for _, row in sorted(chunks.rows.items())], {}, progress)
        return self.finish(points, progress)

    def open(self, bucket: str) -> BucketPoints:
        """The bucket as the store holds it; nothing is written yet."""
        return BucketPoints(bucket, self._store.point_ids(self._collection, bucket))

    def add(
        self,
        points: BucketPoints,
        records: Mapping[str, DocumentRecord],
        rows: Sequence[ChunkedDocument],
        vectors: Mapping[bytes, Vector],
        progress: Progress,
    ) -> None:
        """Upserts what is missing of these documents; ``vectors`` are at hand, others are read from the artifact."""
        desired = self._desired(records, rows)
        missing = [point for key, point in desired.items() if key not in points.present and key not in points.desired]
        progress.extend("collection", len(missing))
        for part in self._slices(points.bucket, missing, vectors):
            self._guard()
            self._store.upsert(self._collection, part)
            progress.advance("collection", len(part))
        points.desired |= desired.keys()
        points.upserted += len(missing)

    def finish(self, points: BucketPoints, progress: Progress) -> PointsOutcome:
        """Once every document was added: reads back, deletes what is extra, reads back."""
        extra = sorted(points.present - points.desired)
        progress.extend("collection", len(extra))
        self._read_back(points.bucket, expected=points.present | points.desired)
        if extra:
            self._guard()
            self._store.delete(self._collection, extra)
            progress.advance("collection", len(extra))
            self._read_back(points.bucket, expected=points.desired)
        return PointsOutcome(points.bucket, points.upserted, len(extra), total=len(points.desired))

    def _slices(self, bucket: str, points: Sequence[DesiredPoint], known: Mapping[bytes, Vector]) -> Iterator[list[Point]]:
        for start in range(0, len(points), SLICE_POINTS):
            part = points[start : start + SLICE_POINTS]
            unknown = {point.digest for point in part} - known.keys()
            vectors = {**known, **self._vectors.read(bucket, unknown)} if unknown else known
            yield self._with_vectors(bucket, part, vectors)

    def _with_vectors(self, bucket: str, part: Sequence[DesiredPoint], vectors: Mapping[bytes, Vector]) -> list[Point]:
        lost = sum(point.digest not in vectors for point in part)
        if lost:
            raise BackendRejectedError(
                f"bucket {bucket}: {lost} chunks have no vector; run rag index, or materialise 'embeddings' of it first",
                system="artifacts",
            )
        weights = self.weights(part)
        return [
            Point(id=point.id, vector=vectors[point.digest], sparse=weights[point.id], payload=point.payload) for point in part
        ]

    def _read_back(self, bucket: str, *, expected: set[str]) -> None:
        stored = self._store.point_ids(self._collection, bucket)
        if stored != expected:
            raise BackendRejectedError(
                f"bucket {bucket} of {self._collection}: {len(expected - stored)} points are missing and "
                f"{len(stored - expected)} are left over after the write; run rag index again, then rag fsck",
                system="store",
            )
