"""What a search is worth on questions with known answers. Measures by ir-measures, which wraps trec_eval."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rag_pipeline.evaluation.golden_set import Question
from rag_pipeline.schema import Hit

Search = Callable[[str], list[Hit]]
"""A question's text to hits, best first."""
CONFIDENCE = 0.95
ROUNDS = 2000


@dataclass(frozen=True, slots=True)
class RetrievalScores:
    """The worth of a search, a value for each question in their order."""

    limit: int
    recall: tuple[float, ...]
    """Share of the relevant documents that are among the first ``limit`` different ones."""
    ndcg: tuple[float, ...]
    """Discounted gain of the first ``limit`` different documents, 1 for the best possible order."""
    reciprocal_rank: tuple[float, ...]
    """1 / place of the first relevant document among the first ``limit``, else 0."""
    passage: tuple[float, ...]
    """1 where one of the first ``limit`` hits holds the quote, else 0; of the questions that have a quote only."""

    def by_name(self) -> dict[str, tuple[float, ...]]:
        """The values by measure, such as ``nDCG@10``; ``passage`` only where a question has a quote."""
        values = {"recall": self.recall, "nDCG": self.ndcg, "RR": self.reciprocal_rank, "passage": self.passage}
        return {f"{name}@{self.limit}": scores for name, scores in values.items() if scores}


def score_questions(questions: Sequence[Question], search: Search, *, limit: int) -> RetrievalScores:
    """The scores of a search. It decides how many hits it gives; documents are judged to the depth of ``limit``.

    A question that finds nothing counts 0. What the search raises is raised.
    """
    ranked: list[list[str]] = []
    passage: list[float] = []
    for question in questions:
        hits = search(question.query)
        ranked.append(rank_documents(question, hits))
        if question.quote is not None:
            passage.append(float(any(question.is_quoted_in(str(hit.payload.get("text", ""))) for hit in hits[:limit])))
    recall, ndcg, reciprocal_rank = _measure(questions, ranked, limit=limit)
    return RetrievalScores(limit, recall, ndcg, reciprocal_rank, tuple(passage))


def rank_documents(question: Question, hits: Iterable[Hit]) -> list[str]:
    """The different documents of the hits, best first: a relevant one under the question's own name for it.

    A name that could mean several documents stands for the first of them that is found, and the others count as wrong.
    """
    ranked: dict[str, str] = {}
    for hit in hits:
        document = document_of(hit)
        if document not in ranked:
            names = (_relevant(name) for name in question.names_of(hit.payload))
            ranked[document] = next((name for name in names if name not in ranked.values()), f"other {document}")
    return list(ranked.values())


def document_of(hit: Hit) -> str:
    """The id of the hit's document; a point that names none stands for itself."""
    return str(hit.payload.get("document_id", hit.id))


def mean(values: Sequence[float]) -> float:
    """The mean; 0 of nothing."""
    return float(np.mean(values)) if len(values) else 0.0


def bootstrap_interval(
    values: Sequence[float], *, confidence: float = CONFIDENCE, rounds: int = ROUNDS, seed: int = 0
) -> tuple[float, float]:
    """The percentile interval of the mean, the values drawn again and again; equal values and seed give an equal interval."""
    if not len(values):
        raise ValueError("an interval of no values")
    drawn, array = np.random.default_rng(seed), np.asarray(values, dtype=np.float64)
    means = [array[drawn.integers(0, array.size, size=array.size)].mean() for _ in range(rounds)]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def difference_interval(
    ours: Sequence[float], theirs: Sequence[float], *, confidence: float = CONFIDENCE, rounds: int = ROUNDS, seed: int = 0
) -> tuple[float, float]:
    """The interval of the mean difference ``ours - theirs`` of the same questions: each is drawn with both its values."""
    differences = [our - their for our, their in zip(ours, theirs, strict=True)]
    return bootstrap_interval(differences, confidence=confidence, rounds=rounds, seed=seed)


def _relevant(name: str) -> str:
    return f"relevant {name}"


def _measure(questions: Sequence[Question], ranked: Sequence[Sequence[str]], *, limit: int) -> list[tuple[float, ...]]:
    """Recall, nDCG and reciprocal rank of every question."""
    # Imported here, since every command loads this module and only a gate measures.
    from ir_measures import RR, R, iter_calc, nDCG

    measures = [R @ limit, nDCG @ limit, RR @ limit]
    truth = {str(number): {_relevant(name): 1 for name in question.relevant} for number, question in enumerate(questions)}
    values: Mapping[str, list[float]] = {str(measure): [0.0] * len(questions) for measure in measures}
    for metric in iter_calc(measures, truth, _as_run(ranked)):
        values[str(metric.measure)][int(metric.query_id)] = float(metric.value)
    return [tuple(values[str(measure)]) for measure in measures]


def _as_run(ranked: Sequence[Sequence[str]]) -> dict[str, dict[str, float]]:
    """Places as falling scores, for a library that sorts by score."""
    return {str(number): {name: -float(place) for place, name in enumerate(names)} for number, names in enumerate(ranked)}
