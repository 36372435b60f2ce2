"""Artifacts in memory."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np

from rag_pipeline.ports import Stage
from rag_pipeline.schema import ChunkedDocument, Matrix, StoredDocument, Vector

Row = TypeVar("Row", StoredDocument, ChunkedDocument)


class MemoryArtifact(Generic[Row]):
    """Port ``Artifact``; ``written`` counts the rows that ever came."""

    def __init__(self, key: Callable[[Row], str] = lambda row: row.document_id) -> None:
        self._rows: dict[str, dict[str, Row]] = defaultdict(dict)
        self._key = key
        self.written = 0

    def read(self, bucket: str) -> list[Row]:
        return list(self._rows[bucket].values())

    def buckets(self) -> list[str]:
        return sorted(bucket for bucket, rows in self._rows.items() if rows)

    def append(self, bucket: str, rows: Sequence[Row]) -> None:
        self.written += len(rows)
        self._rows[bucket].update((self._key(row), row) for row in rows)

    def join(self, bucket: str) -> None:
        """Nothing: there are no parts."""

    def replace(self, bucket: str, rows: Sequence[Row]) -> None:
        self.written += len(rows)
        self._rows[bucket] = {self._key(row): row for row in rows}

    def clear(self) -> None:
        """Forgets everything."""
        self._rows.clear()


class MemoryDocuments(MemoryArtifact[StoredDocument]):
    """Port ``StoredDocuments``."""

    def content_keys(self, bucket: str) -> list[tuple[str, str]]:
        return [(row.content_hash, row.document_id) for row in self.read(bucket)]


class MemoryChunks(MemoryArtifact[ChunkedDocument]):
    """Port ``Artifact`` of ``ChunkedDocument``."""


class MemoryVectors:
    """Port ``VectorArtifact``."""

    def __init__(self) -> None:
        self._vectors: dict[str, dict[bytes, Vector]] = defaultdict(dict)

    def digests(self, bucket: str) -> set[bytes]:
        return set(self._vectors[bucket])

    def read(self, bucket: str, digests: Iterable[bytes]) -> dict[bytes, Vector]:
        held = self._vectors[bucket]
        return {digest: held[digest] for digest in digests if digest in held}

    def append(self, bucket: str, digests: Sequence[bytes], vectors: Matrix) -> None:
        self._vectors[bucket].update(zip(digests, np.array(vectors, dtype=np.float32), strict=True))

    def retain(self, bucket: str, digests: set[bytes]) -> None:
        self._vectors[bucket] = self.read(bucket, digests)

    def buckets(self) -> list[str]:
        return sorted(bucket for bucket, vectors in self._vectors.items() if vectors)

    def clear(self) -> None:
        """Forgets everything."""
        self._vectors.clear()


class MemoryArtifactStore:
    """Port ``ArtifactStore``."""

    def __init__(self) -> None:
        self._documents: dict[str, MemoryDocuments] = {}
        self._chunks: dict[str, MemoryChunks] = {}
        self._vectors: dict[str, MemoryVectors] = {}

    def documents(self, name: str) -> MemoryDocuments:
        return self._documents.setdefault(name, MemoryDocuments())

    def chunks(self, name: str) -> MemoryChunks:
        return self._chunks.setdefault(name, MemoryChunks())

    def vectors(self, name: str) -> MemoryVectors:
        return self._vectors.setdefault(name, MemoryVectors())

    def names(self, stage: Stage) -> list[str]:
        return sorted(name for name, artifact in self._of(stage).items() if artifact.buckets())

    def drop(self, stage: Stage, name: str) -> None:
        if artifact := self._of(stage).get(name):
            artifact.clear()

    def _of(self, stage: Stage) -> Mapping[str, MemoryDocuments | MemoryChunks | MemoryVectors]:
        return {"documents": self._documents, "chunks": self._chunks, "embeddings": self._vectors}[stage]
