"""Scores of rankings whose worth is known, and intervals whose width is."""

import math
import subprocess
import sys

import numpy as np
import pytest

from rag_pipeline.evaluation.golden_set import Question
from rag_pipeline.evaluation.retrieval_metrics import (
    bootstrap_interval,
    difference_interval,
    mean,
    rank_documents,
    score_questions,
)
from rag_pipeline.schema import Hit


def hit(path: str, text: str = "") -> Hit:
    return Hit(id=f"{path}{text}", score=1.0, payload={"document_id": f"id of {path}", "path": path, "text": text})


def test_measures_are_those_of_trec() -> None:
    answers = {
        "both, second and third": [hit("x"), hit("html/a"), hit("b")],
        "one of two": [hit("a"), hit("x"), hit("y"), hit("b")],
        "nothing right": [hit("x")],
        "nothing": [],
    }
    scores = score_questions([Question(query, ("a", "b")) for query in answers], lambda query: answers[query], limit=3)
    best = 1 + 1 / math.log2(3)
    assert scores.recall == (1, 0.5, 0, 0)
    assert scores.ndcg == pytest.approx(((1 / math.log2(3) + 1 / 2) / best, 1 / best, 0, 0))
    assert scores.reciprocal_rank == (0.5, 1, 0, 0)
    assert list(scores.by_name()) == ["recall@3", "nDCG@3", "RR@3"]


def test_repeats_of_a_document_use_up_no_place() -> None:
    hits = [*(hit("x", text) for text in "123"), hit("a"), hit("a", "again"), hit("x", "last")]
    scores = score_questions([Question("q", ("a",))], lambda _: hits, limit=2)
    assert (scores.recall, scores.reciprocal_rank) == ((1,), (0.5,))


def test_name_of_several_documents_counts_once_and_cannot_be_won_twice() -> None:
    question = Question("q", ("index.html", "b/c.html"))
    hits = [hit("a/index.html"), hit("b/index.html"), hit("b/c.html")]
    assert rank_documents(question, hits) == ["relevant index.html", "other id of b/index.html", "relevant b/c.html"]
    assert score_questions([question], lambda _: hits, limit=3).ndcg[0] < 1


def test_document_named_like_an_answer_is_not_taken_for_it() -> None:
    odd = Hit(id="1", score=1.0, payload={"document_id": "a", "path": "elsewhere"})
    assert score_questions([Question("q", ("a",))], lambda _: [odd], limit=1).recall == (0,)


def test_passage_needs_the_quote_in_one_of_the_first_hits() -> None:
    questions = [Question("early", ("a",), "two words"), Question("unquoted", ("a",)), Question("late", ("a",), "two words")]
    answers = {
        "early": [hit("x"), hit("x", "of two\n words")],
        "unquoted": [],
        "late": [hit("a"), hit("a", "1"), hit("a", "two words")],
    }
    scores = score_questions(questions, lambda query: answers[query], limit=2)
    assert scores.passage == (1, 0)
    assert scores.by_name()["passage@2"] == (1, 0)


# --- intervals ------------------------------------------------------------------------------------------------------


def test_interval_holds_the_mean_and_has_the_width_that_theory_wants() -> None:
    values = np.random.default_rng(3).normal(0.6, 0.2, size=400).tolist()
    low, high = bootstrap_interval(values)
    half = 1.96 * float(np.std(values)) / math.sqrt(400)
    assert low < mean(values) < high
    assert high - low == pytest.approx(2 * half, rel=0.1)
    narrow = bootstrap_interval(values, confidence=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_interval_is_the_same_each_time_and_another_for_another_seed() -> None:
    values = [0.0, 1.0, 1.0, 0.3, 0.7]
    assert bootstrap_interval(values, rounds=200) == bootstrap_interval(values, rounds=200)
    assert bootstrap_interval(list(range(50)), rounds=50, seed=1) != bootstrap_interval(list(range(50)), rounds=50)
    assert bootstrap_interval([0.5] * 4) == (0.5, 0.5)


def test_paired_difference_is_far_narrower_than_two_intervals_apart() -> None:
    theirs = np.random.default_rng(1).uniform(size=50)
    ours = theirs + 0.01
    assert difference_interval(ours.tolist(), theirs.tolist()) == pytest.approx((0.01, 0.01))
    with pytest.raises(ValueError, match="longer"):
        difference_interval([1.0], [1.0, 2.0])


def test_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        bootstrap_interval([])
    assert mean([]) == 0


def test_metrics_library_is_loaded_by_measuring_only() -> None:
    code = "import sys, rag_pipeline.evaluation.gate_checks; print('ir_measures' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
