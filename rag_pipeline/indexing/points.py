"""Chunks to the points that a collection should hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rag_pipeline.indexing.identity import fingerprint, point_id, text_digest
from rag_pipeline.schema import Chunk, ChunkedDocument, DocumentRecord

PAYLOAD_VERSION = 2
"""Part of the spec: raise it when the payload gains, loses or changes a field."""


@dataclass(frozen=True, slots=True)
class DesiredPoint:
    """A point that should exist, its vector named by the digest of its text."""

    id: str
    digest: bytes
    embedded_text: str
    payload: Mapping[str, Any]


def desired_points(record: DocumentRecord, document: ChunkedDocument, *, points_fingerprint: str) -> Iterator[DesiredPoint]:
    """The points of one document, in the order of its chunks."""
    for chunk in document.chunks:
        payload = _payload(record, document, chunk)
        digest = fingerprint({"payload": payload, "points": points_fingerprint})
        yield DesiredPoint(
            id=point_id(source=record.source, document=record.document_id, ordinal=chunk.ordinal, digest=digest),
            digest=text_digest(chunk.embedded_text),
            embedded_text=chunk.embedded_text,
            payload=payload,
        )


def id_of_payload(payload: Mapping[str, Any], *, points_fingerprint: str) -> str:
    """The id that a stored payload must have; another one means that it was changed or damaged."""
    digest = fingerprint({"payload": dict(payload), "points": points_fingerprint})
    return point_id(
        source=str(payload.get("source")),
        document=str(payload.get("document_id")),
        ordinal=int(payload.get("ordinal", -1)),
        digest=digest,
    )


def _payload(record: DocumentRecord, document: ChunkedDocument, chunk: Chunk) -> dict[str, Any]:
    return {
        "text": chunk.text,
        "context": chunk.context,
        "document_id": record.document_id,
        "source": record.source,
        "uri": record.uri,
        "path": record.path,
        "title": document.title,
        "bucket": record.bucket,
        "ordinal": chunk.ordinal,
        "page": chunk.page,
        "heading_path": list(chunk.heading_path),
        "type": str(document.type),
        "format": document.format,
        "kind": str(chunk.kind),
        "content_hash": document.content_hash,
        "start": chunk.start,
        "end": chunk.end,
        "tokens": chunk.token_count,
        "metadata": dict(document.metadata),
        "flags": sorted({*document.flags, *chunk.flags}),
        "stale": document.content_hash != record.content_hash,
    }
