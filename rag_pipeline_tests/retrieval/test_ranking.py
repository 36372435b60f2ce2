"""What each setting of the hybrid ranking does."""

import pytest

from rag_pipeline.retrieval.ranking import Ranking
from rag_pipeline.schema import Hit

ALONE = {"document_weight": 0.0, "passage_tokens": 0, "repeat_penalty": 0.0}


def hits(*names: str) -> list[Hit]:
    """Hits of falling score; ``a1`` is chunk 1 of document a."""
    return [
        Hit(
            id=name,
            score=10.0 - n,
            payload={"document_id": name[0], "ordinal": int(name[1:]), "text": name, "start": 0, "end": 2, "tokens": 100},
        )
        for n, name in enumerate(names)
    ]


def ids(found: list[Hit]) -> list[str]:
    return [hit.id for hit in found]


NEAR, WORDS = hits("a0", "b0", "c0"), hits("c0", "d0", "e0")


def test_relative_scores_by_default() -> None:
    found = Ranking(**ALONE).rank(NEAR, WORDS, limit=3)
    assert [(hit.id, hit.score) for hit in found] == [
        ("a0", pytest.approx(0.6)),
        ("c0", pytest.approx(0.4)),
        ("b0", pytest.approx(0.3)),
    ]


def test_reciprocal_ranks_by_setting() -> None:
    found = Ranking(fusion="rrf", rrf_k=20, **ALONE).rank(NEAR, WORDS, limit=2)
    assert [(hit.id, hit.score) for hit in found] == [
        ("c0", pytest.approx(0.6 / 23 + 0.4 / 21)),
        ("a0", pytest.approx(0.6 / 21)),
    ]


@pytest.mark.parametrize(("weight", "best"), [(1.0, "a0"), (0.0, "c0")])
def test_weight_is_the_share_of_nearness(weight: float, best: str) -> None:
    assert ids(Ranking(dense_weight=weight, **ALONE).rank(NEAR, WORDS, limit=1)) == [best]


def test_document_evidence_can_be_switched_off() -> None:
    near = hits("a0", "b0", "b2", "b4", "b6", "z0", "y0", "x0", "w0", "v0")
    assert ids(Ranking(passage_tokens=0).rank(near, [], limit=1)) == ["b0"]
    assert ids(Ranking(passage_tokens=0, document_weight=0).rank(near, [], limit=1)) == ["a0"]


def test_joining_can_be_switched_off_and_fills_the_limit_with_others() -> None:
    near = hits("a0", "a1", "b0", "z0")
    assert ids(Ranking(document_weight=0).rank(near, [], limit=2)) == ["a0", "b0"]
    assert ids(Ranking(**ALONE).rank(near, [], limit=2)) == ["a0", "a1"]


def test_nothing_found_is_nothing() -> None:
    assert Ranking().rank([], [], limit=5) == []


def test_further_hits_of_a_document_make_room_for_others() -> None:
    near = hits("a0", "a2", "a4", "b0", "c0")
    alone = {"document_weight": 0.0, "passage_tokens": 0}
    assert ids(Ranking(**alone, repeat_penalty=0.0).rank(near, [], limit=3)) == ["a0", "a2", "a4"]
    assert ids(Ranking(**alone, repeat_penalty=0.6).rank(near, [], limit=3)) == ["a0", "b0", "a2"]


def test_spreading_leaves_nothing_out_and_keeps_scores_in_order() -> None:
    found = Ranking(repeat_penalty=0.5).rank(hits("a0", "a2", "a4", "b0"), [], limit=10)
    assert sorted(ids(found)) == ["a0", "a2", "a4", "b0"]
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
