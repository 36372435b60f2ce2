"""Masking inside a whole index: what a change of its rules reads and embeds again, file names, and the second look."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline.errors import MissingExtraError, ParseError, SettingsError
from rag_pipeline.operations.leaks import LeakReport, find_leaks, look_at
from rag_pipeline.ports import ParseOutcome, ParseRequest
from rag_pipeline.project import Project
from rag_pipeline.settings import load_settings
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import dump, fill, fresh_dump, go_on, index_once, open_project, write_settings

NUMBER, MAIL = "900101-1234567", "hong@example.com"
ON: dict[str, Any] = {"enabled": True}
TEXTS = {"mail.md": f"# Mail\n\nWrite to {MAIL} today.", "plain.md": "# Plain\n\nNothing to see here."}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("docs", "staff"):
        fill(tmp_path / name, {f"{name}-{path}": f"{text}\n\nOf {name}." for path, text in TEXTS.items()})
    return tmp_path


def under(folder: Path, pii: dict[str, Any], **settings: Any) -> Project:
    sources = [{"name": name, "url": name} for name in ("docs", "staff")]
    return open_project(write_settings(folder, sources=sources, pii=pii, **settings))


def texts(project: Project) -> str:
    return " ".join(f"{payload['text']} {payload['uri']}" for payload in dump(project).values())


def test_a_new_rule_reads_the_sources_that_it_touches_and_embeds_only_other_texts(folder: Path) -> None:
    off = under(folder, {"enabled": False})
    assert go_on(off).parsed == 4
    assert find_leaks(off).is_clean
    off.close()
    on = under(folder, ON)
    report = go_on(on)
    assert (report.parsed, report.embedded, dict(report.entities)) == (4, 2, {"EMAIL": 2})
    assert MAIL not in texts(on)
    on.close()
    staff_only = under(folder, {**ON, "sources": {"staff": {"operator": "mask"}}})
    report = go_on(staff_only)
    assert (report.parsed, report.embedded) == (2, 1)
    again = go_on(staff_only)
    assert (again.parsed, again.embedded, again.upserted) == (0, 0, 0)
    staff_only.close()
    back = under(folder, ON)
    report = go_on(back)
    assert (report.parsed, report.embedded) == (0, 1)  # the rows of those rules are still kept, the vector is not
    assert find_leaks(back).is_clean
    back.close()


def test_the_second_look_reads_headings_as_masking_did(folder: Path) -> None:
    copying = "Copy the folder, then ask 8.8.4.4 for more. " * 100
    numbered = f"# Guide\n\n## 26.3. Backups\n\n{copying}\n\n### 26.3.3.1. Backing up\n\n{copying}\n"
    fill(folder / "docs", {"guide.md": numbered})
    project = under(folder, ON)
    go_on(project)
    assert any(payload["context"].endswith(" > 26.3.3.1. Backing up") for payload in dump(project).values())
    assert "8.8.4.4" not in texts(project)
    assert find_leaks(project).is_clean
    project.close()


@pytest.mark.parametrize(
    ("context", "leaks"),
    [
        ("Guide > 26.3.3.1. Backing up", {}),
        ("Guide > 26.3.3.1.", {}),  # cut off where the chunk has no room for more
        ("Guide > 26.3.3.1. Backing up\nhost | ask > 26.3.3.1 AND more", {"IP_ADDRESS": 1}),
        ("host | ask > 26.3.3.1 AND more", {"IP_ADDRESS": 1}),
        (None, {}),
    ],
)
def test_of_a_context_only_the_headings_are_read_one_by_one(folder: Path, context: str | None, leaks: dict[str, int]) -> None:
    project = under(folder, ON)
    report, headings = LeakReport("docs-1"), ["26.3.3.1. Backing up"]
    look_at({"title": "Guide", "heading_path": headings, "context": context}, project.masker, report)
    assert dict(report.leaks) == leaks
    project.close()


def test_equal_content_in_a_source_of_another_policy_is_not_taken_over(folder: Path) -> None:
    project = under(folder, {**ON, "sources": {"staff": {"enabled": False}}})
    go_on(project)
    fill(folder, {"docs/moved.md": (folder / "staff" / "staff-mail.md").read_text()})
    report = go_on(project)
    assert (report.parsed, report.reused) == (1, 0)
    held = {payload["path"]: payload["text"] for payload in dump(project).values()}
    assert MAIL in held["staff-mail.md"]
    assert MAIL not in held["moved.md"]
    project.close()


def test_text_under_an_older_rule_is_not_served_where_the_file_cannot_be_read(folder: Path) -> None:
    off = under(folder, {"enabled": False})
    go_on(off)
    off.close()
    on = under(folder, ON)
    with on.writer_lock():
        on.scan(approve_deletes=False, progress=_Silent())
    (folder / "docs" / "docs-mail.md").unlink()
    from rag_pipeline.operations.follow import bring_in_step

    with on.writer_lock():
        bring_in_step(on, on.buckets, progress=_Silent())
    assert MAIL not in texts(on)
    on.close()


class _Quoting(FakeParser):
    """A parser whose failures quote the document."""

    def parse_all(self, requests: Iterable[ParseRequest]) -> Iterator[ParseOutcome]:
        for request in requests:
            yield ParseOutcome(request.document_id, None, ParseError(f"cannot read '{request.data.decode()}'"))


def test_a_failure_never_quotes_a_masked_value(folder: Path) -> None:
    project = under(folder, ON)
    project.__dict__["parser"] = _Quoting()
    assert go_on(project).quarantined == 4
    details = [entry.detail for entry in project.ledger.quarantine()]
    assert len([detail for detail in details if "[EMAIL]" in detail]) == 2
    assert not [detail for detail in details if MAIL in detail]
    assert not _on_disk(folder / ".rag", MAIL)
    project.close()


class _Silent:
    def extend(self, stage: str, amount: int) -> None:
        pass

    def advance(self, stage: str, amount: int = 1) -> None:
        pass


def test_names_of_files_are_masked_unique_and_stable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = ("900101-1234567", "900202-2345678")
    fill(tmp_path / "docs", {f"{n}/paid {n}.md": f"# Paper {i}\n\nSome words of {i}." for i, n in enumerate(numbers)})
    monkeypatch.setenv("RAG_PII_KEY", "secret")
    file = write_settings(tmp_path, pii=ON)
    project = open_project(file)
    project.settings._secrets.update(load_settings(file, {"RAG_PII_KEY": "secret"})._secrets)
    _, report = index_once(project)
    assert (report.parsed, report.quarantined) == (2, 0)
    paths = sorted(payload["path"] for payload in dump(project).values())
    assert len(set(paths)) == 2
    assert all(path.startswith("[KR_RRN]/paid [KR_RRN]~") for path in paths)
    for number in numbers:
        assert not _on_disk(tmp_path / ".rag", number)
    (tmp_path / "docs" / numbers[0] / f"paid {numbers[0]}.md").write_text("# Changed\n\nOther words.")
    scan, report = index_once(project)
    assert (scan.counts.modified, scan.counts.new, report.parsed) == (1, 0, 1)
    assert dump(project) != {}
    project.close()


def test_an_index_with_masking_equals_a_fresh_build(folder: Path, tmp_path: Path) -> None:
    one = open_project(write_settings(folder, pii=ON))
    go_on(one)
    fill(folder / "docs", {"docs-mail.md": f"# Other\n\nCall 010-1234-5678 or {NUMBER}."})
    go_on(one)
    assert dump(one) == fresh_dump(one, tmp_path / "fresh")
    one.close()


def test_what_cannot_work_is_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="RAG_PII_KEY"):
        _ = open_project(write_settings(tmp_path, pii={**ON, "operator": "encrypt"})).masker
    with pytest.raises(SettingsError, match="NO_SUCH_KIND"):
        _ = open_project(write_settings(tmp_path, pii={**ON, "entities": ["EMAIL", "NO_SUCH_KIND"]})).masker
    with pytest.raises(SettingsError, match="no source of this name"):
        open_project(write_settings(tmp_path, pii={**ON, "sources": {"nobody": {}}}))
    monkeypatch.setattr("rag_pipeline.adapters.masking.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"\.\[pii\]"):
        _ = open_project(write_settings(tmp_path, pii=ON)).masker


def _on_disk(folder: Path, value: str) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and value.encode() in file.read_bytes()]


def test_a_document_whose_masking_takes_too_long_goes_to_quarantine_and_nothing_of_it_is_stored(tmp_path: Path) -> None:
    fill(tmp_path / "docs", {"slow.txt": f"{MAIL} zebra " + "1 2-" * 60_000, "good.md": f"# Good\n\nWrite to {MAIL}."})
    project = open_project(write_settings(tmp_path, pii={**ON, "cpu_s": 0.05}))
    report = go_on(project)
    assert report.quarantined == 1
    assert [(entry.path, entry.reason) for entry in project.ledger.quarantine()] == [("slow.txt", "timeout")]
    assert not _on_disk(tmp_path / ".rag", "zebra")
    assert "[EMAIL]" in texts(project)
    assert go_on(project).parsed == 0
    project.close()
