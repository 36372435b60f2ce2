from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.errors import BadVectorError, BatchTooLargeError
from rag_pipeline.indexing.embedding import EmbedReport, EmbedRun, check_vectors, embed_texts, plan_batches
from rag_pipeline.ports import Batching
from rag_pipeline.schema import Matrix, Vector
from rag_pipeline_tests.fakes.embedder import HashEmbedder, QueuedHashEmbedder

COUNTS = st.lists(st.integers(min_value=1, max_value=600), max_size=120)
TEXTS = [f"word{n} " * (n % 7 + 1) for n in range(40)]
TOKENS = [n % 7 + 3 for n in range(40)]


class Stub:
    """An embedder that gives what the test says."""

    dimension = 8

    def __init__(self, make: Callable[[Matrix], Matrix]) -> None:
        self._make = make
        self._hashes = HashEmbedder(self.dimension)

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        return self._make(self._hashes.embed_documents(texts))

    def embed_query(self, text: str) -> Vector:
        vector: Vector = self.embed_documents([text])[0]
        return vector

    def describe(self) -> Mapping[str, Any]:
        return {}


def _with(row: int, value: float) -> Callable[[Matrix], Matrix]:
    def make(good: Matrix) -> Matrix:
        good[min(row, len(good) - 1)] = value
        return good

    return make


@given(COUNTS, st.integers(min_value=64, max_value=4096), st.integers(min_value=1, max_value=64))
def test_every_text_is_in_exactly_one_batch(counts: list[int], batch_tokens: int, batch_texts: int) -> None:
    batches = plan_batches(counts, batch_tokens=batch_tokens, batch_texts=batch_texts)
    assert sorted(position for batch in batches for position in batch) == list(range(len(counts)))


@given(COUNTS, st.integers(min_value=64, max_value=4096), st.integers(min_value=1, max_value=64))
def test_no_batch_is_over_the_budget_unless_it_is_one_text(counts: list[int], batch_tokens: int, batch_texts: int) -> None:
    for batch in plan_batches(counts, batch_tokens=batch_tokens, batch_texts=batch_texts):
        padded = len(batch) * max(counts[position] for position in batch)
        assert len(batch) == 1 or (padded <= batch_tokens and len(batch) <= batch_texts)


@given(COUNTS)
def test_batches_go_from_long_to_short(counts: list[int]) -> None:
    longest = [max(counts[position] for position in batch) for batch in plan_batches(counts, batch_tokens=1024)]
    assert longest == sorted(longest, reverse=True)


def test_sorting_by_length_leaves_little_padding() -> None:
    counts = [int(n) for n in np.random.default_rng(1).integers(20, 512, size=2000)]
    batches = plan_batches(counts, batch_tokens=8192)
    padded = sum(len(batch) * max(counts[position] for position in batch) for batch in batches)
    assert padded / sum(counts) < 1.03


def test_batches_are_handed_over_as_they_are_done() -> None:
    embedder, kept = HashEmbedder(), []
    seen_at: list[int] = []

    def keep(positions: list[int], vectors: Matrix) -> None:
        assert np.array_equal(vectors, HashEmbedder().embed_documents([TEXTS[position] for position in positions]))
        kept.extend(positions)
        seen_at.append(len(embedder.embedded))

    report = embed_texts(TEXTS, TOKENS, embedder=embedder, batch_tokens=64, on_batch=keep)
    assert sorted(kept) == list(range(len(TEXTS)))
    assert seen_at == sorted(set(seen_at))
    assert (report.texts, report.tokens, report.halvings) == (len(TEXTS), sum(TOKENS), 0)
    assert report.batches == len(seen_at)
    assert report.padded_tokens >= report.tokens


def test_what_was_handed_over_before_a_failure_stays() -> None:
    calls, kept = [], []

    def fail_late(good: Matrix) -> Matrix:
        calls.append(len(good))
        return good if len(calls) < 5 else good * np.float32(np.nan)

    with pytest.raises(BadVectorError):
        embed_texts(TEXTS, TOKENS, embedder=Stub(fail_late), batch_tokens=64, on_batch=lambda p, _: kept.extend(p))
    first, *asked_again, second, _ = calls
    assert asked_again == [1, 1]
    assert len(kept) == first + second


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_with(3, np.nan), "not finite"),
        (_with(0, np.inf), "not finite"),
        (_with(2, -np.inf), "not finite"),
        (_with(1, 0.0), "length 0"),
        (_with(1, 1e30), "length 1"),
        (lambda good: good * np.float32(0.5), "length 1"),
        (lambda good: np.repeat(good[:1] * 0 + np.float32(8**-0.5), len(good), axis=0), "same vector"),
        (lambda good: good[:-1], "shape"),
        (lambda good: np.concatenate([good, good]), "shape"),
        (lambda good: good[:, :-1], "shape"),
        (lambda good: good[0], "shape"),
    ],
    ids=["nan", "inf", "minus_inf", "zero", "huge", "half", "constant", "too_few", "too_many", "dimension", "flat"],
)
def test_a_bad_vector_is_refused_and_nothing_is_kept(make: Callable[[Matrix], Matrix], message: str) -> None:
    kept: list[int] = []
    with pytest.raises(BadVectorError, match=message):
        embed_texts(
            TEXTS,
            TOKENS,
            embedder=Stub(make),
            batch_tokens=4096,
            on_batch=lambda positions, _: kept.extend(positions),
            is_normalized=True,
        )
    assert kept == []


def test_a_constant_model_is_noticed_in_the_first_batch() -> None:
    constant = Stub(lambda good: np.repeat(good[:1] * 0 + np.float32(8**-0.5), len(good), axis=0))
    kept: list[int] = []
    with pytest.raises(BadVectorError, match="same vector"):
        embed_texts(
            ["long text"] * 99 + ["x"],
            [100] * 99 + [3],
            embedder=constant,
            batch_tokens=200,
            on_batch=lambda p, _: kept.extend(p),
        )
    assert kept == []


@pytest.mark.parametrize("shuffle", [lambda good: good[::-1], lambda good: np.roll(good, 1, axis=0)], ids=["reversed", "shifted"])
def test_a_model_that_mixes_up_its_answers_is_refused_before_anything_is_kept(shuffle: Callable[[Matrix], Matrix]) -> None:
    kept: list[int] = []
    with pytest.raises(BadVectorError, match="another vector alone"):
        embed_texts(TEXTS, TOKENS, embedder=Stub(shuffle), batch_tokens=4096, on_batch=lambda p, _: kept.extend(p))
    assert kept == []


def test_equal_texts_may_share_a_vector() -> None:
    report = embed_texts(["same"] * 9, [3] * 9, embedder=HashEmbedder(), batch_tokens=64, on_batch=lambda p, _: None)
    assert report.texts == 9


def test_the_message_counts_bad_vectors_and_names_the_first() -> None:
    matrix = np.eye(4, dtype=np.float32)
    matrix[[1, 3]] = 0
    with pytest.raises(BadVectorError, match=r"2 of 4 vectors have the length 0, first at position 1"):
        check_vectors(matrix, count=4, dimension=4, is_normalized=False)


def test_a_vector_that_need_not_be_normalised_may_have_any_length() -> None:
    check_vectors(np.eye(3, dtype=np.float32) * 7, count=3, dimension=3, is_normalized=False)


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_batches_that_do_not_fit_are_halved(limit: int) -> None:
    rows: dict[int, Vector] = {}
    embedder = HashEmbedder(max_batch_texts=limit)
    report = embed_texts(
        TEXTS, TOKENS, embedder=embedder, batch_tokens=4096, on_batch=lambda p, v: rows.update(zip(p, v, strict=True))
    )
    assert np.array_equal(np.stack([rows[n] for n in range(len(TEXTS))]), HashEmbedder().embed_documents(TEXTS))
    assert report.halvings > 0
    assert len(embedder.embedded) == len(TEXTS) + (2 if limit > 1 else 0)  # both ends of the first batch are asked again


def test_a_size_that_did_not_fit_is_not_tried_again() -> None:
    texts, tokens = [f"text {n}" for n in range(256)], [32] * 256
    report = embed_texts(
        texts, tokens, embedder=HashEmbedder(max_batch_texts=8), batch_tokens=32 * 64, on_batch=lambda p, v: None
    )
    assert report.halvings == 3  # 64, 32, 16: once each, not once a batch
    assert report.batches == 32


def test_a_text_that_does_not_fit_alone_is_named() -> None:
    with pytest.raises(BatchTooLargeError, match="text 2 of 90 tokens") as caught:
        embed_texts(
            ["a", "b", "c"], [5, 6, 90], embedder=HashEmbedder(max_batch_texts=0), batch_tokens=512, on_batch=lambda p, v: None
        )
    assert caught.value.system == "hash embedder"


def test_no_texts_need_no_embedder_call() -> None:
    embedder = HashEmbedder()
    assert embed_texts([], [], embedder=embedder, batch_tokens=64, on_batch=lambda p, v: None).batches == 0
    assert embedder.embedded == []


# --- several batches under way ---------------------------------------------------------------------------------------

SEVERAL = Batching(64, at_once=3)


def _embed_queued(embedder: QueuedHashEmbedder, *, stop_after: int = 1000) -> tuple[EmbedReport, dict[int, Vector]]:
    rows: dict[int, Vector] = {}
    report = embed_texts(
        TEXTS,
        TOKENS,
        embedder=embedder,
        batch_tokens=4096,
        on_batch=lambda p, v: rows.update(zip(p, v, strict=True)),
        should_stop=lambda: len(rows) >= stop_after,
    )
    return report, rows


def test_a_device_that_wants_them_gets_several_batches_of_its_own_size() -> None:
    embedder = QueuedHashEmbedder(wants=SEVERAL)
    report, rows = _embed_queued(embedder)
    assert np.array_equal(np.stack([rows[n] for n in range(len(TEXTS))]), HashEmbedder().embed_documents(TEXTS))
    assert embedder.most == 3
    planned = plan_batches(TOKENS, batch_tokens=64)
    assert (report.batches, list(rows)) == (len(planned), [position for batch in planned for position in batch])


@pytest.mark.parametrize("fault", [lambda good: good[::-1], lambda good: good * np.float32(np.nan)], ids=["shuffled", "nan"])
def test_nothing_is_kept_before_the_first_batch_is_checked(fault: Callable[[Matrix], Matrix]) -> None:
    class Faulty(QueuedHashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Matrix:
            return fault(super().embed_documents(texts))

    embedder, kept = Faulty(wants=SEVERAL), list[int]()
    with pytest.raises(BadVectorError):
        embed_texts(TEXTS, TOKENS, embedder=embedder, batch_tokens=64, on_batch=lambda p, v: kept.extend(p))
    assert (kept, embedder.most) == ([], 3)


def test_a_portion_is_begun_while_the_last_batches_of_the_one_before_are_computed() -> None:
    embedder, kept = QueuedHashEmbedder(wants=SEVERAL), list[tuple[str, int]]()
    run = EmbedRun(embedder=lambda: embedder, batch_tokens=64)

    def add(name: str) -> None:
        run.add([name + text for text in TEXTS], TOKENS, on_batch=lambda p, v: kept.extend((name, n) for n in p))

    add("a")
    run.work(is_more_to_come=True)
    assert embedder.under_way == SEVERAL.at_once
    assert 0 < len(kept) < len(TEXTS)
    add("b")
    run.work(is_more_to_come=True)
    assert embedder.under_way == SEVERAL.at_once
    run.work()
    order = [position for batch in plan_batches(TOKENS, batch_tokens=64) for position in batch]
    assert kept == [(name, position) for name in "ab" for position in order]
    assert (run.report.texts, embedder.under_way) == (2 * len(TEXTS), 0)


def test_the_first_batch_of_every_portion_is_compared_with_texts_alone() -> None:
    class LateFault(QueuedHashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Matrix:
            good = super().embed_documents(texts)
            return good[::-1] if texts[0].startswith("b") else good

    embedder, kept = LateFault(wants=SEVERAL), set[str]()
    run = EmbedRun(embedder=lambda: embedder, batch_tokens=64)
    for name in "ab":
        run.add([name + text for text in TEXTS], TOKENS, on_batch=lambda p, v, name=name: kept.add(name))
    with pytest.raises(BadVectorError, match="mixes up texts"):
        run.work()
    assert kept == {"a"}


def test_where_the_first_batch_is_one_text_the_next_is_compared() -> None:
    class Faulty(QueuedHashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Matrix:
            return super().embed_documents(texts)[::-1]

    kept = list[int]()
    texts, counts = ["word " * 90, *TEXTS], [90, *TOKENS]
    with pytest.raises(BadVectorError, match="mixes up texts"):
        embed_texts(texts, counts, embedder=Faulty(wants=SEVERAL), batch_tokens=64, on_batch=lambda p, v: kept.extend(p))
    assert kept == [0]


def test_a_text_that_fails_for_its_neighbours_memory_is_tried_once_more_alone() -> None:
    class Crowded(QueuedHashEmbedder):
        singles = 0

        def begin_documents(self, texts: Sequence[str]) -> Callable[[], Matrix]:
            is_crowded = self.singles > 0
            self.singles += 1

            def fail_in_a_crowd() -> Matrix:
                self.singles -= 1
                vectors = self.embed_documents(texts)
                if is_crowded:
                    raise BatchTooLargeError("too large", system="test")
                return vectors

            return fail_in_a_crowd

    embedder, kept = Crowded(wants=Batching(8, at_once=3)), dict[int, Vector]()
    texts = [f"text {number} " * 8 for number in range(7)]
    embed_texts(texts, [9] * 7, embedder=embedder, batch_tokens=8, on_batch=lambda p, v: kept.update(zip(p, v, strict=True)))
    assert np.array_equal(np.stack([kept[n] for n in range(7)]), HashEmbedder().embed_documents(texts))


def test_a_proof_that_does_not_fit_beside_others_is_asked_again_alone() -> None:
    class Full(QueuedHashEmbedder):
        """Room for what is under way and for none of the small batches that prove the first."""

        singles = 0

        def begin_documents(self, texts: Sequence[str]) -> Callable[[], Matrix]:
            wait = super().begin_documents(texts)
            self.singles += len(texts) == 1
            if len(texts) > 1 or self.singles > 1:
                return wait

            def fail() -> Matrix:
                wait()
                raise BatchTooLargeError("1 texts do not fit", system="test")

            return fail

    kept = dict[int, Vector]()
    texts = [f"text {'x' * number}" for number in range(40)]
    embedder = Full(wants=Batching(64, at_once=3))
    embed_texts(texts, [8] * 40, embedder=embedder, batch_tokens=64, on_batch=lambda p, v: kept.update(zip(p, v, strict=True)))
    assert np.array_equal(np.stack([kept[n] for n in range(40)]), HashEmbedder().embed_documents(texts))


def test_every_call_gets_on_even_when_told_to_stop() -> None:
    embedder = QueuedHashEmbedder(wants=SEVERAL)
    report, rows = _embed_queued(embedder, stop_after=0)
    assert report.batches == 1
    assert len(rows) == report.texts > 0


def test_batches_that_do_not_fit_are_halved_while_others_are_under_way() -> None:
    report, rows = _embed_queued(QueuedHashEmbedder(wants=SEVERAL, max_batch_texts=4))
    assert np.array_equal(np.stack([rows[n] for n in range(len(TEXTS))]), HashEmbedder().embed_documents(TEXTS))
    assert report.halvings > 0


def test_what_is_under_way_when_told_to_stop_is_kept() -> None:
    embedder = QueuedHashEmbedder(wants=Batching(24, at_once=3))
    report, rows = _embed_queued(embedder, stop_after=10)
    assert 10 < report.texts == len(rows) < len(TEXTS)
    assert sum(text in embedder.embedded for text in TEXTS) == len(rows)


def test_texts_are_planned_at_the_length_that_the_device_pads_them_to() -> None:
    report, _ = _embed_queued(QueuedHashEmbedder(wants=Batching(64, length_step=16)))
    assert report.padded_tokens == 16 * len(TEXTS)
    assert report.batches == len(TEXTS) // 4
    assert report.tokens == sum(TOKENS)
