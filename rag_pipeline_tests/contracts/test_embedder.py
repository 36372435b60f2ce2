"""What every Embedder promises, held by the fake and the real ones alike."""

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from rag_pipeline.adapters.endpoint_embedder import EndpointEmbedder
from rag_pipeline.adapters.sentence_transformer_embedder import SentenceTransformerEmbedder
from rag_pipeline.errors import TruncationError
from rag_pipeline.ports import Embedder, QueuedEmbedder
from rag_pipeline.settings import EmbeddingSettings
from rag_pipeline_tests.adapters.gpus import stand_in_gpus
from rag_pipeline_tests.fakes.embedder import HashEmbedder
from rag_pipeline_tests.fakes.embedding_server import serve
from rag_pipeline_tests.packaged_model import packaged_embedder, packaged_facts

TEXTS = (
    "Qdrant stores vectors with their payload.",
    "A cat sleeps on the warm roof.",
    "def add(a, b):\n    return a + b",
    "색인은 멈추지 않는다",
    "Vectors and their payload are kept by Qdrant.",
)
DIMENSION = 64


@pytest.fixture(params=["hash", "torch", "openvino", "endpoint", "gpus"])
def embedder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Embedder]:
    if request.param == "hash":
        yield HashEmbedder(max_words=512)
    elif request.param == "gpus":
        stand_in_gpus(monkeypatch, 2)
        settings = EmbeddingSettings(engine="torch", dtype="float32", tune_batches=False)
        yield SentenceTransformerEmbedder(packaged_facts(), settings)
    elif request.param in ("torch", "openvino"):
        yield packaged_embedder(engine=request.param)
    else:
        with serve(HashEmbedder(DIMENSION)) as server:
            settings = EmbeddingSettings(endpoint=server.url)
            client = EndpointEmbedder(replace(packaged_facts(), dimension=DIMENSION), settings)
            yield client
            client.close()


def test_documents_become_one_row_each(embedder: Embedder) -> None:
    vectors = embedder.embed_documents(TEXTS)
    assert vectors.shape == (len(TEXTS), embedder.dimension)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()


def test_vectors_have_length_one(embedder: Embedder) -> None:
    assert np.allclose(np.linalg.norm(embedder.embed_documents(TEXTS), axis=1), 1, atol=1e-5)


def test_rows_keep_the_order_of_the_texts(embedder: Embedder) -> None:
    forward, backward = embedder.embed_documents(TEXTS), embedder.embed_documents(TEXTS[::-1])
    assert np.allclose(forward, backward[::-1], atol=1e-5)


def test_company_in_a_batch_changes_no_vector(embedder: Embedder) -> None:
    alone = np.concatenate([embedder.embed_documents([text]) for text in TEXTS])
    assert np.allclose(alone, embedder.embed_documents(TEXTS), atol=1e-5)


def test_without_prompts_a_query_is_embedded_like_a_document(embedder: Embedder) -> None:
    query = embedder.embed_query(TEXTS[0])
    assert query.shape == (embedder.dimension,)
    assert query.dtype == np.float32
    assert np.allclose(query, embedder.embed_documents([TEXTS[0]])[0], atol=1e-5)


def test_texts_that_share_words_are_near(embedder: Embedder) -> None:
    vectors = embedder.embed_documents(TEXTS)
    assert (vectors[0] @ vectors[1:].T).argmax() + 1 == 4


def test_no_texts_make_no_rows(embedder: Embedder) -> None:
    assert embedder.embed_documents([]).shape == (0, embedder.dimension)


def test_empty_and_broken_texts_have_a_vector(embedder: Embedder) -> None:
    vectors = embedder.embed_documents(["", "half a pair: \ud83d", "\x00"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_text_over_the_window_is_refused_and_not_quoted(embedder: Embedder) -> None:
    with pytest.raises(TruncationError) as caught:
        embedder.embed_documents(["short", "confidential " * 600])
    assert "confidential" not in str(caught.value)


def test_the_description_is_json(embedder: Embedder) -> None:
    embedder.embed_query("a")
    assert json.loads(json.dumps(embedder.describe()))["device"]


@pytest.mark.parametrize("embedder", ["torch", "openvino", "gpus"], indirect=True)
def test_batches_that_are_begun_become_what_they_would_alone(embedder: Embedder) -> None:
    assert isinstance(embedder, QueuedEmbedder)
    assert embedder.batching(512).at_once >= 1
    waits = [embedder.begin_documents([text, *TEXTS]) for text in TEXTS]
    for text, wait in zip(TEXTS, waits, strict=True):
        assert np.allclose(wait(), embedder.embed_documents([text, *TEXTS]), atol=1e-5)
