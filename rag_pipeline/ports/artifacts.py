"""What the stages leave between runs."""

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol, TypeVar

from rag_pipeline.schema import (
    ChunkedDocument,
    Matrix,
    StoredDocument,
    Vector,
)

Row = TypeVar("Row")


class Artifact(Protocol[Row]):
    """Rows of one stage, kept per bucket."""

    def read(self, bucket: str) -> list[Row]:
        """All rows of the bucket, later ones of a key winning; empty where nothing was written."""

    def append(self, bucket: str, rows: Sequence[Row]) -> None:
        """Adds rows so that a crash right after keeps them; cheap, and compacted by the next replace."""

    def join(self, bucket: str) -> None:
        """Makes one of many small parts, their rows as they are, so that the next reader has little to open."""

    def replace(self, bucket: str, rows: Sequence[Row]) -> None:
        """Makes these the rows of the bucket, atomically: a reader sees the old ones or the new ones."""


class StoredDocuments(Artifact[StoredDocument], Protocol):
    """The ``documents`` artifact, found by content too, so that a renamed or copied file is not parsed again."""

    def content_keys(self, bucket: str) -> list[tuple[str, str]]:
        """(content hash, document id) of every row of the bucket, without reading any text."""


class VectorArtifact(Protocol):
    """Vectors by the digest of their text, kept per bucket of the document that first needed them."""

    def digests(self, bucket: str) -> set[bytes]:
        """Digests that the bucket holds, without reading a vector."""

    def read(self, bucket: str, digests: Iterable[bytes]) -> dict[bytes, Vector]:
        """The vectors of those digests that the bucket holds."""

    def append(self, bucket: str, digests: Sequence[bytes], vectors: Matrix) -> None:
        """Adds vectors so that a crash right after keeps them."""

    def retain(self, bucket: str, digests: set[bytes]) -> None:
        """Compacts the bucket to these digests; those not held are ignored."""

    def buckets(self) -> list[str]:
        """Buckets that hold anything, sorted."""


Stage = Literal["documents", "chunks", "embeddings"]


class ArtifactStore(Protocol):
    """The artifacts of all collections. An artifact is named by what made it, so that collections share what they can."""

    def documents(self, name: str) -> StoredDocuments:
        """Parsed documents; made by its first write."""

    def chunks(self, name: str) -> Artifact[ChunkedDocument]:
        """Documents cut into chunks."""

    def vectors(self, name: str) -> VectorArtifact:
        """Vectors of one vector space."""

    def names(self, stage: Stage) -> list[str]:
        """Artifacts of the stage that hold anything, sorted."""

    def drop(self, stage: Stage, name: str) -> None:
        """Deletes an artifact whole; nothing happens where there is none."""
