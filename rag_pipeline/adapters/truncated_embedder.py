"""The first numbers of another embedder's vectors, for models that are made to be cut short."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rag_pipeline.ports import Batching, Embedder, QueuedEmbedder, Wait
from rag_pipeline.schema import Matrix, Vector


class TruncatedEmbedder:
    """An ``Embedder`` whose vectors have fewer numbers, and length 1 again where the model's had it.

    Matryoshka Representation Learning (Kusupati et al., NeurIPS 2022).
    """

    def __init__(self, inner: Embedder, dimension: int, *, is_normalized: bool) -> None:
        self.dimension = dimension
        self._inner = inner
        self._is_normalized = is_normalized

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        return self._cut(self._inner.embed_documents(texts))

    def batching(self, tokens: int) -> Batching:
        return self._inner.batching(tokens) if isinstance(self._inner, QueuedEmbedder) else Batching(tokens)

    def begin_documents(self, texts: Sequence[str]) -> Wait:
        if not isinstance(self._inner, QueuedEmbedder):
            return lambda: self.embed_documents(texts)
        wait = self._inner.begin_documents(texts)
        return lambda: self._cut(wait())

    def embed_query(self, text: str) -> Vector:
        vector: Vector = self._cut(self._inner.embed_query(text)[np.newaxis])[0]
        return vector

    def describe(self) -> Mapping[str, Any]:
        return {**self._inner.describe(), "dimension": self.dimension}

    def _cut(self, vectors: Matrix) -> Matrix:
        cut: Matrix = np.ascontiguousarray(vectors[:, : self.dimension])
        if not self._is_normalized:
            return cut
        lengths = np.linalg.norm(cut, axis=1, keepdims=True)
        lengths[lengths == 0] = 1  # the check of vectors refuses them later, with a better message
        return np.asarray(cut / lengths, dtype=np.float32)
