"""A look that remembers: the answer of a look that compares everything, for a fraction of its cost."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rag_pipeline.adapters.local_folder import LocalFolderSource
from rag_pipeline.adapters.sql_ledger import SqlLedger
from rag_pipeline.errors import SourceUnavailableError
from rag_pipeline.indexing.look import LookMemory
from rag_pipeline.schema import Block, Listing
from rag_pipeline.settings import SourceSettings
from rag_pipeline_tests.fakes.document_source import MemorySource
from rag_pipeline_tests.indexing.test_manifest import CHANGES, fill, look, scan

LONG_AGO_S = 1_700_000_000


@pytest.fixture
def ledger(tmp_path: Path) -> SqlLedger:
    return SqlLedger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")


@pytest.fixture
def source(ledger: SqlLedger) -> MemorySource:
    """Scanned, and quiet."""
    source = MemorySource(name="test")
    fill(source, 5)
    scan(ledger, source)
    return source


@pytest.fixture
def memory(ledger: SqlLedger, source: MemorySource) -> LookMemory:
    """Of a look that found nothing."""
    memory = LookMemory()
    assert not look(ledger, source, memory=memory)
    source.listings = 0
    return memory


def test_a_second_look_at_what_did_not_change_lists_nothing(ledger: SqlLedger, source: MemorySource, memory: LookMemory) -> None:
    summary = look(ledger, source, memory=memory)
    assert (bool(summary), summary.files, source.listings) == (False, 5, 0)


@pytest.mark.parametrize(("change", "reason"), CHANGES)
def test_every_kind_of_change_is_found_after_a_quiet_look(
    ledger: SqlLedger, source: MemorySource, memory: LookMemory, change: Callable[[MemorySource], None], reason: str
) -> None:
    change(source)
    for _ in range(2):  # what was found is not forgotten by having been told
        assert reason in look(ledger, source, memory=memory).reasons[0]


def test_a_change_of_the_ledger_is_looked_at_anew(ledger: SqlLedger, source: MemorySource, memory: LookMemory) -> None:
    record = next(iter(ledger.documents().values()))
    ledger.add_blocks([Block(record.document_id, record.content_hash, "e1", 1)])
    assert "1 document waits for erasure" in look(ledger, source, memory=memory).reasons[0]


def test_a_scan_makes_the_next_look_compare_again(ledger: SqlLedger, source: MemorySource, memory: LookMemory) -> None:
    source.write("new.txt", b"new")
    source.clock.time_ns += 10**10
    scan(ledger, source)
    source.listings = 0
    for _ in range(3):
        assert not look(ledger, source, memory=memory)
    assert source.listings == 1


def test_files_that_come_back_after_a_scan_without_them_are_new(
    ledger: SqlLedger, source: MemorySource, memory: LookMemory
) -> None:
    """The source is as it was at the quiet look, and the ledger is not."""
    kept = dict(source.files)
    del source.files["0001.txt"]
    scan(ledger, source)
    source.files.update(kept)
    assert "1 file is new" in look(ledger, source, memory=memory).reasons[0]


def test_a_file_that_had_to_be_read_is_read_at_every_look(ledger: SqlLedger) -> None:
    """Its stamp is too young to prove anything, so an equal stat does not either."""
    source = MemorySource(name="test", tick_ns=10**9, tells_versions=False)
    source.write("young.txt", b"first")
    scan(ledger, source)
    memory = LookMemory()
    assert not look(ledger, source, memory=memory)
    source.write("young.txt", b"other", keep_stamp=True)
    assert "was changed" in look(ledger, source, memory=memory).reasons[0]


@pytest.mark.parametrize("is_taken_back", [False, True])
def test_what_changes_during_a_look_is_found_by_the_next(
    ledger: SqlLedger, source: MemorySource, monkeypatch: pytest.MonkeyPatch, is_taken_back: bool
) -> None:
    """Right after the listing, or right before, and back again for the listing alone."""
    memory, list_files, as_scanned = LookMemory(), source.list_files, dict(source.files)
    if is_taken_back:
        source.write("0003.txt", b"edited")
    edited = dict(source.files)

    def listed_in_between() -> Listing:
        source.files = dict(as_scanned)
        listing = list_files()
        source.files = edited
        if not is_taken_back:
            source.write("0003.txt", b"edited")
        return listing

    with monkeypatch.context() as patched:
        patched.setattr(source, "list_files", listed_in_between)
        assert not look(ledger, source, memory=memory)
    assert "'0003.txt' was changed" in look(ledger, source, memory=memory).reasons[0]


def test_a_source_that_fails_for_one_look_is_looked_at_again(
    ledger: SqlLedger, source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its failure was told by a scan, so the look has nothing to say; the digest is that of a source that answers."""
    source.is_missing = True
    scan(ledger, source)
    memory = LookMemory()

    def fails() -> Listing:
        raise SourceUnavailableError("gone for a moment")

    source.is_missing = False
    with monkeypatch.context() as patched:
        patched.setattr(source, "list_files", fails)
        assert not look(ledger, source, memory=memory)
    assert "answers again" in look(ledger, source, memory=memory).reasons[0]


def test_a_first_look_asks_for_no_digest(ledger: SqlLedger, source: MemorySource, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that looks once must not walk twice."""
    asked: list[str] = []
    digest, listing = source.stat_digest, source.list_files()
    monkeypatch.setattr(source, "list_files", lambda: listing)
    monkeypatch.setattr(source, "stat_digest", lambda: asked.append("digest") or digest())
    assert not look(ledger, source)
    assert asked == []


def test_a_source_without_a_digest_is_compared_at_every_look(
    ledger: SqlLedger, source: MemorySource, memory: LookMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "stat_digest", lambda: None)
    for _ in range(2):
        assert not look(ledger, source, memory=memory)
    assert source.listings == 2


def test_another_sources_change_is_found_as_well(ledger: SqlLedger, source: MemorySource) -> None:
    other, memory = MemorySource(name="other"), LookMemory()
    fill(other, 2)
    scan(ledger, source, other)
    assert not look(ledger, source, other, memory=memory)
    assert not look(ledger, source, other, memory=memory)
    other.write("new.txt", b"new")
    assert look(ledger, source, other, memory=memory).reasons == ("source 'other': 1 file is new",)


# --- a real folder ---


def edit_in_place(root: Path) -> None:
    """Same size, and the time stamp set back."""
    file = root / "part" / "a.md"
    file.write_text(file.read_text().upper())
    os.utime(file, (LONG_AGO_S, LONG_AGO_S))


FOLDER_CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "edited, its stamp set back": (edit_in_place, "was changed"),
    "new": (lambda root: (root / "part" / "new.md").write_text("new"), "1 file is new"),
    "new in a new folder": (lambda root: [(root / "x").mkdir(), (root / "x" / "new.md").write_text("new")], "1 file is new"),
    "deleted": (lambda root: (root / "part" / "a.md").unlink(), "1 document is gone"),
    "renamed": (lambda root: (root / "part" / "a.md").rename(root / "part" / "c.md"), "1 document is gone"),
    "folder renamed": (lambda root: (root / "part").rename(root / "other"), "2 documents are gone"),
    "two swapped": (
        lambda root: [
            (root / "part" / "a.md").rename(root / "t"),
            (root / "part" / "b.md").rename(root / "part" / "a.md"),
            (root / "t").rename(root / "part" / "b.md"),
        ],
        "was changed",
    ),
    "replaced by a folder": (
        lambda root: [(root / "part" / "a.md").unlink(), (root / "part" / "a.md").mkdir()],
        "1 document is gone",
    ),
    "replaced by a link": (
        lambda root: [(root / "part" / "a.md").unlink(), (root / "part" / "a.md").symlink_to("b.md")],
        "1 document is gone",
    ),
    "gone with its root": (lambda root: root.rename(root.with_name("elsewhere")), "cannot list"),
}


@pytest.mark.parametrize("change", FOLDER_CHANGES)
def test_every_change_of_a_real_folder_is_found_after_a_quiet_look(tmp_path: Path, ledger: SqlLedger, change: str) -> None:
    root = tmp_path / "docs"
    (root / "part").mkdir(parents=True)
    for name in "ab":
        (root / "part" / f"{name}.md").write_text(f"text {name}")
        os.utime(root / "part" / f"{name}.md", (LONG_AGO_S, LONG_AGO_S))
    source = LocalFolderSource(SourceSettings(name="docs", url=str(root)), root=root, url=str(root))
    memory = LookMemory()
    wait_until_not_racy(ledger, source)
    assert not look(ledger, source, memory=memory)
    assert memory.quiet is not None, "else nothing is remembered, and this test tests nothing"
    act, reason = FOLDER_CHANGES[change]
    act(root)
    assert reason in look(ledger, source, memory=memory).reasons[0]


def wait_until_not_racy(ledger: SqlLedger, source: LocalFolderSource) -> None:
    """Scans until the change times of the files are old enough to prove something."""
    while True:
        scan(ledger, source)
        if not any(record.is_racy for record in ledger.documents().values()):
            return


def test_what_the_rules_leave_out_does_not_count(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.md").write_text("text")
    (tmp_path / "busy.log").write_text("one line")
    settings = SourceSettings(name="docs", url=str(tmp_path), include=["**/*.md"])
    source = LocalFolderSource(settings, root=tmp_path, url=str(tmp_path))
    before = source.stat_digest()
    (tmp_path / "busy.log").write_text("one line and another")
    (tmp_path / ".git" / "index").write_text("x")
    assert source.stat_digest() == before is not None


def test_a_change_behind_a_link_that_is_followed_counts(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "docs" / "linked").symlink_to(tmp_path / "elsewhere")
    root = tmp_path / "docs"
    source = LocalFolderSource(SourceSettings(name="docs", url=str(root), follow_symlinks=True), root=root, url=str(root))
    before = source.stat_digest()
    (tmp_path / "elsewhere" / "a.md").write_text("text")
    assert source.stat_digest() not in (None, before)


def test_a_listing_and_the_digest_alone_tell_the_same(tmp_path: Path) -> None:
    for name in ("a.md", "b.log", "folder/c.md", ".git/d", "folder/.git/e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link.md").symlink_to("a.md")
    settings = SourceSettings(name="docs", url=str(tmp_path), include=["**/*.md"])
    source = LocalFolderSource(settings, root=tmp_path, url=str(tmp_path))
    assert source.list_files().stat_digest == source.stat_digest() is not None
