"""Several rankings to one."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rag_pipeline.schema import Hit


def fuse(rankings: Sequence[Sequence[Hit]], *, k: int, limit: int, weights: Sequence[float] | None = None) -> list[Hit]:
    """The best ``limit`` hits by reciprocal rank fusion: the sum of ``weight / (k + rank)``, ranks from 1.

    Cormack, Clarke and Buettcher, SIGIR 2009. Scores of the rankings need not be comparable, since only ranks count.
    Equal sums are ordered by id. An id that a ranking repeats counts once, at its best rank.
    """
    shares = [[1 / (k + rank) for rank in range(1, len(ranking) + 1)] for ranking in map(_unique, rankings)]
    return _sum(rankings, shares, weights)[:limit]


def fuse_scores(rankings: Sequence[Sequence[Hit]], *, limit: int, weights: Sequence[float] | None = None) -> list[Hit]:
    """The best ``limit`` hits by relative scores: each ranking's first counts 1, its last 0, those between by distance.

    Unlike ranks, this keeps how far the first is ahead of the rest. A hit that a ranking lacks counts 0 in it. Works for
    distances, where less is better, as for scores. Equal sums are ordered by id.
    """
    return _sum(rankings, [_relative(_unique(ranking)) for ranking in rankings], weights)[:limit]


def _relative(ranking: Sequence[Hit]) -> list[float]:
    if not ranking:
        return []
    first, last = ranking[0].score, ranking[-1].score
    return [(hit.score - last) / (first - last) if first != last else 1.0 for hit in ranking]


def _sum(rankings: Sequence[Sequence[Hit]], shares: Sequence[Sequence[float]], weights: Sequence[float] | None) -> list[Hit]:
    weights = [1.0] * len(rankings) if weights is None else weights
    if len(weights) != len(rankings):
        raise ValueError(f"{len(weights)} weights for {len(rankings)} rankings")
    scores: dict[str, float] = {}
    hits: dict[str, Hit] = {}
    for ranking, ranking_shares, weight in zip(rankings, shares, weights, strict=True):
        for hit, share in zip(_unique(ranking), ranking_shares, strict=True):
            scores[hit.id] = scores.get(hit.id, 0.0) + weight * share
            hits.setdefault(hit.id, hit)
    return sort_hits(replace(hits[point_id], score=score) for point_id, score in scores.items())


def sort_hits(hits: Iterable[Hit]) -> list[Hit]:
    """The hits by falling score, equal ones by id."""
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))


def _unique(ranking: Sequence[Hit]) -> list[Hit]:
    first: dict[str, Hit] = {}
    for hit in ranking:
        first.setdefault(hit.id, hit)
    return list(first.values())
