"""Small collections in the real engine, good and damaged, for checks of a candidate."""

import uuid
from collections.abc import Callable, Sequence

from rag_pipeline.adapters.bm25_encoder import Bm25Encoder
from rag_pipeline.adapters.qdrant_edge_store import QdrantEdgeStore
from rag_pipeline.evaluation.retrieval_metrics import Search
from rag_pipeline.retrieval.ranking import Ranking
from rag_pipeline.retrieval.search import Searcher
from rag_pipeline.schema import CollectionLayout, Point
from rag_pipeline_tests.fakes.embedder import HashEmbedder

TOPICS = ["zebra", "giraffe", "heron", "otter", "badger", "lynx", "falcon", "salmon", "beetle", "spider", "walrus", "tapir"]
FACTS = ["eats in the morning and sleeps at noon", "builds its nest under old trees", "crosses the river every winter"]
SPARSE = Bm25Encoder()


def fill(
    store: QdrantEdgeStore, name: str, *, embedder: HashEmbedder | None = None, swap: Callable[[int], int] = lambda n: n
) -> None:
    """Three chunks about each topic; ``swap`` says whose vector a chunk gets, so other than itself is damage."""
    embedder = embedder or HashEmbedder()
    texts = [f"The {topic} {fact}." for topic in TOPICS for fact in FACTS]
    dense, sparse = embedder.embed_documents(texts), SPARSE.encode_documents(texts)
    store.create_collection(name, CollectionLayout(embedder.dimension, distance="cosine", metadata={}))
    store.upsert(
        name,
        [
            Point(str(uuid.uuid5(uuid.NAMESPACE_URL, text)), dense[swap(n)], sparse[swap(n)], payload_of(n, text))
            for n, text in enumerate(texts)
        ],
    )


def payload_of(number: int, text: str) -> dict[str, object]:
    topic, ordinal = TOPICS[number // len(FACTS)], number % len(FACTS)
    return {
        "text": text,
        "document_id": topic,
        "uri": f"file:///zoo/{topic}.md",
        "path": f"{topic}.md",
        "ordinal": ordinal,
        "start": 100 * ordinal,
        "end": 100 * ordinal + len(text),
        "tokens": 12,
        "heading_path": [f"All about the {topic}", f"Part {ordinal}"],
    }


def search_of(store: QdrantEdgeStore, name: str, *, limit: int = 5) -> Search:
    """A search of one collection, as a gate does it."""
    embedder = HashEmbedder()
    searcher = Searcher(store=store, alias="docs", sparse=SPARSE, embedder_for=lambda _: embedder, prefetch=20, ranking=Ranking())
    return lambda question: searcher.search_in(name, question, limit=limit)


def neighbours_of(store: QdrantEdgeStore, name: str, *, limit: int = 3) -> Callable[[str], set[str]]:
    """The documents nearest to a document's first chunk."""

    def neighbours(document: str) -> set[str]:
        (first,) = (
            point
            for point in store.scroll(name, with_vectors=True)
            if (point.payload["document_id"], point.payload["ordinal"]) == (document, 0)
        )
        assert first.vector is not None
        return {hit.payload["document_id"] for hit in store.search_dense(name, first.vector, limit=limit)}

    return neighbours


def shifted(topics: int) -> Callable[[int], int]:
    """Each document has the vectors of another one."""
    return lambda number: (number + topics * len(FACTS)) % (len(TOPICS) * len(FACTS))


def names(topics: Sequence[str]) -> tuple[str, ...]:
    """How a golden set names the documents of topics."""
    return tuple(f"{topic}.md" for topic in topics)
