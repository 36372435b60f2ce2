"""Nothing is skipped in silence: what the scan saw is what is indexed, in quarantine, left out or not built yet."""

import shutil
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import pytest

from rag_pipeline.indexing.status import DocumentAccount, account_for_documents
from rag_pipeline.operations.erase import choose_documents, erase
from rag_pipeline.operations.follow import bring_in_step
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.project import Project
from rag_pipeline_tests.projects import article, fill, index_once, open_project, write_settings

TOPICS = ("apple", "pear", "quince", "plum", "cherry")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    sources = [{"name": "handbook", "url": "docs", "exclude": ["*.log"]}, {"name": "other", "url": "other"}]
    file = write_settings(tmp_path, sources=sources, delete_brake={"max_share": 0.2, "max_documents": 2})
    fill(tmp_path / "docs", {f"{topic}.md": article(topic) for topic in TOPICS})
    fill(tmp_path / "docs", {"run.log": "left out", "broken.pdf": "%PDF-1.7\nnothing that a reader could use\n"})
    fill(tmp_path / "other", {f"{number}.md": article(f"number {number}") for number in range(3)})
    opened = open_project(file)
    yield opened
    opened.close()


def account(project: Project) -> DocumentAccount:
    found = account_for_documents(project.ledger, project.target.name)
    assert found.adds_up
    return found


def test_indexed_quarantined_and_left_out_make_up_what_was_seen(project: Project) -> None:
    index_once(project)
    assert astuple(account(project)) == (10, 8, 1, 1, 0)


def test_a_source_that_is_away_keeps_its_place(project: Project) -> None:
    index_once(project)
    shutil.move(project.settings.root / "other", project.settings.root / "away")
    index_once(project)
    assert astuple(account(project)) == (10, 8, 1, 1, 0)


def test_documents_that_the_brake_kept_are_still_accounted_for(project: Project) -> None:
    index_once(project)
    for topic in TOPICS[:4]:
        (project.settings.root / "docs" / f"{topic}.md").unlink()
    index_once(project)
    assert astuple(account(project)) == (10, 8, 1, 1, 0)
    index_once(project, approve_deletes=True)
    assert astuple(account(project)) == (6, 4, 1, 1, 0)


def test_an_erased_document_is_left_out_at_once_and_after_the_next_scan(project: Project) -> None:
    index_once(project)
    erase(project, choose_documents(project, ["pear.md"]))
    assert astuple(account(project)) == (10, 7, 1, 2, 0)
    index_once(project)
    assert astuple(account(project)) == (10, 7, 1, 2, 0)


def test_buckets_that_nobody_built_yet_are_named(project: Project) -> None:
    with project.writer_lock():
        project.scan(approve_deletes=False, progress=SILENT)
        bring_in_step(project, project.buckets[:2], progress=SILENT)
    found = account(project)
    assert found.unbuilt > 0
    assert found.indexed + found.quarantined + found.unbuilt == 9


def test_a_document_that_went_missing_is_noticed(project: Project) -> None:
    index_once(project)
    summary = project.ledger.scan_summary() or {}
    lost = next(iter(project.ledger.documents()))
    project.ledger.commit_scan(generation=project.ledger.generation(), upserts=[], deletes=[lost], summary=summary)
    index_once_without_scan(project)
    assert not account_for_documents(project.ledger, project.target.name).adds_up


def index_once_without_scan(project: Project) -> None:
    with project.writer_lock():
        bring_in_step(project, project.buckets, progress=SILENT)
