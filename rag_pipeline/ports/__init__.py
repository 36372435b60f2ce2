"""Every outside system, as a Protocol. Adapters implement them; contract suites hold each to its word."""

from rag_pipeline.ports.artifacts import Artifact, ArtifactStore, Row, Stage, StoredDocuments, VectorArtifact
from rag_pipeline.ports.documents import (
    Clock,
    DocumentSource,
    MaskedDocument,
    Masker,
    ParseOutcome,
    Parser,
    ParseRequest,
    Progress,
)
from rag_pipeline.ports.ledger import Ledger
from rag_pipeline.ports.models import Batching, Embedder, QueuedEmbedder, SparseEncoder, Tokenizer, Wait
from rag_pipeline.ports.vector_store import VectorStore

__all__ = [
    "Artifact",
    "ArtifactStore",
    "Batching",
    "Clock",
    "DocumentSource",
    "Embedder",
    "Ledger",
    "MaskedDocument",
    "Masker",
    "ParseOutcome",
    "ParseRequest",
    "Parser",
    "Progress",
    "QueuedEmbedder",
    "Row",
    "SparseEncoder",
    "Stage",
    "StoredDocuments",
    "Tokenizer",
    "VectorArtifact",
    "VectorStore",
    "Wait",
]
