"""Reads everything back: every document of the ledger, every artifact row, every stored point."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from rag_pipeline.indexing.build import Build
from rag_pipeline.indexing.changes import is_unreadable
from rag_pipeline.indexing.document_slices import DocumentsOutcome
from rag_pipeline.indexing.embedding import NORM_TOLERANCE
from rag_pipeline.indexing.identity import points_fingerprint, spec_values
from rag_pipeline.indexing.points import DesiredPoint, id_of_payload
from rag_pipeline.indexing.reconcile import ReconcileStage
from rag_pipeline.ports import Ledger, Progress, VectorArtifact, VectorStore
from rag_pipeline.schema import CollectionRecord, IndexSpec, SparseVector, StoredPoint, Vector

VECTOR_TOLERANCE = 1e-3
"""Largest difference of a component between store and artifact; stores may normalise once more."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    kind: str
    subject: str
    detail: str


@dataclass(slots=True)
class FsckReport:
    """All findings, and how much was compared."""

    documents: int = 0
    quarantined: int = 0
    points: int = 0
    findings: list[Finding] = field(default_factory=list)
    damaged_points: set[str] = field(default_factory=set)
    """Points that a reconcile by id would not replace."""

    def add(self, kind: str, subject: str, detail: str) -> None:
        """Notes one finding."""
        self.findings.append(Finding(kind, subject, detail))

    def by_kind(self) -> dict[str, int]:
        """How many findings of each kind."""
        return dict(sorted(Counter(finding.kind for finding in self.findings).items()))


class Fsck:
    """Compares ledger, artifacts and one collection."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        store: VectorStore,
        vectors: VectorArtifact,
        build: Build,
        reconcile: ReconcileStage,
        spec: IndexSpec,
        collection: CollectionRecord,
        is_live: bool = True,
        after_bucket: Callable[[], None] = lambda: None,
    ) -> None:
        """``is_live``: the alias has to point at the collection."""
        self._is_live = is_live
        self._after_bucket = after_bucket
        self._ledger = ledger
        self._store = store
        self._vectors = vectors
        self._build = build
        self._reconcile = reconcile
        self._spec = spec
        self._collection = collection

    def check(self, buckets: Iterable[str], progress: Progress) -> FsckReport:
        """Everything that differs; an empty list of findings is the only good one."""
        report = FsckReport()
        if self._store.describe(self._collection.name) is None:
            report.add("collection_missing", self._collection.name, "the store does not hold it; run rag index")
            return report
        names = list(buckets)
        progress.extend("fsck", len(names))
        expected: dict[str, int] = {}
        for bucket in names:
            expected[bucket] = self._check_bucket(bucket, report)
            progress.advance("fsck")
            self._after_bucket()
        self._check_strangers(set(names), report)
        self._check_alias(report)
        behind = self._build.out_of_step(names)
        for bucket in behind:
            report.add("out_of_step", f"bucket {bucket}", "the ledger has changes that the index lacks; run rag index")
        self._check_ledger({bucket: points for bucket, points in expected.items() if bucket not in behind}, report)
        return report

    def repair(self, report: FsckReport) -> None:
        """Removes damaged and foreign points and forgets bucket states, so that the next index run replaces them."""
        if self._store.describe(self._collection.name) is not None and report.damaged_points:
            self._store.delete(self._collection.name, sorted(report.damaged_points))
        self._ledger.forget_bucket_states(self._collection.name)
        self._ledger.add_decision("repair", {"collection": self._collection.name, "findings": report.by_kind()})

    def _check_bucket(self, bucket: str, report: FsckReport) -> int:
        """How many points the bucket should hold."""
        documents, chunks = self._build.load(bucket)
        self._check_documents(documents, report)
        for key, row in documents.rows.items():
            held = chunks.rows.get(key)
            if held is None or held.content_hash != row.content_hash:
                report.add("not_chunked", documents.records[key].uri, "its chunks are missing or of another version")
        desired = self._reconcile.desired(chunks)
        vectors = self._vectors.read(bucket, {point.digest for point in desired.values()})
        weights = self._reconcile.weights(desired.values())
        seen: set[str] = set()
        for point in self._store.scroll(self._collection.name, bucket=bucket, with_vectors=True):
            if point.id in seen:
                report.add("duplicate", point.id, "the store returned the point twice")
            seen.add(point.id)
            self._check_point(point, desired, vectors, weights.get(point.id), report)
        for key in desired.keys() - seen:
            report.add("missing", key, f"point of {desired[key].payload['uri']} is not in the store")
        report.points += len(seen)
        return len(desired)

    def _check_documents(self, documents: DocumentsOutcome, report: FsckReport) -> None:
        report.documents += len(documents.records)
        report.quarantined += len(documents.quarantined)
        for key, record in documents.records.items():
            row = documents.rows.get(key)
            if key in documents.quarantined or is_unreadable(record):
                continue
            if row is None:
                report.add("not_indexed", record.uri, "neither indexed nor quarantined")
            elif row.content_hash != record.content_hash:
                report.add("stale", record.uri, "an older version is indexed")

    def _check_point(
        self,
        point: StoredPoint,
        desired: Mapping[str, DesiredPoint],
        vectors: Mapping[bytes, Vector],
        weights: SparseVector | None,
        report: FsckReport,
    ) -> None:
        wanted = desired.get(point.id)
        if wanted is None:
            report.add("phantom", point.id, f"point of {point.payload.get('uri')} should not exist")
            report.damaged_points.add(point.id)
            return
        faults = list(self._faults(point, wanted, vectors))
        if not faults and not _is_same(point.sparse, weights):
            faults.append(("sparse", "sparse vector is not that of its text"))
        for kind, detail in faults:
            report.add(kind, point.id, f"{detail} ({wanted.payload['uri']})")
            report.damaged_points.add(point.id)

    def _faults(self, point: StoredPoint, wanted: DesiredPoint, vectors: Mapping[bytes, Vector]) -> Iterator[tuple[str, str]]:
        if point.payload.keys() != wanted.payload.keys():
            yield "payload_keys", f"payload keys differ: {sorted(point.payload.keys() ^ wanted.payload.keys())}"
        elif id_of_payload(point.payload, points_fingerprint=points_fingerprint(self._spec)) != point.id:
            yield "payload", "payload is not the one that its id was made from"
        vector, kept = point.vector, vectors.get(wanted.digest)
        space = self._spec.vector_space
        if vector is None or vector.shape != (space.dimension,):
            yield "dimension", f"vector has not {space.dimension} numbers"
        elif not np.isfinite(vector).all():
            yield "not_finite", "vector holds NaN or infinity"
        elif space.is_normalized and abs(float(np.linalg.norm(vector)) - 1) > NORM_TOLERANCE:
            yield "norm", f"vector has length {float(np.linalg.norm(vector)):.3f}, not 1"
        elif kept is None:
            yield "vector_artifact", "its vector is not in the artifact, which is the disaster copy"
        elif float(np.abs(vector - _as_stored(kept, space.distance)).max()) > VECTOR_TOLERANCE:
            yield "vector", "vector differs from the artifact"

    def _check_strangers(self, buckets: set[str], report: FsckReport) -> None:
        """Points outside every bucket, and a count that does not match what can be read."""
        counted = self._store.count(self._collection.name)
        if counted == report.points:
            return
        strangers = [p for p in self._store.scroll(self._collection.name) if p.payload.get("bucket") not in buckets]
        for point in strangers:
            report.add("phantom", point.id, "point belongs to no bucket of this index")
            report.damaged_points.add(point.id)
        if counted != report.points + len(strangers):
            report.add("count", self._collection.name, f"store counts {counted} points, {report.points} can be read")

    def _check_ledger(self, expected: Mapping[str, int], report: FsckReport) -> None:
        """The ledger's own counts, without which a release stops after the gate."""
        states = self._ledger.bucket_states(self._collection.name)
        for bucket, points in expected.items():
            if states[bucket].points != points:
                report.add(
                    "count", f"bucket {bucket}", f"the ledger counts {states[bucket].points} points, its chunks make {points}"
                )

    def _check_alias(self, report: FsckReport) -> None:
        behind = self._store.resolve_alias(self._collection.alias)
        if self._is_live and behind != self._collection.name:
            report.add("alias", self._collection.alias, f"points at {behind or 'nothing'}, not at {self._collection.name}")
        info = self._store.describe(self._collection.name)
        if info is not None and dict(info.metadata) != spec_values(self._spec):
            report.add("spec", self._collection.name, "was built with other settings; run rag index")


def _is_same(stored: SparseVector | None, wanted: SparseVector | None) -> bool:
    """Whether both hold the same weights, in whatever order."""
    held = dict(zip(stored.indices, stored.values, strict=True)) if stored else {}
    expected = dict(zip(wanted.indices, wanted.values, strict=True)) if wanted else {}
    return held.keys() == expected.keys() and all(abs(held[key] - expected[key]) <= VECTOR_TOLERANCE for key in expected)


def _as_stored(vector: Vector, distance: str) -> Vector:
    """The vector as a store keeps it: for cosine distance, of length 1."""
    if distance != "cosine":
        return vector
    length = float(np.linalg.norm(vector)) or 1.0
    return np.asarray(vector / length, dtype=np.float32)
