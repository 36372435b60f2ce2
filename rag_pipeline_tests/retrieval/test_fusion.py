"""Fusion by ranks and by relative scores."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.retrieval.fusion import fuse, fuse_scores
from rag_pipeline.schema import Hit


def ranking(ids: str, *, source: str = "") -> list[Hit]:
    return [Hit(id=name, score=100.0 - n, payload={"source": source}) for n, name in enumerate(ids)]


def test_scores_are_sums_of_reciprocal_ranks() -> None:
    fused = fuse([ranking("abc"), ranking("cb")], k=60, limit=10)
    assert [(hit.id, hit.score) for hit in fused] == [
        ("c", pytest.approx(1 / 63 + 1 / 61)),
        ("b", pytest.approx(1 / 62 + 1 / 62)),
        ("a", pytest.approx(1 / 61)),
    ]


def test_equal_sums_are_ordered_by_id() -> None:
    assert [hit.id for hit in fuse([ranking("ba"), ranking("ab")], k=60, limit=2)] == ["a", "b"]


def test_weights_tip_the_balance() -> None:
    assert [hit.id for hit in fuse([ranking("ab"), ranking("ba")], k=60, limit=2, weights=[1, 2])] == ["b", "a"]


def test_payload_is_that_of_the_first_ranking_that_has_the_hit() -> None:
    (hit,) = fuse([ranking("a", source="dense"), ranking("a", source="sparse")], k=60, limit=1)
    assert hit.payload == {"source": "dense"}


def test_repeated_id_counts_at_its_best_rank() -> None:
    fused = fuse([ranking("abaa")], k=60, limit=3)
    assert [(hit.id, hit.score) for hit in fused] == [("a", 1 / 61), ("b", 1 / 62)]


def test_nothing_gives_nothing() -> None:
    assert fuse([], k=60, limit=5) == fuse([[], []], k=60, limit=5) == fuse([ranking("a")], k=60, limit=0) == []


def test_weights_must_fit() -> None:
    with pytest.raises(ValueError, match="1 weights for 2 rankings"):
        fuse([[], []], k=60, limit=5, weights=[1.0])


IDS = st.lists(st.sampled_from("abcdefgh"), unique=True).map("".join)


@given(st.lists(IDS, max_size=4), st.integers(1, 100), st.integers(0, 10))
def test_result_is_sorted_unique_limited_and_from_the_rankings(names: list[str], k: int, limit: int) -> None:
    fused = fuse([ranking(ids) for ids in names], k=k, limit=limit)
    everything = set("".join(names))
    assert len(fused) == min(limit, len(everything))
    assert {hit.id for hit in fused} <= everything
    assert len({hit.id for hit in fused}) == len(fused)
    assert [(-hit.score, hit.id) for hit in fused] == sorted((-hit.score, hit.id) for hit in fused)


@given(IDS, st.integers(1, 100))
def test_one_ranking_keeps_its_order(ids: str, k: int) -> None:
    assert [hit.id for hit in fuse([ranking(ids)], k=k, limit=100)] == list(ids)


@given(st.lists(IDS, min_size=2, max_size=4))
def test_order_of_the_rankings_does_not_matter(names: list[str]) -> None:
    there = fuse([ranking(ids) for ids in names], k=60, limit=10)
    back = fuse([ranking(ids) for ids in reversed(names)], k=60, limit=10)
    assert {hit.id: pytest.approx(hit.score) for hit in there} == {hit.id: hit.score for hit in back}


# --- by relative scores ---------------------------------------------------------------------------------------------


def scored(**scores: float) -> list[Hit]:
    return [Hit(id=name, score=score, payload={}) for name, score in scores.items()]


def test_relative_scores_keep_the_distance_between_hits() -> None:
    fused = fuse_scores([scored(a=0.9, b=0.5, c=0.4), scored(c=30.0, d=10.0)], limit=10, weights=[0.6, 0.4])
    assert [(hit.id, hit.score) for hit in fused] == [
        ("a", pytest.approx(0.6)),
        ("c", pytest.approx(0.4)),
        ("b", pytest.approx(0.6 * 0.2)),
        ("d", 0.0),
    ]


def test_distances_count_the_other_way_round() -> None:
    assert [hit.id for hit in fuse_scores([scored(near=0.1, middle=0.2, far=0.9)], limit=2)] == ["near", "middle"]


def test_one_hit_or_equal_hits_count_full() -> None:
    assert [hit.score for hit in fuse_scores([scored(a=0.3)], limit=5)] == [1.0]
    assert [hit.score for hit in fuse_scores([scored(a=2.0, b=2.0)], limit=5)] == [1.0, 1.0]


def test_relative_scores_of_nothing_are_nothing() -> None:
    assert fuse_scores([], limit=5) == fuse_scores([[], []], limit=5) == []


SCORES = st.lists(st.floats(-100, 100), max_size=8).map(
    lambda values: [Hit(id="abcdefgh"[n], score=value, payload={}) for n, value in enumerate(sorted(values, reverse=True))]
)


@given(st.lists(SCORES, max_size=3), st.integers(0, 10))
def test_relative_sums_are_sorted_unique_and_bounded(rankings: list[list[Hit]], limit: int) -> None:
    fused = fuse_scores(rankings, limit=limit)
    assert len({hit.id for hit in fused}) == len(fused) <= limit
    assert all(0 <= hit.score <= len(rankings) for hit in fused)
    assert [(-hit.score, hit.id) for hit in fused] == sorted((-hit.score, hit.id) for hit in fused)
