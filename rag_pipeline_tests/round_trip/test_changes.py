"""What the index says after each kind of change, with real files, parser, store and ledger."""

from pathlib import Path

import pytest

from rag_pipeline.project import Project
from rag_pipeline.schema import BucketState
from rag_pipeline_tests.fakes.embedder import HashEmbedder
from rag_pipeline_tests.projects import (
    article,
    check,
    dump,
    embedder,
    fill,
    fresh_dump,
    index_once,
    open_project,
    uris,
    write_settings,
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    docs = {f"topic{i}.md": article(f"topic{i}") for i in range(6)}
    file = write_settings(tmp_path)
    fill(tmp_path / "docs", docs)
    project = open_project(file)
    index_once(project)
    embedder(project).embedded.clear()
    yield project
    project.close()


def docs(project: Project) -> Path:
    return project.settings.root / "docs"


def assert_equals_fresh_build(project: Project, tmp_path: Path) -> None:
    assert dump(project) == fresh_dump(project, tmp_path / "fresh")


def test_first_index_holds_every_document(project: Project) -> None:
    assert uris(dump(project).values()) == {f"docs/topic{i}.md" for i in range(6)}
    assert check(project).findings == []
    assert project.store.resolve_alias("docs") == project.target.name


def test_unchanged_folder_does_nothing(project: Project) -> None:
    scan, report = index_once(project)
    assert not scan.has_changes
    assert (report.parsed, report.embedded, report.upserted, report.deleted) == (0, 0, 0, 0)
    assert report.in_step == 4


def test_touched_file_is_not_parsed(project: Project) -> None:
    (docs(project) / "topic1.md").touch()
    _, report = index_once(project)
    assert (report.parsed, report.embedded, report.upserted) == (0, 0, 0)


def test_edit_embeds_only_the_changed_text(project: Project, tmp_path: Path) -> None:
    file = docs(project) / "topic2.md"
    file.write_text(file.read_text().replace("sentence 1", "another sentence"))
    _, report = index_once(project)
    assert report.parsed == 1
    assert all("another sentence" in text for text in embedder(project).embedded)
    assert check(project).findings == []
    assert_equals_fresh_build(project, tmp_path)


def test_rename_parses_and_embeds_nothing(project: Project, tmp_path: Path) -> None:
    before = dump(project)
    (docs(project) / "moved").mkdir()
    for i in range(3):
        (docs(project) / f"topic{i}.md").rename(docs(project) / "moved" / f"subject{i}.md")
    scan, report = index_once(project)
    assert scan.counts.renamed == 3
    assert (report.parsed, report.embedded) == (0, 0)
    assert len(dump(project)) == len(before)
    assert check(project).findings == []
    assert_equals_fresh_build(project, tmp_path)


def test_deleted_document_leaves_nothing(project: Project, tmp_path: Path) -> None:
    (docs(project) / "topic3.md").unlink()
    scan, report = index_once(project)
    assert scan.counts.deleted == 1
    assert report.deleted > 0
    assert "docs/topic3.md" not in uris(dump(project).values())
    assert not any(b"topic3" in file.read_bytes() for file in (tmp_path / ".rag" / "artifacts").rglob("*") if file.is_file())
    assert_equals_fresh_build(project, tmp_path)


def test_shortened_document_leaves_no_tail(project: Project) -> None:
    (docs(project) / "topic4.md").write_text(article("topic4", paragraphs=1))
    index_once(project)
    assert not [p for p in dump(project).values() if p["path"] == "topic4.md" and "part 2" in p["text"]]
    assert check(project).findings == []


def test_corrupt_document_goes_to_quarantine_and_the_rest_is_indexed(project: Project) -> None:
    (docs(project) / "broken.pdf").write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 20)
    fill(docs(project), {"good.md": article("good")})
    _, report = index_once(project)
    assert report.quarantined == 1
    assert [entry.path for entry in project.ledger.quarantine()] == ["broken.pdf"]
    assert "docs/good.md" in uris(dump(project).values())
    assert check(project).findings == []


def test_quarantined_document_is_not_tried_again(project: Project) -> None:
    (docs(project) / "broken.pdf").write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 20)
    index_once(project)
    _, report = index_once(project)
    assert (report.parsed, report.in_step) == (0, 4)


def test_last_good_version_stays_when_the_new_one_is_corrupt(project: Project) -> None:
    (docs(project) / "topic5.md").write_bytes(b"\x00\x01\x02\xff" * 100)
    index_once(project)
    assert "docs/topic5.md" in uris(dump(project).values())
    assert [entry.path for entry in project.ledger.quarantine()] == ["topic5.md"]
    (docs(project) / "topic5.md").write_text(article("topic5 again"))
    index_once(project)
    assert project.ledger.quarantine() == []
    assert check(project).findings == []


def test_equal_documents_share_vectors(project: Project) -> None:
    fill(docs(project), {"copy.md": article("topic0")})
    _, report = index_once(project)
    assert (report.parsed, report.embedded) == (0, 0)
    assert "docs/copy.md" in uris(dump(project).values())


def test_vanished_root_deletes_nothing(project: Project) -> None:
    docs(project).rename(docs(project).with_name("elsewhere"))
    scan, report = index_once(project)
    assert scan.problems
    assert report.deleted == 0
    assert len(uris(dump(project).values())) == 6


def test_chunk_size_of_one_type_reruns_only_that_type(tmp_path: Path) -> None:
    file = write_settings(tmp_path)
    long = " ".join(f"Sentence number {i} says something about item {i}." for i in range(200))
    fill(tmp_path / "docs", {"a.md": article("a"), "b.txt": long})
    embedder = HashEmbedder(384)
    project = open_project(file, embedder=embedder)
    index_once(project)
    project.close()
    embedder.embedded.clear()
    rule = {"strategy": "prose", "size": 128, "overlap": 0.1}
    write_settings(tmp_path, chunking={"allow_unusual_sizes": True, "types": {"text": rule}})
    project = open_project(file, embedder=embedder)
    _, report = index_once(project)
    assert (report.parsed, report.chunked) == (0, 1)
    assert embedder.embedded
    assert all("Sentence number" in text for text in embedder.embedded)
    assert check(project).findings == []
    project.close()


def test_lost_store_is_rebuilt_without_the_model(project: Project, tmp_path: Path) -> None:
    before = dump(project)
    project.close()
    for path in sorted((tmp_path / ".rag" / "qdrant").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    again = open_project(tmp_path / "rag_pipeline.yaml")
    _, report = index_once(again)
    assert dump(again) == before
    assert (report.parsed, report.embedded) == (0, 0)
    again.close()


def test_points_of_a_killed_run_do_not_outlive_a_change_back(tmp_path: Path) -> None:
    file = write_settings(tmp_path)
    project = open_project(file)
    index_once(project)
    fill(tmp_path / "docs", {"one.md": article("one")})
    put, calls = project.ledger.put_bucket_state, []

    def die_when_done(collection: str, bucket: str, state: BucketState) -> None:
        calls.append(state.digest)
        if state.digest:
            raise KeyboardInterrupt
        put(collection, bucket, state)

    project.ledger.__dict__["put_bucket_state"] = die_when_done
    with pytest.raises(KeyboardInterrupt):
        index_once(project)
    project.close()
    (tmp_path / "docs" / "one.md").unlink()
    again = open_project(file)
    index_once(again)
    assert dump(again) == {}
    assert check(again).findings == []
    again.close()
