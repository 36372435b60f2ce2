"""Texts to vectors that may be kept: batches by tokens, halved where they do not fit, every vector checked."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rag_pipeline.errors import BadVectorError, BatchTooLargeError
from rag_pipeline.ports import Batching, Embedder, QueuedEmbedder
from rag_pipeline.schema import Matrix, Vector

NORM_TOLERANCE = 1e-2
"""How far the length of a normalised vector may lie from 1."""
ALONE_AGREEMENT = 0.97
"""Smallest cosine of a text's vector alone and in a batch. Half precision and padding move it by less than 0.01."""


@dataclass(slots=True)
class EmbedReport:
    """What one call of ``embed_texts`` did."""

    texts: int = 0
    tokens: int = 0
    """Tokens of the texts, padding left out."""
    padded_tokens: int = 0
    """Tokens that the model worked on: every text as long as the longest of its batch."""
    seconds: float = 0.0
    """Inside the embedder alone, or waiting for it."""
    batches: int = 0
    halvings: int = 0
    batching: Batching | None = field(default=None, repr=False)
    """The batches that the device wanted; None where there was no text."""


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
    on_batch: Callable[[list[int], Matrix], None],
    is_normalized: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> EmbedReport:
    """What was done; ``on_batch`` got the positions and checked vectors of each batch, in the order of the batches.

    As many are under way as the embedder wants, which on a CPU is one; none is kept before the first has passed every check.
    ``should_stop`` is asked before every batch but the first, so that every call gets on; what is under way is kept.
    Raises BadVectorError, TruncationError, or BatchTooLargeError where one text alone does not fit.
    """
    if not texts:
        return EmbedReport()
    run = _Run(texts, token_counts, embedder=embedder, is_normalized=is_normalized, on_batch=on_batch)
    return run.work_off(run.plan(batch_tokens), should_stop)


Wait = Callable[[], Matrix]


class _Run:
    """The batches still to do, and what was learned about what fits."""

    def __init__(
        self,
        texts: Sequence[str],
        token_counts: Sequence[int],
        *,
        embedder: Embedder,
        is_normalized: bool,
        on_batch: Callable[[list[int], Matrix], None],
    ) -> None:
        self._texts = texts
        self._counts = token_counts
        self._embedder = embedder
        self._is_normalized = is_normalized
        self._on_batch = on_batch
        self._report = EmbedReport()
        self._batching = Batching(0)
        self._too_large: float = float("inf")
        """Padded tokens of the smallest batch that did not fit."""
        self._only_vector: npt.NDArray[np.float32] | None = None
        """The vector that every text got so far; None before the first text."""
        self._only_counts: set[int] | None = set()
        """Token counts of the texts that got it; None once two vectors differ."""

    def plan(self, batch_tokens: int) -> list[list[int]]:
        """The batches that suit the embedder's device; loads its model."""
        started = time.perf_counter()
        if isinstance(self._embedder, QueuedEmbedder):
            self._batching = self._embedder.batching(batch_tokens)
        else:
            self._batching = Batching(batch_tokens)
        self._report.batching = self._batching
        self._report.seconds += time.perf_counter() - started
        lengths = [self._batching.padded(count) for count in self._counts]
        return plan_batches(lengths, batch_tokens=self._batching.tokens, batch_texts=self._batching.texts)

    def work_off(self, batches: list[list[int]], should_stop: Callable[[], bool]) -> EmbedReport:
        waiting = batches[::-1]
        under_way: deque[tuple[list[int], Wait]] = deque()
        is_stopped = False
        while under_way or (waiting and not is_stopped):
            if waiting and len(under_way) < self._batching.at_once and not is_stopped:
                is_stopped = bool(under_way or self._report.batches) and should_stop()
                if not is_stopped:
                    under_way += self._begin(waiting)
                continue
            batch, wait = under_way.popleft()
            vectors = self._finish(batch, wait)
            if vectors is None:
                waiting += _halves(batch)
            else:
                self._on_batch(batch, vectors)
        return self._report

    def _begin(self, waiting: list[list[int]]) -> list[tuple[list[int], Wait]]:
        """The next batch, begun; nothing where it had to be halved, since so many tokens did not fit before."""
        batch = waiting.pop()
        if len(batch) > 1 and self._padded(batch) >= self._too_large:
            waiting += _halves(batch)
            return []
        texts = [self._texts[position] for position in batch]
        if self._batching.at_once > 1 and isinstance(self._embedder, QueuedEmbedder):
            return [(batch, self._embedder.begin_documents(texts))]
        return [(batch, lambda: self._embedder.embed_documents(texts))]

    def _finish(self, batch: list[int], wait: Wait) -> Matrix | None:
        """The checked vectors, or None where the batch must be halved."""
        started = time.perf_counter()
        try:
            vectors = wait()
        except BatchTooLargeError as error:
            self._note_too_large(batch, error)
            return None
        finally:
            self._report.seconds += time.perf_counter() - started
        check_vectors(vectors, count=len(batch), dimension=self._embedder.dimension, is_normalized=self._is_normalized)
        self._refuse_constant(batch, vectors)
        if not self._report.batches:
            self._refuse_shuffled(batch, vectors)
        self._report.texts += len(batch)
        self._report.tokens += sum(self._counts[position] for position in batch)
        self._report.padded_tokens += self._padded(batch)
        self._report.batches += 1
        return vectors

    def _note_too_large(self, batch: list[int], error: BatchTooLargeError) -> None:
        if len(batch) == 1:
            raise BatchTooLargeError(
                f"text {batch[0]} of {self._counts[batch[0]]} tokens does not fit even alone; lower embedding.max_tokens and "
                "the chunk sizes, or free memory",
                system=error.system,
            ) from error
        self._too_large = min(self._too_large, self._padded(batch))
        self._report.halvings += 1

    def _refuse_constant(self, batch: list[int], vectors: Matrix) -> None:
        """Raises BadVectorError where texts of different lengths all have one and the same vector."""
        if self._only_counts is None:
            return
        first = self._only_vector = vectors[0].copy() if self._only_vector is None else self._only_vector
        if not (vectors == first).all():
            self._only_counts = None
            return
        self._only_counts.update(self._counts[position] for position in batch)
        if len(self._only_counts) > 1:
            raise BadVectorError(
                f"all {self._report.texts + len(batch)} texts so far got the same vector; nothing of this batch is kept; "
                "check the model's files, or the served model"
            )

    def _refuse_shuffled(self, batch: list[int], vectors: Matrix) -> None:
        """Raises BadVectorError where a text alone gets another vector than in its batch.

        A server that mixes up the order of its answers stores every text under the meaning of another one, and no other
        check sees it. Both ends of the first batch are asked again.
        """
        for row in {0, len(batch) - 1} if len(batch) > 1 else ():
            alone = self._embedder.embed_documents([self._texts[batch[row]]])[0]
            if _cosine(alone, vectors[row]) < ALONE_AGREEMENT:
                raise BadVectorError(
                    f"text {batch[row]} has another vector alone than in a batch of {len(batch)}: the model, or the server that "
                    "serves it, mixes up texts; nothing of this batch is kept"
                )

    def _padded(self, batch: list[int]) -> int:
        return len(batch) * self._batching.padded(max(self._counts[position] for position in batch))


def _cosine(left: Vector, right: Vector) -> float:
    lengths = float(np.linalg.norm(left)) * float(np.linalg.norm(right))
    return float(np.dot(left, right)) / lengths if lengths else 0.0


def _halves(batch: list[int]) -> list[list[int]]:
    """Both halves, the first one last, so that it is popped first."""
    middle = (len(batch) + 1) // 2
    return [batch[middle:], batch[:middle]]


def _refuse(is_bad: npt.NDArray[np.bool_], what: str) -> None:
    if is_bad.any():
        raise BadVectorError(
            f"{int(is_bad.sum())} of {len(is_bad)} vectors {what}, first at position {int(is_bad.argmax())} of the batch; "
            "nothing of this batch is kept; check the model's files, or set embedding.dtype: float32"
        )
