"""What cannot be read just now, and what some stages alone leave: neither holds up the index, and neither is forgotten."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_pipeline.errors import UnstableDocumentError
from rag_pipeline.operations import reindex as slices
from rag_pipeline.operations.follow import bring_buckets_in_step, measure_freshness
from rag_pipeline.operations.look import is_in_step
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.reindex import reindex
from rag_pipeline.operations.release import release
from rag_pipeline.project import Project
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.indexes import PROMPT
from rag_pipeline_tests.projects import article, check, dump, fill, fresh_dump, index_once, open_project, write_settings

TOPICS = {f"topic{number}.md": article(f"topic{number}") for number in range(4)}
STAGES_ALONE = [{"collection"}, {"embeddings", "collection"}, {"chunks", "embeddings", "collection"}]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    fill(tmp_path / "docs", TOPICS)
    project = open_project(write_settings(tmp_path), parser=FakeParser())
    yield project
    project.close()


def lock_out(project: Project, patch: pytest.MonkeyPatch, path: str = "topic0.md") -> None:
    """Makes one document one that nobody may read, as another user's file is."""
    source = project.sources["handbook"]
    for name in ("read", "digest"):
        real = getattr(source, name)

        def refuse(asked: str, real: object = real) -> object:
            if asked == path:
                raise UnstableDocumentError(f"'{path}' cannot be read (Permission denied)")
            return real(asked)  # type: ignore[operator]

        patch.setattr(source, name, refuse)


def paths(project: Project) -> set[str]:
    return {str(payload["path"]) for payload in dump(project).values()}


def test_a_document_that_cannot_be_read_does_not_hold_up_the_first_index(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        lock_out(project, patch)
        index_once(project)
        assert project.collections().live is not None
        assert paths(project) == TOPICS.keys() - {"topic0.md"}
        assert [entry.path for entry in project.ledger.quarantine()] == ["topic0.md"]
        assert measure_freshness(project).buckets_behind == 0
        assert check(project).findings == []
        assert not is_in_step(project), "a run tries it again"
    index_once(project)
    assert is_in_step(project)
    assert dump(project) == fresh_dump(project, tmp_path / "fresh", parser=FakeParser())


def test_a_document_that_cannot_be_read_does_not_hold_up_a_reindex(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "TURN_S", 0.01)
    index_once(project)
    project.close()
    fill(tmp_path / "docs", {"topic0.md": article("nobody may read this")})
    settings = {"embedding": PROMPT, "release": {"max_drop": 1.0}}
    changed = open_project(write_settings(tmp_path, **settings), parser=FakeParser())
    try:
        with monkeypatch.context() as patch:
            lock_out(changed, patch)
            done = reindex(changed, changed.buckets, progress=SILENT)
            assert (done.is_complete, done.slices) == (True, slices.SETTLING_SLICES)
            assert release(changed, approve=False, by="test", progress=SILENT).is_switched
            assert paths(changed) == TOPICS.keys(), "its last good version is served"
        index_once(changed)
        assert dump(changed) == fresh_dump(changed, tmp_path / "fresh", parser=FakeParser())
    finally:
        changed.close()


@pytest.mark.parametrize("stages", STAGES_ALONE)
def test_some_stages_alone_never_make_a_bucket_look_in_step(project: Project, tmp_path: Path, stages: set[str]) -> None:
    index_once(project)
    fill(tmp_path / "docs", {"topic0.md": article("entirely new words"), "new.md": article("new")})
    with project.writer_lock():
        project.scan(approve_deletes=False, progress=SILENT)
    bring_buckets_in_step(project, project.buckets, stages=stages, compare_all=False, progress=SILENT)
    assert not is_in_step(project)
    index_once(project)
    assert dump(project) == fresh_dump(project, tmp_path / "fresh", parser=FakeParser())


def test_a_plan_does_not_fix_the_number_of_buckets(project: Project, tmp_path: Path) -> None:
    assert project.ledger.generation() == 0
    project.close()
    other = open_project(write_settings(tmp_path, buckets=8), parser=FakeParser())
    index_once(other)
    other.close()
    assert len(open_project(write_settings(tmp_path, buckets=8)).ledger.documents()) == len(TOPICS)


@pytest.mark.parametrize("stages", STAGES_ALONE)
def test_some_stages_alone_leave_in_step_what_was(project: Project, stages: set[str]) -> None:
    index_once(project)
    bring_buckets_in_step(project, project.buckets, stages=stages, compare_all=False, progress=SILENT)
    assert is_in_step(project)


def test_documents_that_were_not_cut_yet_are_behind(project: Project, tmp_path: Path) -> None:
    index_once(project)
    fill(tmp_path / "docs", {"topic0.md": article("entirely new words")})
    with project.writer_lock():
        project.scan(approve_deletes=False, progress=SILENT)
    for stages in ({"documents"}, {"collection"}):
        bring_buckets_in_step(project, project.buckets, stages=stages, compare_all=False, progress=SILENT)
    assert not is_in_step(project)
    for stages in ({"chunks"}, {"embeddings"}, {"collection"}):
        bring_buckets_in_step(project, project.buckets, stages=stages, compare_all=False, progress=SILENT)
    assert project.target_parts().out_of_step() == [], "one after the other they are as good as together"
    assert dump(project) == fresh_dump(project, tmp_path / "fresh", parser=FakeParser())
