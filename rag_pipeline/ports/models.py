"""What turns texts into tokens and vectors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from rag_pipeline.schema import (
    Matrix,
    SparseVector,
    Vector,
)


class Tokenizer(Protocol):
    """The embedding model's own tokenizer."""

    special_tokens: int
    """Tokens that the model adds to every input."""

    def spans(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        """For each text its tokens as character offsets: int32 of shape ``(tokens, 2)``, special tokens left out."""

    def count(self, text: str) -> int:
        """Tokens of the text, special tokens left out."""


class Embedder(Protocol):
    """Texts to vectors of one vector space."""

    dimension: int

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        """float32 ``(len(texts), dimension)``, in order, prompt added, one batch. Raises BatchTooLargeError, TruncationError."""

    def embed_query(self, text: str) -> Vector:
        """float32 ``(dimension,)``, embedded after the query prompt."""

    def describe(self) -> Mapping[str, Any]:
        """Device, arithmetic and how they were chosen; for metadata, not for fingerprints."""


@dataclass(frozen=True, slots=True)
class Batching:
    """The batches that suit a device."""

    tokens: int
    """Of one batch, padding included."""
    texts: int = 256
    """Of one batch at most."""
    at_once: int = 1
    """Batches that are worth having under way together."""
    length_step: int = 1
    """Texts are padded to a multiple of so many tokens."""

    def padded(self, tokens: int) -> int:
        """Tokens that the device works on for a text of so many."""
        return -(-tokens // self.length_step) * self.length_step

    def padded_tokens(self, counts: Sequence[int]) -> int:
        """Tokens that it works on for a batch: every text as long as the longest."""
        return len(counts) * self.padded(max(counts))


Wait = Callable[[], Matrix]
"""Waits for the vectors of what was begun, and raises what went wrong with it."""


@runtime_checkable
class QueuedEmbedder(Embedder, Protocol):
    """An embedder that may have several batches under way: one is computed, the next made ready, the last read back."""

    def batching(self, tokens: int) -> Batching:
        """The batches that it wants where the settings ask for so many tokens. Loads the model."""

    def begin_documents(self, texts: Sequence[str]) -> Wait:
        """Begins what ``embed_documents`` does and returns at once; the call waits for the vectors, or raises as that does."""


class SparseEncoder(Protocol):
    """Texts to BM25 weights."""

    name: str
    """Model and its settings; part of the spec."""

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """One sparse vector a text, in order."""

    def encode_query(self, text: str) -> SparseVector:
        """The sparse vector of a question."""
