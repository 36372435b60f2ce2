"""The embedded store: the Qdrant engine inside this process, one folder a collection."""

import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import qdrant_edge

from rag_pipeline.adapters import edge_shards
from rag_pipeline.adapters import qdrant_layout as layouts
from rag_pipeline.adapters.edge_folder import EdgeFolder
from rag_pipeline.adapters.edge_lock import EdgeLock
from rag_pipeline.adapters.edge_segments import Filling
from rag_pipeline.adapters.process_memory import give_back_free_memory
from rag_pipeline.adapters.qdrant_layout import DENSE, SPARSE, SYSTEM, rejected
from rag_pipeline.errors import BackendUnavailableError
from rag_pipeline.schema import CollectionInfo, CollectionLayout, Hit, Point, SparseVector, StoredPoint, Vector
from rag_pipeline.settings.store import EdgeStoreSettings

BATCH_POINTS = 1000
BATCH_BYTES = 16 * 2**20
PAGE_IDS = 10_000
PAGE_POINTS = 256

DEFAULTS = EdgeStoreSettings()
"""Of these ``segment_mb`` is the one that was measured most: the engine maps its files, and indexing reads the old ones while it
writes the new. Done once at the end, the whole collection counts as memory of this process, twice; by segments it is one
segment. 60,000 points of 384 dimensions, the peak of a process that makes them as well: 532, 579 and 753 MiB with segments of
16, 32 and 64 MiB, each in 74 to 77 s (28 November 2026).
"""

FLUSH_INTERVAL_S = 5.0
"""Seconds of writing between two flushes, as on a server. The write-ahead log covers a killed process in between."""


class QdrantEdgeStore:
    """Port ``VectorStore`` in one folder, for one process at a time.

    Nothing is opened or created before the first use; collection names and aliases are read without the lock. Threads
    may share the object: calls run one after another, as they would anyway, since the engine keeps Python's global lock.
    Vectors of a cosine collection come back normalised.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        lock_wait_s: float,
        on_wait: Callable[[str], None],
        min_free_mb: int = 256,
        tuning: EdgeStoreSettings = DEFAULTS,
    ) -> None:
        self._folder = EdgeFolder(Path(path))
        self._lock = EdgeLock(Path(path), wait_s=lock_wait_s, on_wait=on_wait)
        self._min_free_mb = min_free_mb
        self._tuning = tuning
        self._segment_bytes = tuning.segment_mb * 2**20
        self._fillings: defaultdict[str, Filling] = defaultdict(self._filling)
        self._shards: dict[str, qdrant_edge.EdgeShard] = {}
        self._flushed_s: dict[str, float] = {}
        self._specs: dict[str, dict[str, Any]] = {}
        self._mutex = threading.RLock()

    # --- collections ------------------------------------------------------------------------------------------------

    def create_collection(self, name: str, layout: CollectionLayout) -> None:
        spec = {"dimension": layout.dimension, "distance": layout.distance, "metadata": dict(layout.metadata)}
        layouts.check_metadata(spec)
        with self._opened():
            present = self._folder.read_spec(name)
            if present is None:
                self._make(name, spec)
            elif present["dimension"] != layout.dimension:
                raise layouts.other_dimension(name, present["dimension"], layout.dimension)

    def _make(self, name: str, spec: Mapping[str, Any]) -> None:
        if name in self._folder.aliases():
            raise rejected(f"'{name}' is an alias already; give the collection another name")
        config = edge_shards.config(spec, self._tuning)
        draft = self._folder.start(name, spec)
        with _translated(f"making '{name}'"):
            shard = edge_shards.create(draft, config, self._tuning)
            shard.flush()
            shard.close()
        self._folder.finish(name)

    def collections(self) -> list[str]:
        return self._folder.names()

    def describe(self, name: str) -> CollectionInfo | None:
        if self._folder.read_spec(name) is None:
            return None
        with self._opened():
            spec = self._spec(name)
            return CollectionInfo(name, dimension=spec["dimension"], points=self.count(name), metadata=dict(spec["metadata"]))

    def metadata(self, name: str) -> Mapping[str, Any] | None:
        spec = self._folder.read_spec(name)
        return spec["metadata"] if spec is not None else None

    def set_metadata(self, name: str, metadata: Mapping[str, Any]) -> None:
        layouts.check_metadata(metadata)
        with self._opened():
            changed = {**self._spec(name), "metadata": dict(metadata)}
            self._specs.pop(name, None)
            self._folder.write_spec(name, changed)

    def drop_collection(self, name: str) -> None:
        with self._opened():
            holders = sorted(alias for alias, target in self._folder.aliases().items() if target == name)
            if holders:
                raise layouts.behind_alias(name, holders)
            self._close_shard(name)
            self._fillings.pop(name, None)
            if self._folder.exists(name):
                self._folder.remove(name)

    def resolve_alias(self, alias: str) -> str | None:
        return self._folder.aliases().get(alias)

    def switch_alias(self, alias: str, collection: str) -> None:
        layouts.check_name(alias)
        with self._opened():
            self._spec(collection)
            if self._folder.exists(alias):
                raise rejected(f"'{alias}' is a collection; an alias needs a name of its own")
            self._folder.write_alias(alias, collection)

    # --- points -----------------------------------------------------------------------------------------------------

    def upsert(self, name: str, points: Sequence[Point]) -> None:
        with self._opened():
            layouts.check_points(points, self._spec(name)["dimension"])
            for batch in _batches(points):
                self._check_free_space()
                shard = self._shard(name)
                with _translated(f"writing to '{name}'"):
                    shard.update(qdrant_edge.UpdateOperation.upsert_points([engine_point(point) for point in batch]))
                    self._flush_sometimes(name)
                self._index_sometimes(name, batch)

    def delete(self, name: str, ids: Sequence[str]) -> None:
        with self._opened(), _translated(f"deleting from '{name}'"):
            self._shard(name).update(qdrant_edge.UpdateOperation.delete_points(list(ids)))
            self._flush_sometimes(name)

    def point_ids(self, name: str, bucket: str) -> set[str]:
        query = {"limit": PAGE_IDS, "with_payload": False, "with_vector": False}
        return {str(record.id) for record in self._records(name, bucket, query)}

    def scroll(self, name: str, *, bucket: str | None = None, with_vectors: bool = False) -> Iterator[StoredPoint]:
        query = {"limit": PAGE_POINTS, "with_payload": True, "with_vector": with_vectors}
        for record in self._records(name, bucket, query):
            vector, sparse = layouts.read_vectors(record.vector) if with_vectors else (None, None)
            yield StoredPoint(id=str(record.id), payload=record.payload or {}, vector=vector, sparse=sparse)

    def _records(self, name: str, bucket: str | None, query: Mapping[str, Any]) -> Iterator[Any]:
        filters = layouts.build_filter(qdrant_edge, None if bucket is None else {"bucket": bucket})
        offset = None
        while True:
            with self._opened(), _translated(f"reading '{name}'"):
                request = qdrant_edge.ScrollRequest(offset=offset, filter=filters, **query)
                records, offset = self._shard(name).scroll(request)
            yield from records
            if offset is None:
                return

    def count(self, name: str) -> int:
        with self._opened(), _translated(f"counting '{name}'"):
            return int(self._shard(name).count(qdrant_edge.CountRequest(exact=True)))

    def optimize(self, name: str) -> None:
        with self._opened(), _translated(f"optimizing '{name}'"):
            shard = self._shard(name)
            shard.optimize()
            shard.flush()
            self._fillings[name].clear()
        give_back_free_memory()

    def purge(self, name: str) -> bool:
        """Writes the collection anew from what a reader sees of it: log, segments and pages of deleted points go whole."""
        with self._opened():
            spec = self._spec(name)
            draft = self._folder.start_shard(name)
            with _translated(f"writing '{name}' anew"):
                shard = edge_shards.create(draft, edge_shards.config(spec, self._tuning), self._tuning)
                filling = self._filling()
                for batch in _batches(self._points(name)):
                    self._check_free_space()
                    shard.update(qdrant_edge.UpdateOperation.upsert_points([engine_point(point) for point in batch]))
                    filling.add(batch)
                    if filling.is_segment(lambda: _held_bytes(shard, spec)):
                        shard.optimize()
                        filling.clear()
                        give_back_free_memory()
                shard.optimize()
                shard.flush()
                shard.close()
            self._close_shard(name)
            self._folder.use_shard(name, draft)
            self._fillings.pop(name, None)
            return True

    def _points(self, name: str) -> Iterator[Point]:
        for held in self.scroll(name, with_vectors=True):
            if held.vector is not None:
                yield Point(held.id, held.vector, held.sparse or SparseVector((), ()), held.payload)

    def server_version(self) -> str | None:
        return None

    def free_bytes(self) -> int | None:
        return self._folder.free_bytes()

    # --- search -----------------------------------------------------------------------------------------------------

    def search_dense(self, name: str, vector: Vector, *, limit: int, filters: Mapping[str, Any] | None = None) -> list[Hit]:
        with self._opened():
            layouts.check_vector(vector, self._spec(name)["dimension"], owner="question")
            query = (vector.tolist(), DENSE, layouts.search_params(qdrant_edge, self._tuning))
            return self._search(name, query, limit=limit, filters=filters)

    def search_sparse(
        self, name: str, vector: SparseVector, *, limit: int, filters: Mapping[str, Any] | None = None
    ) -> list[Hit]:
        with self._opened():
            return self._search(name, (_engine_sparse(vector), SPARSE, None), limit=limit, filters=filters)

    def _search(self, name: str, query: tuple[Any, str, Any], *, limit: int, filters: Mapping[str, Any] | None) -> list[Hit]:
        shard = self._shard(name)
        if layouts.matches_nothing(filters):
            return []
        condition = layouts.build_filter(qdrant_edge, filters)
        with _translated(f"searching '{name}'"):
            nearest = qdrant_edge.Query.Nearest(query[0], using=query[1])
            request = qdrant_edge.QueryRequest(limit=limit, query=nearest, filter=condition, with_payload=True, params=query[2])
            return [Hit(str(point.id), point.score, point.payload or {}) for point in shard.query(request)]

    # --- opening and closing ----------------------------------------------------------------------------------------

    def close(self) -> None:
        with self._mutex:
            self._close_shards()
            self._lock.release()

    def let_others_in(self) -> None:
        """Closes everything for a process that waits; the next use opens again, when that one is done."""
        if not self._lock.is_wanted:
            return
        with self._mutex:
            if self._lock.is_wanted:  # another thread may have given way meanwhile
                self._close_shards()
                self._lock.give_way()

    def _close_shards(self) -> None:
        for name in list(self._shards):
            self._close_shard(name)

    @contextmanager
    def _opened(self) -> Iterator[None]:
        with self._mutex:
            if not self._lock.is_held:
                self._lock.acquire()
                self._folder.sweep()
            yield

    def _spec(self, name: str) -> dict[str, Any]:
        """Read once for as long as the shard is open: nobody else changes it without the lock, or by deleting files."""
        spec = self._specs.get(name) or self._folder.read_spec(name)
        if spec is None:
            raise layouts.missing_collection(name)
        if name in self._shards:
            self._specs[name] = spec
        return spec

    def _shard(self, name: str) -> qdrant_edge.EdgeShard:
        if name not in self._shards:
            self._spec(name)
            self._lock.retry(lambda: self._load(name))
        return self._shards[name]

    def _load(self, name: str) -> bool:
        with _translated(f"opening '{name}'"):
            try:
                self._shards[name] = qdrant_edge.EdgeShard.load(str(self._folder.shard(name)))
            except Exception as error:
                if "WouldBlock" not in str(error):
                    raise
                return False
        self._flushed_s[name] = time.monotonic()
        return True

    def _close_shard(self, name: str) -> None:
        self._specs.pop(name, None)
        shard = self._shards.pop(name, None)
        if shard is not None:
            with _translated(f"closing '{name}'"):
                shard.close()
            give_back_free_memory()

    def _flush_sometimes(self, name: str) -> None:
        if time.monotonic() - self._flushed_s[name] >= FLUSH_INTERVAL_S:
            self._shards[name].flush()
            self._flushed_s[name] = time.monotonic()

    def _filling(self) -> Filling:
        return Filling(least_bytes=self._segment_bytes)

    def _index_sometimes(self, name: str, batch: Sequence[Point]) -> None:
        filling = self._fillings[name]
        filling.add(batch)
        if filling.is_segment(lambda: _held_bytes(self._shard(name), self._spec(name))):
            self._close_shard(name)  # what was mapped for writing is let go before the same files are mapped for reading
            self.optimize(name)
            self._close_shard(name)

    def _check_free_space(self) -> None:
        # The engine maps files larger than what is written; on a full disk a write to them kills the process.
        free_mb = shutil.disk_usage(self._folder.root).free / 2**20
        if free_mb < self._min_free_mb:
            raise BackendUnavailableError(
                f"{free_mb:.0f} MiB are free in {self._folder.root}, {self._min_free_mb} are wanted; free some space",
                system=SYSTEM,
            )


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Turns the engine's errors into ours. It raises plain Exception, ValueError and TypeError, told apart by text alone."""
    try:
        yield
    except Exception as error:
        if type(error) not in (Exception, ValueError, TypeError):
            raise
        if "No space left" in str(error):
            raise BackendUnavailableError(f"{doing} failed: the disk is full; free some space", system=SYSTEM) from error
        raise rejected(f"{doing} failed: {str(error)[:200]}") from error


def _held_bytes(shard: qdrant_edge.EdgeShard, spec: Mapping[str, Any]) -> int:
    """Bytes that the vectors of all points fill."""
    return int(shard.info().points_count * spec["dimension"] * layouts.NUMBER_BYTES_PROTOBUF)


def _batches(points: Iterable[Point]) -> Iterator[list[Point]]:
    sized = ((point, layouts.size_bytes(point, layouts.NUMBER_BYTES_PROTOBUF)) for point in points)
    return layouts.batches(sized, max_points=BATCH_POINTS, max_bytes=BATCH_BYTES)


def engine_point(point: Point) -> qdrant_edge.Point:
    """The point as the engine takes it. Its payload costs most, as the binding tries one type after another for every value."""
    vectors = {DENSE: point.vector.tolist(), SPARSE: _engine_sparse(point.sparse)}
    return qdrant_edge.Point(point.id, vectors, dict(point.payload))


def _engine_sparse(sparse: SparseVector) -> qdrant_edge.SparseVector:
    return qdrant_edge.SparseVector(indices=list(sparse.indices), values=list(sparse.values))
