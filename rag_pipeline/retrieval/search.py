"""A question to hits."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from rag_pipeline.errors import BackendRejectedError
from rag_pipeline.ports import Embedder, SparseEncoder, VectorStore
from rag_pipeline.retrieval.copies import merge_copies
from rag_pipeline.retrieval.ranking import Ranking
from rag_pipeline.schema import Hit

SearchMode = Literal["dense", "sparse", "hybrid"]


class Searcher:
    """Answers questions from the collection behind an alias, with that collection's own model.

    ``embedder_for`` gets the metadata of the collection and gives the embedder of its spec; it should keep what it loads.
    ``prefetch``: candidates that nearness and words each bring to a hybrid search; what becomes of them says ``ranking``.
    """

    def __init__(
        self,
        *,
        store: VectorStore,
        alias: str,
        sparse: SparseEncoder,
        embedder_for: Callable[[Mapping[str, Any]], Embedder],
        prefetch: int,
        ranking: Ranking,
    ) -> None:
        self._store = store
        self._alias = alias
        self._sparse = sparse
        self._embedder_for = embedder_for
        self._prefetch = prefetch
        self._ranking = ranking
        self._embedders: dict[str, Embedder] = {}

    def search(
        self, question: str, *, mode: SearchMode = "hybrid", limit: int, filters: Mapping[str, Any] | None = None
    ) -> list[Hit]:
        """The best hits, best first. ``filters``: payload key to a value, or to a list of which one must match.

        Documents with the same bytes give one hit, whose payload names the addresses of all in ``uris``.
        Raises BackendRejectedError when nothing is indexed yet.
        """
        collection = self._resolve()
        try:
            return self.search_in(collection, question, mode=mode, limit=limit, filters=filters)
        except BackendRejectedError:
            # A release may drop the collection between the look at the alias and the search.
            successor = self._resolve()
            if successor == collection:
                raise
            return self.search_in(successor, question, mode=mode, limit=limit, filters=filters)

    def search_in(
        self,
        collection: str,
        question: str,
        *,
        mode: SearchMode = "hybrid",
        limit: int,
        filters: Mapping[str, Any] | None = None,
    ) -> list[Hit]:
        """The best hits of one physical collection, live or not, by its own model and the same ranking as ``search``.

        Raises BackendRejectedError when there is no such collection.
        """
        depth = max(self._prefetch, limit)
        dense = self._dense(collection, question, limit=depth, filters=filters) if mode != "sparse" else []
        sparse = self._by_words(collection, question, limit=depth, filters=filters) if mode != "dense" else []
        dense, sparse = merge_copies(dense, sparse)
        if mode != "hybrid":
            return (dense or sparse)[:limit]
        return self._ranking.rank(dense, sparse, limit=limit)

    def _resolve(self) -> str:
        collection = self._store.resolve_alias(self._alias)
        if collection is None:
            raise BackendRejectedError(f"nothing is indexed under '{self._alias}' yet; run rag index", system="search")
        return collection

    def _dense(self, collection: str, question: str, *, limit: int, filters: Mapping[str, Any] | None) -> list[Hit]:
        vector = self._embedder_of(collection).embed_query(question)
        return self._store.search_dense(collection, vector, limit=limit, filters=filters)

    def _embedder_of(self, collection: str) -> Embedder:
        """The collection's own model. Looked up once: the vector space of a collection never changes."""
        if collection not in self._embedders:
            metadata = self._store.metadata(collection)
            if metadata is None:
                message = (
                    f"there is no collection '{collection}'; rag status shows those there are, rag index builds a missing one"
                )
                raise BackendRejectedError(message, system="search")
            self._embedders[collection] = self._embedder_for(metadata)
        return self._embedders[collection]

    def _by_words(self, collection: str, question: str, *, limit: int, filters: Mapping[str, Any] | None) -> list[Hit]:
        return self._store.search_sparse(collection, self._sparse.encode_query(question), limit=limit, filters=filters)
