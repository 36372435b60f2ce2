"""An index that several runs of some buckets write at once, over servers, is the one that a single run makes."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline.indexing.build import COMPACT_KEY, STAGES
from rag_pipeline.operations.follow import bring_buckets_in_step
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.reindex import reindex
from rag_pipeline.operations.release import keep_live, release, validate
from rag_pipeline.project import Project
from rag_pipeline.schema import CollectionState
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.fakes.qdrant_server import LoopbackQdrant
from rag_pipeline_tests.indexes import BATCHES, DOCUMENTS, PROMPT
from rag_pipeline_tests.postgres_server import running_postgres
from rag_pipeline_tests.projects import check, dump, fill, index_once, open_project, write_settings

HALVES = (["00", "01"], ["02", "03"])


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Callable[..., Project]]:
    """Opens the one index as another process does, with a parser and connections of its own."""
    fill(tmp_path / "shared" / "docs", DOCUMENTS)
    server, opened = LoopbackQdrant(), list[Project]()
    with running_postgres() as url:

        def opening(**settings: Any) -> Project:
            store = {"kind": "server", "url": server.url}
            file = write_settings(tmp_path / "shared", **{"embedding": BATCHES, "store": store, "ledger_url": url, **settings})
            opened.append(open_project(file, parser=FakeParser()))
            return opened[-1]

        yield opening
        for project in opened:
            project.close()
    server.stop()


def side_by_side(work: Callable[[Project, list[str]], Any], projects: list[Project]) -> None:
    with ThreadPoolExecutor(len(HALVES)) as threads:
        list(threads.map(work, projects, HALVES))


def alone(project: Project, folder: Path) -> Mapping[str, Any]:
    """What one run makes of the same documents and settings, over the embedded store and SQLite."""
    fill(folder / "docs", DOCUMENTS)
    one = open_project(write_settings(folder, embedding=project.settings.embedding.model_dump()), parser=FakeParser())
    try:
        index_once(one)
        return dump(one)
    finally:
        one.close()


@pytest.mark.deep
def test_a_first_index_in_two_runs_is_that_of_one(shared: Callable[..., Project], tmp_path: Path) -> None:
    whole = shared()
    with whole.writer_lock():
        whole.scan(approve_deletes=False, progress=SILENT)

    def work(project: Project, buckets: list[str]) -> None:
        assert project.works_beside_others(buckets)
        bring_buckets_in_step(project, buckets, stages=STAGES, compare_all=False, progress=SILENT)

    side_by_side(work, [shared(), shared()])
    _, report = index_once(whole)
    assert (report.in_step, report.parsed, report.embedded, report.upserted) == (4, 0, 0, 0)
    assert check(whole).findings == []
    assert dump(whole) == alone(whole, tmp_path / "alone")


@pytest.mark.deep
def test_a_candidate_in_two_runs_is_that_of_one_and_is_released(shared: Callable[..., Project], tmp_path: Path) -> None:
    index_once(shared())
    projects = [shared(embedding=PROMPT, release={"follow_interval_s": 0.01}) for _ in HALVES]
    before = projects[0].target.name

    def work(project: Project, buckets: list[str]) -> None:
        done = reindex(project, buckets, progress=SILENT)
        assert done.slices > 1
        assert done.build.embedded > 0

    assert validate(projects[0], progress=SILENT) is None
    side_by_side(work, projects)
    candidate = projects[0].collections().candidate
    assert candidate is not None
    assert candidate.state is CollectionState.CAUGHT_UP
    assert release(projects[0], approve=True, by="test", progress=SILENT).is_switched
    assert projects[0].target.name != before
    assert check(projects[0]).findings == []
    assert dump(projects[0]) == alone(projects[0], tmp_path / "alone")


@pytest.mark.deep
def test_what_several_runs_left_to_compact_is_compacted_by_the_next_whole_run(shared: Callable[..., Project]) -> None:
    whole = shared()
    index_once(whole)
    fill(whole.settings.root / "docs", {path: text + "\n\nMore of it.\n" for path, text in DOCUMENTS.items()})
    with whole.writer_lock():
        whole.scan(approve_deletes=False, progress=SILENT)
    touched = {record.bucket for record in whole.ledger.documents().values()}

    def work(project: Project, buckets: list[str]) -> None:
        bring_buckets_in_step(project, buckets, stages=STAGES, compare_all=False, progress=SILENT)

    side_by_side(work, [shared(), shared()])
    key = f"{COMPACT_KEY}:{whole.target.name}"
    assert whole.ledger.meta(key) == str(sorted(touched)).replace("'", '"')
    index_once(whole)
    assert whole.ledger.meta(key) == "[]"
    with whole.writer_lock():
        assert not keep_live(whole).is_switched


def test_over_the_embedded_store_a_run_of_some_buckets_takes_the_writer_lock(tmp_path: Path) -> None:
    fill(tmp_path / "docs", DOCUMENTS)
    project = open_project(write_settings(tmp_path, embedding=BATCHES, buckets_per_run=2), parser=FakeParser())
    index_once(project)
    assert not project.works_beside_others(["00"])
    with project.bucket_locks(["00"]) as number:
        assert number > 0
        project.ledger.check_writer()
    project.close()
