"""A shard of the embedded engine, made as the settings want it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import qdrant_edge

from rag_pipeline.adapters import qdrant_layout as layouts
from rag_pipeline.adapters.qdrant_layout import DENSE, SPARSE, rejected
from rag_pipeline.settings.store import EdgeStoreSettings, QuantizationSettings

FULL_SCAN_KB = 10_000
"""Below it a segment, or what a filter leaves of it, is compared whole; the engine's own default."""

_MAPPED = qdrant_edge.Memory.Cold

_DISTANCES = {
    "cosine": qdrant_edge.Distance.Cosine,
    "dot": qdrant_edge.Distance.Dot,
    "euclid": qdrant_edge.Distance.Euclid,
}


def create(folder: Path, config: qdrant_edge.EdgeConfig, tuning: EdgeStoreSettings) -> qdrant_edge.EdgeShard:
    """An empty shard in the folder, with its payload indexes."""
    shard = qdrant_edge.EdgeShard.create(str(folder), config)
    memory = _index_memory(tuning)
    indexes: dict[str, Any] = dict.fromkeys(layouts.KEYWORD_INDEXES, qdrant_edge.KeywordIndexParams(memory=memory))
    number = qdrant_edge.IntegerIndexParams(lookup=True, range=True, memory=memory)
    indexes |= dict.fromkeys(layouts.INTEGER_INDEXES, number)
    for key, index in indexes.items():
        shard.update(qdrant_edge.UpdateOperation.create_field_index(key, index))
    return shard


def config(spec: Mapping[str, Any], tuning: EdgeStoreSettings) -> qdrant_edge.EdgeConfig:
    """The engine's own settings. Raises BackendRejectedError for a distance that it does not know."""
    distance = spec["distance"]
    if distance not in _DISTANCES:
        raise rejected(f"unknown distance '{distance}'; use one of {', '.join(_DISTANCES)}")
    dense = qdrant_edge.EdgeVectorParams(
        size=spec["dimension"],
        distance=_DISTANCES[distance],
        # Cold: opening a collection maps its vectors and reads none; Cached reads all of them at every opening.
        memory=_MAPPED if tuning.vectors_on_disk else qdrant_edge.Memory.Cached,
        hnsw_config=_graph(tuning),
        quantization_config=_quantization(tuning.quantization),
    )
    memory = _index_memory(tuning)
    sparse = qdrant_edge.EdgeSparseVectorParams(modifier=qdrant_edge.Modifier.Idf, memory=memory)
    return qdrant_edge.EdgeConfig(
        vectors={DENSE: dense},
        sparse_vectors={SPARSE: sparse},
        id_tracker_memory=memory,
        # Without it every new segment would be merged with all before it, and their index built again.
        optimizers=qdrant_edge.EdgeOptimizersConfig(max_segment_size=int(tuning.segment_mb * 2**10)),
    )


def _index_memory(tuning: EdgeStoreSettings) -> qdrant_edge.Memory | None:
    """Of the indexes of words, payload and ids. By itself the engine makes them memory of this process at every opening.

    60,000 points of 384 dimensions with 60 words and 21 payload fields: 128 MiB and 0.9 s to open, mapped 18 MiB and 0.4 s.
    Questions are as fast, within the noise (28 November 2026).
    """
    return _MAPPED if tuning.indexes_on_disk else None


def _graph(tuning: EdgeStoreSettings) -> qdrant_edge.HnswIndexConfig:
    return qdrant_edge.HnswIndexConfig(
        m=tuning.hnsw.m,
        ef_construct=tuning.hnsw.ef_construct,
        full_scan_threshold=FULL_SCAN_KB,
        memory=_MAPPED if tuning.hnsw.on_disk else None,
    )


def _quantization(quantization: QuantizationSettings) -> Any:
    memory = qdrant_edge.Memory.Pinned if quantization.in_memory else _MAPPED
    if quantization.kind == "scalar":
        return qdrant_edge.ScalarQuantizationConfig(type=qdrant_edge.ScalarType.Int8, memory=memory)
    return qdrant_edge.BinaryQuantizationConfig(memory=memory) if quantization.kind == "binary" else None
