"""Texts to vectors that may be kept: batches by tokens, halved where they do not fit, every vector checked."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rag_pipeline.errors import BadVectorError, BatchTooLargeError
from rag_pipeline.ports import Batching, Embedder, QueuedEmbedder, Wait
from rag_pipeline.schema import Matrix, Vector

NORM_TOLERANCE = 1e-2
"""How far the length of a normalised vector may lie from 1."""
OnBatch = Callable[[list[int], Matrix], None]
ALONE_AGREEMENT = 0.97
"""Smallest cosine of a text's vector alone and in a batch. Half precision and padding move it by less than 0.01."""


@dataclass(slots=True)
class EmbedReport:
    """What a run did so far."""

    texts: int = 0
    tokens: int = 0
    """Tokens of the texts, padding left out."""
    padded_tokens: int = 0
    """Tokens that the model worked on: every text as long as the longest of its batch."""
    seconds: float = 0.0
    """Inside the embedder alone, or waiting for it."""
    batches: int = 0
    halvings: int = 0


def plan_batches(token_counts: Sequence[int], *, batch_tokens: int, batch_texts: int = 256) -> list[list[int]]:
    """Positions of texts in batches of like length, longest first, none over the budget once padded.

    A text that is longer than the budget stands alone. Where it fits, the longest text has the shortest beside it: a
    model that answers every text alike is then noticed in the first batch, before anything is kept.
    """
    order = sorted(range(len(token_counts)), key=lambda position: (-token_counts[position], position))
    if len(order) > 1 and batch_texts > 1 and 2 * token_counts[order[0]] <= batch_tokens:
        order.insert(1, order.pop())
    batches: list[list[int]] = []
    longest = 0
    for position in order:
        batch = batches[-1] if batches else []
        longest = max(longest, token_counts[position])
        if batch and len(batch) < batch_texts and longest * (len(batch) + 1) <= batch_tokens:
            batch.append(position)
        else:
            batches.append([position])
            longest = token_counts[position]
    return batches


def check_vectors(matrix: Matrix, *, count: int, dimension: int, is_normalized: bool) -> None:
    """Raises BadVectorError for the first check that a vector fails: shape, finite values, length."""
    if matrix.shape != (count, dimension):
        raise BadVectorError(
            f"the model returned an array of shape {matrix.shape} for {count} texts of dimension {dimension}; "
            "check that embedding.model and embedding.endpoint name one model"
        )
    _refuse(np.logical_or.reduce(~np.isfinite(matrix), axis=1), "are not finite numbers")
    norms: npt.NDArray[np.float64] = np.sqrt(np.square(matrix, dtype=np.float64).sum(axis=1))
    _refuse(np.less_equal(norms, 0), "have the length 0")
    if is_normalized:
        _refuse(np.greater(np.abs(norms - 1), NORM_TOLERANCE), "do not have the length 1")


def embed_texts(
    texts: Sequence[str],
    token_counts: Sequence[int],
    *,
    embedder: Embedder,
    batch_tokens: int,
    on_batch: OnBatch,
    is_normalized: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> EmbedReport:
    """What was done; as one portion of an ``EmbedRun``, waited for to its end."""
    run = EmbedRun(embedder=lambda: embedder, batch_tokens=batch_tokens, is_normalized=is_normalized, should_stop=should_stop)
    run.add(texts, token_counts, on_batch=on_batch)
    run.work()
    return run.report


@dataclass(slots=True, eq=False)
class _Portion:
    """Texts that came together and are sorted by length together."""

    texts: Sequence[str]
    counts: Sequence[int]
    on_batch: OnBatch
    is_begun: bool = False
    is_proven: bool = False
    """Two texts alone got the vectors that they got in a batch."""


@dataclass(slots=True, eq=False)
class _Batch:
    """Positions in a portion."""

    portion: _Portion
    positions: list[int]
    wait: Wait | None = None
    """For the vectors, once it is begun."""
    waits_alone: list[Wait] = field(default_factory=list)
    """For those of ``ends``, each as a batch of its own."""
    is_without_others: bool = False
    """Nothing else was under way when it was begun."""

    @property
    def texts(self) -> list[str]:
        return [self.portion.texts[position] for position in self.positions]

    @property
    def counts(self) -> list[int]:
        return [self.portion.counts[position] for position in self.positions]

    @property
    def ends(self) -> list[int]:
        """Rows of the first and the last text; none where there is one text."""
        return [0, len(self.positions) - 1] if len(self.positions) > 1 else []

    def halves(self) -> list["_Batch"]:
        """The first half has the odd text."""
        middle = (len(self.positions) + 1) // 2
        return [_Batch(self.portion, part) for part in (self.positions[:middle], self.positions[middle:])]


class EmbedRun:
    """Texts that come in portions. As many batches are under way as the embedder wants, which may be one.

    Each ``on_batch`` gets positions in its portion and checked vectors, in the order of the batches; nothing of a portion is kept
    before its first batch has passed every check. ``should_stop`` is asked before every batch but the first, so that every run
    gets on; what is under way is kept. Raises BadVectorError, TruncationError, or BatchTooLargeError where one text alone does
    not fit.
    """

    def __init__(
        self,
        *,
        embedder: Callable[[], Embedder],
        batch_tokens: int,
        is_normalized: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """``embedder`` is asked for when the first texts come."""
        self.report = EmbedReport()
        self.is_stopped = False
        self._open_embedder = embedder
        self._batch_tokens = batch_tokens
        self._is_normalized = is_normalized
        self._should_stop = should_stop
        self._waiting: deque[_Batch] = deque()
        self._under_way: deque[_Batch] = deque()
        self._too_large: float = float("inf")
        """Padded tokens of the smallest batch that did not fit."""
        self._only_vector: npt.NDArray[np.float32] | None = None
        """The vector that every text got so far; None before the first text."""
        self._only_counts: set[int] | None = set()
        """Token counts of the texts that got it; None once two vectors differ."""

    @cached_property
    def _embedder(self) -> Embedder:
        return self._open_embedder()

    @cached_property
    def batching(self) -> Batching:
        """The batches that suit the embedder's device; loads its model."""
        started = time.perf_counter()
        if isinstance(self._embedder, QueuedEmbedder):
            batching = self._embedder.batching(self._batch_tokens)
        else:
            batching = Batching(self._batch_tokens)
        self.report.seconds += time.perf_counter() - started
        return batching

    def add(self, texts: Sequence[str], token_counts: Sequence[int], *, on_batch: OnBatch) -> None:
        """A portion, to be worked on behind what waits already."""
        if not texts:
            return
        portion = _Portion(texts, token_counts, on_batch)
        lengths = [self.batching.padded(count) for count in token_counts]
        plan = plan_batches(lengths, batch_tokens=self.batching.tokens, batch_texts=self.batching.texts)
        self._waiting += [_Batch(portion, positions) for positions in plan]

    def work(self, *, is_more_to_come: bool = False) -> None:
        """Until everything is kept; where more is to come, until everything is begun, so that the device need not wait for it."""
        while self._under_way or (self._waiting and not self.is_stopped):
            if self._waiting and not self.is_stopped and len(self._under_way) < self.batching.at_once:
                self._begin_or_stop()
            elif is_more_to_come and not self._waiting and self.batching.at_once > 1:
                return
            else:
                self._finish(self._under_way.popleft())

    def _begin_or_stop(self) -> None:
        self.is_stopped = bool(self._under_way or self.report.batches) and self._should_stop()
        if self.is_stopped:
            return
        batch = self._waiting.popleft()
        if len(batch.positions) > 1 and self._padded(batch) >= self._too_large:
            self._put_back(batch.halves())  # so many tokens did not fit before
        else:
            self._begin(batch)

    def _begin(self, batch: _Batch) -> None:
        batch.wait = self._begun(batch.texts)
        if not batch.portion.is_begun:
            batch.portion.is_begun = True
            batch.waits_alone = [self._begun([batch.texts[row]]) for row in batch.ends]
        self._under_way.append(batch)

    def _begun(self, texts: list[str]) -> Wait:
        if self.batching.at_once > 1 and isinstance(self._embedder, QueuedEmbedder):
            return self._embedder.begin_documents(texts)
        return lambda: self._embedder.embed_documents(texts)

    def _put_back(self, batches: list[_Batch]) -> None:
        self._waiting.extendleft(reversed(batches))

    def _finish(self, batch: _Batch) -> None:
        """Checks the vectors and hands them over, or halves the batch."""
        vectors = self._vectors(batch)
        if vectors is None:
            self._put_back(batch.halves())
            return
        check_vectors(vectors, count=len(batch.positions), dimension=self._embedder.dimension, is_normalized=self._is_normalized)
        self._refuse_constant(batch, vectors)
        if not batch.portion.is_proven:
            self._refuse_shuffled(batch, vectors)
            batch.portion.is_proven = len(batch.positions) > 1
        self.report.texts += len(batch.positions)
        self.report.tokens += sum(batch.counts)
        self.report.padded_tokens += self._padded(batch)
        self.report.batches += 1
        batch.portion.on_batch(batch.positions, vectors)

    def _vectors(self, batch: _Batch) -> Matrix | None:
        assert batch.wait is not None  # noqa: S101 - it was begun
        started = time.perf_counter()
        try:
            return batch.wait()
        except BatchTooLargeError as error:
            if len(batch.positions) == 1 and self.batching.at_once > 1 and not batch.is_without_others:
                return self._without_others(batch)
            self._note_too_large(batch, error)
            return None
        finally:
            self.report.seconds += time.perf_counter() - started

    def _without_others(self, batch: _Batch) -> Matrix | None:
        """The same, once what is under way takes no memory any more."""
        while self._under_way:
            self._finish(self._under_way.popleft())
        batch.wait, batch.is_without_others = self._begun(batch.texts), True
        return self._vectors(batch)

    def _note_too_large(self, batch: _Batch, error: BatchTooLargeError) -> None:
        if len(batch.positions) == 1:
            raise BatchTooLargeError(
                f"text {batch.positions[0]} of {batch.counts[0]} tokens does not fit even alone; lower embedding.max_tokens and "
                "the chunk sizes, or free memory",
                system=error.system,
            ) from error
        self._too_large = min(self._too_large, self._padded(batch))
        self.report.halvings += 1

    def _refuse_constant(self, batch: _Batch, vectors: Matrix) -> None:
        """Raises BadVectorError where texts of different lengths all have one and the same vector."""
        if self._only_counts is None:
            return
        first = self._only_vector = vectors[0].copy() if self._only_vector is None else self._only_vector
        if not (vectors == first).all():
            self._only_counts = None
            return
        self._only_counts.update(batch.counts)
        if len(self._only_counts) > 1:
            raise BadVectorError(
                f"all {self.report.texts + len(vectors)} texts so far got the same vector; nothing of this batch is kept; "
                "check the model's files, or the served model"
            )

    def _refuse_shuffled(self, batch: _Batch, vectors: Matrix) -> None:
        """Raises BadVectorError where a text alone gets another vector than in its batch.

        A server that mixes up the order of its answers stores every text under the meaning of another one, and no other
        check sees it. Both ends of the first batch are asked again.
        """
        waits = batch.waits_alone or [self._begun([batch.texts[row]]) for row in batch.ends]
        for row, wait in zip(batch.ends, waits, strict=True):
            if _cosine(self._alone(batch.texts[row], wait), vectors[row]) < ALONE_AGREEMENT:
                raise BadVectorError(
                    f"text {batch.positions[row]} has another vector alone than in a batch of {len(vectors)}: the model, or the "
                    "server that serves it, mixes up texts; nothing of this batch is kept"
                )

    def _alone(self, text: str, wait: Wait) -> Vector:
        """The text's vector; once what is under way takes no memory any more, where it did not fit beside that."""
        try:
            vectors = wait()
        except BatchTooLargeError:
            if not self._under_way:
                raise
            while self._under_way:
                self._finish(self._under_way.popleft())
            vectors = self._begun([text])()
        vector: Vector = vectors[0]
        return vector

    def _padded(self, batch: _Batch) -> int:
        return self.batching.padded_tokens(batch.counts)


def _cosine(left: Vector, right: Vector) -> float:
    lengths = float(np.linalg.norm(left)) * float(np.linalg.norm(right))
    return float(np.dot(left, right)) / lengths if lengths else 0.0


def _refuse(is_bad: npt.NDArray[np.bool_], what: str) -> None:
    if is_bad.any():
        raise BadVectorError(
            f"{int(is_bad.sum())} of {len(is_bad)} vectors {what}, first at position {int(is_bad.argmax())} of the batch; "
            "nothing of this batch is kept; check the model's files, or set embedding.dtype: float32"
        )
