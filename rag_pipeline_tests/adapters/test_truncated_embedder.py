"""Vectors that are cut short: the first numbers, of length 1 again, or not at all where the model's are not."""

from collections.abc import Sequence

import numpy as np
import pytest

from rag_pipeline.adapters.truncated_embedder import TruncatedEmbedder
from rag_pipeline.errors import BadVectorError
from rag_pipeline.indexing.embedding import check_vectors
from rag_pipeline.ports import Batching
from rag_pipeline.schema import Matrix
from rag_pipeline_tests.fakes.embedder import HashEmbedder, QueuedHashEmbedder

TEXTS = ["one text", "another text", "한국어"]


class Lengths(HashEmbedder):
    """Vectors that are three times as long."""

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        return super().embed_documents(texts) * np.float32(3)


def test_the_first_numbers_are_kept_and_have_length_one() -> None:
    inner = HashEmbedder(64)
    cut = TruncatedEmbedder(inner, 16, is_normalized=True)
    vectors = cut.embed_documents(TEXTS)
    whole = inner.embed_documents(TEXTS)[:, :16]
    assert (cut.dimension, vectors.shape, str(vectors.dtype), vectors.flags.c_contiguous) == (16, (3, 16), "float32", True)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.allclose(vectors, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-6)


def test_a_question_is_cut_like_a_document() -> None:
    cut = TruncatedEmbedder(HashEmbedder(64), 16, is_normalized=True)
    question = cut.embed_query("one text")
    assert question.shape == (16,)
    assert np.allclose(question, cut.embed_documents(["one text"])[0])


def test_lengths_of_a_model_that_has_them_are_kept() -> None:
    inner = Lengths(64)
    vectors = TruncatedEmbedder(inner, 16, is_normalized=False).embed_documents(TEXTS)
    assert np.array_equal(vectors, inner.embed_documents(TEXTS)[:, :16])


@pytest.mark.parametrize("is_queued", [True, False])
def test_batches_under_way_are_cut_as_well(is_queued: bool) -> None:
    wants = Batching(99, at_once=2)
    inner = QueuedHashEmbedder(64, wants=wants) if is_queued else HashEmbedder(64)
    cut = TruncatedEmbedder(inner, 16, is_normalized=True)
    assert cut.batching(512) == (wants if is_queued else Batching(512))
    waits = [cut.begin_documents([text]) for text in TEXTS]
    assert np.array_equal(np.concatenate([wait() for wait in waits]), cut.embed_documents(TEXTS))
    assert not is_queued or inner.most == 3  # type: ignore[union-attr]


def test_no_text_gives_no_vector() -> None:
    assert TruncatedEmbedder(HashEmbedder(64), 16, is_normalized=True).embed_documents([]).shape == (0, 16)


def test_a_vector_whose_first_numbers_are_zero_is_refused_later_and_not_made_up() -> None:
    class Zeros(HashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Matrix:
            return np.eye(64, dtype=np.float32)[[40] * len(texts)]

    vectors = TruncatedEmbedder(Zeros(64), 16, is_normalized=True).embed_documents(TEXTS)
    assert np.isfinite(vectors).all()
    with pytest.raises(BadVectorError, match="length 0"):
        check_vectors(vectors, count=3, dimension=16, is_normalized=True)


def test_it_says_what_it_is() -> None:
    described = TruncatedEmbedder(HashEmbedder(64), 16, is_normalized=True).describe()
    assert described["dimension"] == 16
    assert described["device"] == "none"
