"""Documents with several good chunks, and chunks joined to passages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.retrieval.passages import join_neighbours, weigh_documents
from rag_pipeline.schema import Hit

TEXT = "".join(f"Sentence {n} of the document. " for n in range(40))


def chunk(document: str, ordinal: int, *, score: float = 1.0, overlap: int = 0, tokens: int = 100) -> Hit:
    """A chunk of 50 characters of the text, which begins ``overlap`` characters inside the one before it."""
    start, end = max(0, 50 * ordinal - overlap), 50 * ordinal + 50
    payload = {
        "document_id": document,
        "ordinal": ordinal,
        "text": TEXT[start:end],
        "start": start,
        "end": end,
        "tokens": tokens,
        "context": f"{document} > {ordinal}",
    }
    return Hit(id=f"{document}{ordinal}", score=score, payload=payload)


def ids(hits: list[Hit]) -> list[str]:
    return [hit.id for hit in hits]


# --- documents ------------------------------------------------------------------------------------------------------


def test_document_with_several_good_chunks_beats_one_with_a_lucky_chunk() -> None:
    candidates = [chunk("lucky", 0, score=1.0), *(chunk("good", n, score=0.9) for n in range(3))]
    assert ids(weigh_documents(candidates, weight=1.0)) == ["good0", "good1", "good2", "lucky0"]


def test_evidence_is_the_mean_of_five_with_missing_ones_as_nothing() -> None:
    candidates = [chunk("a", n, score=1.0 - n / 10) for n in range(7)]
    weighed = weigh_documents(candidates, weight=0.5)
    assert weighed[0].score == pytest.approx(1.0 + 0.5 * (1.0 + 0.9 + 0.8 + 0.7 + 0.6) / 5)
    assert weigh_documents(candidates[:1], weight=0.5)[0].score == pytest.approx(1.0 + 0.5 * 1.0 / 5)


def test_no_weight_changes_nothing() -> None:
    candidates = [chunk("a", 0, score=0.9), chunk("b", 0, score=0.8), chunk("b", 1, score=0.7)]
    assert weigh_documents(candidates, weight=0) == candidates


def test_points_without_a_document_stand_for_themselves() -> None:
    candidates = [Hit("x", 0.9, {}), Hit("y", 0.8, {})]
    assert ids(weigh_documents(candidates, weight=1.0)) == ["x", "y"]
    assert join_neighbours(candidates, max_tokens=512, limit=5) == candidates


# --- passages -------------------------------------------------------------------------------------------------------


def test_adjoining_candidates_become_one_passage_of_the_best() -> None:
    (hit,) = join_neighbours([chunk("a", 1, score=0.9), chunk("a", 2), chunk("a", 0)], max_tokens=512, limit=5)
    assert (hit.id, hit.score, hit.payload["context"], hit.payload["ordinal"]) == ("a1", 0.9, "a > 1", 1)
    assert hit.payload["text"] == TEXT[0:150]
    assert (hit.payload["start"], hit.payload["end"]) == (0, 150)
    assert 250 < hit.payload["tokens"] < 300, "the context counts once"
    assert hit.payload["joined"] == ["a0", "a1", "a2"]


def test_overlap_is_not_repeated() -> None:
    (hit,) = join_neighbours([chunk("a", 0), chunk("a", 1, overlap=13)], max_tokens=512, limit=5)
    assert hit.payload["text"] == TEXT[0:100]


def test_gap_between_chunks_becomes_a_line_break() -> None:
    behind = chunk("a", 1)
    behind.payload["start"] += 2  # type: ignore[index]
    (hit,) = join_neighbours([chunk("a", 0), behind], max_tokens=512, limit=5)
    assert hit.payload["text"] == TEXT[0:50] + "\n" + behind.payload["text"]


def test_passage_stops_at_its_tokens_and_takes_the_better_side_first() -> None:
    candidates = [chunk("a", 5), chunk("a", 6), chunk("a", 4)]
    first, second = join_neighbours(candidates, max_tokens=250, limit=5)
    assert (first.payload["joined"], second.id) == (["a5", "a6"], "a4")
    assert second.payload == candidates[2].payload


def test_strangers_and_distant_chunks_stay_apart() -> None:
    candidates = [chunk("a", 0), chunk("b", 1), chunk("a", 2), chunk("b", 0)]
    assert [hit.payload.get("joined", [hit.id]) for hit in join_neighbours(candidates, max_tokens=512, limit=5)] == [
        ["a0"],
        ["b0", "b1"],
        ["a2"],
    ]


def test_limit_counts_passages() -> None:
    candidates = [chunk("a", 0), chunk("b", 0), chunk("a", 1), chunk("c", 0)]
    assert ids(join_neighbours(candidates, max_tokens=512, limit=2)) == ["a0", "b0"]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 15)), unique=True, max_size=20),
    st.integers(0, 20),
    st.integers(50, 600),
)
def test_every_candidate_is_in_exactly_one_passage_of_real_text(
    names: list[tuple[str, int]], overlap: int, max_tokens: int
) -> None:
    candidates = [chunk(document, ordinal, overlap=overlap) for document, ordinal in names]
    passages = join_neighbours(candidates, max_tokens=max_tokens, limit=100)
    members = [member for hit in passages for member in hit.payload.get("joined", [hit.id])]
    assert sorted(members) == sorted(ids(candidates))
    for hit in passages:
        assert hit.payload["text"] == TEXT[hit.payload["start"] : hit.payload["end"]]
        assert hit.payload["tokens"] <= max(max_tokens, 100)
