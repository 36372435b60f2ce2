"""The ``collection`` stage: a bucket's points, made equal to what its chunks say.

Order of writes: upsert what is missing, wait, read back, delete what is extra, read back, then the ledger. A crash at any
arrow leaves points that the next run finds equal or replaces; no document is ever without its old or its new points.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rag_pipeline.errors import BackendRejectedError
from rag_pipeline.indexing.chunks import ChunksOutcome
from rag_pipeline.indexing.identity import points_fingerprint
from rag_pipeline.indexing.points import DesiredPoint, desired_points
from rag_pipeline.ports import Progress, SparseEncoder, VectorArtifact, VectorStore
from rag_pipeline.schema import IndexSpec, Point, SparseVector, Vector

SLICE_POINTS = 512
"""Points whose vectors are in memory at one time."""


@dataclass(slots=True)
class PointsOutcome:
    """What the stage did to one bucket."""

    bucket: str
    upserted: int = 0
    deleted: int = 0
    total: int = 0
    seconds: float = 0.0


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
        return {
            point.id: point
            for key, row in sorted(chunks.rows.items())
            for point in desired_points(chunks.records[key], row, points_fingerprint=self._points_fingerprint)
        }

    def weights(self, points: Iterable[DesiredPoint]) -> dict[str, SparseVector]:
        """The sparse vectors that the points should have, by id."""
        wanted = list(points)
        sparse = self._sparse.encode_documents([point.embedded_text for point in wanted])
        return {point.id: weights for point, weights in zip(wanted, sparse, strict=True)}

    def update(self, chunks: ChunksOutcome, progress: Progress) -> PointsOutcome:
        """Upserts what is missing, reads back, deletes what is extra, reads back."""
        started = time.perf_counter()
        desired = self.desired(chunks)
        present = self._store.point_ids(self._collection, chunks.bucket)
        missing = [point for key, point in desired.items() if key not in present]
        extra = sorted(present - desired.keys())
        progress.extend("collection", len(missing) + len(extra))
        for points in self._slices(chunks.bucket, missing):
            self._guard()
            self._store.upsert(self._collection, points)
            progress.advance("collection", len(points))
        self._read_back(chunks.bucket, expected=present | desired.keys())
        if extra:
            self._guard()
            self._store.delete(self._collection, extra)
            progress.advance("collection", len(extra))
            self._read_back(chunks.bucket, expected=set(desired))
        return PointsOutcome(chunks.bucket, len(missing), len(extra), total=len(desired), seconds=time.perf_counter() - started)

    def _slices(self, bucket: str, points: Sequence[DesiredPoint]) -> Iterator[list[Point]]:
        for start in range(0, len(points), SLICE_POINTS):
            part = points[start : start + SLICE_POINTS]
            vectors = self._vectors.read(bucket, {point.digest for point in part})
            yield self._with_vectors(bucket, part, vectors)

    def _with_vectors(self, bucket: str, part: Sequence[DesiredPoint], vectors: Mapping[bytes, Vector]) -> list[Point]:
        lost = sum(point.digest not in vectors for point in part)
        if lost:
            raise BackendRejectedError(
                f"bucket {bucket}: {lost} chunks have no vector; materialise 'embeddings' for this bucket first",
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
