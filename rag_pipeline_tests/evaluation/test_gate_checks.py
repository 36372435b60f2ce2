"""Good candidates pass, damaged ones do not, and each says what was measured."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import astuple
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline.adapters.qdrant_edge_store import QdrantEdgeStore
from rag_pipeline.errors import BackendUnavailableError
from rag_pipeline.evaluation import gate_checks
from rag_pipeline.evaluation.gate_checks import (
    SHOWN,
    TIMED_SEARCHES,
    check_canaries,
    check_latency,
    check_neighbours,
    check_retrieval,
)
from rag_pipeline.evaluation.golden_set import Question, known_items
from rag_pipeline.evaluation.retrieval_metrics import Search
from rag_pipeline.schema import GateCheck, Hit
from rag_pipeline_tests.evaluation.collections import FACTS, TOPICS, fill, names, neighbours_of, search_of, shifted
from rag_pipeline_tests.fakes.embedder import HashEmbedder

QUESTIONS = [Question(f"where does the {topic} build its nest", names([topic]), f"The {topic} {FACTS[1]}") for topic in TOPICS]
LIMITS: dict[str, Any] = {"limit": 5, "max_drop": 0.05, "min_recall": 0.6, "is_weak": False}
MEMORY_FOLDER = Path("/dev/shm")


@pytest.fixture(scope="module")
def store() -> Iterator[QdrantEdgeStore]:
    """``good`` and its rebuild ``again``, ``larger`` of another model, ``swapped`` with the vectors of other documents,
    ``constant`` with one vector for all."""
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None) as folder:
        opened = QdrantEdgeStore(Path(folder), lock_wait_s=1, on_wait=print)
        fill(opened, "good")
        fill(opened, "again")
        fill(opened, "swapped", swap=shifted(5))
        fill(opened, "constant", swap=lambda _: 0)
        fill(opened, "larger", embedder=HashEmbedder(96))
        yield opened
        opened.close()


def is_plain(check: GateCheck) -> bool:
    """Whether the figures can be kept as JSON and the summary shown as one line."""
    assert "\n" not in check.summary
    return json.loads(json.dumps(check.evidence, allow_nan=False)) == check.evidence


def answers(**places: int | None) -> Search:
    """A search that has the document of a question at a place, or not at all."""

    def search(question: str) -> list[Hit]:
        place = places[question]
        hits = [Hit(f"other {n}", 1.0, {"document_id": f"other {n}", "path": f"other{n}"}) for n in range(9)]
        if place is not None:
            hits[place - 1] = Hit(question, 1.0, {"document_id": question, "path": f"docs/{question}"})
        return hits

    return search


def asked(*queries: str) -> list[Question]:
    return [Question(query, (query,)) for query in queries]


def down(question: str) -> list[Hit]:
    raise BackendUnavailableError("no answer\nin time", system="qdrant")


# --- retrieval ------------------------------------------------------------------------------------------------------


def test_equal_candidate_passes_with_its_figures(store: QdrantEdgeStore) -> None:
    check = check_retrieval(QUESTIONS, search_of(store, "again"), search_of(store, "good"), **LIMITS)
    assert check.passed
    assert check.name == "retrieval"
    assert check.summary == (
        "recall@5 1.000 (required 0.950, live 1.000); nDCG@5 1.000 (required 0.950, live 1.000); "
        "RR@5 1.000 (live 1.000); passage@5 1.000 (required 0.950, live 1.000); 12 questions"
    )
    assert check.evidence["differences"]["nDCG@5"] == {"mean": 0.0, "interval": [0.0, 0.0]}
    assert (check.evidence["lost_questions"], check.evidence["lost_most"]) == (0, [])
    assert is_plain(check)


@pytest.mark.parametrize("damaged", ["swapped", "constant"])
def test_damaged_candidate_is_refused_and_its_losses_are_named(store: QdrantEdgeStore, damaged: str) -> None:
    check = check_retrieval(QUESTIONS, search_of(store, damaged), search_of(store, "good"), **LIMITS)
    assert not check.passed
    low, high = check.evidence["differences"]["nDCG@5"]["interval"]
    assert low <= high < 0
    assert len(check.evidence["lost_most"]) == SHOWN
    assert {row["query"] for row in check.evidence["lost_most"]} < {question.query for question in QUESTIONS}
    assert is_plain(check)


def test_first_index_has_only_the_floor_to_reach(store: QdrantEdgeStore) -> None:
    good = check_retrieval(QUESTIONS, search_of(store, "good"), None, **LIMITS)
    bad = check_retrieval(QUESTIONS, search_of(store, "swapped"), None, **LIMITS)
    assert (good.passed, bad.passed) == (True, False)
    assert good.summary.startswith("recall@5 1.000 (required 0.600); nDCG@5 1.000; ")
    assert "differences" not in good.evidence


def test_headings_are_a_weaker_golden_set_and_said_to_be(store: QdrantEdgeStore) -> None:
    questions = known_items(point.payload for point in store.scroll("good"))
    assert len(questions) == len(TOPICS) * len(FACTS)
    limits = {**LIMITS, "is_weak": True}
    good = check_retrieval(questions, search_of(store, "again"), search_of(store, "good"), **limits)
    bad = check_retrieval(questions, search_of(store, "swapped"), search_of(store, "good"), **limits)
    assert (good.passed, bad.passed) == (True, False)
    assert good.summary.endswith("36 questions (known-item questions from headings: weaker than a golden set)")
    assert bad.evidence["is_weak"]
    assert all(row["query"].startswith("All about") for row in bad.evidence["lost_most"])


@pytest.mark.parametrize(
    ("candidate", "max_drop", "passes"),
    [
        ({"a": 1, "b": 1}, 0.0, True),
        ({"a": 1, "b": 2}, 0.1, False),
        ({"a": 1, "b": 2}, 0.2, True),
        ({"a": 1, "b": None}, 0.49, False),
        ({"a": 1, "b": None}, 0.5, True),
    ],
)
def test_drop_is_allowed_up_to_the_margin(candidate: dict[str, int | None], max_drop: float, passes: bool) -> None:
    # nDCG of the second place is 0.631: a mean drop of 0.185 over both questions.
    limits = {**LIMITS, "max_drop": max_drop, "min_recall": 0.5}
    check = check_retrieval(asked("a", "b"), answers(**candidate), answers(a=1, b=1), **limits)
    assert check.passed is passes


def test_margin_is_not_missed_by_rounding() -> None:
    # 0.8 - 0.1 is a little more than 0.7 in floating point.
    live = {query: 1 if query < "i" else None for query in "abcdefghij"}
    limits = {**LIMITS, "max_drop": 0.1}
    assert check_retrieval(asked(*"abcdefghij"), answers(**{**live, "a": None}), answers(**live), **limits).passed


def test_floor_holds_even_where_live_is_worse() -> None:
    check = check_retrieval(asked("a", "b"), answers(a=1, b=None), answers(a=None, b=None), **LIMITS)
    assert not check.passed
    assert "recall@5 0.500 (required 0.600, live 0.000)" in check.summary


def test_question_that_lost_most_comes_first() -> None:
    check = check_retrieval(asked("a", "b", "c"), answers(a=2, b=None, c=1), answers(a=1, b=1, c=2), **LIMITS)
    assert [row["query"] for row in check.evidence["lost_most"]] == ["b", "a"]
    assert check.evidence["lost_questions"] == 2
    assert check.evidence["lost_most"][0] == {"query": "b", "candidate": 0.0, "live": 1.0}


def test_no_question_is_a_failure_unless_headings_were_the_last_resort() -> None:
    assert not check_retrieval([], down, down, **LIMITS).passed
    assert check_retrieval([], down, down, **{**LIMITS, "is_weak": True}).passed


@pytest.mark.parametrize(
    ("lost", "won", "is_weak", "passes"),
    [(6, 3, False, False), (6, 3, True, True), (9, 0, True, False), (9, 0, False, False)],
    ids=["golden: the mean decides", "known items: a drop by chance", "known items: a sure drop", "golden: a sure drop"],
)
def test_drop_among_known_items_counts_only_where_it_is_sure(lost: int, won: int, is_weak: bool, passes: bool) -> None:
    queries = [f"q{n}" for n in range(40)]
    live = dict.fromkeys(queries, 1) | dict.fromkeys(queries[lost : lost + won])
    candidate = dict.fromkeys(queries, 1) | dict.fromkeys(queries[:lost])
    limits = {**LIMITS, "is_weak": is_weak}
    assert check_retrieval(asked(*queries), answers(**candidate), answers(**live), **limits).passed is passes


# --- latency --------------------------------------------------------------------------------------------------------


class Watch:
    """A clock that only searches move."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def search(self, *times_ms: float) -> Search:
        turns = count()

        def search(question: str) -> list[Hit]:
            self.now_s += times_ms[min(next(turns), len(times_ms) - 1)] / 1000
            return []

        return search

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(
    ("candidate_ms", "factor", "ok_ms", "passes"),
    [(14.9, 1.5, 1, True), (15.5, 1.5, 1, False), (15.5, 1.5, 16, True), (15.5, 2.0, 1, True)],
)
def test_candidate_may_be_slower_by_the_factor_or_fast_enough(
    candidate_ms: float, factor: float, ok_ms: float, passes: bool
) -> None:
    watch = Watch()
    searches = watch.search(candidate_ms), watch.search(10)
    check = check_latency(asked("a"), *searches, factor=factor, ok_ms=ok_ms, timer=watch)
    assert check.passed is passes
    figures = f"p95 {candidate_ms} ms (at most {max(10 * factor, ok_ms):.1f}, live 10.0)"
    assert check.summary == f"{figures}; {TIMED_SEARCHES} searches of each"
    assert check.evidence["candidate_ms"] == pytest.approx({"p50": candidate_ms, "p95": candidate_ms})


def test_slow_searches_are_timed_for_half_a_minute_only() -> None:
    watch = Watch()
    check = check_latency(asked("a"), watch.search(1000), watch.search(1000), factor=2.0, ok_ms=1, timer=watch)
    assert check.evidence["searches"] == 15
    watch = Watch()
    check = check_latency(asked("a"), watch.search(9000), watch.search(9000), factor=2.0, ok_ms=1, timer=watch)
    assert check.evidence["searches"] == 10


def test_loading_the_model_is_no_search_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_checks, "TIMED_SEARCHES", 4)
    watch = Watch()
    check = check_latency(asked("a"), watch.search(9000, 10), watch.search(9000, 10), factor=1.1, ok_ms=1, timer=watch)
    assert check.evidence["candidate_ms"]["p95"] == pytest.approx(10)


def test_both_are_asked_the_same_in_turn_and_neither_always_first() -> None:
    log: list[tuple[str, str]] = []
    searches = [lambda question, name=name: log.append((name, question)) or [] for name in ("candidate", "live")]
    check_latency(asked("a", "b", "c"), *searches, factor=1, ok_ms=1)
    timed = log[-2 * TIMED_SEARCHES :]
    turns = list(zip(timed[::2], timed[1::2], strict=True))
    assert all(first[1] == second[1] and first[0] != second[0] for first, second in turns)
    assert {turn[0][0] for turn in turns[:2]} == {"candidate", "live"}
    assert {question for _, question in timed} == {"a", "b", "c"}


def test_real_searches_are_timed(store: QdrantEdgeStore) -> None:
    check = check_latency(QUESTIONS, search_of(store, "again"), search_of(store, "good"), factor=1000, ok_ms=1)
    assert check.passed
    assert 0 < check.evidence["candidate_ms"]["p50"] <= check.evidence["candidate_ms"]["p95"]
    assert is_plain(check)


def test_without_live_or_questions_no_time_is_too_long() -> None:
    watch = Watch()
    alone = check_latency(asked("a"), watch.search(5000), None, factor=1, ok_ms=1, timer=watch)
    assert alone.passed
    assert alone.summary == "p95 5000.0 ms; no live collection to compare with"
    assert check_latency([], down, down, factor=1, ok_ms=1).passed


# --- canaries and neighbours ----------------------------------------------------------------------------------------


def test_canaries_are_found_in_a_good_candidate_and_named_in_a_bad_one(store: QdrantEdgeStore) -> None:
    good = check_canaries(QUESTIONS, search_of(store, "good"), limit=3)
    bad = check_canaries(QUESTIONS, search_of(store, "swapped"), limit=3)
    assert (good.passed, bad.passed) == (True, False)
    assert good.summary == "12 of 12 canary questions found a relevant document among the first 3 hits (required: all)"
    assert {"query": QUESTIONS[0].query, "relevant": ["zebra.md"]} in bad.evidence["not_found"]
    assert bad.summary.endswith(" ...")
    assert is_plain(bad)


@pytest.mark.parametrize(("place", "passes"), [(3, True), (4, False), (None, False)])
def test_one_canary_beyond_the_limit_is_enough_to_refuse(place: int | None, passes: bool) -> None:
    check = check_canaries(asked("a", "b"), answers(a=1, b=place), limit=3)
    assert check.passed is passes
    assert check.summary.endswith("; not found: b") is not passes


def test_no_canary_is_none_that_is_lost() -> None:
    check = check_canaries([], down, limit=3)
    assert (check.passed, check.summary) == (True, "no canary question is set")


def test_neighbours_stay_in_a_rebuild_and_go_in_a_damaged_candidate(store: QdrantEdgeStore) -> None:
    live = neighbours_of(store, "good")
    again, constant = (check_neighbours(TOPICS, neighbours_of(store, n), live, min_overlap=0.5) for n in ("again", "constant"))
    assert again.summary == "1.000 of the neighbours in common (required 0.500); 12 probes"
    assert (again.passed, constant.passed) == (True, False)
    assert constant.evidence["lowest"][0] < constant.evidence["mean"] < 0.5
    assert is_plain(constant)


def test_overlap_is_shared_by_all_neighbours_of_both() -> None:
    theirs = {"a": {"b", "c"}, "b": {"a"}, "c": set[str]()}
    ours = {"a": {"b", "d"}, "b": {"c"}, "c": set[str]()}
    check = check_neighbours(["a", "b", "c"], ours.__getitem__, theirs.__getitem__, min_overlap=4 / 9)
    assert check.passed
    assert check.evidence["mean"] == pytest.approx(4 / 9)
    assert check.evidence["lowest"] == pytest.approx([0, 1 / 3, 1])
    assert check_neighbours([], ours.__getitem__, theirs.__getitem__, min_overlap=1).passed


def test_text_of_a_document_is_not_kept_as_evidence() -> None:
    check = check_neighbours(["A secret of the house."], lambda _: {"a"}, lambda _: {"b"}, min_overlap=1)
    assert not check.passed
    assert "secret" not in f"{check.summary} {check.evidence}"


# --- a collection that cannot be asked ------------------------------------------------------------------------------


def test_search_that_fails_fails_its_check_with_the_reason(store: QdrantEdgeStore) -> None:
    good, gone = search_of(store, "good"), search_of(store, "nowhere")
    checks = [
        check_retrieval(QUESTIONS, gone, good, **LIMITS),
        check_latency(QUESTIONS, gone, good, factor=2, ok_ms=100),
        check_canaries(QUESTIONS, gone, limit=3),
    ]
    assert [check.name for check in checks] == ["retrieval", "latency", "canaries"]
    for check in checks:
        assert not check.passed
        assert check.summary.startswith("a search failed: search: there is no collection 'nowhere'")
        assert check.evidence["kind"] == "BackendRejectedError"


def test_failing_neighbours_and_a_failing_live_collection_refuse_as_well() -> None:
    def broken(document: str) -> set[str]:
        raise BackendUnavailableError("no answer\nin time", system="qdrant")

    wanted = ("neighbours", False, "a search failed: qdrant: no answer in time")
    assert astuple(check_neighbours(["a"], broken, broken, min_overlap=0))[:3] == wanted
    assert not check_retrieval(asked("a"), answers(a=1), down, **LIMITS).passed


def test_bug_in_a_search_is_no_verdict() -> None:
    with pytest.raises(KeyError):
        check_canaries(asked("a"), answers(b=1), limit=3)
