"""The stages' rows as Parquet files: documents, chunks, vectors.

An artifact is a cache of finished work and the disaster copy of the index, readable by anything that reads Parquet.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

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
from rag_pipeline.ports import Stage
from rag_pipeline.schema import ChunkedDocument, Matrix, StoredDocument, Vector

DIGEST_BYTES = 16

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class DocumentArtifact:
    """Port ``StoredDocuments``: parsed documents."""

    def __init__(self, url: str, *, storage_options: Mapping[str, Any] | None = None) -> None:
        self._parts = ParquetParts(url, storage_options=storage_options, dictionary=DOCUMENTS_DICTIONARY)

    def read(self, bucket: str) -> list[StoredDocument]:
        return merge_rows(self._parts.tables(bucket), decode=decode_documents, key=lambda row: row.document_id)

    def append(self, bucket: str, rows: Sequence[StoredDocument]) -> None:
        if rows:
            self._parts.append(bucket, encode_documents(rows))

    def join(self, bucket: str) -> None:
        self._parts.join(bucket)

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

    def join(self, bucket: str) -> None:
        self._parts.join(bucket)

    def replace(self, bucket: str, rows: Sequence[ChunkedDocument]) -> None:
        self._parts.replace(bucket, encode_chunks(rows))


class ParquetVectorArtifact:
    """Port ``VectorArtifact``: vectors of one vector space by the digest of their text."""

    def __init__(self, url: str, *, storage_options: Mapping[str, Any] | None = None) -> None:
        self._parts = ParquetParts(url, storage_options=storage_options, removes_damaged=True)

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


class ParquetArtifactStore:
    """Port ``ArtifactStore``: a folder ``<url>/<stage>/<name>`` an artifact, on any fsspec URL or local path.

    One name gives one object, however often it is asked for. Threads may share the store.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self._url = url.rstrip("/")
        self._options = dict(storage_options or {})
        self._documents: dict[str, DocumentArtifact] = {}
        self._chunks: dict[str, ChunkArtifact] = {}
        self._vectors: dict[str, ParquetVectorArtifact] = {}
        self._stages = {stage: ParquetParts(f"{self._url}/{stage}", storage_options=self._options) for stage in get_args(Stage)}

    def documents(self, name: str) -> DocumentArtifact:
        return self._documents.setdefault(name, DocumentArtifact(self._folder("documents", name), storage_options=self._options))

    def chunks(self, name: str) -> ChunkArtifact:
        return self._chunks.setdefault(name, ChunkArtifact(self._folder("chunks", name), storage_options=self._options))

    def vectors(self, name: str) -> ParquetVectorArtifact:
        url = self._folder("embeddings", name)
        return self._vectors.setdefault(name, ParquetVectorArtifact(url, storage_options=self._options))

    def names(self, stage: Stage) -> list[str]:
        return [name for name in self._stages[stage].artifacts() if _NAME.fullmatch(name)]

    def drop(self, stage: Stage, name: str) -> None:
        self._stages[stage].remove_folder(_checked(name))

    def _folder(self, stage: Stage, name: str) -> str:
        return f"{self._url}/{stage}/{_checked(name)}"


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):  # an empty one would be the folder of all
        raise ValueError(f"'{name}' is no name for an artifact")
    return name


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
