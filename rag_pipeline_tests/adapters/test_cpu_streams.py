"""Batches side by side on a CPU: the same vectors, each in its place, and one that does not fit stops no other."""

import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_pipeline.adapters import cpu_streams
from rag_pipeline.adapters.arithmetic import agreement
from rag_pipeline.adapters.openvino_engine import OpenvinoEngine
from rag_pipeline.adapters.sentence_transformer_embedder import SentenceTransformerEmbedder
from rag_pipeline.errors import BatchTooLargeError
from rag_pipeline.schema import Matrix
from rag_pipeline_tests.packaged_model import open_embedder, packaged_embedder

BATCHES = [[f"batch {batch}", f"text {batch} " * (batch % 9 + 1)] for batch in range(16)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the converted model."""
    folder = tmp_path_factory.mktemp("cache")
    _embedder(folder).embed_documents(["hello"])
    return folder


@pytest.fixture
def three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_streams, "core_count", lambda: 3)


def _embedder(cache: Path, **settings: Any) -> SentenceTransformerEmbedder:
    return open_embedder(cache, engine="openvino", dtype="float32", **settings)


def _engine(embedder: SentenceTransformerEmbedder) -> OpenvinoEngine:
    assert embedder._model is not None
    engine = embedder._model.engine
    assert isinstance(engine, OpenvinoEngine)
    return engine


@pytest.mark.usefixtures("three_cores")
def test_every_batch_gets_the_vectors_of_torch_in_its_own_place(cache: Path) -> None:
    embedder = _embedder(cache)
    waits = [embedder.begin_documents(texts) for texts in BATCHES]
    reference = packaged_embedder()
    for texts, wait in zip(BATCHES, waits, strict=True):
        assert agreement(reference.embed_documents(texts), wait()) > 0.99999
    assert embedder.describe()["streams"] == 3
    question = embedder.embed_query("text 3")
    assert agreement(reference.embed_documents(["text 3"]), question[np.newaxis]) > 0.99999


@pytest.mark.usefixtures("three_cores")
def test_as_many_batches_as_cores_are_computed_at_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(3, timeout=30)  # fails where fewer than three come
    pool = cpu_streams.OpenvinoEngine.start

    def start(engine: OpenvinoEngine, prepared: Any) -> Any:
        together.wait()
        return pool(engine, prepared)

    embedder = _embedder(cache)
    embedder.batching(8192)
    monkeypatch.setattr(cpu_streams.OpenvinoEngine, "start", start)
    waits = [embedder.begin_documents(texts) for texts in BATCHES[:3]]
    assert [len(wait()) for wait in waits] == [2, 2, 2]


@pytest.mark.usefixtures("three_cores")
def test_streams_share_the_tokens_of_a_batch(cache: Path) -> None:
    batching = _embedder(cache, batch_tokens=6000).batching(6000)
    assert batching.tokens == 2000
    assert batching.at_once > 3


@pytest.mark.parametrize(("cores", "batch_tokens"), [(1, 8192), (8, 1024)])
def test_where_there_is_nothing_to_share_one_batch_has_all_cores(
    cache: Path, monkeypatch: pytest.MonkeyPatch, cores: int, batch_tokens: int
) -> None:
    monkeypatch.setattr(cpu_streams, "core_count", lambda: cores)
    embedder = _embedder(cache, batch_tokens=batch_tokens)
    assert embedder.batching(batch_tokens).at_once == 1
    assert embedder.begin_documents(BATCHES[0])().shape == (2, 384)
    assert _engine(embedder).streams == 1


@pytest.mark.usefixtures("three_cores")
def test_a_batch_that_does_not_fit_stops_no_other(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = _embedder(cache)
    embedder.batching(8192)
    head = _engine(embedder)._head
    pool = head.pool

    def fail_for_large(tokens: Any, mask: Any, *, prompt_length: int) -> Matrix:
        if len(tokens) > 2:
            raise MemoryError
        return pool(tokens, mask, prompt_length=prompt_length)

    monkeypatch.setattr(head, "pool", fail_for_large)
    waits = [embedder.begin_documents(texts) for texts in (BATCHES[0], [*BATCHES[1], "more"], BATCHES[2])]
    assert waits[0]().shape == (2, 384)
    with pytest.raises(BatchTooLargeError, match="3 texts do not fit"):
        waits[1]()
    assert waits[2]().shape == (2, 384)


def test_a_compiled_model_goes_when_the_cores_are_shared_out_anew(cache: Path) -> None:
    embedder = _embedder(cache)
    embedder.embed_documents(["compiled"])
    engine = _engine(embedder)
    held = weakref.ref(engine._compiled)
    engine.split(1)
    gc.collect()
    assert held() is None


def test_a_batch_that_fails_late_takes_nobody_the_model_that_was_compiled_since(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = _embedder(cache)
    embedder.embed_documents(["compiled"])
    engine = _engine(embedder)
    pool = engine._head.pool

    def fail_after_the_others(tokens: Any, mask: Any, *, prompt_length: int) -> Matrix:
        engine.split(1)
        monkeypatch.setattr(engine._head, "pool", pool)
        engine.forward([[101, 102]], prompt_length=0)
        raise MemoryError

    monkeypatch.setattr(engine._head, "pool", fail_after_the_others)
    with pytest.raises(BatchTooLargeError):
        engine.forward([[101, 102]], prompt_length=0)
    assert engine._compiled is not None
