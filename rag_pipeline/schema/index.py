"""Models, specifications, what a store holds, and what a run leaves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rag_pipeline.schema.documents import DocumentType

Vector = npt.NDArray[np.float32]
"""float32, shape ``(dimension,)``."""
Matrix = npt.NDArray[np.float32]
"""float32, shape ``(rows, dimension)``."""

# --- the specification of an index ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the files of a model say without loading it."""

    model: str
    path: str
    """Folder of the files; empty for a served model."""
    weights_sha256: str
    """Digest over every file that decides a vector: weights, tokenizer, pooling and module settings."""
    tokenizer_sha256: str
    dimension: int
    max_positions: int
    """Longest input in tokens that the weights allow."""
    special_tokens: int
    is_normalized: bool
    weights_bytes: int = 0
    """Size of the weights, for a guess at the speed; 0 where they do not lie here."""


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """What makes two vectors comparable."""

    model: str
    weights_sha256: str
    dimension: int
    distance: str
    is_normalized: bool
    document_prompt: str
    query_prompt: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """Exactly the fields that change a stored point, each stage's part apart."""

    vector_space: VectorSpace
    tokenizer_sha256: str
    parsing: Mapping[DocumentType, str]
    """Parser fingerprint (parser, version and cleaning) by document type."""
    chunking: Mapping[DocumentType, Mapping[str, Any]]
    """Chunking rule by document type, as JSON values."""
    sparse_model: str
    payload_version: int
    masking: Mapping[str, str] = field(default_factory=dict)
    """Masking fingerprint for every source (``*``) and for those that differ; empty where nothing is masked."""


# --- the store ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SparseVector:
    """BM25 weights of a text."""

    indices: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """A row to be stored."""

    id: str
    """UUID; equal id means equal payload and text."""
    vector: Vector
    sparse: SparseVector
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A row as the store holds it; its vectors are None unless asked for."""

    id: str
    payload: Mapping[str, Any]
    vector: Vector | None = None
    sparse: SparseVector | None = None


@dataclass(frozen=True, slots=True)
class CollectionLayout:
    """How a collection is made."""

    dimension: int
    distance: str
    """``cosine``, ``dot`` or ``euclid``."""
    metadata: Mapping[str, Any]
    """The whole spec that the collection holds, as JSON values."""


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What the store says of a collection."""

    name: str
    dimension: int
    points: int
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hit:
    """A point that a query found, best first in a list."""

    id: str
    score: float
    payload: Mapping[str, Any]


# --- runs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """A document that could not be indexed, under the content and the parser that failed."""

    content_hash: str
    parser_fingerprint: str
    type: DocumentType | None
    """Its parser's fingerprint decides whether the entry still holds."""
    document_id: str
    source: str
    path: str
    reason: str
    detail: str
    generation: int
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class BucketState:
    """What the last finished reconcile of one bucket left in one collection."""

    digest: str
    points: int
    generation: int
    seen: int
    """Documents accounted for: those with points of their newest content, and those in quarantine."""
    quarantined: int
