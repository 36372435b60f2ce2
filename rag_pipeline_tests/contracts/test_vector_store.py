"""The word of the port VectorStore, held by every store.

``edge``: the real engine in process. ``memory``: the server adapter over the in-memory mode of qdrant-client. ``grpc``: the
same behind real gRPC messages. ``server``: a real server, where QDRANT_URL names one.
"""

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from rag_pipeline.adapters.bm25_encoder import Bm25Encoder
from rag_pipeline.adapters.qdrant_edge_store import QdrantEdgeStore
from rag_pipeline.adapters.qdrant_server_store import QdrantServerStore
from rag_pipeline.errors import BackendRejectedError, BadVectorError
from rag_pipeline.ports import VectorStore
from rag_pipeline.schema import CollectionLayout, Point, SparseVector
from rag_pipeline_tests.fakes.qdrant_server import LoopbackQdrant

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")

DIMENSION = 8
PREFIX = f"test-{uuid.uuid4().hex[:8]}"
BLUE, GREEN, ALIAS = f"{PREFIX}-blue", f"{PREFIX}-green", f"{PREFIX}-docs"
LAYOUT = CollectionLayout(dimension=DIMENSION, distance="cosine", metadata={"model": "m", "chunking": {"size": 512}})
ENCODER = Bm25Encoder()

KINDS = ["edge", "memory", "grpc", *(["server"] if os.environ.get("QDRANT_URL") else [])]


MEMORY_FOLDER = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, in memory where there is one: the engine syncs a dozen times for a new collection."""
    if not MEMORY_FOLDER.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER) as name:
        yield Path(name)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, folder: Path) -> Iterator[VectorStore]:
    with OPENERS[request.param](folder) as opened:
        yield opened
        opened.close()


@contextmanager
def open_edge(folder: Path) -> Iterator[VectorStore]:
    yield QdrantEdgeStore(folder / "qdrant", lock_wait_s=5, on_wait=print)


@contextmanager
def open_memory(folder: Path) -> Iterator[VectorStore]:
    yield QdrantServerStore(url="", api_key=None, client=QdrantClient(":memory:"))


@contextmanager
def open_grpc(folder: Path) -> Iterator[VectorStore]:
    loopback = LoopbackQdrant()
    yield QdrantServerStore(url=loopback.url, api_key=None, batch_mb=3)
    loopback.stop()


@contextmanager
def open_server(folder: Path) -> Iterator[VectorStore]:
    url, api_key = os.environ["QDRANT_URL"], os.environ.get("QDRANT_API_KEY")
    yield QdrantServerStore(url=url, api_key=api_key)
    client = QdrantClient(url=url, api_key=api_key)
    for description in client.get_collections().collections:
        if description.name.startswith(PREFIX):
            client.delete_collection(description.name)
    client.close()


OPENERS = {"edge": open_edge, "memory": open_memory, "grpc": open_grpc, "server": open_server}


def vector(seed: int, dimension: int = DIMENSION) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    return values / np.linalg.norm(values)


def point(number: int, *, text: str = "nothing of note", bucket: str = "00", **payload: Any) -> Point:
    return Point(
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))),
        vector=vector(number),
        sparse=ENCODER.encode_documents([text])[0],
        payload={"text": text, "bucket": bucket, "ordinal": number, **payload},
    )


@pytest.fixture
def blue(store: VectorStore) -> VectorStore:
    store.create_collection(BLUE, LAYOUT)
    return store


# --- collections and aliases ----------------------------------------------------------------------------------------


def test_new_collection_is_empty_and_says_what_it_holds(blue: VectorStore) -> None:
    info = blue.describe(BLUE)
    assert info is not None
    assert (info.name, info.dimension, info.points, info.metadata) == (BLUE, DIMENSION, 0, LAYOUT.metadata)
    assert BLUE in blue.collections()


def test_names_are_sorted(blue: VectorStore) -> None:
    blue.create_collection(GREEN, LAYOUT)
    blue.create_collection(f"{PREFIX}-amber", LAYOUT)
    assert [name for name in blue.collections() if name.startswith(PREFIX)] == [f"{PREFIX}-amber", BLUE, GREEN]


def test_creating_again_keeps_points_and_metadata(blue: VectorStore) -> None:
    blue.upsert(BLUE, [point(1)])
    blue.create_collection(BLUE, replace(LAYOUT, metadata={"other": 1}))
    info = blue.describe(BLUE)
    assert info is not None
    assert info.points == 1
    assert info.metadata == LAYOUT.metadata


def test_creating_again_with_another_dimension_is_refused(blue: VectorStore) -> None:
    with pytest.raises(BackendRejectedError, match="8 dimensions, not 9"):
        blue.create_collection(BLUE, replace(LAYOUT, dimension=9))


def test_unsafe_names_are_refused(store: VectorStore) -> None:
    for name in ("", "..", ".hidden", "a/b", "Docs", "a" * 129, "a b"):
        with pytest.raises(BackendRejectedError, match="no name for a collection"):
            store.create_collection(name, LAYOUT)


def test_unknown_distance_is_refused(store: VectorStore) -> None:
    with pytest.raises(BackendRejectedError, match="unknown distance"):
        store.create_collection(BLUE, replace(LAYOUT, distance="hamming"))


@pytest.mark.parametrize("distance", ["cosine", "dot", "euclid"])
def test_nearest_is_the_point_itself_under_every_distance(store: VectorStore, distance: str) -> None:
    store.create_collection(BLUE, replace(LAYOUT, distance=distance))
    store.upsert(BLUE, [point(n) for n in range(20)])
    assert store.search_dense(BLUE, vector(7), limit=1)[0].id == point(7).id


def test_metadata_is_replaced_whole(blue: VectorStore) -> None:
    metadata = {"only": {"nested": [1, 2.5, True, None, "한국어"]}, "empty": {}, "list": []}
    blue.set_metadata(BLUE, metadata)
    info = blue.describe(BLUE)
    assert info is not None
    assert info.metadata == metadata


def test_metadata_that_is_not_json_is_refused(blue: VectorStore) -> None:
    with pytest.raises(BackendRejectedError, match="JSON"):
        blue.set_metadata(BLUE, {"when": object()})


def test_missing_collection_is_described_as_none(store: VectorStore) -> None:
    assert store.describe(BLUE) is None
    assert store.metadata(BLUE) is None
    assert BLUE not in store.collections()


def test_metadata_is_what_describe_tells(blue: VectorStore) -> None:
    info = blue.describe(BLUE)
    assert info is not None
    assert blue.metadata(BLUE) == info.metadata


def test_missing_alias_resolves_to_none(store: VectorStore) -> None:
    assert store.resolve_alias(ALIAS) is None


def test_switch_moves_readers_from_one_collection_to_the_next(blue: VectorStore) -> None:
    blue.create_collection(GREEN, LAYOUT)
    blue.switch_alias(ALIAS, BLUE)
    assert blue.resolve_alias(ALIAS) == BLUE
    blue.switch_alias(ALIAS, GREEN)
    assert blue.resolve_alias(ALIAS) == GREEN
    blue.switch_alias(ALIAS, GREEN)
    assert blue.resolve_alias(ALIAS) == GREEN


def test_switch_to_a_missing_collection_is_refused_and_keeps_the_old_target(blue: VectorStore) -> None:
    blue.switch_alias(ALIAS, BLUE)
    with pytest.raises(BackendRejectedError, match="no collection"):
        blue.switch_alias(ALIAS, GREEN)
    assert blue.resolve_alias(ALIAS) == BLUE


def test_alias_and_collection_cannot_share_a_name(blue: VectorStore) -> None:
    with pytest.raises(BackendRejectedError, match="is a collection"):
        blue.switch_alias(BLUE, BLUE)
    blue.switch_alias(ALIAS, BLUE)
    with pytest.raises(BackendRejectedError, match="is an alias"):
        blue.create_collection(ALIAS, LAYOUT)


def test_two_aliases_move_apart(blue: VectorStore) -> None:
    blue.create_collection(GREEN, LAYOUT)
    blue.switch_alias(ALIAS, BLUE)
    blue.switch_alias(f"{ALIAS}-2", BLUE)
    blue.switch_alias(ALIAS, GREEN)
    assert (blue.resolve_alias(ALIAS), blue.resolve_alias(f"{ALIAS}-2")) == (GREEN, BLUE)


def test_collection_behind_an_alias_cannot_be_dropped(blue: VectorStore) -> None:
    blue.upsert(BLUE, [point(1)])
    blue.switch_alias(ALIAS, BLUE)
    with pytest.raises(BackendRejectedError, match=ALIAS):
        blue.drop_collection(BLUE)
    assert blue.count(BLUE) == 1


def test_dropped_collection_is_gone_and_its_name_is_free(blue: VectorStore) -> None:
    blue.upsert(BLUE, [point(1)])
    blue.drop_collection(BLUE)
    assert blue.describe(BLUE) is None
    blue.drop_collection(BLUE)
    blue.create_collection(BLUE, replace(LAYOUT, dimension=4))
    info = blue.describe(BLUE)
    assert info is not None
    assert (info.dimension, info.points) == (4, 0)


MISSING_CALLS: dict[str, Callable[[VectorStore], object]] = {
    "upsert": lambda store: store.upsert(BLUE, [point(1)]),
    "delete": lambda store: store.delete(BLUE, [point(1).id]),
    "count": lambda store: store.count(BLUE),
    "point_ids": lambda store: store.point_ids(BLUE, "00"),
    "scroll": lambda store: list(store.scroll(BLUE)),
    "optimize": lambda store: store.optimize(BLUE),
    "search_dense": lambda store: store.search_dense(BLUE, vector(1), limit=1),
    "search_sparse": lambda store: store.search_sparse(BLUE, ENCODER.encode_query("x"), limit=1),
    "set_metadata": lambda store: store.set_metadata(BLUE, {}),
}


def test_every_use_of_a_missing_collection_is_refused(store: VectorStore) -> None:
    for name, call in MISSING_CALLS.items():
        with pytest.raises(BackendRejectedError):
            pytest.fail(f"{name} gave {call(store)}")


# --- points ---------------------------------------------------------------------------------------------------------


def test_points_come_back_as_they_went_in(blue: VectorStore) -> None:
    payload = {
        "title": "색인을 만드는 법 — «schön» 🐘",
        "heading_path": ["1장", "벡터"],
        "page": None,
        "metadata": {"deep": {"n": 1.5, "b": False, "list": [1, "a"]}},
        "start": 2**40,
    }
    blue.upsert(BLUE, [point(1, text="한국어 본문\n\t\x00끝", **payload)])
    (stored,) = blue.scroll(BLUE, with_vectors=True)
    assert stored.id == point(1).id
    assert stored.payload == {"text": "한국어 본문\n\t\x00끝", "bucket": "00", "ordinal": 1, **payload}
    assert stored.vector is not None
    assert stored.vector.dtype == np.float32
    np.testing.assert_allclose(stored.vector, vector(1), atol=1e-6)
    assert stored.sparse is not None
    sent = point(1, text="한국어 본문\n\t\x00끝").sparse
    assert dict(zip(stored.sparse.indices, stored.sparse.values, strict=True)) == pytest.approx(
        dict(zip(sent.indices, sent.values, strict=True))
    )


def test_vectors_are_left_out_unless_asked_for(blue: VectorStore) -> None:
    blue.upsert(BLUE, [point(1)])
    assert [(stored.vector, stored.sparse) for stored in blue.scroll(BLUE)] == [(None, None)]


def test_upsert_overwrites_the_whole_point(blue: VectorStore) -> None:
    blue.upsert(BLUE, [point(1, title="old", text="zebra")])
    blue.upsert(BLUE, [replace(point(2, text="giraffe"), id=point(1).id)])
    (stored,) = blue.scroll(BLUE, with_vectors=True)
    assert stored.payload == {"text": "giraffe", "bucket": "00", "ordinal": 2}
    assert stored.vector is not None
    np.testing.assert_allclose(stored.vector, vector(2), atol=1e-6)
    assert blue.search_sparse(BLUE, ENCODER.encode_query("zebra"), limit=5) == []
    assert len(blue.search_sparse(BLUE, ENCODER.encode_query("giraffe"), limit=5)) == 1


def test_repeating_an_upsert_changes_nothing(blue: VectorStore) -> None:
    points = [point(n) for n in range(10)]
    blue.upsert(BLUE, points)
    blue.upsert(BLUE, points + points)
    assert blue.count(BLUE) == 10


def test_any_number_of_points_goes_in_and_comes_back(blue: VectorStore) -> None:
    points = [point(n, bucket=f"{n % 3:02}") for n in range(2500)]
    blue.upsert(BLUE, points)
    assert blue.count(BLUE) == 2500
    stored = list(blue.scroll(BLUE))
    assert len(stored) == 2500
    assert {item.id for item in stored} == {item.id for item in points}


def test_points_larger_than_a_request_go_in(blue: VectorStore) -> None:
    blue.upsert(BLUE, [point(n, blob="x" * 3 * 2**20) for n in range(8)])
    assert blue.count(BLUE) == 8


def test_nothing_to_write_is_fine(blue: VectorStore) -> None:
    blue.upsert(BLUE, [])
    blue.delete(BLUE, [])
    assert blue.count(BLUE) == 0


def test_point_ids_and_scroll_keep_to_their_bucket(blue: VectorStore) -> None:
    points = [point(n, bucket=f"{n % 3:02}") for n in range(30)]
    blue.upsert(BLUE, points)
    for bucket in ("00", "01", "02", "03"):
        wanted = {item.id for item in points if item.payload["bucket"] == bucket}
        assert blue.point_ids(BLUE, bucket) == wanted
        assert {item.id for item in blue.scroll(BLUE, bucket=bucket)} == wanted


def test_deleted_points_are_gone_from_everywhere(blue: VectorStore) -> None:
    blue.upsert(BLUE, [point(1, text="zebra"), point(2, text="zebra")])
    blue.delete(BLUE, [point(1).id, point(99).id])
    assert blue.count(BLUE) == 1
    assert blue.point_ids(BLUE, "00") == {point(2).id}
    assert [hit.id for hit in blue.search_dense(BLUE, vector(1), limit=5)] == [point(2).id]
    assert [hit.id for hit in blue.search_sparse(BLUE, ENCODER.encode_query("zebra"), limit=5)] == [point(2).id]


def test_point_without_words_is_stored_and_found_by_vector(blue: VectorStore) -> None:
    blue.upsert(BLUE, [point(1, text="the of and")])
    assert point(1, text="the of and").sparse.indices == ()
    assert len(blue.search_dense(BLUE, vector(1), limit=5)) == 1


BAD_VECTORS = {
    "nan": np.array([np.nan] + [1.0] * 7, dtype=np.float32),
    "infinity": np.array([np.inf] + [1.0] * 7, dtype=np.float32),
    "zero": np.zeros(8, dtype=np.float32),
    "vanishing": np.full(8, 1e-8, dtype=np.float32),
    "huge": np.full(8, 1e30, dtype=np.float32),
    "short": np.ones(7, dtype=np.float32),
    "matrix": np.ones((1, 8), dtype=np.float32),
}


BAD_REASONS = {
    "nan": "holds NaN",
    "infinity": "holds NaN or infinity",
    "zero": "of length 0 ",
    "vanishing": "of length",
    "huge": "of length",
    "short": "of shape",
    "matrix": "of shape",
}


def test_one_bad_vector_stops_the_whole_upsert(blue: VectorStore) -> None:
    for name, bad in BAD_VECTORS.items():
        with pytest.raises(BadVectorError, match=f"{point(2).id}: vector {BAD_REASONS[name]}"):
            blue.upsert(BLUE, [point(1), replace(point(2), vector=bad)])
    assert blue.count(BLUE) == 0


def test_bad_sparse_vectors_are_refused(blue: VectorStore) -> None:
    infinity = float("inf")
    weights = [
        (float("nan"), 1.0),
        (1.0, float("nan")),
        (infinity, 1.0),
        (-infinity, infinity),
        (1e39, 1.0),
        (1.0, -1e39),
        (10**400, 1.0),
    ]
    for bad in (
        SparseVector((1, 2), (1.0,)),
        SparseVector((1, 1), (1.0, 2.0)),
        *(SparseVector((1, 2), values) for values in weights),
    ):
        with pytest.raises(BadVectorError, match="sparse"):
            blue.upsert(BLUE, [replace(point(1), sparse=bad)])
    assert blue.count(BLUE) == 0


def test_sparse_weights_up_to_the_largest_of_float32_are_fine(blue: VectorStore) -> None:
    blue.upsert(BLUE, [replace(point(1), sparse=SparseVector((1, 2, 3), (3e38, 3e38, -3e38)))])
    (stored,) = blue.scroll(BLUE, with_vectors=True)
    assert stored.sparse is not None
    assert sorted(stored.sparse.values) == pytest.approx([-3e38, 3e38, 3e38])


def test_ids_that_would_come_back_different_are_refused(blue: VectorStore) -> None:
    for bad in ("", "17", "no-uuid", str(uuid.uuid4()).upper(), uuid.uuid4().hex):
        with pytest.raises(BackendRejectedError, match="no point id"):
            blue.upsert(BLUE, [replace(point(1), id=bad)])
    assert blue.count(BLUE) == 0


def test_payloads_that_are_not_json_are_refused_without_showing_them(blue: VectorStore) -> None:
    for bad in (float("nan"), object(), "\ud800"):
        with pytest.raises(BackendRejectedError, match=f"point {point(1).id}: its payload") as raised:
            blue.upsert(BLUE, [point(1, secret_words="do not show", value=bad)])
        assert "do not show" not in str(raised.value)
    with pytest.raises(BackendRejectedError, match="its payload"):
        blue.upsert(BLUE, [replace(point(1), payload={1: "x"})])  # type: ignore[dict-item]
    assert blue.count(BLUE) == 0


# --- search ---------------------------------------------------------------------------------------------------------


def test_dense_search_ranks_by_nearness_and_gives_payloads(blue: VectorStore) -> None:
    blue.upsert(BLUE, [point(n) for n in range(50)])
    hits = blue.search_dense(BLUE, vector(7), limit=10)
    nearness = {point(n).id: float(vector(7) @ vector(n)) for n in range(50)}
    assert [hit.id for hit in hits] == sorted(nearness, key=lambda item: -nearness[item])[:10]
    assert hits[0].score == pytest.approx(1.0, abs=1e-5)
    assert hits[0].payload == point(7).payload


def test_sparse_search_finds_rare_words_first(blue: VectorStore) -> None:
    texts = ["one zebra among other animals", *["common, common, common and once more common"] * 9]
    blue.upsert(BLUE, [point(n, text=text) for n, text in enumerate(texts)])
    hits = blue.search_sparse(BLUE, ENCODER.encode_query("common zebra"), limit=3)
    # By weights alone the repeated word would win; what tells is how few texts hold the other.
    assert hits[0].id == point(0).id
    assert hits[0].score > hits[1].score > 0


def test_sparse_search_without_words_finds_nothing(blue: VectorStore) -> None:
    blue.upsert(BLUE, [point(1)])
    assert blue.search_sparse(BLUE, ENCODER.encode_query("the of"), limit=3) == []
    assert blue.search_sparse(BLUE, ENCODER.encode_query("unseen"), limit=3) == []


FILTERS: list[tuple[dict[str, Any], set[int]]] = [
    ({"type": "pdf"}, {0, 2, 4}),
    ({"type": ["pdf", "html"]}, {0, 1, 2, 3, 4}),
    ({"type": ("pdf",), "page": 2}, {2}),
    ({"page": [1, 2]}, {1, 2}),
    ({"heading_path": "b"}, {0, 1, 2, 3, 4}),
    ({"metadata.author": "한나"}, {4}),
    ({"type": ["pdf", 3]}, {0, 2, 4}),
    ({"type": "unheard of"}, set()),
    ({"type": []}, set()),
    ({"no_such_key": "x"}, set()),
    ({}, {0, 1, 2, 3, 4}),
]


def test_filters_hold_in_both_searches(blue: VectorStore) -> None:
    kinds = [("pdf", "A"), ("html", "A"), ("pdf", "B"), ("html", "B"), ("pdf", "한나")]
    blue.upsert(
        BLUE,
        [
            point(n, text="zebra", type=kind, page=n, heading_path=["a", "b"], metadata={"author": author})
            for n, (kind, author) in enumerate(kinds)
        ],
    )
    for filters, wanted in FILTERS:
        dense = blue.search_dense(BLUE, vector(0), limit=10, filters=filters)
        sparse = blue.search_sparse(BLUE, ENCODER.encode_query("zebra"), limit=10, filters=filters)
        assert {hit.payload["ordinal"] for hit in dense} == wanted, filters
        assert {hit.payload["ordinal"] for hit in sparse} == wanted, filters


def test_filter_values_that_no_index_holds_are_refused(blue: VectorStore) -> None:
    for bad in (1.5, None, {"a": 1}, [1.5], [None], True, [False]):
        with pytest.raises(BackendRejectedError, match="filter 'page'"):
            blue.search_dense(BLUE, vector(0), limit=1, filters={"page": bad})


def test_bad_question_vectors_are_refused(blue: VectorStore) -> None:
    blue.upsert(BLUE, [point(1)])
    for name in ("nan", "zero", "short"):
        with pytest.raises((BadVectorError, BackendRejectedError)):
            blue.search_dense(BLUE, BAD_VECTORS[name], limit=1)


def test_optimizing_keeps_points_and_answers_and_may_be_repeated(blue: VectorStore) -> None:
    blue.upsert(BLUE, [point(n) for n in range(300)])
    before = blue.search_dense(BLUE, vector(7), limit=5)
    blue.optimize(BLUE)
    blue.optimize(BLUE)
    assert blue.count(BLUE) == 300
    assert [hit.id for hit in blue.search_dense(BLUE, vector(7), limit=5)] == [hit.id for hit in before]


def test_a_purge_keeps_every_point_its_vectors_and_the_alias(blue: VectorStore) -> None:
    blue.switch_alias(ALIAS, BLUE)
    blue.upsert(BLUE, [point(n, text=f"word{n} common") for n in range(20)])
    blue.delete(BLUE, [point(3).id])
    before = {held.id: held for held in blue.scroll(BLUE, with_vectors=True)}
    for _ in range(2):
        blue.purge(BLUE)
    after = {held.id: held for held in blue.scroll(BLUE, with_vectors=True)}
    assert after.keys() == before.keys()
    for key, held in after.items():
        old = before[key]
        assert (held.payload, held.sparse) == (old.payload, old.sparse)
        assert held.vector is not None
        assert old.vector is not None
        assert np.allclose(held.vector, old.vector, atol=1e-6)
    assert blue.resolve_alias(ALIAS) == BLUE
    assert blue.metadata(BLUE) == LAYOUT.metadata
    assert blue.search_sparse(BLUE, ENCODER.encode_query("word7"), limit=1)[0].id == point(7).id
    assert [hit.payload["bucket"] for hit in blue.search_dense(BLUE, vector(5), limit=1, filters={"bucket": "00"})] == ["00"]


def test_store_may_be_used_again_after_close(blue: VectorStore) -> None:
    blue.upsert(BLUE, [point(1)])
    blue.switch_alias(ALIAS, BLUE)
    blue.close()
    blue.close()
    assert blue.resolve_alias(ALIAS) == BLUE
    assert blue.count(BLUE) == 1


# --- beside other processes -----------------------------------------------------------------------------------------


def test_free_space_is_told_or_unknown(store: VectorStore) -> None:
    free = store.free_bytes()
    assert free is None or free > 0


def test_the_version_is_that_of_a_server(store: VectorStore) -> None:
    version = store.server_version()
    assert version is None or [part.isdigit() for part in version.split(".")] == [True] * 3


def test_letting_others_in_changes_nothing_where_none_waits(store: VectorStore) -> None:
    store.let_others_in()
    store.create_collection(BLUE, LAYOUT)
    store.let_others_in()
    store.upsert(BLUE, [point(1)])
    pages = store.scroll(BLUE)
    store.let_others_in()
    assert [item.id for item in pages] == [point(1).id]
    assert store.count(BLUE) == 1
