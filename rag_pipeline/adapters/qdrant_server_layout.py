"""How a server is asked to lay out a new collection."""

from qdrant_client import models

from rag_pipeline.adapters.qdrant_layout import INTEGER_INDEXES, KEYWORD_INDEXES
from rag_pipeline.settings.store import OptimizerSettings, QuantizationSettings, ServerStoreSettings

NO_INDEXING = 0
"""The indexing threshold while a collection is loaded: no segment gets its graph, however large."""


def dense_params(tuning: ServerStoreSettings, *, size: int, distance: models.Distance) -> models.VectorParams:
    """The dense vectors of a new collection."""
    hnsw = tuning.hnsw
    return models.VectorParams(
        size=size,
        distance=distance,
        on_disk=tuning.vectors_on_disk,
        hnsw_config=models.HnswConfigDiff(m=hnsw.m, ef_construct=hnsw.ef_construct, on_disk=hnsw.on_disk),
        quantization_config=_quantization(tuning.quantization),
    )


def sparse_params(tuning: ServerStoreSettings) -> models.SparseVectorParams:
    """The weights of words of a new collection."""
    index = models.SparseIndexParams(on_disk=tuning.indexes_on_disk or None)
    return models.SparseVectorParams(modifier=models.Modifier.IDF, index=index)


def payload_indexes(tuning: ServerStoreSettings) -> dict[str, models.KeywordIndexParams | models.IntegerIndexParams]:
    """The index of each payload key that has one."""
    on_disk = tuning.indexes_on_disk or None
    word = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, on_disk=on_disk)
    number = models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=True, on_disk=on_disk)
    return {**dict.fromkeys(KEYWORD_INDEXES, word), **dict.fromkeys(INTEGER_INDEXES, number)}


def optimizers_while_loading(optimizers: OptimizerSettings) -> models.OptimizersConfigDiff:
    """The optimizers of a new collection, which index nothing until its loading is over."""
    return models.OptimizersConfigDiff(
        indexing_threshold=NO_INDEXING,
        default_segment_number=optimizers.segments,
        max_segment_size=optimizers.max_segment_kb,
        deleted_threshold=optimizers.deleted_share,
    )


def _quantization(quantization: QuantizationSettings) -> models.ScalarQuantization | models.BinaryQuantization | None:
    in_memory = quantization.in_memory
    if quantization.kind == "scalar":
        scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=in_memory)
        return models.ScalarQuantization(scalar=scalar)
    if quantization.kind == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=in_memory))
    return None
