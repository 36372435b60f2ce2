"""Embeds with a sentence-transformers model on this machine's CPU or GPU."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rag_pipeline.adapters.device_queue import QueuedModel
from rag_pipeline.adapters.engine_choice import EngineChoice
from rag_pipeline.adapters.engines import Engine, LoadedModel
from rag_pipeline.ports import Batching, Wait
from rag_pipeline.schema import Matrix, ModelFacts, Vector
from rag_pipeline.settings import EmbeddingSettings


class SentenceTransformerEmbedder:
    """A ``QueuedEmbedder`` over the files of a model. Nothing is loaded before the first text.

    What the settings leave open of engine and arithmetic is chosen before the first documents, by trying, and remembered in
    ``cache_dir``. A process that only asks questions tries nothing and starts with float32.
    """

    def __init__(self, facts: ModelFacts, settings: EmbeddingSettings, cache_dir: Path | None = None) -> None:
        self.dimension = facts.dimension
        self._facts = facts
        self._settings = settings
        self._choice = EngineChoice(facts, settings, cache_dir)
        self._model: LoadedModel[Engine] | None = None
        self._queued: QueuedModel | None = None
        self._is_settled = False
        # For what is not queued: one forward pass uses every core, and two at once would only take each other's memory.
        self._lock = threading.RLock()

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        with self._lock:
            model = self._for_documents()
            if self._queued is None or not texts:
                return model.embed(texts, prompt=self._settings.document_prompt)
        return self.begin_documents(texts)()

    def batching(self, tokens: int) -> Batching:
        with self._lock:
            self._for_documents()
            return self._queued.batching(tokens) if self._queued else Batching(tokens)

    def begin_documents(self, texts: Sequence[str]) -> Wait:
        with self._lock:
            self._for_documents()
            if self._queued is None:
                return lambda: self.embed_documents(texts)
            return self._queued.queue.begin(texts, prompt=self._settings.document_prompt)

    def _for_documents(self) -> LoadedModel[Engine]:
        if self._model is None or not self._is_settled:
            self._model = self._choice.for_documents(self._model)
            self._queued = self._choice.queued(self._model)
            self._is_settled = True
        return self._model

    def embed_query(self, text: str) -> Vector:
        with self._lock:
            if self._model is None:
                self._model = self._choice.for_questions()
            vector: Vector = self._model.embed([text], prompt=self._settings.query_prompt)[0]
            return vector

    def describe(self) -> Mapping[str, Any]:
        wanted = self._settings.model_dump(include={"engine", "device", "dtype"})
        return {"model": self._facts.model, **(self._model.engine.describe() if self._model else wanted), **self._choice.evidence}
