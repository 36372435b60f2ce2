"""The rag command as people and scripts use it: real model, real documents, real exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline_tests.projects import article, fill, write_settings

HEAVY = {"torch", "transformers", "sentence_transformers", "unstructured", "spacy", "matplotlib", "pandas"}


class Rag:
    """Runs the command in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAG_", "DAGSTER_", "QDRANT_"))}
        return subprocess.run(
            [sys.executable, "-c", "from rag_pipeline.cli import main; main()", *arguments],
            cwd=self.folder,
            env={**kept, **environment, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"},
            capture_output=True,
            text=True,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        """The answer of a command that must be fine."""
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def rag(tmp_path_factory: pytest.TempPathFactory) -> Rag:
    folder = tmp_path_factory.mktemp("command")
    write_settings(folder)
    fill(
        folder / "docs",
        {
            "vacuum.md": "# Vacuum\n\n## Autovacuum\n\nThe daemon reclaims the space of dead rows by itself.\n",
            "backup.md": "# Backup\n\n## Archiving\n\nSegments of the write-ahead log are copied to an archive.\n",
            "한국어.md": "# 설치 안내\n\n프로그램을 설치하려면 설치 파일을 실행하십시오.\n",
        },
    )
    (folder / "docs" / "broken.pdf").write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 20)
    rag = Rag(folder)
    first = rag("index", "--json")
    assert first.returncode == 0, first.stderr
    rag.first = json.loads(first.stdout)  # type: ignore[attr-defined]
    rag.first_stderr = first.stderr  # type: ignore[attr-defined]
    return rag


def test_index_answers_with_counts_that_add_up(rag: Rag) -> None:
    values = rag.first  # type: ignore[attr-defined]
    counts = {"new": 3, "modified": 0, "renamed": 0, "deleted": 0, "unchanged": 0, "excluded": 0, "quarantined": 1}
    assert values["documents"] == counts
    assert values["chunks"]["embedded"] == values["chunks"]["total"] == values["points"]["total"] == values["points"]["upserted"]
    assert values["generation"] == 1
    assert values["collection"].startswith("docs-")
    assert set(values) >= {"generation", "collection", "documents", "chunks", "points", "seconds"}


def test_index_says_where_the_time_went(rag: Rag) -> None:
    lanes = rag.first["lanes"]  # type: ignore[attr-defined]
    assert set(lanes["stages"]) == {"documents", "chunks", "embeddings", "collection"}
    assert lanes["bottleneck"] in lanes["stages"]
    for times in lanes["stages"].values():
        assert abs(sum(times.values()) - lanes["wall_s"]) < 0.01


def test_quarantined_documents_are_a_warning(rag: Rag) -> None:
    assert "warning: 1 document in quarantine" in rag.first_stderr  # type: ignore[attr-defined]


def test_second_index_does_nothing(rag: Rag) -> None:
    values = rag.json("index")
    assert values["parsed"] == 0
    assert values["chunks"]["embedded"] == 0
    assert values["lanes"]["bottleneck"] is None
    assert values["points"] == {"upserted": 0, "deleted": 0, "total": values["chunks"]["total"]}
    assert values["documents"]["unchanged"] == 3


@pytest.mark.parametrize("command", ["index", "status"])
def test_what_needs_no_model_loads_nothing_heavy(rag: Rag, command: str) -> None:
    done = rag(command, "--json", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "rag_pipeline.project" in imported
    assert imported.isdisjoint(HEAVY)


def test_query_finds_the_right_document(rag: Rag) -> None:
    hits = rag.json("query", "who frees the space of deleted rows?")
    assert hits[0]["uri"] == "docs/vacuum.md"
    assert set(hits[0]) == {"score", "uri", "page", "heading", "text", "document_id", "point_id", "uris", "flags", "stale"}
    assert "reclaims" in hits[0]["text"]


def test_query_filters_and_limits(rag: Rag) -> None:
    hits = rag.json("query", "설치", "--limit", "1", "--filter", "type=markdown", "--mode", "sparse")
    assert [hit["uri"] for hit in hits] == ["docs/한국어.md"]


def test_status_says_what_is_live(rag: Rag) -> None:
    values = rag.json("status")
    assert values["alias"] == "docs"
    assert values["live"].startswith("docs-")
    assert (values["documents"], values["quarantined"], values["settings_match"]) == (4, 1, True)
    assert values["candidate"] is None
    assert values["retired"] == []


def test_plan_says_what_a_run_would_do_and_does_nothing(rag: Rag) -> None:
    file = rag.folder / "docs" / "later.md"
    file.write_text(article("later"))
    try:
        values = rag.json("plan")
        counts = {"new": 1, "modified": 0, "renamed": 0, "deleted": 0, "unchanged": 3, "excluded": 0, "quarantined": 1}
        assert values["documents"] == {**counts, "parse": 1, "chunk": 0}
        assert values["documents"]["parse"] == 1
        assert values["chunks"]["embed"] >= 1
        assert rag.json("status")["documents"] == 4
    finally:
        file.unlink()
    assert rag.json("plan")["buckets"] == 0


def test_fsck_is_clean(rag: Rag) -> None:
    assert rag.json("fsck")["findings"] == []


def test_quarantine_names_the_document_and_the_reason(rag: Rag) -> None:
    (entry,) = rag.json("quarantine", "list")
    assert entry["path"] == "broken.pdf"
    assert entry["reason"] == "malformed"


def test_doctor_finds_nothing_to_mend(rag: Rag) -> None:
    assert all(finding["ok"] for finding in rag.json("doctor"))


def test_config_may_stand_before_or_after_the_command(rag: Rag, tmp_path: Path) -> None:
    file = str(rag.folder / "rag_pipeline.yaml")
    elsewhere = Rag(tmp_path)
    before, after = elsewhere("--config", file, "status", "--json"), elsewhere("status", "--config", file, "--json")
    assert json.loads(before.stdout) == json.loads(after.stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("status", "--config", "nowhere.yaml"), "no such settings file"),
        (("query", ""), "the question is empty"),
        (("query", "x", "--filter", "nonsense"), "is not KEY=VALUE"),
        (("query", "x", "--limit", "0"), "0 is not in the range"),
        (("unknown",), "No such command"),
        (("quarantine", "retry", "nowhere.pdf"), "is not in quarantine"),
    ],
)
def test_wrong_use_is_exit_2_with_one_clear_line(rag: Rag, arguments: tuple[str, ...], said: str) -> None:
    done = rag(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_question_before_the_first_index_is_exit_1(tmp_path: Path) -> None:
    write_settings(tmp_path)
    done = Rag(tmp_path)("query", "anything")
    assert done.returncode == 1
    assert "run rag index" in done.stderr


def test_changed_bucket_count_is_refused(rag: Rag) -> None:
    done = rag("index", RAG__BUCKETS="8")
    assert done.returncode == 2
    assert "set buckets: 4" in done.stderr


def test_fsck_finds_and_repairs_lost_points(rag: Rag) -> None:
    from rag_pipeline_tests.projects import open_project

    project = open_project(rag.folder / "rag_pipeline.yaml")
    lost = next(iter(project.store.scroll(project.target.name)))
    project.store.delete(project.target.name, [lost.id])
    project.close()
    found = rag("fsck", "--json")
    assert found.returncode == 1
    assert {f["kind"] for f in json.loads(found.stdout)["findings"]} >= {"missing"}
    repaired = rag("fsck", "--repair", "--json")
    assert repaired.returncode == 0, repaired.stderr
    assert json.loads(repaired.stdout)["findings"] == []


def test_erase_takes_a_document_out_of_every_file_and_says_so(rag: Rag, tmp_path: Path) -> None:
    write_settings(tmp_path)
    fill(tmp_path / "docs", {"garden.md": article("garden"), "person.md": "# Zebulon Quatermass\n\nWas here on a Tuesday.\n"})
    mine = Rag(tmp_path)
    assert mine("index").returncode == 0
    assert mine("erase").returncode == 2
    assert mine("erase", "--document", "nobody.md", "--yes").returncode == 2
    assert mine("erase", "--subject", "zq", "--yes").returncode == 2
    assert len(mine.json("erase", "--subject", "ZEBULON quatermass", "--dry-run")["documents"]) == 1
    done = mine("erase", "--document", "person.md", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert (values["proven"], len(values["documents"]), values["findings"]) == (True, 1, [])
    assert "Quatermass" not in done.stdout + done.stderr
    assert mine.json("index")["documents"]["excluded"] == 1
    left = [file for file in (tmp_path / ".rag").rglob("*") if file.is_file() and b"Quatermass" in file.read_bytes()]
    assert left == []
