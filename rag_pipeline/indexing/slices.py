"""What flows through the stages: a few documents of one bucket, and what is known of the bucket so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rag_pipeline.indexing.chunks import BucketChunks, ChunkCounts
from rag_pipeline.indexing.document_slices import DocumentsOutcome
from rag_pipeline.indexing.reconcile import BucketPoints, PointsOutcome
from rag_pipeline.schema import ChunkedDocument, StoredDocument, Vector


@dataclass(slots=True)
class VectorCounts:
    """What the ``embeddings`` stage did to one bucket."""

    embedded: int = 0
    copied: int = 0
    """Vectors taken over from another bucket."""
    tokens: int = 0
    """Tokens embedded now, padding left out."""
    padded_tokens: int = 0


@dataclass(slots=True)
class BucketWork:
    """One bucket on its way. Each field is written by one stage, and read by another once a slice has brought it."""

    bucket: str
    documents: DocumentsOutcome | None = None
    chunks: BucketChunks | None = None
    counts: ChunkCounts = field(default_factory=ChunkCounts)
    vectors: VectorCounts = field(default_factory=VectorCounts)
    held_digests: set[bytes] | None = None
    """Texts of which the bucket's artifact has a vector."""
    writing: BucketPoints | None = None
    waiting: list[ChunkedDocument] = field(default_factory=list)
    """Chunks that are written with the last slice, because the bucket holds points already."""
    is_distrusted: bool = False
    """The ledger has forgotten that it was in step."""
    points: PointsOutcome | None = None
    is_current: bool = True
    """False when a stage that did not run left something that is behind the ledger's documents."""
    is_complete: bool = True
    """False when the build was told to stop before every text had its vector."""


@dataclass(slots=True)
class Slice:
    """A few documents of a bucket; each stage adds what the next one needs and lets go of what none needs any more."""

    work: BucketWork
    documents: Sequence[StoredDocument] = ()
    chunks: Sequence[ChunkedDocument] = ()
    vectors: Mapping[bytes, Vector] = field(default_factory=dict)
    """Those made just now; the others are in the artifact."""
    is_last: bool = False
