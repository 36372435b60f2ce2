"""A document that goes bad: what stays served, what people see of it, and what a mended one leaves behind."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rag_pipeline.cli import main
from rag_pipeline.project import Project
from rag_pipeline_tests.projects import article, check, dump, embedder, fill, index_once, open_project, write_settings

BAD = b"\x00\x01\x02\xff" * 100


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    fill(tmp_path / "docs", {f"topic{i}.md": article(f"topic{i}") for i in range(4)})
    project = open_project(write_settings(tmp_path, buckets=4))
    index_once(project)
    embedder(project).embedded.clear()
    yield project
    project.close()


def spoil(project: Project, *names: str) -> None:
    for name in names:
        (project.settings.root / "docs" / name).write_bytes(BAD)
    index_once(project)


def stale(project: Project) -> dict[str, set[bool]]:
    found: dict[str, set[bool]] = {}
    for payload in dump(project).values():
        found.setdefault(str(payload["path"]), set()).add(bool(payload["stale"]))
    return found


def ask(project: Project, *words: str) -> Result:
    project.close()
    return CliRunner().invoke(main, [*words, "--config", str(project.settings.root / "rag_pipeline.yaml")])


def test_last_good_version_is_served_and_marked(project: Project) -> None:
    spoil(project, "topic1.md")
    assert stale(project) == {"topic0.md": {False}, "topic1.md": {True}, "topic2.md": {False}, "topic3.md": {False}}
    assert check(project).findings == []
    assert index_once(project)[1].upserted == 0
    hit = next(h for h in project.searcher().search("topic1", limit=9) if h.payload["path"] == "topic1.md")
    assert hit.payload["stale"]
    (project.settings.root / "docs" / "topic1.md").write_text(article("topic1"))
    index_once(project)
    assert stale(project)["topic1.md"] == {False}
    assert embedder(project).embedded == []
    assert check(project).findings == []


def test_last_good_version_goes_where_it_is_not_wanted(project: Project) -> None:
    spoil(project, "topic1.md")
    file = write_settings(project.settings.root, buckets=4, quarantine={"keep_last_good": False})
    project.close()
    strict = open_project(file)
    try:
        index_once(strict)
        assert "topic1.md" not in stale(strict)
        assert check(strict).findings == []
        assert index_once(strict)[1].deleted == 0
    finally:
        strict.close()
    lenient = open_project(write_settings(project.settings.root, buckets=4))
    try:
        index_once(lenient)
        assert stale(lenient)["topic1.md"] == {True}
        assert check(lenient).findings == []
    finally:
        lenient.close()


def test_equal_bad_documents_are_each_named_and_mended_alone(project: Project) -> None:
    spoil(project, "topic1.md", "topic2.md")
    assert [entry.path for entry in project.ledger.quarantine()] == ["topic1.md", "topic2.md"]
    (project.settings.root / "docs" / "topic1.md").write_text(article("topic1 is well"))
    index_once(project)
    assert [entry.path for entry in project.ledger.quarantine()] == ["topic2.md"]
    assert stale(project)["topic2.md"] == {True}
    assert check(project).findings == []


def test_show_says_what_to_do_and_what_is_served(project: Project) -> None:
    spoil(project, "topic1.md")
    shown = ask(project, "quarantine", "show", "handbook/topic1.md", "--json")
    (values,) = json.loads(shown.stdout)
    assert values["reason"] == "unsupported_type"
    assert values["last_good_version"] == "served, marked stale"
    assert values["remedy"]
    assert ask(project, "quarantine", "show", "topic0.md").exit_code == 2


@pytest.mark.parametrize(("words", "paths"), [([], 2), (["--reason", "unsupported_type"], 2), (["--reason", "encrypted"], 0)])
def test_list_is_filtered(project: Project, words: list[str], paths: int) -> None:
    spoil(project, "topic1.md", "topic2.md")
    listed: list[Any] = json.loads(ask(project, "quarantine", "list", *words, "--json").stdout)
    assert len(listed) == paths


def test_export_holds_every_document_and_no_formula(project: Project, tmp_path: Path) -> None:
    spoil(project, "topic1.md", "=cmd.md")
    file = tmp_path / "bad.csv"
    assert ask(project, "quarantine", "export", str(file)).exit_code == 0
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == ["'=cmd.md", "topic1.md"]
    assert all(row["remedy"] for row in rows)
    assert ask(project, "quarantine", "export", str(tmp_path / "bad.json")).exit_code == 0
    assert len(json.loads((tmp_path / "bad.json").read_text())) == 2
    assert ask(project, "quarantine", "export", str(tmp_path / "bad.txt")).exit_code == 2
    assert ask(project, "quarantine", "export", str(tmp_path / "no" / "bad.csv")).exit_code == 1
