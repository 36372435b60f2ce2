"""Which rows are asked for, and whether two systems hold the same."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.suite import answers
from benchmarks.suite.answers import agreement, reference_vectors
from benchmarks.suite.bench import SIZES, Bench
from benchmarks.suite.peers import Peers
from benchmarks.suite.results import OURS
from benchmarks.suite.rounds import Contestant, ContestantFailedError, Measured

VECTORS = {"a": np.array([1.0, 0.0]), "b": None, "c": np.array([0.0, 1.0])}


def _contestant(system: str, variant: str = "") -> Contestant:
    return Contestant(system, lambda: Measured(1.0), variant)


def test_ours_stays_whatever_rows_are_asked_for(tmp_path: Path) -> None:
    field = [_contestant(OURS), _contestant("LangChain", "documented"), _contestant("LangChain", "tuned")]
    bench = Bench(SIZES["tiny"], 1, Peers(tmp_path, ()), tmp_path)
    assert bench.chosen(field) == field
    asked = Bench(SIZES["tiny"], 1, Peers(tmp_path, ()), tmp_path, only=("LangChain, tuned",))
    assert [one.name for one in asked.chosen(field)] == [OURS, "LangChain, tuned"]
    with pytest.raises(ContestantFailedError, match="no row LangChain, tunde; there are"):
        replace(asked, only=("LangChain, tunde",)).chosen(field)


def test_texts_without_a_reference_vector_count_and_are_not_compared() -> None:
    found = agreement(["a", "b", "c"], np.array([[1.0, 0.0], [9.0, 9.0], [0.0, 2.0]]), VECTORS, points=3)
    assert (found["texts_known"], found["vectors_compared"], found["cosine_min"], found["same_answers"]) == (3, 2, 1.0, True)


@pytest.mark.parametrize(
    ("texts", "vectors"), [(["a", "b"], [[1, 0], [1, 0]]), (["a", "b", "x"], [[1, 0]] * 3), (["a", "b", "c"], [[0, 1]] * 3)]
)
def test_a_missing_a_foreign_and_a_turned_point_are_other_answers(texts: list[str], vectors: list[list[float]]) -> None:
    assert agreement(texts, np.array(vectors, dtype=float), VECTORS, points=3)["same_answers"] is False


def test_of_many_texts_some_are_compared_and_always_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(_: str, request: dict[str, object]) -> dict[str, object]:
        np.save(str(request["vectors"]), np.ones((len(request["texts"]), 2)))  # type: ignore[arg-type]
        return {}

    monkeypatch.setattr(answers, "run_engine", save)
    monkeypatch.setattr(answers, "COMPARED_TEXTS", 5)
    texts = [f"text {number}" for number in range(20)]
    first, second = (reference_vectors(texts, tmp_path, seed=1) for _ in range(2))
    compared = [text for text, vector in first.items() if vector is not None]
    assert len(first) == 20
    assert len(compared) == 5
    assert compared == [text for text, vector in second.items() if vector is not None]
