"""A served model is asked side by side, no faster than allowed, and not at all while it is down."""

import threading

import numpy as np
import pytest

from rag_pipeline.adapters.endpoint_pace import REST_S, Breaker, RequestPace
from rag_pipeline.errors import BackendUnavailableError
from rag_pipeline_tests.adapters.test_endpoint_embedder import case
from rag_pipeline_tests.fakes.embedder import HashEmbedder
from rag_pipeline_tests.fakes.embedding_server import Misbehaviour

MANY = [f"fish number {number}" for number in range(50)]


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_a_batch_is_shared_out_among_requests_and_keeps_its_order() -> None:
    with case(Misbehaviour(delay_s=0.3), Misbehaviour(is_shuffled=True), requests_at_once=3) as it:
        assert np.allclose(it.embedder.embed_documents(MANY), HashEmbedder().embed_documents(MANY), atol=1e-6)
        sizes = sorted(len(request["input"]) for request in it.server.requests)
    assert sizes == [16, 17, 17]


def test_few_texts_are_one_request() -> None:
    with case(requests_at_once=8) as it:
        it.embedder.embed_documents(MANY[:15])
        assert len(it.server.requests) == 1


def test_a_part_that_fails_is_tried_again_alone() -> None:
    with case(Misbehaviour(status=429), Misbehaviour(status=500), Misbehaviour(is_dropped=True), requests_at_once=4) as it:
        assert np.allclose(it.embedder.embed_documents(MANY), HashEmbedder().embed_documents(MANY), atol=1e-6)
        assert len(it.server.requests) == 7
        assert len(it.waits_s) == 3


def test_requests_keep_their_distance() -> None:
    clock, waits = Clock(), list[float]()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock.sleep(seconds)

    pace = RequestPace(30, sleep=sleep, clock=clock)
    for _ in range(3):
        pace.wait()
    assert waits == [2.0, 2.0]
    clock.sleep(60)
    pace.wait()
    assert len(waits) == 2


def test_threads_share_the_distance() -> None:
    clock, waits = Clock(), list[float]()
    pace = RequestPace(60, sleep=waits.append, clock=clock)
    threads = [threading.Thread(target=pace.wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == [1.0, 2.0, 3.0, 4.0]


def test_a_server_that_is_down_is_left_alone_for_a_while_and_then_tried_once() -> None:
    clock = Clock()
    breaker = Breaker("endpoint", clock=clock)
    assert breaker.tries(6) == 6
    breaker.note(is_up=False)
    with pytest.raises(BackendUnavailableError, match="not asked again for 30 s"):
        breaker.tries(6)
    clock.sleep(REST_S)
    assert breaker.tries(6) == 1
    breaker.note(is_up=True)
    assert breaker.tries(6) == 6


def test_after_all_tries_the_next_question_fails_at_once() -> None:
    with case(*[Misbehaviour(status=503)] * 6) as it:
        with pytest.raises(BackendUnavailableError, match="after 6 tries"):
            it.embedder.embed_query("fish")
        with pytest.raises(BackendUnavailableError, match="not asked again"):
            it.embedder.embed_query("fish")
        assert len(it.server.requests) == 6
