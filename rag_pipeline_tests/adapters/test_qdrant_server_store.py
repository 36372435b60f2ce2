"""What the server adapter sends over real connections, and what it makes of every failure."""

import json
import pkgutil
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import qdrant_client
from qdrant_client import grpc as messages
from qdrant_client import models
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from rag_pipeline.adapters import qdrant_server_errors, qdrant_server_store
from rag_pipeline.adapters.qdrant_layout import INTEGER_INDEXES, KEYWORD_INDEXES
from rag_pipeline.adapters.qdrant_server_errors import FOREIGN_ERRORS, translate
from rag_pipeline.adapters.qdrant_server_store import QdrantServerStore
from rag_pipeline.errors import BackendError, BackendRejectedError, BackendUnavailableError, BatchTooLargeError
from rag_pipeline.schema import CollectionLayout, Point, SparseVector
from rag_pipeline.settings.store import HnswSettings, OptimizerSettings, QuantizationSettings, ServerStoreSettings
from rag_pipeline_tests.fakes.qdrant_server import LoopbackQdrant

OK: dict[str, Any] = {"result": {"collections": []}, "status": "ok", "time": 0.0}


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_server_errors, "RETRY_WAITS_S", (0.01, 0.01, 0.01, 0.01))


def points(count: int, *, text: str = "") -> list[Point]:
    vector = np.ones(4, dtype=np.float32)
    return [Point(str(uuid.uuid4()), vector, SparseVector((1,), (1.0,)), {"text": text}) for _ in range(count)]


# --- every exception of the client has a place ----------------------------------------------------------------------

ONE_OF_EACH: dict[type[BaseException], tuple[BaseException, type[BackendError]]] = {
    ApiException: (ApiException("x"), BackendRejectedError),
    UnexpectedResponse: (UnexpectedResponse(404, "", b"no", httpx.Headers()), BackendRejectedError),
    ResponseHandlingException: (ResponseHandlingException(httpx.ConnectError("no")), BackendUnavailableError),
    QdrantException: (QdrantException("x"), BackendRejectedError),
    ResourceExhaustedResponse: (ResourceExhaustedResponse("slow down", 1), BackendUnavailableError),
}


def exceptions_of_the_client() -> set[type[BaseException]]:
    found: set[type[BaseException]] = set()
    for module in pkgutil.walk_packages(qdrant_client.__path__, "qdrant_client."):
        for value in vars(import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, BaseException) and value.__module__.startswith("qdrant_client"):
                found.add(value)
    return found


def test_no_exception_class_of_the_client_is_forgotten() -> None:
    found = exceptions_of_the_client()
    assert found == set(ONE_OF_EACH)
    assert all(issubclass(kind, FOREIGN_ERRORS) for kind in found)


@pytest.mark.parametrize("kind", ONE_OF_EACH, ids=lambda kind: kind.__name__)
def test_every_exception_becomes_ours(kind: type[BaseException]) -> None:
    error, wanted = ONE_OF_EACH[kind]
    assert type(translate(error, "testing")) is wanted


@pytest.mark.parametrize("kind", [httpx.ReadTimeout, httpx.ConnectTimeout, httpx.RemoteProtocolError, httpx.WriteError])
def test_broken_transport_is_unavailable(kind: type[httpx.TransportError]) -> None:
    assert type(translate(ResponseHandlingException(kind("x")), "testing")) is BackendUnavailableError


def test_answer_that_cannot_be_read_is_rejected() -> None:
    assert type(translate(ResponseHandlingException(ValueError("odd")), "testing")) is BackendRejectedError


UNAVAILABLE_STATUSES = {408, 425, 429, 500, 502, 503, 504}


@pytest.mark.parametrize("status", range(400, 512))
def test_every_status_has_its_reaction(status: int) -> None:
    error = translate(UnexpectedResponse(status, "", b"", httpx.Headers()), "testing")
    if status == 413:
        assert type(error) is BatchTooLargeError
    else:
        assert type(error) is (BackendUnavailableError if status in UNAVAILABLE_STATUSES else BackendRejectedError)


# --- over HTTP ------------------------------------------------------------------------------------------------------


class ScriptedServer(ThreadingHTTPServer):
    """Answers with the next entry of ``answers``, the last one for ever: (status, headers, JSON body)."""

    def __init__(self, *answers: tuple[int, dict[str, str], dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), ScriptedHandler)
        self.answers = list(answers)
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class ScriptedHandler(BaseHTTPRequestHandler):
    server: ScriptedServer

    def do_GET(self) -> None:
        answers = self.server.answers
        status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.server.requests.append(f"{self.command} {self.path}")
        self.server.headers.append(dict(self.headers))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def http_store(url: str, **settings: Any) -> QdrantServerStore:
    return QdrantServerStore(url=url, api_key=None, prefer_grpc=False, timeout_s=5, **settings)


def test_server_that_comes_back_is_waited_for() -> None:
    with ScriptedServer((503, {}, {}), (429, {"Retry-After": "1"}, {}), (200, {}, OK)) as server:
        assert http_store(server.url).collections() == []
        assert server.requests == ["GET /collections"] * 3
        server.shutdown()


def test_server_that_stays_away_is_unavailable_after_five_tries() -> None:
    with ScriptedServer((503, {}, {})) as server:
        with pytest.raises(BackendUnavailableError, match="HTTP 503; check that the server runs"):
            http_store(server.url).collections()
        assert len(server.requests) == 5
        server.shutdown()


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_refusal_is_not_repeated(status: int) -> None:
    with ScriptedServer((status, {}, {"status": {"error": "Wrong input"}})) as server:
        with pytest.raises(BackendRejectedError, match=f"HTTP {status}"):
            http_store(server.url).collections()
        assert len(server.requests) == 1
        server.shutdown()


def test_nobody_at_the_address_is_unavailable() -> None:
    with pytest.raises(BackendUnavailableError, match=r"qdrant: listing collections failed"):
        http_store("http://127.0.0.1:9").collections()


def test_key_is_sent_and_never_told() -> None:
    with ScriptedServer((401, {}, {"status": {"error": "Invalid API key"}})) as server:
        store = QdrantServerStore(url=server.url, api_key="very-secret", prefer_grpc=False)
        with pytest.warns(UserWarning, match="insecure"), pytest.raises(BackendRejectedError) as raised:
            store.collections()
        assert server.headers[0]["api-key"] == "very-secret"
        assert "very-secret" not in str(raised.value)
        server.shutdown()


def test_making_a_store_connects_to_nothing() -> None:
    with ScriptedServer((200, {}, OK)) as server:
        store = http_store(server.url)
        store.close()
        assert server.requests == []
        server.shutdown()


# --- over gRPC ------------------------------------------------------------------------------------------------------


@pytest.fixture
def qdrant() -> Iterator[LoopbackQdrant]:
    loopback = LoopbackQdrant()
    yield loopback
    loopback.stop()


def grpc_store(qdrant: LoopbackQdrant, **settings: Any) -> QdrantServerStore:
    """A store with the collection docs-1 of 4 dimensions; what it wrote for that is forgotten."""
    store = QdrantServerStore(url=qdrant.url, api_key=None, timeout_s=5, **settings)
    store.create_collection("docs-1", CollectionLayout(4, distance="cosine", metadata={}))
    qdrant.calls.clear()
    qdrant.writes.clear()
    return store


UNAVAILABLE_CODES = {"ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "UNKNOWN"}


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK], ids=lambda code: code.name)
def test_every_code_has_its_reaction(qdrant: LoopbackQdrant, code: grpc.StatusCode) -> None:
    store = grpc_store(qdrant)
    qdrant.fails_with = code
    with pytest.raises(BackendError, match=code.name) as raised:
        store.collections()
    is_unavailable = code.name in UNAVAILABLE_CODES
    assert type(raised.value) is (BackendUnavailableError if is_unavailable else BackendRejectedError)
    assert len(qdrant.calls) == (5 if is_unavailable else 1)


def test_indexes_are_made_right_after_the_collection(qdrant: LoopbackQdrant) -> None:
    store = QdrantServerStore(url=qdrant.url, api_key=None)
    store.create_collection("docs-1", CollectionLayout(4, distance="cosine", metadata={}))
    fields = [(request.field_name, request.field_type) for request in qdrant.writes]
    assert fields == [
        *((key, messages.FieldType.FieldTypeKeyword) for key in KEYWORD_INDEXES),
        *((key, messages.FieldType.FieldTypeInteger) for key in INTEGER_INDEXES),
    ]
    assert all(request.wait for request in qdrant.writes)


def test_creation_cut_short_is_finished_by_the_next(qdrant: LoopbackQdrant) -> None:
    store = QdrantServerStore(url=qdrant.url, api_key=None)
    qdrant.write_status = messages.UpdateStatus.Acknowledged
    layout = CollectionLayout(4, distance="cosine", metadata={"model": "m"})
    with pytest.raises(BackendUnavailableError):
        store.create_collection("docs-1", layout)
    qdrant.write_status = messages.UpdateStatus.Completed
    qdrant.writes.clear()
    store.create_collection("docs-1", layout)
    assert {request.field_name for request in qdrant.writes} >= set(INTEGER_INDEXES)


def test_writes_wait_in_the_order_asked_for(qdrant: LoopbackQdrant) -> None:
    store = grpc_store(qdrant, write_ordering="strong")
    store.upsert("docs-1", points(1))
    store.delete("docs-1", [points(1)[0].id])
    assert len(qdrant.writes) == 2
    for request in qdrant.writes:
        assert request.wait
        assert request.ordering.type == messages.WriteOrderingType.Strong


@pytest.mark.parametrize("status", [messages.UpdateStatus.Acknowledged, messages.UpdateStatus.WaitTimeout])
def test_write_that_is_only_acknowledged_is_not_done(qdrant: LoopbackQdrant, status: int) -> None:
    store = grpc_store(qdrant)
    qdrant.write_status = status
    with pytest.raises(BackendUnavailableError, match="not 'completed'"):
        store.upsert("docs-1", points(1))
    assert len(qdrant.writes) == 5


def test_alias_moves_in_one_request(qdrant: LoopbackQdrant) -> None:
    store = grpc_store(qdrant)
    store.create_collection("docs-2", CollectionLayout(4, distance="cosine", metadata={}))
    store.switch_alias("docs", "docs-1")
    qdrant.calls.clear()
    store.switch_alias("docs", "docs-2")
    assert qdrant.calls.count("UpdateAliases") == 1
    assert store.resolve_alias("docs") == "docs-2"


def test_batches_keep_to_the_number_of_points(qdrant: LoopbackQdrant) -> None:
    grpc_store(qdrant, batch_points=10, write_streams=1).upsert("docs-1", points(25))
    assert [len(request.points) for request in qdrant.writes] == [10, 10, 5]


def test_batches_keep_to_the_number_of_bytes(qdrant: LoopbackQdrant) -> None:
    grpc_store(qdrant, batch_mb=1, write_streams=1).upsert("docs-1", points(20, text="색" * 60_000))
    assert all(request.ByteSize() <= 2**20 for request in qdrant.writes)
    assert [len(request.points) for request in qdrant.writes] == [5, 5, 5, 5]


def test_batch_that_the_server_finds_too_large_is_halved(qdrant: LoopbackQdrant) -> None:
    written = points(12, text="x" * 2**20)
    grpc_store(qdrant, batch_mb=16, write_streams=1).upsert("docs-1", written)
    assert [len(request.points) for request in qdrant.writes] == [3, 3, 3, 3]
    assert [item.id.uuid for request in qdrant.writes for item in request.points] == [item.id for item in written]


def test_point_that_no_request_can_hold_is_too_large(qdrant: LoopbackQdrant) -> None:
    with pytest.raises(BatchTooLargeError, match="lower store"):
        grpc_store(qdrant).upsert("docs-1", points(1, text="x" * 5 * 2**20))


def test_server_that_is_gone_is_unavailable(qdrant: LoopbackQdrant) -> None:
    store = grpc_store(qdrant)
    qdrant.stop()
    with pytest.raises(BackendUnavailableError, match="UNAVAILABLE"):
        store.collections()
    store.close()


def test_server_that_keeps_no_metadata_is_refused(qdrant: LoopbackQdrant, monkeypatch: pytest.MonkeyPatch) -> None:
    store = grpc_store(qdrant)
    monkeypatch.setattr(qdrant.client, "update_collection", lambda *args, **settings: True)
    with pytest.raises(BackendRejectedError, match=r"1\.19 or newer"):
        store.set_metadata("docs-1", {"model": "m"})


def test_foreign_collection_is_refused(qdrant: LoopbackQdrant) -> None:
    store = grpc_store(qdrant)
    qdrant.client.create_collection("theirs", vectors_config={"text": models.VectorParams(size=4, distance=models.Distance.DOT)})
    with pytest.raises(BackendRejectedError, match="not made by this pipeline"):
        store.describe("theirs")


@pytest.mark.parametrize(("status", "wanted"), [("red", "damaged"), ("yellow", "not green")])
def test_optimizing_waits_for_green(qdrant: LoopbackQdrant, monkeypatch: pytest.MonkeyPatch, status: str, wanted: str) -> None:
    store = grpc_store(qdrant)
    monkeypatch.setattr(qdrant_server_store, "OPTIMIZE_WAIT_S", 0.05)
    monkeypatch.setattr(qdrant_server_store, "OPTIMIZE_POLL_S", 0.01)
    qdrant.collection_status = models.CollectionStatus(status)
    with pytest.raises(BackendError, match=wanted):
        store.optimize("docs-1")


def test_optimizing_wakes_a_server_that_left_work_for_later(qdrant: LoopbackQdrant) -> None:
    store = grpc_store(qdrant)
    store.optimize("docs-1")
    qdrant.calls.clear()
    qdrant.collection_status = models.CollectionStatus.GREY
    store.optimize("docs-1")
    assert qdrant.calls.count("Update") == 1


def test_loading_builds_no_graph_and_optimizing_does(qdrant: LoopbackQdrant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_server_store, "OPTIMIZE_POLL_S", 0.01)
    store = grpc_store(qdrant)
    assert qdrant.indexing_thresholds_kb == {"docs-1": 0}
    store.upsert("docs-1", points(3))
    store.set_metadata("docs-1", {"model": "m"})
    assert qdrant.indexing_thresholds_kb == {"docs-1": 0}
    store.optimize("docs-1")
    assert qdrant.indexing_thresholds_kb == {"docs-1": 20_000}
    qdrant.calls.clear()
    store.optimize("docs-1")
    assert "Update" not in qdrant.calls


def test_creating_again_does_not_stop_indexing(qdrant: LoopbackQdrant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_server_store, "OPTIMIZE_POLL_S", 0.01)
    store = grpc_store(qdrant)
    store.optimize("docs-1")
    store.create_collection("docs-1", CollectionLayout(4, distance="cosine", metadata={}))
    assert qdrant.indexing_thresholds_kb == {"docs-1": 20_000}


def test_a_threshold_that_somebody_set_is_kept(qdrant: LoopbackQdrant) -> None:
    store = grpc_store(qdrant)
    qdrant.indexing_thresholds_kb["docs-1"] = 50_000
    store.optimize("docs-1")
    assert qdrant.indexing_thresholds_kb == {"docs-1": 50_000}


def test_green_before_the_optimizers_start_is_not_the_end(qdrant: LoopbackQdrant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_server_store, "OPTIMIZE_POLL_S", 0.01)
    store = grpc_store(qdrant)
    green, yellow = models.CollectionStatus.GREEN, models.CollectionStatus.YELLOW
    qdrant.next_statuses = [green, green, yellow, yellow, green, yellow, green]  # the first one: the look at the threshold
    store.optimize("docs-1")
    assert qdrant.next_statuses == []
    assert qdrant.calls.count("Get") == 8


def test_optimizing_that_broke_off_goes_on(qdrant: LoopbackQdrant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_server_store, "OPTIMIZE_WAIT_S", 0.05)
    monkeypatch.setattr(qdrant_server_store, "OPTIMIZE_POLL_S", 0.01)
    store = grpc_store(qdrant)
    qdrant.next_statuses = [models.CollectionStatus.YELLOW] * 1_000
    with pytest.raises(BackendUnavailableError, match="run again"):
        store.optimize("docs-1")
    assert qdrant.indexing_thresholds_kb == {"docs-1": 20_000}
    qdrant.next_statuses = [models.CollectionStatus.GREEN, models.CollectionStatus.YELLOW]
    store.optimize("docs-1")
    assert qdrant.next_statuses == []


def test_a_server_tells_no_free_space_and_serves_everybody(qdrant: LoopbackQdrant) -> None:
    store = grpc_store(qdrant)
    assert store.free_bytes() is None
    store.let_others_in()
    assert qdrant.calls == []


def test_new_collection_is_laid_out_as_the_settings_say(qdrant: LoopbackQdrant) -> None:
    tuning = ServerStoreSettings(
        kind="server",
        url=qdrant.url,
        hnsw=HnswSettings(m=24, ef_construct=64, on_disk=True, ef_search=200),
        quantization=QuantizationSettings(kind="binary", in_memory=False, oversampling=4),
        vectors_on_disk=True,
        indexes_on_disk=True,
        shard_number=3,
        replication_factor=2,
        write_consistency_factor=2,
        optimizers=OptimizerSettings(indexing_threshold_kb=5_000, segments=4, max_segment_kb=50_000, deleted_share=0.5),
    )
    store = grpc_store(qdrant, tuning=tuning)
    (request,) = qdrant.created
    assert (request.shard_number, request.replication_factor, request.write_consistency_factor) == (3, 2, 2)
    dense = request.vectors_config.params_map.map["dense"]
    assert (dense.hnsw_config.m, dense.hnsw_config.ef_construct, dense.hnsw_config.on_disk, dense.on_disk) == (24, 64, True, True)
    assert dense.quantization_config.HasField("binary")
    assert not dense.quantization_config.binary.always_ram
    assert request.sparse_vectors_config.map["bm25"].index.on_disk
    assert [index.field_index_params.keyword_index_params.on_disk for index in qdrant.field_indexes[:8]] == [True] * 8
    assert [index.field_index_params.integer_index_params.on_disk for index in qdrant.field_indexes[8:]] == [True] * 2
    optimizers = request.optimizers_config
    assert (optimizers.indexing_threshold, optimizers.default_segment_number, optimizers.max_segment_size) == (0, 4, 50_000)
    assert optimizers.deleted_threshold == 0.5
    store.search_dense("docs-1", np.ones(4, dtype=np.float32), limit=1)
    (query,) = qdrant.queries
    assert query.params.hnsw_ef == 200
    assert (query.params.quantization.rescore, query.params.quantization.oversampling) == (True, 4)
    store.optimize("docs-1")
    assert qdrant.indexing_thresholds_kb == {"docs-1": 5_000}


def test_default_settings_ask_for_nothing_special(qdrant: LoopbackQdrant) -> None:
    store = grpc_store(qdrant)
    (request,) = qdrant.created
    assert not any(request.HasField(name) for name in ("shard_number", "replication_factor", "write_consistency_factor"))
    assert not request.vectors_config.params_map.map["dense"].HasField("quantization_config")
    assert not request.sparse_vectors_config.map["bm25"].index.HasField("on_disk")
    assert not any(index.field_index_params.keyword_index_params.HasField("on_disk") for index in qdrant.field_indexes)
    store.search_dense("docs-1", np.ones(4, dtype=np.float32), limit=1)
    assert not qdrant.queries[0].HasField("params")
