from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest

from rag_pipeline.adapters.endpoint_embedder import EndpointEmbedder
from rag_pipeline.errors import (
    BackendRejectedError,
    BackendUnavailableError,
    BadVectorError,
    BatchTooLargeError,
    SettingsError,
    TruncationError,
)
from rag_pipeline.indexing.embedding import embed_texts
from rag_pipeline.settings import EmbeddingSettings
from rag_pipeline_tests.fakes.embedder import HashEmbedder
from rag_pipeline_tests.fakes.embedding_server import EmbeddingServer, Misbehaviour, serve
from rag_pipeline_tests.packaged_model import packaged_facts

TEXTS = ["one fish", "two fish", "red fish and blue fish"]
EXPECTED = HashEmbedder().embed_documents(TEXTS)


class Case:
    """A server, a client of it, and the waits that the client made."""

    def __init__(self, server: EmbeddingServer, settings: dict[str, Any], api_key: str | None) -> None:
        self.server = server
        self.waits_s: list[float] = []
        self.embedder = EndpointEmbedder(
            replace(packaged_facts(), dimension=64),
            EmbeddingSettings.model_validate({"endpoint": server.url, "timeout_s": 5, **settings}),
            api_key,
            sleep=self.waits_s.append,
        )


@contextmanager
def case(*script: Misbehaviour, api_key: str | None = None, **settings: Any) -> Iterator[Case]:
    with serve(HashEmbedder(), script) as server:
        made = Case(server, settings, api_key)
        yield made
        made.embedder.close()


def test_vectors_travel_as_bytes() -> None:
    with case() as it:
        assert np.allclose(it.embedder.embed_documents(TEXTS), EXPECTED, atol=1e-6)
        assert it.server.requests[0]["encoding_format"] == "base64"


def test_numbers_are_understood_as_well() -> None:
    with case(Misbehaviour(ignores_base64=True)) as it:
        assert np.allclose(it.embedder.embed_documents(TEXTS), EXPECTED, atol=1e-6)


def test_a_server_that_refuses_bytes_is_asked_for_numbers_from_then_on() -> None:
    refusal = Misbehaviour(status=422, body=b'{"detail": "unknown field encoding_format=base64"}')
    with case(refusal) as it:
        assert np.allclose(it.embedder.embed_documents(TEXTS), EXPECTED, atol=1e-6)
        it.embedder.embed_query("again")
        assert [request["encoding_format"] for request in it.server.requests] == ["base64", "float", "float"]


def test_requests_side_by_side_learn_that_each_from_its_own_refusal() -> None:
    refusal = Misbehaviour(status=422, body=b'{"detail": "unknown field encoding_format=base64"}', delay_s=0.05)
    texts = [f"fish number {number}" for number in range(32)]
    with case(*[refusal] * 4, requests_at_once=4) as it:
        assert np.allclose(it.embedder.embed_documents(texts), HashEmbedder().embed_documents(texts), atol=1e-6)


def test_the_order_of_the_answer_does_not_matter() -> None:
    with case(Misbehaviour(is_shuffled=True)) as it:
        assert np.allclose(it.embedder.embed_documents(TEXTS), EXPECTED, atol=1e-6)


@pytest.mark.parametrize(
    "trouble",
    [
        Misbehaviour(status=429),
        Misbehaviour(status=500, body=b"oops"),
        Misbehaviour(status=503, body=b"loading"),
        Misbehaviour(is_dropped=True),
    ],
    ids=["429", "500", "503", "dropped"],
)
def test_passing_trouble_is_waited_out(trouble: Misbehaviour) -> None:
    with case(trouble, trouble, trouble) as it:
        assert np.allclose(it.embedder.embed_documents(TEXTS), EXPECTED, atol=1e-6)
        assert len(it.server.requests) == 4
        assert [0.25, 0.5, 1.0] <= it.waits_s <= [0.5, 1.0, 2.0]


def test_a_slow_answer_is_asked_for_again() -> None:
    with case(Misbehaviour(delay_s=0.6), timeout_s=0.2) as it:
        assert np.allclose(it.embedder.embed_documents(TEXTS), EXPECTED, atol=1e-6)
        assert len(it.server.requests) == 2


def test_lasting_trouble_ends_after_a_bounded_number_of_tries() -> None:
    with case(*[Misbehaviour(status=503)] * 99) as it:
        with pytest.raises(BackendUnavailableError, match="status 503"):
            it.embedder.embed_documents(TEXTS)
        assert len(it.server.requests) == 6
        assert len(it.waits_s) == 5
        assert sum(it.waits_s) < 20


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with case() as it:
        pass
    embedder = Case(it.server, {}, None).embedder
    with pytest.raises(BackendUnavailableError, match="ConnectError"):
        embedder.embed_query("anyone?")


@pytest.mark.parametrize(("header", "waited_s"), [("7", 7), ("86400", 30)])
def test_the_server_says_how_long_to_wait(header: str, waited_s: float) -> None:
    with case(Misbehaviour(status=429, headers={"retry-after": header})) as it:
        it.embedder.embed_query("later")
        assert it.waits_s == [waited_s]


def test_the_server_may_name_a_date_to_wait_for() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    with case(Misbehaviour(status=503, headers={"retry-after": date})) as it:
        it.embedder.embed_query("later")
        assert 15 < it.waits_s[0] <= 20


@pytest.mark.parametrize("header", ["0", "²", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 2099 00:00:00 -99999999", "soon"])
def test_a_time_to_wait_that_is_none_does_not_use_up_the_tries(header: str) -> None:
    with case(*[Misbehaviour(status=429, headers={"retry-after": header})] * 3) as it:
        it.embedder.embed_query("later")
        assert it.waits_s >= [0.25, 0.5, 1.0]


def test_a_date_is_by_the_clock_of_the_server() -> None:
    now = datetime.now(UTC) - timedelta(hours=1)
    date, named = format_datetime(now, usegmt=True), format_datetime(now + timedelta(seconds=20), usegmt=True)
    with case(Misbehaviour(status=503, headers={"date": date, "retry-after": named})) as it:
        it.embedder.embed_query("later")
        assert it.waits_s == [20]


def test_a_body_that_cannot_be_unpacked_is_asked_for_again() -> None:
    with case(Misbehaviour(status=200, body=b"no gzip", headers={"content-encoding": "gzip"})) as it:
        assert np.allclose(it.embedder.embed_documents(TEXTS), EXPECTED, atol=1e-6)


@pytest.mark.parametrize("index", [b"Infinity", b"1" * 400, b"[" * 100_000])
def test_an_answer_of_absurd_numbers_is_no_list_of_embeddings(index: bytes) -> None:
    body = b'{"data": [{"embedding": [1.0], "index": ' + index + b"}]}"
    with case(Misbehaviour(status=200, body=body)) as it, pytest.raises((BackendRejectedError, BadVectorError)):
        it.embedder.embed_query("what?")


@pytest.mark.parametrize(("status", "hint"), [(400, "log"), (401, "EMBEDDING_API_KEY"), (404, "endpoint_model"), (302, "302")])
def test_a_refusal_is_final_and_quotes_nothing(status: int, hint: str) -> None:
    with case(Misbehaviour(status=status, body=b"cannot embed: one fish"), api_key="sesame") as it:
        with pytest.raises(BackendRejectedError, match=hint) as caught:
            it.embedder.embed_documents(TEXTS)
        assert len(it.server.requests) == 1
        assert "fish" not in str(caught.value)
        assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "refusal",
    [
        Misbehaviour(status=413, body=b"no"),
        Misbehaviour(status=422, body=b'{"error": "batch size 99 > maximum allowed batch size 32"}'),
        Misbehaviour(status=400, body=b"Request TOO LARGE"),
    ],
    ids=["413", "422", "400"],
)
def test_too_many_texts_for_one_request_ask_for_half(refusal: Misbehaviour) -> None:
    with case(refusal) as it, pytest.raises(BatchTooLargeError):
        it.embedder.embed_documents(TEXTS)
    with case(refusal) as it:
        report = embed_texts(TEXTS, [4, 4, 7], embedder=it.embedder, batch_tokens=512, on_batch=lambda p, v: None)
        assert (report.texts, report.halvings) == (3, 1)


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (Misbehaviour(extra_dimensions=1), "dimension 65"),
        (Misbehaviour(missing_vectors=1), "3 texts with 2 vectors"),
        (Misbehaviour(body=b'{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}'), "2 vectors"),
    ],
    ids=["dimension", "too_few", "twice"],
)
def test_vectors_of_the_wrong_number_or_size_are_refused(trouble: Misbehaviour, message: str) -> None:
    with case(trouble) as it, pytest.raises(BadVectorError, match=message):
        it.embedder.embed_documents(TEXTS)


def test_a_server_that_does_not_normalise_is_helped_out() -> None:
    with case(Misbehaviour(fill=3.0)) as it:
        assert np.linalg.norm(it.embedder.embed_query("long")) == pytest.approx(1)


@pytest.mark.parametrize("fill", [float("nan"), float("inf"), 0.0, 0.125])
def test_broken_numbers_reach_the_check_and_are_refused_there(fill: float) -> None:
    with case(Misbehaviour(fill=fill)) as it, pytest.raises(BadVectorError):
        embed_texts(TEXTS, [4, 4, 7], embedder=it.embedder, batch_tokens=512, on_batch=lambda p, v: None, is_normalized=True)


@pytest.mark.parametrize("body", [b"<html>proxy</html>", b"[]", b'{"data": 3}', b'{"data": [{"embedding": "%%%"}]}'])
def test_an_answer_that_is_no_list_of_embeddings_is_refused(body: bytes) -> None:
    with case(Misbehaviour(body=body)) as it, pytest.raises(BackendRejectedError, match="no list of embeddings"):
        it.embedder.embed_query("what?")


def test_a_text_over_the_window_is_never_sent() -> None:
    with case(document_prompt="passage: ", max_tokens=16) as it:
        it.embedder.embed_documents(["a " * 12])
        with pytest.raises(TruncationError, match="17 tokens"):
            it.embedder.embed_documents(["a " * 13])
        assert len(it.server.requests) == 1


def test_prompts_model_and_key_are_sent() -> None:
    with case(api_key="sesame", document_prompt="passage: ", query_prompt="query: ", endpoint_model="mini") as it:
        it.embedder.embed_documents(["a"])
        it.embedder.embed_query("b")
        assert [request["input"] for request in it.server.requests] == [["passage: a"], ["query: b"]]
        assert {request["model"] for request in it.server.requests} == {"mini"}
        assert set(it.server.authorizations) == {"Bearer sesame"}


@pytest.mark.parametrize(
    ("suffix", "path"),
    [
        ("", "/v1/embeddings"),
        ("/", "/v1/embeddings"),
        ("/v1", "/v1/embeddings"),
        ("/proxy/v1/", "/proxy/v1/embeddings"),
        ("/openai/embeddings", "/openai/embeddings"),
    ],
)
def test_the_address_may_end_anywhere(suffix: str, path: str) -> None:
    with serve(HashEmbedder()) as server:
        server.url += suffix
        embedder = Case(server, {}, None).embedder
        embedder.embed_query("where?")
        embedder.close()
        assert server.paths == [path]


@pytest.mark.parametrize("endpoint", ["localhost:8080", "ftp://host", "http://", "http://host:port", "nonsense"])
def test_what_is_no_web_address_is_refused_at_once(endpoint: str) -> None:
    with pytest.raises(SettingsError, match=r"embedding\.endpoint"):
        EndpointEmbedder(packaged_facts(), EmbeddingSettings(endpoint=endpoint))
