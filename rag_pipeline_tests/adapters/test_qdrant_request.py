"""The encoder of upserts is held to the shipped client: the same request, whatever the points hold."""

import enum
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import grpc as messages
from qdrant_client import models
from qdrant_client.conversions.conversion import RestToGrpc

from rag_pipeline.adapters import qdrant_request, qdrant_upserts
from rag_pipeline.adapters.qdrant_request import PointEncoder, difference_to_shipped, encode_request, shipped_struct
from rag_pipeline.adapters.qdrant_server_store import QdrantServerStore
from rag_pipeline.errors import BackendRejectedError
from rag_pipeline.schema import CollectionLayout, Point, SparseVector
from rag_pipeline_tests.fakes.qdrant_server import LoopbackQdrant

ORDERINGS = list(models.WriteOrdering)

floats32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(-2, 5000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
payloads = st.dictionaries(st.sampled_from(["text", "bucket", "ordinal", "색인", "", "heading_path"]), json_values)
sparse_vectors = st.dictionaries(st.integers(0, 2**32 - 1), floats32, max_size=50).map(
    lambda weights: SparseVector(tuple(weights), tuple(weights.values()))
)
points = st.builds(
    Point,
    id=st.uuids().map(str),
    vector=st.lists(floats32, min_size=1, max_size=40).map(lambda numbers: np.array(numbers, dtype=np.float32)),
    sparse=sparse_vectors,
    payload=payloads,
)


def shipped(collection: str, rows: list[Point], ordering: models.WriteOrdering) -> messages.UpsertPoints:
    return messages.UpsertPoints(
        collection_name=collection,
        wait=True,
        points=[RestToGrpc.convert_point_struct(shipped_struct(row)) for row in rows],
        ordering=RestToGrpc.convert_write_ordering(ordering),
    )


@settings(deadline=None, max_examples=150)
@given(rows=st.lists(points, max_size=6), ordering=st.sampled_from(ORDERINGS), repeats=st.integers(1, 2))
def test_any_request_is_what_the_shipped_client_sends(rows: list[Point], ordering: models.WriteOrdering, repeats: int) -> None:
    encoder, rows = PointEncoder(), rows * repeats
    request = encode_request("docs-1", [encoder.encode(row) for row in rows], ordering)
    assert messages.UpsertPoints.FromString(request) == shipped("docs-1", rows, ordering)


@settings(deadline=None, max_examples=50)
@given(row=points, values=st.lists(json_values, min_size=2, max_size=6))
def test_what_is_remembered_of_one_value_never_stands_for_another(row: Point, values: list[Any]) -> None:
    alike = [True, 1, 1.0, "1", [1], [True], [1.0], ["1"], {"a": 1}, {"a": True}, None, "None", "", [], {}, 0, False, 0.0, -0.0]
    encoder = PointEncoder()
    rows = [Point(row.id, row.vector, row.sparse, {"key": value}) for value in [*alike, *values, *alike]]
    request = encode_request("docs-1", [encoder.encode(row) for row in rows], ORDERINGS[0])
    assert messages.UpsertPoints.FromString(request) == shipped("docs-1", rows, ORDERINGS[0])


def row(number: int = 1, **payload: Any) -> Point:
    return Point(f"00000000-0000-0000-0000-{number:012x}", np.ones(384, dtype=np.float32), SparseVector((1,), (1.0,)), payload)


@pytest.mark.parametrize("values", [(1, 2), (np.float32(0.1), 0.1), (3.4028234e38, 5e-324)])
def test_weights_of_any_kind_are_sent_as_the_shipped_client_sends_them(values: tuple[Any, ...]) -> None:
    """Such as whole numbers, numbers of an array, and the largest and smallest."""
    odd = replace(row(), sparse=SparseVector((3, 4_000_000_000), values))
    assert difference_to_shipped([odd], ORDERINGS[0]) is None


class Kind(enum.StrEnum):
    TABLE = "table"


def test_values_of_subclasses_are_sent_as_the_shipped_client_sends_them() -> None:
    assert difference_to_shipped([row(kind=Kind.TABLE, kinds=[Kind.TABLE])], ORDERINGS[0]) is None


@pytest.mark.parametrize("bad", [float("nan"), [float("inf")], 2**63, {"a": object()}, "\ud800", {1: 2}, {3}, b"x"])
def test_what_is_no_json_is_refused_without_showing_it(bad: Any) -> None:
    with pytest.raises(BackendRejectedError, match="its payload must hold JSON") as raised:
        PointEncoder().encode(row(value=bad))
    assert raised.value.__suppress_context__


def test_memory_of_what_repeats_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_request, "REPEATED_ENTRIES", 10)
    encoder = PointEncoder()
    for number in range(100):
        encoder.encode(row(title=f"title {number}", text="x" * 1000))
    assert len(encoder._entries) <= 10


# --- in the store ---------------------------------------------------------------------------------------------------


@pytest.fixture
def qdrant() -> Iterator[LoopbackQdrant]:
    loopback = LoopbackQdrant()
    yield loopback
    loopback.stop()


def opened(qdrant: LoopbackQdrant, **options: Any) -> QdrantServerStore:
    store = QdrantServerStore(url=qdrant.url, api_key=None, timeout_s=5, **options)
    store.create_collection("docs-1", CollectionLayout(384, distance="cosine", metadata={}))
    qdrant.writes.clear()
    return store


def no_shipped_upsert(*_arguments: Any, **_options: Any) -> None:
    raise AssertionError("the shipped client was used")


def test_encoder_is_used_over_grpc(qdrant: LoopbackQdrant, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(qdrant, write_ordering="strong")
    monkeypatch.setattr(qdrant_upserts.ShippedSender, "send", no_shipped_upsert)
    store.upsert("docs-1", [row()])
    store.close()
    store.upsert("docs-1", [row(2)])
    assert [request.points[0].id.uuid for request in qdrant.writes] == [row().id, row(2).id]
    assert qdrant.writes[0].wait
    assert qdrant.writes[0].ordering.type == messages.WriteOrderingType.Strong
    store.close()


def test_encoder_that_differs_is_not_used_and_says_so_once(
    qdrant: LoopbackQdrant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(qdrant_request, "_DENSE", qdrant_request._tag(103))
    qdrant_request._dense_prefix.cache_clear()
    store = opened(qdrant)
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            store.upsert("docs-1", [row(number)])
    monkeypatch.undo()
    qdrant_request._dense_prefix.cache_clear()
    assert store.count("docs-1") == 3
    (record,) = [item for item in caplog.records if item.name == qdrant_upserts.__name__]
    assert "shipped client" in record.getMessage()
    store.close()


@pytest.mark.parametrize("broken", [b"\xff", b"\x1a\x02\x0a"])
def test_bytes_that_nobody_can_read_are_a_difference(broken: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_request, "_POINT", broken)
    assert difference_to_shipped([row()], ORDERINGS[0]) is not None


def test_first_points_of_a_corpus_are_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        qdrant_request._ENCODERS, str, lambda value: qdrant_request._framed(qdrant_request._TEXT, value.encode()[:9000])
    )
    assert difference_to_shipped([], ORDERINGS[0]) is None
    assert difference_to_shipped([row(text="x" * 9001)], ORDERINGS[0]) is not None


# --- streams --------------------------------------------------------------------------------------------------------


def test_batches_are_under_way_at_once_and_all_done_at_the_end(qdrant: LoopbackQdrant) -> None:
    store = opened(qdrant, batch_points=10, write_streams=2)
    qdrant.is_meeting = True
    store.upsert("docs-1", [row(number) for number in range(40)])
    assert store.count("docs-1") == 40
    assert sorted(len(request.points) for request in qdrant.writes) == [10, 10, 10, 10]
    store.close()


def test_id_that_comes_twice_keeps_its_last_content(qdrant: LoopbackQdrant) -> None:
    store = opened(qdrant, batch_points=1, write_streams=4)
    store.upsert("docs-1", [row(1, turn=turn) for turn in range(20)])
    assert [item.payload["turn"] for item in store.scroll("docs-1")] == [19]
    assert len(qdrant.writes) == 20
    store.close()


def test_error_of_one_stream_is_told_when_nothing_is_under_way(qdrant: LoopbackQdrant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_upserts, "CHECKED_POINTS", 0)
    store = opened(qdrant, batch_points=1, write_streams=2)
    with pytest.raises(BackendRejectedError, match="its payload"):
        store.upsert("docs-1", [row(1), row(2), row(3), row(4, bad=object()), row(5)])
    assert len(qdrant.writes) == 2
    store.close()
