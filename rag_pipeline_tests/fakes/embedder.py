"""A fast embedder without a model: texts that share words are near, other texts are not."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from rag_pipeline.errors import BatchTooLargeError, TruncationError
from rag_pipeline.ports import Batching
from rag_pipeline.schema import Matrix, Vector

_WORD = re.compile(r"\w+")


class HashEmbedder:
    """Sums of pseudo-random directions of words, of length 1; the same on every platform.

    Another ``salt`` makes another model of the same form. Every text has a vector of its own: one direction in twenty is
    that of the whole text. ``embedded`` keeps each text that was embedded as a document, so that a test can say what was
    not embedded again.
    """

    def __init__(
        self,
        dimension: int = 64,
        *,
        document_prompt: str = "",
        query_prompt: str = "",
        salt: str = "",
        max_words: int = 4096,
        max_batch_texts: int | None = None,
    ) -> None:
        self.dimension = dimension
        self.embedded: list[str] = []
        self._document_prompt = document_prompt
        self._query_prompt = query_prompt
        self._salt = salt
        self._max_words = max_words
        self._max_batch_texts = max_batch_texts

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        if self._max_batch_texts is not None and len(texts) > self._max_batch_texts:
            raise BatchTooLargeError(f"{len(texts)} texts do not fit", system="hash embedder")
        rows = [self._embed(self._document_prompt + text) for text in texts]
        self.embedded += texts
        return np.array(rows, dtype=np.float32).reshape(len(texts), self.dimension)

    def embed_query(self, text: str) -> Vector:
        return self._embed(self._query_prompt + text)

    def describe(self) -> Mapping[str, Any]:
        return {"device": "none", "dtype": "float32", "why": "hashes of words"}

    def _embed(self, text: str) -> Vector:
        words = _WORD.findall(text.casefold())
        if len(words) > self._max_words:
            raise TruncationError(f"a text has {len(words)} words, more than the {self._max_words} of the window")
        total = 0.05 * _direction(f"{self._salt} text {text}", self.dimension)
        for word in words:
            total = total + _direction(self._salt + word, self.dimension)
        return (total / np.linalg.norm(total)).astype(np.float32)


class QueuedHashEmbedder(HashEmbedder):
    """The same, with several batches ``under_way``; ``most`` is how many there were at most.

    A probe, one text of the batch before again, is none.
    """

    def __init__(self, dimension: int = 64, *, wants: Batching, max_batch_texts: int | None = None) -> None:
        super().__init__(dimension, max_batch_texts=max_batch_texts)
        self.most = 0
        self._wants = wants
        self.under_way = 0
        self._last: Sequence[str] = ()

    def batching(self, tokens: int) -> Batching:
        return self._wants

    def begin_documents(self, texts: Sequence[str]) -> Callable[[], Matrix]:
        is_probe = len(texts) == 1 < len(self._last) and texts[0] in self._last
        self._last = self._last if is_probe else texts
        batches = int(not is_probe)
        self.under_way += batches
        self.most = max(self.most, self.under_way)

        def wait() -> Matrix:
            self.under_way -= batches
            return self.embed_documents(texts)

        return wait


@lru_cache(maxsize=100_000)
def _direction(word: str, dimension: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    digest = hashlib.shake_256(word.encode("utf-8", "surrogatepass")).digest(dimension)
    direction = np.frombuffer(digest, dtype=np.uint8).astype(np.float64) - 127.5
    return direction / np.linalg.norm(direction)
