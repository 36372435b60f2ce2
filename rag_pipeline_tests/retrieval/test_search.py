"""Questions over the real engine, with one toy model a collection."""

import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_pipeline.adapters.bm25_encoder import Bm25Encoder
from rag_pipeline.adapters.qdrant_edge_store import QdrantEdgeStore
from rag_pipeline.errors import BackendRejectedError
from rag_pipeline.retrieval.ranking import Ranking
from rag_pipeline.retrieval.search import Searcher, SearchMode
from rag_pipeline.schema import CollectionLayout, Hit, Matrix, Point, Vector

SPARSE = Bm25Encoder()
MEMORY_FOLDER = Path("/dev/shm")


class LetterEmbedder:
    """A model of its own space: counts of letters, shifted by the model's number."""

    dimension = 26

    def __init__(self, shift: int) -> None:
        self.shift = shift

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> Vector:
        vector = np.full(26, 0.01, dtype=np.float32)
        for letter in text.lower():
            if "a" <= letter <= "z":
                vector[(ord(letter) - 97 + self.shift) % 26] += 1
        return vector

    def describe(self) -> Mapping[str, Any]:
        return {}


TEXTS = {"one": "zebra stripes", "two": "giraffe neck", "three": "arzbe pirtsse", "four": "zebra crossing in town"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else tmp_path) as name:
        yield Path(name)


@pytest.fixture
def store(folder: Path) -> Iterator[QdrantEdgeStore]:
    opened = QdrantEdgeStore(folder, lock_wait_s=1, on_wait=print)
    yield opened
    opened.close()


def fill(store: QdrantEdgeStore, name: str, *, shift: int) -> None:
    store.create_collection(name, CollectionLayout(26, distance="cosine", metadata={"shift": shift}))
    vectors = LetterEmbedder(shift).embed_documents(list(TEXTS.values()))
    sparse = SPARSE.encode_documents(list(TEXTS.values()))
    store.upsert(
        name,
        [
            Point(str(uuid.uuid5(uuid.NAMESPACE_URL, title)), vectors[n], sparse[n], {"title": title, "collection": name})
            for n, title in enumerate(TEXTS)
        ],
    )


def searcher(store: QdrantEdgeStore, **settings: Any) -> Searcher:
    defaults: dict[str, Any] = {
        "store": store,
        "alias": "docs",
        "sparse": SPARSE,
        "embedder_for": lambda metadata: LetterEmbedder(metadata["shift"]),
        "prefetch": 10,
        "ranking": Ranking(),
    }
    return Searcher(**{**defaults, **settings})


def titles(hits: Sequence[Hit]) -> list[str]:
    return [hit.payload["title"] for hit in hits]


@pytest.fixture
def filled(store: QdrantEdgeStore) -> QdrantEdgeStore:
    fill(store, "docs-1", shift=0)
    store.switch_alias("docs", "docs-1")
    return store


def test_nothing_indexed_yet_says_what_to_run(store: QdrantEdgeStore) -> None:
    with pytest.raises(BackendRejectedError, match="nothing is indexed under 'docs' yet; run rag index"):
        searcher(store).search("zebra", limit=3)


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        # Letters cannot tell an anagram from the word, words do not see it at all, both together put the word first.
        ("dense", {"one", "three"}),
        ("sparse", {"one", "four"}),
        ("hybrid", {"one", "three", "four"}),
    ],
)
def test_each_mode_finds_its_own(filled: QdrantEdgeStore, mode: SearchMode, wanted: set[str]) -> None:
    hits = searcher(filled).search("zebra stripes", mode=mode, limit=len(wanted))
    assert set(titles(hits)) == wanted
    if mode == "hybrid":
        assert titles(hits)[0] == "one"


def test_hybrid_search_looks_as_deep_as_its_limit(filled: QdrantEdgeStore) -> None:
    assert len(searcher(filled, prefetch=1).search("zebra", mode="hybrid", limit=4)) == 4


@pytest.mark.parametrize(("dense_weight", "wanted"), [(1.0, "three"), (0.1, "four")])
def test_weight_says_which_ranking_is_trusted(filled: QdrantEdgeStore, dense_weight: float, wanted: str) -> None:
    found = searcher(filled, ranking=Ranking(fusion="rrf", dense_weight=dense_weight)).search("zebra stripes", limit=2)
    assert set(titles(found)) == {"one", wanted}


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
def test_filters_and_limit_reach_every_mode(filled: QdrantEdgeStore, mode: SearchMode) -> None:
    assert titles(searcher(filled).search("zebra", mode=mode, limit=5, filters={"title": ["four", "two"]}))[0] == "four"
    assert len(searcher(filled).search("zebra", mode=mode, limit=1)) == 1


def test_question_of_stop_words_still_finds_by_vector(filled: QdrantEdgeStore) -> None:
    assert len(searcher(filled).search("the of", limit=2)) == 2


def test_each_collection_is_asked_with_its_own_model(filled: QdrantEdgeStore) -> None:
    asked: list[int] = []

    def embedder_for(metadata: Mapping[str, Any]) -> LetterEmbedder:
        asked.append(metadata["shift"])
        return LetterEmbedder(metadata["shift"])

    finder = searcher(filled, embedder_for=embedder_for)
    assert finder.search("giraffe neck", mode="dense", limit=1)[0].payload["collection"] == "docs-1"
    fill(filled, "docs-2", shift=5)
    filled.switch_alias("docs", "docs-2")
    (hit,) = finder.search("giraffe neck", mode="dense", limit=1)
    assert (hit.payload["title"], hit.payload["collection"]) == ("two", "docs-2")
    assert asked == [0, 5]


def test_alias_is_resolved_once_so_a_switch_in_mid_request_mixes_nothing(filled: QdrantEdgeStore) -> None:
    fill(filled, "docs-2", shift=5)

    def embedder_for(metadata: Mapping[str, Any]) -> LetterEmbedder:
        filled.switch_alias("docs", "docs-2")
        return LetterEmbedder(metadata["shift"])

    hits = searcher(filled, embedder_for=embedder_for).search("zebra stripes", mode="hybrid", limit=4)
    assert {hit.payload["collection"] for hit in hits} == {"docs-1"}


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
def test_candidate_is_searched_by_its_name_with_its_own_model_while_the_alias_stays(
    filled: QdrantEdgeStore, mode: SearchMode
) -> None:
    fill(filled, "docs-2", shift=5)
    finder = searcher(filled)
    for name in ("docs-2", "docs-1"):
        hits = finder.search_in(name, "giraffe neck", mode=mode, limit=1)
        assert [(hit.payload["title"], hit.payload["collection"]) for hit in hits] == [("two", name)]
    assert finder.search("giraffe neck", mode=mode, limit=1)[0].payload["collection"] == "docs-1"


def test_one_collection_is_ranked_and_filtered_as_the_live_one_is(filled: QdrantEdgeStore) -> None:
    finder = searcher(filled)
    for filters in (None, {"title": ["four", "two"]}):
        live = finder.search("zebra stripes", limit=3, filters=filters)
        assert finder.search_in("docs-1", "zebra stripes", limit=3, filters=filters) == live


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
def test_named_collection_that_is_missing_is_not_replaced_by_the_live_one(filled: QdrantEdgeStore, mode: SearchMode) -> None:
    with pytest.raises(BackendRejectedError, match="docs-9"):
        searcher(filled).search_in("docs-9", "zebra", mode=mode, limit=1)


class CountingStore(QdrantEdgeStore):
    """Counts how often readers look at the alias."""

    looks = 0

    def resolve_alias(self, alias: str) -> str | None:
        self.looks += 1
        return super().resolve_alias(alias)


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
def test_alias_is_looked_up_once_for_a_request_and_not_at_all_for_a_named_collection(
    filled: QdrantEdgeStore, folder: Path, mode: SearchMode
) -> None:
    filled.close()
    store = CountingStore(folder, lock_wait_s=1, on_wait=print)
    searcher(store).search("zebra", mode=mode, limit=1)
    assert store.looks == 1
    searcher(store).search_in("docs-1", "zebra", mode=mode, limit=1)
    assert store.looks == 1
    store.close()


class DroppingStore(QdrantEdgeStore):
    """Releases docs-2 and drops docs-1 right after a reader was told of docs-1."""

    def resolve_alias(self, alias: str) -> str | None:
        found = super().resolve_alias(alias)
        if found == "docs-1":
            self.switch_alias("docs", "docs-2")
            self.drop_collection("docs-1")
        return found


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
def test_collection_dropped_in_mid_request_is_followed_to_its_successor(
    filled: QdrantEdgeStore, folder: Path, mode: SearchMode
) -> None:
    fill(filled, "docs-2", shift=5)
    filled.close()
    store = DroppingStore(folder, lock_wait_s=1, on_wait=print)
    hits = searcher(store).search("giraffe neck", mode=mode, limit=1)
    store.close()
    assert [(hit.payload["title"], hit.payload["collection"]) for hit in hits] == [("two", "docs-2")]


class DanglingStore(QdrantEdgeStore):
    def resolve_alias(self, alias: str) -> str | None:
        return "docs-9"


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
def test_alias_to_nowhere_is_an_error_and_not_a_loop(folder: Path, mode: SearchMode) -> None:
    store = DanglingStore(folder, lock_wait_s=1, on_wait=print)
    with pytest.raises(BackendRejectedError, match="docs-9"):
        searcher(store).search("zebra", mode=mode, limit=1)
    store.close()


def test_refused_filter_is_not_hidden(filled: QdrantEdgeStore) -> None:
    with pytest.raises(BackendRejectedError, match="filter 'title'"):
        searcher(filled).search("zebra", limit=1, filters={"title": 1.5})
