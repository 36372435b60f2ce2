import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_pipeline.adapters.local_folder import LocalFolderSource
from rag_pipeline.adapters.sql_ledger import SqlLedger
from rag_pipeline.errors import DeleteBrakeError, SourceUnavailableError
from rag_pipeline.indexing.changes import ChangeKind, DeleteBrake, is_unreadable
from rag_pipeline.indexing.identity import content_digest, document_id
from rag_pipeline.indexing.look import HASHED_BY_A_LOOK, LookMemory, has_changes
from rag_pipeline.indexing.manifest import hash_file, scan_sources
from rag_pipeline.indexing.scan_report import SHOWN_CHANGES, ChangeSummary, ScanResult
from rag_pipeline.ports import DocumentSource
from rag_pipeline.schema import Block, SourceFile
from rag_pipeline.settings import SourceSettings
from rag_pipeline_tests.fakes.document_source import MemorySource, SteppedClock

BRAKE = DeleteBrake(max_share=0.2, max_documents=50)
LOOSE = DeleteBrake(max_share=1, max_documents=0)
SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS


@pytest.fixture
def ledger(tmp_path: Path) -> SqlLedger:
    return SqlLedger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")


@pytest.fixture
def source() -> MemorySource:
    return MemorySource(name="test")


def scan(ledger: SqlLedger, *sources: DocumentSource, brake: DeleteBrake = BRAKE, approve_deletes: bool = False) -> ScanResult:
    return scan_sources(
        sources=sources, ledger=ledger, clock=SteppedClock(), buckets=16, brake=brake, approve_deletes=approve_deletes
    )


def look(
    ledger: SqlLedger, *sources: DocumentSource, brake: DeleteBrake = BRAKE, memory: LookMemory | None = None
) -> ChangeSummary:
    return has_changes(sources=sources, ledger=ledger, clock=SteppedClock(), brake=brake, memory=memory)


def fill(source: MemorySource, number: int) -> None:
    for index in range(number):
        source.write(f"{index:04d}.txt", f"text {index}".encode())
    source.clock.time_ns += 10 * SECOND_NS


def contents(ledger: SqlLedger) -> dict[str, str]:
    return {record.path: record.content_hash for record in ledger.documents().values()}


def truth(source: MemorySource) -> dict[str, str]:
    return {path: content_digest(file.data) for path, file in source.files.items()}


# --- histories ---

PATHS = st.sampled_from("pqr")
CONTENTS = st.sampled_from([b"A", b"B", b"CC"])
STEPS = st.one_of(
    st.tuples(st.just("write"), PATHS, CONTENTS),
    st.tuples(st.just("write"), PATHS, CONTENTS),
    st.tuples(st.just("sneak"), PATHS, CONTENTS),
    st.tuples(st.just("delete"), PATHS, st.none()),
    st.tuples(st.just("rename"), PATHS, PATHS),
    st.tuples(st.just("touch"), PATHS, st.none()),
)
WAITS = st.sampled_from([1, 1_000_000, SECOND_NS // 3, SECOND_NS // 3, SECOND_NS, 5 * SECOND_NS])
HISTORIES = st.lists(st.tuples(st.lists(STEPS, min_size=1, max_size=4), WAITS, WAITS), min_size=3, max_size=12)
"""Rounds: some changes, a wait, a scan, a wait."""
History = list[tuple[list[tuple[str, str, str | bytes | None]], int, int]]
JUMPS = st.sampled_from([0, DAY_NS, -DAY_NS, 3_600 * SECOND_NS, -3_600 * SECOND_NS])


def perform(source: MemorySource, step: tuple[str, str, str | bytes | None]) -> None:
    kind, path, other = step
    if isinstance(other, bytes):
        source.write(path, other, keep_stamp=kind == "sneak")
    elif path in source.files:
        if kind == "delete":
            source.delete(path)
        elif kind == "rename":
            source.rename(path, str(other))
        elif kind == "touch":
            source.write(path, source.files[path].data)


def check_scan(ledger: SqlLedger, source: MemorySource, before: dict[str, str]) -> None:
    """One scan, compared with what really happened."""
    result, after = scan(ledger, source, brake=LOOSE), truth(source)
    vanished = Counter(before[path] for path in before.keys() - after.keys())
    arrived = Counter(after[path] for path in after.keys() - before.keys())
    renamed = (vanished & arrived).total()
    counts = result.counts
    assert contents(ledger) == after
    assert (counts.renamed, counts.new, counts.deleted) == (renamed, arrived.total() - renamed, vanished.total() - renamed)
    assert counts.modified == sum(before[path] != after[path] for path in before.keys() & after.keys())
    assert counts.seen == len(after)
    assert result.generation == ledger.generation()


def play(source: MemorySource, history: History, jumps: Iterator[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = SqlLedger(f"sqlite:///{folder}/ledger.sqlite")
        before: dict[str, str] = {}
        memory = LookMemory()
        for steps, wait_ns, rest_ns in history:
            for step in steps:
                perform(source, step)
                assert look(ledger, source, memory=memory) == look(ledger, source)
            source.clock.time_ns += wait_ns + next(jumps, 0)
            check_scan(ledger, source, before)
            assert not look(ledger, source, memory=memory)
            before = truth(source)
            source.clock.time_ns += rest_ns
        assert not look(ledger, source)


@settings(max_examples=40, deadline=None)
@given(HISTORIES, st.lists(JUMPS, max_size=10))
def test_any_history_ends_in_the_truth_where_change_times_are_told(history: History, jumps: list[int]) -> None:
    play(MemorySource(name="test"), history, iter(jumps))


@settings(max_examples=60, deadline=None)
@given(HISTORIES)
def test_any_history_ends_in_the_truth_where_only_whole_seconds_are_told(history: History) -> None:
    honest = [([step for step in steps if step[0] != "sneak"], wait_ns, rest_ns) for steps, wait_ns, rest_ns in history]
    play(MemorySource(name="test", tick_ns=SECOND_NS, tells_versions=False), honest, iter(()))


@pytest.mark.parametrize(
    ("tick_ns", "wait_ns"), [(SECOND_NS, 0), (SECOND_NS, 700_000_000), (2 * SECOND_NS, 1_900_000_000), (10**6, 0)]
)
def test_an_edit_in_the_same_tick_as_the_scan_is_found_by_the_next(ledger: SqlLedger, tick_ns: int, wait_ns: int) -> None:
    source = MemorySource(name="test", tick_ns=tick_ns, tells_versions=False)
    source.write("a.txt", b"old")
    source.clock.time_ns += wait_ns
    scan(ledger, source)
    source.write("a.txt", b"new")
    source.clock.time_ns += 60 * SECOND_NS
    assert scan(ledger, source).counts.modified == 1
    source.reads.clear()
    scan(ledger, source)
    assert source.reads == []


@pytest.mark.parametrize("seed", range(8))
def test_any_history_of_a_real_folder_ends_in_the_truth(tmp_path: Path, ledger: SqlLedger, seed: int) -> None:
    dice = random.Random(seed)
    root = tmp_path / "root"
    root.mkdir()
    clock = SteppedClock()
    source = LocalFolderSource(SourceSettings(name="test", url="docs"), root=root, url="docs", clock=clock)
    for _ in range(12):
        for _ in range(dice.randrange(5)):
            change_folder(root, dice)
        clock.time_ns = int(root.stat().st_mtime_ns + dice.choice([0, 0, DAY_NS, -DAY_NS]))
        result = scan(ledger, source, brake=LOOSE)
        here = {str(file.relative_to(root)): content_digest(file.read_bytes()) for file in root.rglob("*") if file.is_file()}
        assert contents(ledger) == here
        assert result.counts.seen == len(here)
    assert not look(ledger, source)


def change_folder(root: Path, dice: random.Random) -> None:
    files = sorted(file for file in root.rglob("*") if file.is_file())
    action = dice.choice(["write", "write", "sneak", "delete", "rename", "touch", "move folder"])
    if action == "write" or not files:
        file = root / dice.choice(["", "x", "y"]) / dice.choice("pqrst")
        file.parent.mkdir(exist_ok=True)
        if not file.is_dir():
            file.write_bytes(dice.choice([b"A", b"B", b"C"]))
        return
    file = dice.choice(files)
    stat = file.stat()
    if action == "sneak":
        file.write_bytes(dice.choice([b"A", b"B", b"C"]))
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif action == "delete":
        file.unlink()
    elif action == "rename":
        file.replace(root / dice.choice("pqrst"))
    elif action == "touch":
        os.utime(file, ns=(1, dice.choice([1, stat.st_mtime_ns + DAY_NS, stat.st_mtime_ns - DAY_NS])))
    elif (root / "x").is_dir() and not (root / "y").exists():
        (root / "x").rename(root / "y")


# --- generations ---


def test_a_generation_is_a_scan_that_found_something(ledger: SqlLedger, source: MemorySource) -> None:
    fill(source, 3)
    assert scan(ledger, source).generation == 1
    assert scan(ledger, source).generation == 1
    source.write("0001.txt", b"edited")
    result = scan(ledger, source)
    assert (result.generation, result.has_changes) == (2, True)
    records = {record.path: record.generation for record in ledger.documents().values()}
    assert records == {"0000.txt": 1, "0001.txt": 2, "0002.txt": 1}


def test_the_first_scan_is_a_generation_even_of_nothing(ledger: SqlLedger, source: MemorySource) -> None:
    result = scan(ledger, source)
    assert (result.generation, result.has_changes) == (1, False)


def test_a_quiet_scan_reads_no_file(ledger: SqlLedger, source: MemorySource) -> None:
    fill(source, 20)
    scan(ledger, source)
    source.reads.clear()
    result = scan(ledger, source)
    assert source.reads == []
    assert result.counts.unchanged == 20


def test_a_file_has_one_stat_however_often_it_was_asked_for(source: MemorySource) -> None:
    fill(source, 1)
    (listed,) = source.list_files().files
    hashed = hash_file(source, SourceFile(listed.path, replace(listed.stat)))
    assert hashed is not None
    assert hashed.stat == listed.stat
    again = hash_file(source, listed)
    assert again is not None
    assert again.stat is listed.stat
    source.write(listed.path, b"longer than before")
    grown = hash_file(source, listed)
    assert grown is not None
    assert grown.stat != listed.stat


def test_the_ledger_is_read_before_the_source_is_listed(
    ledger: SqlLedger, source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    read, listed = SqlLedger.documents, MemorySource.list_files
    monkeypatch.setattr(SqlLedger, "documents", lambda self, **filters: calls.append("ledger") or read(self, **filters))
    monkeypatch.setattr(MemorySource, "list_files", lambda self: calls.append("list") or listed(self))
    scan(ledger, source)
    assert calls == ["ledger", "list"]


def test_the_summary_of_a_scan_is_kept(ledger: SqlLedger, source: MemorySource) -> None:
    fill(source, 3)
    source.exclude = ("*2.txt",)
    scan(ledger, source)
    summary = ledger.scan_summary()
    assert summary is not None
    assert summary["counts"]["new"] == 2
    assert summary["sources"]["test"]["excluded_by_reason"] == {"pattern": 1}
    assert summary["counts"]["seen"] == 3


def test_a_report_lists_some_changes_and_counts_all(ledger: SqlLedger, source: MemorySource) -> None:
    fill(source, SHOWN_CHANGES + 5)
    result = scan(ledger, source)
    assert result.counts.new == SHOWN_CHANGES + 5
    assert len(result.changes) == SHOWN_CHANGES


# --- outages and brakes ---


def test_a_missing_source_keeps_its_documents_while_others_go_on(ledger: SqlLedger, source: MemorySource) -> None:
    other = MemorySource(name="other")
    fill(source, 5)
    fill(other, 5)
    scan(ledger, source, other)
    source.is_missing = True
    other.write("new.txt", b"new")
    result = scan(ledger, source, other)
    (error,) = result.errors
    assert isinstance(error, SourceUnavailableError)
    assert (result.counts.new, result.counts.deleted, ledger.count_documents()) == (1, 0, 11)


def test_a_source_that_fails_while_it_is_read_changes_nothing(
    ledger: SqlLedger, source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, 5)
    scan(ledger, source)
    source.write("0000.txt", b"edited")
    source.delete("0004.txt")

    def lose_network(self: MemorySource, path: str) -> None:
        raise SourceUnavailableError("network")

    monkeypatch.setattr(MemorySource, "digest", lose_network)
    result = scan(ledger, source)
    assert len(result.errors) == 1
    assert (result.has_changes, result.generation, ledger.count_documents()) == (False, 1, 5)


def test_an_emptied_root_deletes_nothing_unasked(ledger: SqlLedger, source: MemorySource) -> None:
    fill(source, 60)
    scan(ledger, source)
    source.files.clear()
    source.write("new.txt", b"new")
    result = scan(ledger, source)
    (error,) = result.errors
    assert isinstance(error, DeleteBrakeError)
    assert (result.counts.blocked, result.counts.deleted, result.counts.new) == (60, 0, 1)
    assert ledger.count_documents() == 61
    approved = scan(ledger, source, approve_deletes=True)
    assert (approved.counts.deleted, approved.errors, ledger.count_documents()) == (60, (), 1)
    assert [decision.kind for decision in ledger.decisions()] == ["approve_deletes"]


def test_documents_that_come_back_after_an_outage_cost_nothing(ledger: SqlLedger, source: MemorySource) -> None:
    fill(source, 60)
    scan(ledger, source)
    files = dict(source.files)
    source.files.clear()
    scan(ledger, source)
    assert not look(ledger, source)
    source.files.update(dict(list(files.items())[:5]))
    assert "5 of 60 documents that were gone came back" in look(ledger, source).reasons[0]
    source.files.update(files)
    assert "60 of 60 documents that were gone came back" in look(ledger, source).reasons[0]
    source.reads.clear()
    result = scan(ledger, source)
    assert (result.counts.unchanged, result.has_changes, source.reads, result.generation) == (60, False, [], 1)


def test_a_source_taken_out_of_the_settings_is_deleted_under_the_same_brake(ledger: SqlLedger, source: MemorySource) -> None:
    other = MemorySource(name="other")
    fill(source, 60)
    fill(other, 3)
    scan(ledger, source, other)
    assert scan(ledger, source).counts.deleted == 3
    assert scan(ledger).counts.blocked == 60
    assert scan(ledger, approve_deletes=True).counts.deleted == 60
    assert ledger.count_documents() == 0


# --- unreadable files ---


def test_an_unreadable_file_is_recorded_and_tried_at_every_scan(ledger: SqlLedger, source: MemorySource) -> None:
    fill(source, 2)
    scan(ledger, source)
    source.write("0000.txt", b"locked")
    source.unreadable.add("0000.txt")
    result = scan(ledger, source)
    (file,) = result.unreadable
    assert (file.document_id, file.source, file.path) == (document_id("test", "0000.txt"), "test", "0000.txt")
    assert (result.counts.modified, result.counts.deleted, result.counts.unreadable) == (1, 0, 1)
    assert is_unreadable(ledger.documents()[file.document_id])
    again = scan(ledger, source)
    assert (again.counts.unreadable, again.counts.unchanged, again.has_changes) == (1, 2, False)
    assert not look(ledger, source)
    source.unreadable.clear()
    assert look(ledger, source)
    assert scan(ledger, source).counts.modified == 1
    assert contents(ledger) == truth(source)


def test_a_file_that_vanishes_before_it_is_read_is_not_seen(ledger: SqlLedger, source: MemorySource) -> None:
    fill(source, 3)
    source.vanishing.add("0001.txt")
    result = scan(ledger, source)
    assert (result.counts.new, result.counts.seen) == (2, 2)


# --- the cheap look ---


def test_a_look_at_a_quiet_source_finds_nothing_and_writes_nothing(ledger: SqlLedger, source: MemorySource) -> None:
    fill(source, 5)
    scan(ledger, source)
    before = ledger.scan_summary()
    summary = look(ledger, source)
    assert (bool(summary), summary.files) == (False, 5)
    assert ledger.scan_summary() == before


CHANGES: list[tuple[Callable[[MemorySource], None], str]] = [
    (lambda source: source.write("new.txt", b"new"), "1 file is new"),
    (lambda source: source.write("0001.txt", b"edited"), "'0001.txt' was changed"),
    (lambda source: source.delete("0001.txt"), "1 document is gone"),
    (lambda source: source.rename("0001.txt", "moved.txt"), "1 document is gone"),
    (lambda source: setattr(source, "is_missing", True), "cannot list"),
]
"""What happens to a source, and how a look tells it."""
MOVE = (lambda source: setattr(source, "url", "s3://elsewhere"), "another URL")


@pytest.mark.parametrize(("change", "reason"), [*CHANGES, MOVE])
def test_a_look_finds_every_kind_of_change_and_a_scan_settles_it(
    ledger: SqlLedger, source: MemorySource, change: object, reason: str
) -> None:
    fill(source, 5)
    scan(ledger, source)
    assert callable(change)
    change(source)
    summary = look(ledger, source)
    assert summary
    assert reason in summary.reasons[0]
    scan(ledger, source)
    assert not look(ledger, source)


def test_a_look_does_not_ask_again_for_what_was_reported(ledger: SqlLedger, source: MemorySource) -> None:
    fill(source, 60)
    scan(ledger, source)
    source.files.clear()
    assert "too many" in look(ledger, source).reasons[0]
    scan(ledger, source)
    assert not look(ledger, source)
    source.is_missing = True
    assert look(ledger, source)
    scan(ledger, source)
    assert not look(ledger, source)
    source.is_missing = False
    assert "answers again" in look(ledger, source).reasons[0]


def test_a_touch_is_no_change_for_a_look_unless_it_touched_many(ledger: SqlLedger, source: MemorySource) -> None:
    fill(source, HASHED_BY_A_LOOK + 1)
    scan(ledger, source)
    source.write("0000.txt", source.files["0000.txt"].data)
    assert not look(ledger, source)
    for path, file in list(source.files.items()):
        source.write(path, file.data)
    source.reads.clear()
    assert "were touched" in look(ledger, source).reasons[0]
    assert source.reads == []
    source.clock.time_ns += DAY_NS
    result = scan(ledger, source)
    assert (result.has_changes, result.generation) == (False, 1)
    assert not look(ledger, source)


def test_a_look_before_the_first_scan_finds_the_new_files(ledger: SqlLedger, source: MemorySource) -> None:
    assert not look(ledger, source)
    fill(source, 2)
    assert "2 files are new" in look(ledger, source).reasons[0]


# --- progress ---


def test_progress_knows_how_many_files_are_hashed(ledger: SqlLedger, source: MemorySource) -> None:
    class Tally:
        def __init__(self) -> None:
            self.known: Counter[str] = Counter()
            self.done: Counter[str] = Counter()

        def extend(self, stage: str, amount: int) -> None:
            self.known[stage] += amount

        def advance(self, stage: str, amount: int = 1) -> None:
            self.done[stage] += amount

    fill(source, 300)
    tally = Tally()
    scan_sources(sources=[source], ledger=ledger, clock=source.clock, buckets=16, brake=BRAKE, progress=tally)
    assert tally.known == tally.done == {"scan": 300}


def test_kinds_of_changes_are_those_of_the_counts() -> None:
    assert {kind.value for kind in ChangeKind} == {"new", "modified", "renamed", "deleted", "blocked"}


# --- erased documents ---


def block(ledger: SqlLedger, source: MemorySource, path: str) -> None:
    ledger.add_blocks([Block(document_id(source.name, path), content_digest(source.files[path].data), "e1", 1)])


def test_an_erased_document_and_its_copies_go_and_stay_out(ledger: SqlLedger, source: MemorySource) -> None:
    fill(source, 4)
    source.write("copy.txt", b"text 2")
    source.clock.time_ns += 10 * SECOND_NS
    scan(ledger, source)
    block(ledger, source, "0002.txt")
    assert "2 documents wait for erasure" in look(ledger, source).reasons[0]
    counts = scan(ledger, source).counts
    assert (counts.deleted, counts.excluded, counts.seen) == (2, 2, 5)
    assert sorted(contents(ledger)) == ["0000.txt", "0001.txt", "0003.txt"]
    source.write("copy.txt", b"text 2 in other words")
    source.write("0002.txt", b"text 2 in other words")
    source.write("again.txt", b"text 2")
    source.clock.time_ns += 10 * SECOND_NS
    found = scan(ledger, source)
    assert (found.counts.new, found.counts.excluded, found.sources[0].excluded) == (1, 2, {"erased": 2})
    assert sorted(contents(ledger)) == ["0000.txt", "0001.txt", "0003.txt", "copy.txt"]
    assert not look(ledger, source)
    assert not scan(ledger, source).has_changes


def test_the_delete_brake_lets_erased_documents_go_and_holds_the_others(ledger: SqlLedger, source: MemorySource) -> None:
    fill(source, 100)
    scan(ledger, source)
    for index in range(30):
        block(ledger, source, f"{index:04d}.txt")
    for index in range(60):
        source.delete(f"{index:04d}.txt")
    counts = scan(ledger, source, brake=DeleteBrake(max_share=0.1, max_documents=5)).counts
    assert (counts.deleted, counts.blocked) == (30, 30)
    assert ledger.count_documents() == 70


def test_a_file_with_other_content_under_the_name_of_a_copy_is_a_new_document(ledger: SqlLedger, source: MemorySource) -> None:
    fill(source, 2)
    source.write("copy.txt", b"text 1")
    source.clock.time_ns += 10 * SECOND_NS
    scan(ledger, source)
    block(ledger, source, "0001.txt")
    source.write("copy.txt", b"nothing to do with it")
    source.clock.time_ns += 10 * SECOND_NS
    scan(ledger, source)
    assert contents(ledger) == {"0000.txt": content_digest(b"text 0"), "copy.txt": content_digest(b"nothing to do with it")}
