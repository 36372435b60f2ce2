"""A switch to another model: chunks that are stored, through the encoder, into a new collection, until it answers."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu_parts.encoding import open_pipeline, pipeline_encode
from benchmarks.gpu_parts.sizes import Size
from benchmarks.gpu_parts.texts import TextMaker
from rag_pipeline.adapters.bm25_encoder import Bm25Encoder
from rag_pipeline.adapters.qdrant_edge_store import QdrantEdgeStore
from rag_pipeline.indexing.lanes import flow
from rag_pipeline.schema import CollectionLayout, Point
from rag_pipeline.settings.store import EdgeStoreSettings

_NEW, _ALIAS = "docs-1", "docs"
_POINTS = 512
_BUCKETS = 16


def measure_switch(model: Path, folder: Path, texts: TextMaker, *, device: str, size: Size) -> dict[str, Any]:
    """Seconds from stored chunks to an answer behind the alias, and where they went."""
    slices = [texts.natural(end - start, size.chunk_tokens, part=start + 1) for start, end in _ranges(size)]
    embedder = open_pipeline(model, device)
    encode = pipeline_encode(embedder)
    encode(["warm"], [3])
    store = QdrantEdgeStore(folder, lock_wait_s=0, on_wait=print, tuning=EdgeStoreSettings())
    started = time.perf_counter()
    store.create_collection(_NEW, CollectionLayout(embedder.dimension, "cosine", {}))
    lanes = {
        "embeddings": lambda slices: ((texts, encode(texts, tokens)) for texts, tokens in slices),
        "collection": lambda slices: _stored(store, slices),
    }
    times = flow(iter(slices), lanes, depth=2)
    written_s = time.perf_counter() - started
    store.optimize(_NEW)
    store.switch_alias(_ALIAS, _NEW)
    question = slices[0][0][0]
    hits = store.search_dense(store.resolve_alias(_ALIAS) or "", embedder.embed_query(question), limit=1)
    seconds = time.perf_counter() - started
    count = store.count(_NEW)
    store.close()
    if count != size.switch_chunks or hits[0].payload["text"] != question:
        raise RuntimeError(f"the new collection has {count} points and does not answer as it should")
    return {
        "chunks": count,
        "seconds": round(seconds, 2),
        "chunks_per_s": round(count / seconds),
        "written_s": round(written_s, 2),
        "indexed_s": round(seconds - written_s, 2),
        "lanes": {
            name: {"busy_s": round(lane.busy_s, 2), "input_wait_s": round(lane.input_wait_s, 2)} for name, lane in times.items()
        },
    }


def _ranges(size: Size) -> Iterator[tuple[int, int]]:
    for start in range(0, size.switch_chunks, size.switch_slice):
        yield start, min(start + size.switch_slice, size.switch_chunks)


def _stored(store: QdrantEdgeStore, slices: Iterator[tuple[list[str], Any]]) -> Iterator[int]:
    sparse, number = Bm25Encoder(), 0
    for texts, vectors in slices:
        words = sparse.encode_documents(texts)
        points = [
            Point(str(uuid.UUID(int=number + row + 1)), vectors[row], words[row], _payload(number + row, text))
            for row, text in enumerate(texts)
        ]
        for start in range(0, len(points), _POINTS):
            store.upsert(_NEW, points[start : start + _POINTS])
        number += len(points)
        yield number


def _payload(number: int, text: str) -> dict[str, Any]:
    document, ordinal = divmod(number, 12)
    return {"text": text, "document_id": f"{document:032x}", "bucket": f"{document % _BUCKETS:02x}", "ordinal": ordinal}
