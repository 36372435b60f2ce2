"""Where points are kept and searched."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from rag_pipeline.schema import (
    CollectionInfo,
    CollectionLayout,
    Hit,
    Point,
    SparseVector,
    StoredPoint,
    Vector,
)


class VectorStore(Protocol):
    """Collections of points behind aliases. Every write waits until it is applied and every item result is checked."""

    def create_collection(self, name: str, layout: CollectionLayout) -> None:
        """Makes the collection with its payload indexes; nothing happens where it stands with this dimension."""

    def collections(self) -> list[str]:
        """Names of all collections, sorted."""

    def describe(self, name: str) -> CollectionInfo | None:
        """Facts of a collection, or None where there is none."""

    def metadata(self, name: str) -> Mapping[str, Any] | None:
        """The spec that the collection says it holds, or None where there is none; needs no turn at the store."""

    def set_metadata(self, name: str, metadata: Mapping[str, Any]) -> None:
        """Replaces the spec that the collection says it holds."""

    def drop_collection(self, name: str) -> None:
        """Deletes it. Raises BackendRejectedError while an alias points at it."""

    def resolve_alias(self, alias: str) -> str | None:
        """The collection behind the alias, or None."""

    def switch_alias(self, alias: str, collection: str) -> None:
        """Points the alias at an existing collection, in one atomic step."""

    def upsert(self, name: str, points: Sequence[Point]) -> None:
        """Stores the points, whatever their number and size, and waits."""

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """Removes the points and waits; unknown ids are fine."""

    def point_ids(self, name: str, bucket: str) -> set[str]:
        """Ids of every point whose payload names the bucket."""

    def scroll(self, name: str, *, bucket: str | None = None, with_vectors: bool = False) -> Iterator[StoredPoint]:
        """Every point, of one bucket or all."""

    def count(self, name: str) -> int:
        """The exact number of points."""

    def optimize(self, name: str) -> None:
        """Builds the vector index over what is stored, which loading leaves for later, and makes it durable."""

    def free_bytes(self) -> int | None:
        """Free space where the points are kept; None where the store does not tell."""

    def server_version(self) -> str | None:
        """Version of the server; None where the store is part of this process."""

    def purge(self, name: str) -> bool:
        """Leaves nothing of deleted points in the store's files; readers see no gap. False where that is not in our hands."""

    def let_others_in(self) -> None:
        """Gives a waiting process its turn where only one can use the store; costs next to nothing when none waits."""

    def search_dense(self, name: str, vector: Vector, *, limit: int, filters: Mapping[str, Any] | None = None) -> list[Hit]:
        """Nearest points by vector. ``filters``: payload key to a value, or to a list of which one must match."""

    def search_sparse(
        self, name: str, vector: SparseVector, *, limit: int, filters: Mapping[str, Any] | None = None
    ) -> list[Hit]:
        """Best points by BM25."""

    def close(self) -> None:
        """Frees locks and connections; the object may be used again and then opens anew."""
