"""What neighbours tell of each other: documents with several good chunks, and chunks that belong together."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rag_pipeline.retrieval.fusion import sort_hits
from rag_pipeline.schema import Hit

EVIDENCE_CHUNKS = 5


def weigh_documents(candidates: Sequence[Hit], *, weight: float) -> list[Hit]:
    """The candidates in a new order: to each score, ``weight`` times the mean of its document's five best is added.

    A document with several good passages beats one with a lucky passage. Places that a document does not fill count 0,
    so scores must be 0 for the worst, as ``fuse_scores`` gives them.
    """
    scores: dict[Any, list[float]] = defaultdict(list)
    for hit in candidates:
        scores[_document(hit)].append(hit.score)
    evidence = {
        document: sum(sorted(values, reverse=True)[:EVIDENCE_CHUNKS]) / EVIDENCE_CHUNKS for document, values in scores.items()
    }
    return sort_hits(replace(hit, score=hit.score + weight * evidence[_document(hit)]) for hit in candidates)


def join_neighbours(candidates: Sequence[Hit], *, max_tokens: int, limit: int) -> list[Hit]:
    """The best ``limit`` hits, each with the candidates of its document that adjoin it, up to ``max_tokens`` together.

    A joined hit keeps id, score, context and heading of its best chunk; its ``text``, ``start``, ``end`` and ``tokens`` grow,
    and ``joined`` names the ids of all its chunks in order. Chunks taken in are no hits of their own any more. Context and
    overlaps count once.
    """
    places = {_place(hit): hit for hit in candidates}
    ranks = {hit.id: rank for rank, hit in enumerate(candidates)}
    joined: list[Hit] = []
    for hit in candidates:
        if len(joined) == limit:
            break
        if places.get(_place(hit)) is hit:
            joined.append(_join(_take_neighbours(hit, places, ranks, max_tokens=max_tokens), best=hit))
    return joined


def spread_documents(hits: Sequence[Hit], *, penalty: float, limit: int) -> list[Hit]:
    """The best ``limit`` hits, a further one of a document moved down for each that was taken before it.

    ``penalty``: how much of the best hit's score each earlier one costs. Nothing is left out, so a document that holds
    the whole answer still fills the list where no other comes near.
    """
    cost = penalty * max((hit.score for hit in hits), default=0.0)
    left, shown = list(hits), Counter[Any]()
    taken: list[Hit] = []
    while left and len(taken) < limit:
        best = min(left, key=lambda hit: (cost * shown[_document(hit)] - hit.score, hit.id))
        left.remove(best)
        taken.append(replace(best, score=best.score - cost * shown[_document(best)]))
        shown[_document(best)] += 1
    return taken


def _take_neighbours(hit: Hit, places: dict[tuple[Any, Any], Hit], ranks: dict[str, int], *, max_tokens: int) -> list[Hit]:
    """The chunk and those beside it, in the order of the document; all leave ``places``."""
    document, ordinal = _place(hit)
    run = [places.pop((document, ordinal))]
    while True:
        first, last = run[0].payload.get("ordinal", 0), run[-1].payload.get("ordinal", 0)
        before, after = places.get((document, first - 1)), places.get((document, last + 1))
        longer = [(before, [before, *run])] if before else []
        longer += [(after, [*run, after])] if after else []
        fitting = [(other, grown) for other, grown in longer if _tokens(grown, max_tokens) <= max_tokens]
        if not fitting:
            return run
        better, run = min(fitting, key=lambda pair: ranks[pair[0].id])
        del places[_place(better)]


def _tokens(run: Sequence[Hit], unknown: int) -> int:
    """Tokens of the joined passage: the context once, overlaps once; shares of a chunk are told by its characters."""
    total, end = 0.0, None
    for hit in run:
        payload = hit.payload
        text, context = len(payload.get("text", "")), len(payload.get("context", ""))
        counted = payload.get("tokens", unknown)
        own = counted * text / max(text + context, 1)
        overlap = max(0, end - payload["start"]) if end is not None else 0
        total += counted if end is None else own * (1 - min(overlap / max(text, 1), 1))
        end = payload.get("end", 0)
    return round(total)


def _join(run: Sequence[Hit], *, best: Hit) -> Hit:
    if len(run) == 1:
        return best
    text = run[0].payload["text"]
    end = run[0].payload["end"]
    for hit in run[1:]:
        start = hit.payload["start"]
        text += hit.payload["text"][end - start :] if start <= end else "\n" + hit.payload["text"]
        end = max(end, hit.payload["end"])
    grown = {
        "text": text,
        "start": run[0].payload["start"],
        "end": end,
        "tokens": _tokens(run, 0),
        "joined": [hit.id for hit in run],
    }
    return replace(best, payload={**best.payload, **grown})


def _document(hit: Hit) -> Any:
    """The document of the hit; a point that names none stands for itself."""
    return hit.payload.get("document_id", hit.id)


def _place(hit: Hit) -> tuple[Any, Any]:
    return _document(hit), hit.payload.get("ordinal", 0)
