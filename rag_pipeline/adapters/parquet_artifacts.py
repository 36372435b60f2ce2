"""The stages' rows as Parquet files: documents, chunks, vectors.

An artifact is a cache of finished work and the disaster copy of the index, readable by anything that reads Parquet.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rag_pipeline.adapters.artifact_tables import (
    CHUNKS_DICTIONARY,
    DOCUMENTS_DICTIONARY,
    decode_chunks,
    decode_documents,
    encode_chunks,
    encode_documents,
)
from rag_pipeline.adapters.parquet_parts import ParquetParts, merge_rows
from rag_pipeline.schema import ChunkedDocument, Matrix, StoredDocument, Vector

DIGEST_BYTES = 16


class DocumentArtifact:
    """Port ``StoredDocuments``: parsed documents."""

    def __init__(self, url: str, *, storage_options: Mapping[str, Any] | None = None) -> None:
        self._parts = ParquetParts(url, storage_options=storage_options, dictionary=DOCUMENTS_DICTIONARY)

    def read(self, bucket: str) -> list[StoredDocument]:
        return merge_rows(self._parts.tables(bucket), decode=decode_documents, key=lambda row: row.document_id)

    def append(self, bucket: str, rows: Sequence[StoredDocument]) -> None:
        if rows:
            self._parts.append(bucket, encode_documents(rows))

    def replace(self, bucket: str, rows: Sequence[StoredDocument]) -> None:
        self._parts.replace(bucket, encode_documents(rows))

    def content_keys(self, bucket: str) -> list[tuple[str, str]]:
        tables = self._parts.tables(bucket, ["content_hash", "document_id"])
        newest = {
            document: content
            for table in tables
            for document, content in zip(table["document_id"].to_pylist(), table["content_hash"].to_pylist(), strict=True)
        }
        return [(content, document) for document, content in newest.items()]


class ChunkArtifact:
    """Port ``Artifact`` of ``ChunkedDocument``: documents cut into chunks."""

    def __init__(self, url: str, *, storage_options: Mapping[str, Any] | None = None) -> None:
        self._parts = ParquetParts(url, storage_options=storage_options, dictionary=CHUNKS_DICTIONARY)

    def read(self, bucket: str) -> list[ChunkedDocument]:
        return merge_rows(self._parts.tables(bucket), decode=decode_chunks, key=lambda row: row.document_id)

    def append(self, bucket: str, rows: Sequence[ChunkedDocument]) -> None:
        if rows:
            self._parts.append(bucket, encode_chunks(rows))

    def replace(self, bucket: str, rows: Sequence[ChunkedDocument]) -> None:
        self._parts.replace(bucket, encode_chunks(rows))


class ParquetVectorArtifact:
    """Port ``VectorArtifact``: vectors of one vector space by the digest of their text."""

    def __init__(self, url: str, *, storage_options: Mapping[str, Any] | None = None) -> None:
        self._parts = ParquetParts(url, storage_options=storage_options)

    def digests(self, bucket: str) -> set[bytes]:
        return {digest for table in self._parts.tables(bucket, ["digest"]) for digest in table["digest"].to_pylist()}

    def read(self, bucket: str, digests: Iterable[bytes]) -> dict[bytes, Vector]:
        wanted = set(digests)
        found: dict[bytes, Vector] = {}
        for table in self._parts.tables(bucket) if wanted else []:
            held = table["digest"].to_pylist()
            rows = [row for row, digest in enumerate(held) if digest in wanted]
            found.update(zip((held[row] for row in rows), _matrix(table)[rows], strict=True))
        return found

    def append(self, bucket: str, digests: Sequence[bytes], vectors: Matrix) -> None:
        if len(digests) != len(vectors):
            raise ValueError(f"{len(digests)} digests for {len(vectors)} vectors")
        if digests:
            self._parts.append(bucket, _vector_table(digests, vectors))

    def retain(self, bucket: str, digests: set[bytes]) -> None:
        held = self.digests(bucket)
        if held <= digests and self._parts.count_files(bucket) <= 1:
            return
        kept = self.read(bucket, held & digests)
        if kept:
            self._parts.replace(bucket, _vector_table(list(kept), np.stack(list(kept.values()))))
        else:
            self._parts.clear(bucket)

    def buckets(self) -> list[str]:
        return self._parts.buckets()


def _vector_table(digests: Sequence[bytes], vectors: Matrix) -> pa.Table:
    values = np.ascontiguousarray(vectors, dtype=np.float32)
    columns = [
        pa.array(list(digests), pa.binary(DIGEST_BYTES)),
        pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1]),
    ]
    return pa.Table.from_arrays(columns, names=["digest", "vector"])


def _matrix(table: pa.Table) -> Matrix:
    column = table["vector"].combine_chunks()
    matrix: Matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
    return matrix
