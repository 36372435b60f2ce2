"""What can be wrong with a candidate, as functions that make it so.

Each takes a project with a whole candidate and the number of a place, and returns nothing. They go around the pipeline's own
guards where those would refuse: a bad disk or another program is not asked.
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import qdrant_edge

from rag_pipeline.adapters.qdrant_layout import DENSE
from rag_pipeline.indexing.identity import content_digest, fingerprint, point_id, points_fingerprint, space_fingerprint
from rag_pipeline.ports import VectorArtifact
from rag_pipeline.project import Project
from rag_pipeline.schema import BucketState, CollectionRecord, Matrix, Point, SparseVector, StoredPoint


@dataclass(frozen=True)
class Place:
    """The candidate, and which of its documents is hit."""

    project: Project
    candidate: CollectionRecord
    number: int

    @property
    def name(self) -> str:
        return self.candidate.name

    def points(self) -> list[StoredPoint]:
        """All points, in an order that does not change."""
        found = self.project.store.scroll(self.name, with_vectors=True)
        return sorted(found, key=lambda point: (str(point.payload["path"]), int(point.payload["ordinal"])))

    def document(self) -> list[StoredPoint]:
        """The points of the document that is hit."""
        by_path = defaultdict(list)
        for point in self.points():
            by_path[str(point.payload["path"])].append(point)
        return by_path[sorted(by_path)[self.number % len(by_path)]]

    def point(self) -> StoredPoint:
        """One point of that document."""
        points = self.document()
        return points[self.number % len(points)]

    def others(self) -> list[StoredPoint]:
        """The points of other documents."""
        path = self.point().payload["path"]
        return [point for point in self.points() if point.payload["path"] != path]

    def write(self, point: StoredPoint, **changes: Any) -> None:
        """Stores the point with other fields."""
        self.write_all([replace(point, **changes)])

    def write_all(self, points: Sequence[StoredPoint]) -> None:
        self.project.store.upsert(self.name, [Point(p.id, _vector(p), _weights(p), p.payload) for p in points])

    @property
    def artifact(self) -> VectorArtifact:
        """The vectors of the candidate's model, which live does not share."""
        return self.project.artifacts.vectors(space_fingerprint(self.project.spec.vector_space))


Damage = Callable[[Place], None]


def lose_document(place: Place) -> None:
    place.project.store.delete(place.name, [point.id for point in place.document()])


def lose_chunk(place: Place) -> None:
    place.project.store.delete(place.name, [place.point().id])


def lose_bucket(place: Place) -> None:
    bucket = str(place.point().payload["bucket"])
    place.project.store.delete(place.name, sorted(place.project.store.point_ids(place.name, bucket)))


def add_phantom(place: Place) -> None:
    point = place.point()
    place.write(point, id=str(uuid.uuid4()), payload={**point.payload, "ordinal": 999})


def add_twin(place: Place) -> None:
    """The same payload under another id: an answer that comes twice."""
    place.write(place.point(), id=str(uuid.uuid4()))


def add_foreign_bucket(place: Place) -> None:
    point = place.point()
    place.write(point, id=str(uuid.uuid4()), payload={**point.payload, "bucket": "ff"})


def keep_old_version(place: Place) -> None:
    """A document as it was before an edit, with ids that fit it."""
    points = place.document()
    place.project.store.delete(place.name, [point.id for point in points])
    place.write_all([_as_of_old(point, place.project) for point in points])


def alter_text(place: Place) -> None:
    point = place.point()
    place.write(point, payload={**point.payload, "text": f"{point.payload['text']} not"})


def alter_address(place: Place) -> None:
    point = place.point()
    place.write(point, payload={**point.payload, "uri": place.others()[0].payload["uri"]})


def lose_key(place: Place) -> None:
    point = place.point()
    keys = [key for key in sorted(point.payload) if key != "bucket"]
    gone = keys[place.number % len(keys)]
    place.write(point, payload={key: value for key, value in point.payload.items() if key != gone})


def add_key(place: Place) -> None:
    point = place.point()
    place.write(point, payload={**point.payload, "added_later": place.number})


def swap_vectors(place: Place) -> None:
    """Two texts under the meaning of each other, in the store alone."""
    one, other = place.point(), place.others()[place.number]
    place.write(one, vector=other.vector)
    place.write(other, vector=one.vector)


def zero_vector(place: Place) -> None:
    _write_raw(place, place.point(), np.zeros_like(_vector(place.point())))


def nan_vector(place: Place) -> None:
    _write_raw(place, place.point(), np.full_like(_vector(place.point()), np.nan))


def shuffle_meanings(place: Place) -> None:
    """Every text under the meaning of another one, in the store and in the artifact: only answers can tell."""
    points = place.points()
    chooser = np.random.default_rng(place.number)
    shift = int(chooser.integers(len(points) // 3, 2 * len(points) // 3))
    vectors = [_vector(point) for point in points]
    digests = _digests_by_id(place)
    moved = {digests[p.id]: vectors[(i + shift) % len(points)] for i, p in enumerate(points)}
    place.write_all([replace(p, vector=moved[digests[p.id]]) for p in points])
    for bucket in place.project.buckets:
        held = sorted(place.artifact.digests(bucket))
        if held:
            _rewrite(place.artifact, bucket, held, np.stack([moved[digest] for digest in held]))


def rename_model(place: Place) -> None:
    """The spec in the store says another model made the vectors."""
    info = place.project.store.describe(place.name)
    assert info is not None
    space = {**info.metadata["vector_space"], "weights_sha256": f"{place.number:064x}"}
    place.project.store.set_metadata(place.name, {**info.metadata, "vector_space": space})


def miscount(place: Place) -> None:
    """The store counts a point that nobody can read."""
    store: Any = place.project.store
    count = store.count
    store.count = lambda name: count(name) + (name == place.name)


def miscount_in_ledger(place: Place) -> None:
    """The ledger has counted a point more than there is."""
    bucket = str(place.point().payload["bucket"])
    state: BucketState = place.project.ledger.bucket_states(place.name)[bucket]
    place.project.ledger.put_bucket_state(place.name, bucket, replace(state, points=state.points + 1))


def lose_chunks_row(place: Place) -> None:
    point = place.point()
    bucket, document = str(point.payload["bucket"]), point.payload["document_id"]
    artifact = place.project.artifacts.chunks(place.name)
    artifact.replace(bucket, [row for row in artifact.read(bucket) if row.document_id != document])


def lose_vector_row(place: Place) -> None:
    point = place.point()
    bucket, digest = str(point.payload["bucket"]), _digests_by_id(place)[point.id]
    place.artifact.retain(bucket, place.artifact.digests(bucket) - {digest})


def spoil_vector_row(place: Place) -> None:
    """The disaster copy holds another vector than the store."""
    bucket = str(place.point().payload["bucket"])
    held = sorted(place.artifact.digests(bucket))
    vectors = np.stack([place.artifact.read(bucket, held)[digest] for digest in held])
    vectors[place.number % len(held)] = -vectors[place.number % len(held)]
    _rewrite(place.artifact, bucket, held, vectors)


def mix_up_words(place: Place) -> None:
    """The sparse vector of another text: keywords find the wrong document."""
    place.write(place.point(), sparse=place.others()[0].sparse)


DAMAGES: dict[Damage, tuple[str, str]] = {
    mix_up_words: ("fsck", "sparse"),
    lose_document: ("fsck", "missing"),
    lose_chunk: ("fsck", "missing"),
    lose_bucket: ("fsck", "missing"),
    add_phantom: ("fsck", "phantom"),
    add_twin: ("fsck", "phantom"),
    add_foreign_bucket: ("fsck", "phantom"),
    keep_old_version: ("fsck", "missing"),
    alter_text: ("fsck", "payload"),
    alter_address: ("fsck", "payload"),
    lose_key: ("fsck", "payload_keys"),
    add_key: ("fsck", "payload_keys"),
    swap_vectors: ("fsck", "vector"),
    zero_vector: ("fsck", "norm"),
    nan_vector: ("fsck", "not_finite"),
    rename_model: ("fsck", "spec"),
    miscount: ("fsck", "count"),
    miscount_in_ledger: ("fsck", "count"),
    lose_chunks_row: ("fsck", "not_chunked"),
    lose_vector_row: ("fsck", "vector_artifact"),
    spoil_vector_row: ("fsck", "vector"),
    shuffle_meanings: ("retrieval", "recall"),
}
"""Each damage with the check that must refuse it and the kind that its reason must name."""


def _as_of_old(point: StoredPoint, project: Project) -> StoredPoint:
    payload = {**point.payload, "content_hash": content_digest(b"before"), "text": f"{point.payload['text']} Once."}
    digest = fingerprint({"payload": payload, "points": points_fingerprint(project.spec)})
    key = point_id(
        source=str(payload["source"]), document=str(payload["document_id"]), ordinal=int(payload["ordinal"]), digest=digest
    )
    return replace(point, id=key, payload=payload)


def _write_raw(place: Place, point: StoredPoint, vector: Matrix) -> None:
    """Past the adapter, which takes no such vector."""
    store: Any = place.project.store
    with store._opened():
        operation = qdrant_edge.UpdateOperation.update_vectors([qdrant_edge.PointVectors(point.id, {DENSE: vector.tolist()})])
        store._shard(place.name).update(operation)


def _digests_by_id(place: Place) -> dict[str, bytes]:
    parts = place.project.parts(place.candidate)
    build, stage = parts.build(), parts.reconcile()
    return {key: point.digest for bucket in place.project.buckets for key, point in stage.desired(build.load(bucket)[1]).items()}


def _rewrite(artifact: VectorArtifact, bucket: str, digests: list[bytes], vectors: Matrix) -> None:
    artifact.retain(bucket, set())
    artifact.append(bucket, digests, vectors)


def _weights(point: StoredPoint) -> SparseVector:
    assert point.sparse is not None
    return point.sparse


def _vector(point: StoredPoint) -> Any:
    assert point.vector is not None
    return point.vector
