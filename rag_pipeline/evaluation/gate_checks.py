"""What a candidate must show before it goes live, each as a GateCheck with its figures. Pure: nothing is switched here."""

import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import wraps
from typing import Any, ParamSpec

import numpy as np

from rag_pipeline.errors import RagPipelineError
from rag_pipeline.evaluation.golden_set import Question, plain
from rag_pipeline.evaluation.retrieval_metrics import (
    RetrievalScores,
    Search,
    bootstrap_interval,
    difference_interval,
    mean,
    score_questions,
)
from rag_pipeline.schema import GateCheck, Hit

Neighbours = Callable[[str], AbstractSet[str]]
"""A probe, the id or the text of a document, to the ids of the documents nearest to it."""
Parameters = ParamSpec("Parameters")

WEAK = "known-item questions from headings: weaker than a golden set"
SHOWN = 10
"""Questions or values that a check lists in its evidence."""
NAMED = 3
"""Questions that its one line names."""
WARM_UPS = 3
TIMED_SEARCHES = 50
"""Searches of each collection whose time is taken; fewer questions are asked several times."""
TIMED_SEARCHES_MIN = 10
TIMED_S = 30.0
"""Seconds after which fewer searches have to do: writers wait for the gate, and a slow model must not hold them up."""
ROUNDING = 1e-9


def _fails_with_reason(name: str) -> Callable[[Callable[Parameters, GateCheck]], Callable[Parameters, GateCheck]]:
    """The check, failed with the reason when a search raises: a collection that cannot be asked must not go live."""

    def decorate(check: Callable[Parameters, GateCheck]) -> Callable[Parameters, GateCheck]:
        @wraps(check)
        def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> GateCheck:
            try:
                return check(*args, **kwargs)
            except RagPipelineError as error:
                evidence = {"error": str(error), "kind": type(error).__name__}
                return GateCheck(name, False, f"a search failed: {' '.join(str(error).split())}", evidence)

        return checked

    return decorate


# --- retrieval ------------------------------------------------------------------------------------------------------


@_fails_with_reason("retrieval")
def check_retrieval(
    questions: Sequence[Question],
    candidate_search: Search,
    live_search: Search | None,
    *,
    limit: int,
    max_drop: float,
    min_recall: float,
    is_weak: bool,
) -> GateCheck:
    """Whether the candidate finds enough, and no less than live does.

    Refused when its mean recall, nDCG or passage at ``limit`` is more than ``max_drop`` below live's, or its recall below
    ``min_recall``. The means decide; the intervals in the evidence say how far to trust them. ``is_weak``: the questions
    were made from headings. Then having none is no failure, and a drop counts only where its interval lies below 0 as a
    whole: two equally good models order pages of like headings by chance.
    """
    note = f" ({WEAK})" if is_weak else ""
    if not questions:
        return GateCheck("retrieval", is_weak, f"no question to ask, so nothing was measured{note}", {"questions": 0})
    candidate = score_questions(questions, candidate_search, limit=limit)
    live = score_questions(questions, live_search, limit=limit) if live_search else None
    required = _required(live, limit=limit, max_drop=max_drop, min_recall=min_recall)
    measured, reached = _means(candidate), _means(live) if live else {}
    evidence = {
        "questions": len(questions),
        "is_weak": is_weak,
        "required": required,
        "candidate": _figures(candidate),
        **({"live": _figures(live), **_comparison(questions, candidate, live)} if live else {}),
    }
    parts = [_part(name, value, required.get(name), reached.get(name)) for name, value in measured.items()]
    missed = [name for name, least in required.items() if measured[name] < least - ROUNDING]
    if is_weak and live:
        is_too_low = measured[f"recall@{limit}"] < min_recall - ROUNDING
        missed = [name for name in missed if is_too_low or _is_drop_sure(name, candidate, live)]
    passed = not missed
    return GateCheck("retrieval", passed, f"{'; '.join(parts)}; {_count(len(questions), 'question')}{note}", evidence)


def _required(live: RetrievalScores | None, *, limit: int, max_drop: float, min_recall: float) -> dict[str, float]:
    """The least that each deciding measure must reach."""
    recall = f"recall@{limit}"
    if live is None:
        return {recall: min_recall}
    required = {recall: max(min_recall, mean(live.recall) - max_drop), f"nDCG@{limit}": max(0.0, mean(live.ndcg) - max_drop)}
    if live.passage:  # other chunks may keep every page and lose the sentence that answers
        required[f"passage@{limit}"] = max(0.0, mean(live.passage) - max_drop)
    return required


def _is_drop_sure(name: str, candidate: RetrievalScores, live: RetrievalScores) -> bool:
    return difference_interval(candidate.by_name()[name], live.by_name()[name])[1] < 0


def _means(scores: RetrievalScores) -> dict[str, float]:
    return {name: mean(values) for name, values in scores.by_name().items()}


def _part(name: str, measured: float, required: float | None, live: float | None) -> str:
    """``recall@10 0.790 (required 0.770, live 0.790)``."""
    beside = [f"required {required:.3f}"] if required is not None else []
    beside += [f"live {live:.3f}"] if live is not None else []
    return f"{name} {measured:.3f}" + (f" ({', '.join(beside)})" if beside else "")


def _figures(scores: RetrievalScores) -> dict[str, Any]:
    """Mean and interval of each measure."""
    return {
        name: {"mean": mean(values), "interval": list(bootstrap_interval(values))} for name, values in scores.by_name().items()
    }


def _comparison(questions: Sequence[Question], candidate: RetrievalScores, live: RetrievalScores) -> dict[str, Any]:
    """The paired differences with their intervals, and the questions that lost most."""
    before = live.by_name()
    differences = {
        name: {"mean": mean(values) - mean(before[name]), "interval": list(difference_interval(values, before[name]))}
        for name, values in candidate.by_name().items()
    }
    pairs = zip(questions, candidate.ndcg, live.ndcg, strict=True)
    lost = sorted((ours - theirs, question.query, ours, theirs) for question, ours, theirs in pairs if ours < theirs)
    lost_most = [{"query": query, "candidate": ours, "live": theirs} for _, query, ours, theirs in lost[:SHOWN]]
    return {"differences": differences, "lost_questions": len(lost), "lost_most": lost_most}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# --- latency --------------------------------------------------------------------------------------------------------


@_fails_with_reason("latency")
def check_latency(
    questions: Sequence[Question],
    candidate_search: Search,
    live_search: Search | None,
    *,
    factor: float,
    ok_ms: float,
    timer: Callable[[], float] = time.perf_counter,
) -> GateCheck:
    """Whether the 95th percentile of the candidate's search times is at most ``factor`` times live's, or ``ok_ms``.

    The model's time counts. Both are warmed up and asked in turn, so that what else the machine does slows both. Without a
    live collection nothing is required.
    """
    if not questions:
        return GateCheck("latency", True, "no question to ask, so nothing was timed", {"searches": 0})
    searches = {"candidate": candidate_search, **({"live": live_search} if live_search else {})}
    times_ms = _time_in_turn([question.query for question in questions], searches, timer=timer)
    evidence: dict[str, Any] = {f"{name}_ms": _percentiles(values) for name, values in times_ms.items()}
    evidence["searches"] = len(times_ms["candidate"])
    p95 = evidence["candidate_ms"]["p95"]
    if live_search is None:
        return GateCheck("latency", True, f"p95 {p95:.1f} ms; no live collection to compare with", evidence)
    live_p95 = evidence["live_ms"]["p95"]
    evidence["required_ms"] = required_ms = max(factor * live_p95, ok_ms)
    summary = f"p95 {p95:.1f} ms (at most {required_ms:.1f}, live {live_p95:.1f}); {evidence['searches']} searches of each"
    return GateCheck("latency", p95 <= required_ms, summary, evidence)


def _time_in_turn(
    queries: Sequence[str], searches: Mapping[str, Search], *, timer: Callable[[], float]
) -> dict[str, list[float]]:
    """Milliseconds of each search by its name; who is asked first alternates."""
    for search in searches.values():
        for turn in range(WARM_UPS):
            search(queries[turn % len(queries)])
    times_ms: dict[str, list[float]] = {name: [] for name in searches}
    ends_s = timer() + TIMED_S
    for turn in range(TIMED_SEARCHES):
        if turn >= TIMED_SEARCHES_MIN and timer() >= ends_s:
            break
        for name in sorted(searches, reverse=turn % 2 == 1):
            started = timer()
            searches[name](queries[turn % len(queries)])
            times_ms[name].append(1000 * (timer() - started))
    return times_ms


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {"p50": float(np.percentile(values, 50)), "p95": float(np.percentile(values, 95))}


# --- canaries and neighbours ----------------------------------------------------------------------------------------


@_fails_with_reason("canaries")
def check_canaries(questions: Sequence[Question], search: Search, *, limit: int) -> GateCheck:
    """Whether every question finds one of its documents among the first ``limit`` hits."""
    if not questions:
        return GateCheck("canaries", True, "no canary question is set", {"questions": 0, "limit": limit, "not_found": []})
    lost = [question for question in questions if not _is_found(question, search(question.query)[:limit])]
    evidence = {
        "questions": len(questions),
        "limit": limit,
        "not_found": [{"query": question.query, "relevant": list(question.relevant)} for question in lost],
    }
    summary = (
        f"{len(questions) - len(lost)} of {_count(len(questions), 'canary question')} "
        f"found a relevant document among the first {limit} hits (required: all)"
    )
    if lost:
        summary += (
            f"; not found: {'; '.join(plain(question.query) for question in lost[:NAMED])}{' ...' if len(lost) > NAMED else ''}"
        )
    return GateCheck("canaries", not lost, summary, evidence)


def _is_found(question: Question, hits: Sequence[Hit]) -> bool:
    return any(question.names_of(hit.payload) for hit in hits)


@_fails_with_reason("neighbours")
def check_neighbours(
    probes: Sequence[str], candidate_neighbours: Neighbours, live_neighbours: Neighbours, *, min_overlap: float
) -> GateCheck:
    """Whether the same probes have much the same neighbours in both collections, by the mean share that both have in common.

    A weak sign, for want of a golden set: a better model moves neighbours as well, while shuffled or broken vectors leave
    hardly any in place. Ask for far fewer neighbours than there are documents. Probes may be texts of documents, so the
    evidence does not show them.
    """
    if not probes:
        return GateCheck("neighbours", True, "nothing to look around, so nothing was compared", {"probes": 0})
    overlaps = [_overlap(candidate_neighbours(probe), live_neighbours(probe)) for probe in probes]
    measured = mean(overlaps)
    evidence = {
        "probes": len(probes),
        "mean": measured,
        "interval": list(bootstrap_interval(overlaps)),
        "required": min_overlap,
        "lowest": sorted(overlaps)[:SHOWN],
    }
    summary = f"{measured:.3f} of the neighbours in common (required {min_overlap:.3f}); {_count(len(probes), 'probe')}"
    return GateCheck("neighbours", measured >= min_overlap - ROUNDING, summary, evidence)


def _overlap(ours: AbstractSet[str], theirs: AbstractSet[str]) -> float:
    """The Jaccard index; 1 of two empty sets."""
    return len(ours & theirs) / len(ours | theirs) if ours | theirs else 1.0
