"""Equal documents give one hit with every address."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.operations.status import read_status
from rag_pipeline.retrieval.copies import merge_copies
from rag_pipeline.schema import Hit
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import article, fill, index_once, open_project, write_settings


def hit(document: str, ordinal: int = 0, *, content: str | None = "same", score: float = 1.0, **payload: Any) -> Hit:
    values = {"document_id": document, "ordinal": ordinal, "content_hash": content, "uri": f"file:{document}", **payload}
    return Hit(f"{document}-{ordinal}", score, values)


def ids(hits: Sequence[Hit]) -> list[str]:
    return [one.id for one in hits]


def test_copies_are_one_hit_with_every_address() -> None:
    ranking = [hit("c", score=3), hit("a", score=3), hit("x", content="other", score=2), hit("b", score=1)]
    (merged,) = merge_copies(ranking)
    assert ids(merged) == ["a-0", "x-0"]
    assert merged[0].score == 3
    assert merged[0].payload["uri"] == "file:a"
    assert merged[0].payload["document_id"] == "a"
    assert merged[0].payload["uris"] == ["file:a", "file:b", "file:c"]
    assert "uris" not in merged[1].payload


def test_rankings_that_saw_different_copies_agree_on_one() -> None:
    dense, sparse = merge_copies([hit("b")], [hit("a"), hit("b")])
    assert ids(dense) == ids(sparse) == ["a-0"]
    assert dense[0].payload["uris"] == ["file:a", "file:b"]


def test_passages_of_one_document_stay_apart() -> None:
    (merged,) = merge_copies([hit("a", 0), hit("b", 1), hit("a", 1), hit("b", 0)])
    assert ids(merged) == ["a-0", "a-1"]
    assert {one.payload["document_id"] for one in merged} == {"a"}


def test_equal_bytes_read_in_another_way_are_no_copies() -> None:
    ranking = [hit("a", type="markdown"), hit("b", type="text")]
    assert merge_copies(ranking) == [ranking]


def test_points_that_name_no_content_stand_for_themselves() -> None:
    ranking = [hit("a", content=None), hit("b", content=None)]
    assert merge_copies(ranking) == [ranking]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 2), st.sampled_from("xyz")), unique_by=lambda row: row[:2]))
def test_no_passage_is_lost_and_none_comes_twice(rows: list[tuple[str, int, str]]) -> None:
    ranking = [hit(document, ordinal, content=content) for document, ordinal, content in rows]
    (merged,) = merge_copies(ranking)
    passages = [(one.payload["content_hash"], one.payload["ordinal"]) for one in merged]
    assert sorted(set(passages)) == sorted({(content, ordinal) for _, ordinal, content in rows})


def test_three_copies_in_the_index_answer_once(tmp_path: Path) -> None:
    file = write_settings(tmp_path)
    text = article("zebras")
    fill(tmp_path / "docs", {"one.md": text, "two.md": text, "deep/three.md": text, "other.md": article("giraffes")})
    project = open_project(file, parser=FakeParser())
    try:
        _, report = index_once(project)
        assert report.embedded < report.chunks, "a text is embedded once, however many documents hold it"
        for mode in ("hybrid", "dense", "sparse"):
            hits = project.searcher().search("zebras", mode=mode, limit=10)  # type: ignore[arg-type]
            found = [one.payload["uris"] for one in hits if "uris" in one.payload]
            assert found
            assert all([Path(uri).name for uri in uris] == ["three.md", "one.md", "two.md"] for uris in found)
            assert len({(one.payload["content_hash"], one.payload["start"]) for one in hits}) == len(hits)
        assert read_status(project)["copies"] == 2
        (tmp_path / "docs" / "one.md").unlink()
        index_once(project)
        hits = project.searcher().search("zebras", limit=10)
        assert all(len(one.payload["uris"]) == 2 for one in hits if "uris" in one.payload)
    finally:
        project.close()
