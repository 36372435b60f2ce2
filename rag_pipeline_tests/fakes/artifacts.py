"""Artifacts in memory."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

import numpy as np

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

    def append(self, bucket: str, rows: Sequence[Row]) -> None:
        self.written += len(rows)
        self._rows[bucket].update((self._key(row), row) for row in rows)

    def replace(self, bucket: str, rows: Sequence[Row]) -> None:
        self.written += len(rows)
        self._rows[bucket] = {self._key(row): row for row in rows}


class MemoryDocuments(MemoryArtifact[StoredDocument]):
    """Port ``StoredDocuments``."""

    def content_keys(self, bucket: str) -> list[tuple[str, str]]:
        return [(row.content_hash, row.document_id) for row in self.read(bucket)]


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
