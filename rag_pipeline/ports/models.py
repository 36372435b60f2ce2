"""What turns texts into tokens and vectors."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

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


class SparseEncoder(Protocol):
    """Texts to BM25 weights."""

    name: str
    """Model and its settings; part of the spec."""

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """One sparse vector a text, in order."""

    def encode_query(self, text: str) -> SparseVector:
        """The sparse vector of a question."""
