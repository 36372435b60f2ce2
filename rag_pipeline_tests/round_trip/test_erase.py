"""Erasure: documents that are gone from answers and from every byte on disk, and stay gone."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from rag_pipeline.adapters.byte_search import files_below, find_in_files, written_forms
from rag_pipeline.guardrails.pii.subjects import subject_digest
from rag_pipeline.indexing.erased_text import all_text
from rag_pipeline.operations.erase import (
    choose_by_subject,
    choose_documents,
    complete_unfinished,
    erase,
    is_masked_unsearchable,
    records_folders,
    unfinished,
)
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.reindex import reindex
from rag_pipeline.operations.release import release, roll_back
from rag_pipeline.project import Project
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import article, check, fill, index_once, open_project, uris, write_settings
from rag_pipeline_tests.round_trip.dying_run import KILLED, Kill, run

SENTINEL = "xyzzy-plugh-quux"
TOPICS = ("apple", "pear", "quince", "plum", "cherry", "medlar")


def secret(number: int) -> str:
    return f"# Notes about {SENTINEL} {number}\n\nNobody but {SENTINEL} knows that number {number} of the list was born here.\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = write_settings(tmp_path / "project")
    fill(found.parent / "docs", {f"{topic}.md": article(topic) for topic in TOPICS})
    fill(found.parent / "docs", {f"secret-{number}.md": secret(number) for number in range(3)})
    return found


@pytest.fixture
def project(file: Path) -> Iterator[Project]:
    opened = open_project(file, parser=FakeParser())
    yield opened
    opened.close()


def names(count: int = 3) -> list[str]:
    return [f"secret-{number}.md" for number in range(count)]


def places(project: Project, piece: str = SENTINEL) -> list[str]:
    """Files below the state in which the piece stands; decoded where they are Parquet."""
    found = find_in_files(files_below([project.settings.root / ".rag"]), written_forms([piece]))
    return [str(path.relative_to(project.settings.root.resolve())) for path in found]


def found_by_search(project: Project) -> set[str]:
    hits = project.searcher().search(f"{SENTINEL} number list", limit=20)
    return {uri for uri in uris(hit.payload for hit in hits) if "secret" in uri}


def assert_gone(project: Project) -> None:
    assert not found_by_search(project)
    for record in project.ledger.collections(project.settings.alias):
        assert SENTINEL not in str([point.payload for point in project.store.scroll(record.name)])
    project.close()
    assert not places(project)


def test_an_erased_document_is_gone_from_answers_and_from_every_byte(project: Project) -> None:
    index_once(project)
    assert len(found_by_search(project)) == 3
    assert places(project)
    done = erase(project, choose_documents(project, names()))
    assert (len(done.documents), done.proof.findings, done.notes) == (3, [], [])
    assert done.proof.pieces >= 6
    assert done.points >= 3
    assert_gone(project)
    assert check(project).findings == []
    scan, report = index_once(project)
    assert (scan.counts.excluded, scan.counts.new, report.embedded) == (3, 0, 0)
    assert_gone(project)
    assert not unfinished(project)


def test_others_stay_as_they_were(project: Project) -> None:
    index_once(project)
    erase(project, choose_documents(project, names()))
    hits = project.searcher().search("quince part 1", limit=5)
    assert "quince.md" in str(uris(hit.payload for hit in hits))
    assert project.ledger.count_documents() == len(TOPICS)


def test_equal_copies_go_with_it_and_come_back_under_no_name(project: Project) -> None:
    docs = project.settings.root / "docs"
    shutil.copy(docs / "secret-0.md", docs / "copy.md")
    index_once(project)
    chosen = choose_documents(project, ["secret-0.md", "never-there.md"])
    assert (len(chosen.ids), chosen.copies, chosen.unknown) == (2, 1, ("never-there.md",))
    erase(project, choose_documents(project, names()))
    (docs / "secret-0.md").rename(docs / "other-name.md")
    (docs / "secret-1.md").write_text(secret(1) + "and a line more")
    index_once(project)
    assert_gone(project)


def test_a_person_is_found_in_whatever_writing_and_kept_nowhere(project: Project) -> None:
    docs = project.settings.root / "docs"
    (docs / "letter.md").write_text("# A letter\n\nIt was\nXyZZy-PLUGH-quux, who wrote it in the end.\n")
    index_once(project)
    chosen = choose_by_subject(project, "XYZZY-plugh-QUUX")
    assert chosen is not None
    assert choose_by_subject(project, " x.") is None
    assert len(chosen.ids) == 4
    assert erase(project, chosen).is_proven
    assert_gone(project)
    assert not places(project, "who wrote it in the end")


def test_an_artifact_folder_that_was_restored_brings_nothing_back(project: Project) -> None:
    index_once(project)
    artifacts = project.settings.root / ".rag" / "artifacts"
    shutil.copytree(artifacts, project.settings.root / "backup")
    erase(project, choose_documents(project, names()))
    shutil.rmtree(artifacts)
    shutil.copytree(project.settings.root / "backup", artifacts)
    index_once(project)
    assert not found_by_search(project)
    again = erase(project, choose_documents(project, names()))
    assert again.is_proven
    assert_gone(project)


def test_what_is_left_somewhere_is_found_and_the_erasure_not_called_done(project: Project) -> None:
    index_once(project)
    stray = project.settings.root / ".rag" / "export.txt"
    stray.write_bytes(secret(1).encode("utf-16-le"))
    done = erase(project, choose_documents(project, names()))
    assert [line for line in done.proof.findings if "export.txt" in line]
    assert SENTINEL not in str(done)
    assert unfinished(project)
    stray.unlink()
    completed = complete_unfinished(project)
    assert completed is not None
    assert completed.is_proven
    assert complete_unfinished(project) is None


def test_masked_values_are_found_by_their_digest(project: Project) -> None:
    index_once(project)
    stored = project.artifacts.documents(project.artifacts.names("documents")[0])
    for bucket in project.buckets:
        rows = [
            replace(row, subjects=(subject_digest("900101-1234568", b"key"),)) if f"{SENTINEL} 1" in all_text(row) else row
            for row in stored.read(bucket)
        ]
        stored.replace(bucket, rows)
    project.settings._secrets["RAG_PII_KEY"] = SecretStr("key")
    marked = [row.document_id for bucket in project.buckets for row in stored.read(bucket) if row.subjects]
    assert len(marked) == 1
    chosen = choose_by_subject(project, "900101 1234568")
    assert chosen is not None
    assert chosen.ids == frozenset(marked)


@pytest.mark.parametrize(
    "kill",
    [
        Kill("ledger.forget_mentions"),
        Kill("ledger.commit_scan"),
        Kill("store.purge", moment="after"),
        Kill("artifacts.chunks", call=2),
        Kill("ledger.compact"),
    ],
    ids=str,
)
def test_an_erasure_killed_anywhere_is_completed_by_the_next_run(file: Path, kill: Kill, tmp_path: Path) -> None:
    project = open_project(file, parser=FakeParser())
    index_once(project)
    project.close()
    assert run(file, tmp_path / "log", kill, operation="erase") == KILLED
    project = open_project(file, parser=FakeParser())
    try:
        assert unfinished(project)
        assert not found_by_search(project) or kill.place.startswith("ledger")
        done = complete_unfinished(project)
        assert done is not None
        assert (done.proof.findings, done.notes) == ([], [])
        assert_gone(project)
        index_once(project)
        assert_gone(project)
        assert check(project).findings == []
    finally:
        project.close()


def test_neither_a_candidate_under_way_nor_a_rollback_brings_it_back(file: Path) -> None:
    project = open_project(file, parser=FakeParser())
    index_once(project)
    project.close()
    write_settings(file.parent, embedding={"document_prompt": "passage: "}, release={"min_free_gb": 0})
    project = open_project(file, parser=FakeParser())
    try:
        reindex(project, project.buckets[:2], progress=SILENT)
        assert len(project.ledger.collections(project.settings.alias)) == 2
        done = erase(project, choose_documents(project, names()))
        assert (done.proof.findings, len(done.collections)) == ([], 2)
        assert_gone(project)
        reindex(project, project.buckets, progress=SILENT)
        release(project, approve=True, by="test", progress=SILENT)
        assert_gone(project)
        roll_back(project, reason="worse", by="test", progress=SILENT)
        assert_gone(project)
    finally:
        project.close()


@pytest.mark.deep
def test_twenty_documents_of_a_person_stay_gone_whatever_happens(tmp_path: Path) -> None:
    """P20: killed at four places in a row, a candidate under way, a restore of artifacts, the files still there."""
    file = write_settings(tmp_path / "project")
    docs = file.parent / "docs"
    fill(docs, {f"{topic}.md": article(topic) for topic in TOPICS})
    fill(docs, {f"secret-{number}.md": secret(number) for number in range(20)})
    project = open_project(file, parser=FakeParser())
    index_once(project)
    project.close()
    write_settings(file.parent, embedding={"document_prompt": "passage: "}, release={"min_free_gb": 0})
    project = open_project(file, parser=FakeParser())
    reindex(project, project.buckets[:2], progress=SILENT)
    project.close()
    shutil.copytree(file.parent / ".rag" / "artifacts", tmp_path / "backup")
    for kill in ("ledger.forget_mentions", "store.purge", "artifacts.chunks", "ledger.compact"):
        assert run(file, tmp_path / "log", Kill(kill), operation="erase_subject") == KILLED
    project = open_project(file, parser=FakeParser())
    try:
        done = complete_unfinished(project)
        assert done is not None
        assert (done.proof.findings, len(done.documents)) == ([], 20)
        assert_gone(project)
        reindex(project, project.buckets, progress=SILENT)
        release(project, approve=True, by="test", progress=SILENT)
        roll_back(project, reason="worse", by="test", progress=SILENT)
        index_once(project)
        assert_gone(project)
        shutil.copytree(tmp_path / "backup", file.parent / ".rag" / "artifacts", dirs_exist_ok=True)
        index_once(project)
        assert not found_by_search(project)
        assert erase(project, choose_documents(project, names(20))).is_proven
        assert_gone(project)
        assert project.ledger.count_documents() == len(TOPICS)
    finally:
        project.close()


@pytest.mark.parametrize("key", [None, "a key of the owner"])
def test_a_document_is_erased_by_the_real_name_that_only_its_owner_knows(tmp_path: Path, key: str | None) -> None:
    real = "paid 900101-1234568.md"
    file = write_settings(tmp_path / "project", pii={"enabled": True})
    fill(file.parent / "docs", {real: article("apple"), "paid 900101-2234567.md": article("pear")})
    project = open_project(file, parser=FakeParser())
    if key is not None:
        project.settings._secrets["RAG_PII_KEY"] = SecretStr(key)
    try:
        index_once(project)
        for name in (real, f"handbook/{real}", project.sources["handbook"].uri(real)):
            chosen = choose_documents(project, [name])
            assert (len(chosen.ids), chosen.unknown) == (1, ()), name
        (file.parent / "docs" / real).unlink()
        gone = choose_documents(project, [real])
        assert (len(gone.ids), bool(gone.unknown)) == ((1, False) if key else (0, True))
        assert is_masked_unsearchable(project) is (key is None)
    finally:
        project.close()


def test_captured_logs_in_a_folder_of_their_own_are_records_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = open_project(write_settings(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    assert records_folders(project) == [tmp_path / "home"]
    monkeypatch.setenv("DAGSTER_STORAGE", str(tmp_path / "storage"))
    assert records_folders(project) == [tmp_path / "home", tmp_path / "storage"]
