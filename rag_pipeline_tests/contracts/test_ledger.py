"""The word of the port Ledger, held by SQLite and, where Debian's server is installed, by Postgres."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from rag_pipeline.adapters import ledger_tables, sql_ledger
from rag_pipeline.adapters.sql_ledger import SqlLedger
from rag_pipeline.errors import BackendRejectedError, BackendUnavailableError, StaleWriterError, StoreLockedError
from rag_pipeline.indexing.identity import bucket_of, content_digest, document_id
from rag_pipeline.indexing.quarantine import READ_FAILURE
from rag_pipeline.ports import Ledger
from rag_pipeline.schema import (
    Block,
    BucketState,
    CollectionRecord,
    CollectionState,
    DocumentRecord,
    DocumentType,
    FileStat,
    QuarantineEntry,
)
from rag_pipeline_tests.postgres_server import running_postgres


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.deep)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    server = str(request.getfixturevalue("postgres_url"))
    name = f"ledger_{time.time_ns()}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.removesuffix("postgres") + name


@pytest.fixture
def ledger(url: str) -> Ledger:
    return SqlLedger(url)


def record_of(path: str, content: str = "text", *, source: str = "test", generation: int = 1) -> DocumentRecord:
    document = document_id(source, path)
    return DocumentRecord(
        document_id=document,
        source=source,
        path=path,
        uri=f"docs/{path}",
        bucket=bucket_of(document, 4),
        stat=FileStat(2**40, 2**62, "1f-ü-한"),
        content_hash=content_digest(content.encode()),
        is_racy=len(path) % 2 == 0,
        generation=generation,
    )


def entry_of(record: DocumentRecord, *, parser: str = "p1", detail: str = "malformed") -> QuarantineEntry:
    return QuarantineEntry(
        content_hash=record.content_hash,
        parser_fingerprint=parser,
        type=DocumentType.PDF,
        document_id=record.document_id,
        source=record.source,
        path=record.path,
        reason="malformed",
        detail=detail,
        generation=record.generation,
    )


def commit(ledger: Ledger, *records: DocumentRecord, deletes: list[str] | None = None, generation: int = 1) -> None:
    ledger.commit_scan(generation=generation, upserts=records, deletes=deletes or [], summary={"generation": generation})


# --- scans and documents ---


def test_an_empty_ledger_knows_nothing(ledger: Ledger) -> None:
    assert (ledger.generation(), ledger.count_documents(), ledger.documents(), ledger.scan_summary()) == (0, 0, {}, None)
    assert (ledger.quarantine(), ledger.collections("docs"), ledger.bucket_states("c"), ledger.report("r")) == ([], [], {}, {})
    assert ledger.meta("buckets") is None


def test_records_come_back_exactly(ledger: Ledger) -> None:
    records = [record_of(path) for path in ("a.txt", "폴더/보고서.pdf", "x" * 1_000, "quote'\";--.txt", "%0A.txt")]
    commit(ledger, *records)
    assert ledger.documents() == {record.document_id: record for record in records}
    assert ledger.count_documents() == len(records)


def test_records_are_read_in_pieces_and_share_their_names(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_ledger, "_ROWS_AT_ONCE", 2)
    records = [record_of(f"{number}.txt", source="many-documents") for number in range(5)]
    commit(ledger, *records)
    held = ledger.documents()
    assert held == {record.document_id: record for record in records}
    assert len({id(record.source) for record in held.values()}) == 1
    assert len({id(record.bucket) for record in held.values()}) == len({record.bucket for record in held.values()})


def test_another_process_reads_what_was_committed(ledger: Ledger, url: str) -> None:
    commit(ledger, record_of("a.txt"))
    assert SqlLedger(url).documents() == ledger.documents()
    assert SqlLedger(url).generation() == 1


def test_a_commit_replaces_adds_and_deletes(ledger: Ledger) -> None:
    first, second, third = record_of("a"), record_of("b"), record_of("c")
    commit(ledger, first, second)
    edited = record_of("a", "edited", generation=2)
    commit(ledger, edited, third, deletes=[second.document_id], generation=2)
    assert ledger.documents() == {edited.document_id: edited, third.document_id: third}
    assert ledger.generation() == 2


def test_documents_are_found_by_source_and_bucket(ledger: Ledger) -> None:
    records = [record_of(f"{number}", source=source) for number in range(20) for source in ("one", "two")]
    commit(ledger, *records)
    assert set(ledger.documents(source="one")) == {record.document_id for record in records if record.source == "one"}
    assert set(ledger.documents(bucket="02")) == {record.document_id for record in records if record.bucket == "02"}
    assert set(ledger.documents(source="two", bucket="01")) == {
        record.document_id for record in records if record.source == "two" and record.bucket == "01"
    }
    assert ledger.documents(source="three") == {}


def test_contents_come_bucket_by_bucket(ledger: Ledger) -> None:
    records = [record_of(f"{number}", source=source) for number in range(50) for source in ("one", "two")]
    commit(ledger, *records)
    contents = list(ledger.contents())
    assert sorted(contents) == sorted((r.bucket, r.document_id, r.content_hash, r.uri) for r in records)
    buckets = [bucket for bucket, _ in groupby(contents, itemgetter(0))]
    assert len(buckets) == len(set(buckets)) == len({record.bucket for record in records}) > 3


def test_a_quiet_scan_keeps_its_generation_and_replaces_the_summary(ledger: Ledger) -> None:
    ledger.commit_scan(generation=1, upserts=[], deletes=[], summary={"seen": 1, "text": "é\ud800"})
    ledger.commit_scan(generation=1, upserts=[], deletes=[], summary={"seen": 2})
    assert ledger.generation() == 1
    assert ledger.scan_summary() == {"seen": 2}


def test_a_scan_that_another_one_overtook_is_refused_whole(ledger: Ledger) -> None:
    for generation in (1, 2):
        commit(ledger, record_of("a", generation=generation), generation=generation)
    with pytest.raises(BackendRejectedError, match="run again"):
        commit(ledger, record_of("b"), generation=1)
    with pytest.raises(BackendRejectedError):
        commit(ledger, record_of("b"), generation=4)
    assert ledger.count_documents() == 1


def test_a_commit_that_fails_changes_nothing(ledger: Ledger) -> None:
    commit(ledger, record_of("a"))
    with pytest.raises((BackendRejectedError, TypeError)):
        ledger.commit_scan(
            generation=2, upserts=[record_of("b")], deletes=[document_id("test", "a")], summary={"no JSON": object()}
        )
    assert (list(ledger.documents()), ledger.generation()) == ([document_id("test", "a")], 1)


def test_settings_are_remembered(ledger: Ledger) -> None:
    ledger.set_meta("buckets", "16")
    ledger.set_meta("buckets", "32")
    assert ledger.meta("buckets") == "32"


# --- quarantine ---


def test_a_quarantine_entry_comes_back_exactly(ledger: Ledger) -> None:
    record = record_of("a.pdf")
    entries = [entry_of(record), replace(entry_of(record, parser="p2"), type=None, detail="x" * 5_000)]
    commit(ledger, record)
    ledger.add_quarantine(entries)
    assert ledger.quarantine() == entries


def test_a_second_failure_counts_up_and_takes_the_newest_facts(ledger: Ledger) -> None:
    record = record_of("a.pdf")
    commit(ledger, record)
    ledger.add_quarantine([entry_of(record)])
    ledger.add_quarantine([entry_of(record, detail="newest")])
    (entry,) = ledger.quarantine()
    assert (entry.attempts, entry.detail) == (2, "newest")


def test_an_entry_holds_only_while_some_document_has_its_content_and_is_then_forgotten(ledger: Ledger) -> None:
    record, copy = record_of("a.pdf", "bad"), record_of("copy.pdf", "bad")
    commit(ledger, record, copy)
    ledger.add_quarantine([entry_of(record)])
    commit(ledger, record_of("a.pdf", "mended", generation=2), generation=2)
    assert len(ledger.quarantine()) == 1
    commit(ledger, deletes=[copy.document_id], generation=3)
    assert ledger.quarantine() == []
    commit(ledger, copy, generation=4)
    assert ledger.quarantine() == []


def test_an_entry_may_be_ahead_of_the_scan_that_sees_its_content(ledger: Ledger) -> None:
    commit(ledger, record_of("a.pdf", "old"))
    ahead = record_of("a.pdf", "new", generation=2)
    ledger.add_quarantine([entry_of(ahead)])
    assert ledger.quarantine() == []
    commit(ledger, ahead, generation=2)
    assert len(ledger.quarantine()) == 1


def test_every_document_with_the_content_has_an_entry_of_its_own(ledger: Ledger) -> None:
    records = [record_of(f"{number}", "bad") for number in range(20)]
    commit(ledger, *records, record_of("other.txt", "bad"))
    ledger.add_quarantine([entry_of(records[0])])
    assert {entry.path for entry in ledger.quarantine()} == {record.path for record in records}, "another ending parses alone"
    bucket = records[-1].bucket
    assert {entry.path for entry in ledger.quarantine(bucket=bucket)} == {r.path for r in records if r.bucket == bucket}
    assert ledger.quarantine(bucket="ff") == []


def test_mended_document_leaves_the_entry_to_its_copies(ledger: Ledger) -> None:
    first, second = record_of("a.pdf", "bad"), record_of("b.pdf", "bad")
    commit(ledger, first, second)
    ledger.add_quarantine([entry_of(first)])
    commit(ledger, record_of("a.pdf", "good", generation=2), generation=2)
    assert [entry.path for entry in ledger.quarantine()] == ["b.pdf"]
    commit(ledger, record_of("b.pdf", "good", generation=3), generation=3)
    assert ledger.quarantine() == []


def test_failure_to_read_is_no_failure_of_a_copy(ledger: Ledger) -> None:
    first, second = record_of("a.pdf", "bad"), record_of("b.pdf", "bad")
    commit(ledger, first, second)
    ledger.add_quarantine([entry_of(first, parser=READ_FAILURE + first.document_id)])
    assert [entry.path for entry in ledger.quarantine()] == ["a.pdf"]


def test_removed_entries_are_forgotten(ledger: Ledger) -> None:
    record = record_of("a.pdf")
    commit(ledger, record)
    ledger.add_quarantine([entry_of(record), entry_of(record, parser="p2")])
    ledger.remove_quarantine([(record.content_hash, "p1"), ("unknown", "p1")])
    assert [entry.parser_fingerprint for entry in ledger.quarantine()] == ["p2"]
    ledger.remove_quarantine([])
    ledger.add_quarantine([])


def test_details_with_broken_text_are_kept_as_text(ledger: Ledger) -> None:
    record = record_of("a.pdf")
    commit(ledger, record)
    ledger.add_quarantine([entry_of(record, detail="bad \x00 and \udcff")])
    assert "bad" in ledger.quarantine()[0].detail


# --- collections, buckets, reports ---


def collection_of(name: str, *, alias: str = "docs", fingerprint: str = "f1") -> CollectionRecord:
    return CollectionRecord(name, alias, fingerprint, CollectionState.BUILDING, {"model": "한", "sizes": [1, 2]})


def without_time(records: list[CollectionRecord]) -> list[CollectionRecord]:
    return [replace(record, changed_ns=0) for record in records]


def test_collections_keep_their_age_and_hide_when_dropped(ledger: Ledger) -> None:
    blue, green = collection_of("docs-1"), collection_of("docs-2", fingerprint="f2")
    for collection in (blue, green, collection_of("other-1", alias="other")):
        ledger.put_collection(collection)
    live = replace(blue, state=CollectionState.LIVE, spec={}, reason="it passed: é")
    ledger.put_collection(live)
    assert without_time(ledger.collections("docs")) == [live, green]
    ledger.put_collection(replace(blue, state=CollectionState.DROPPED))
    assert without_time(ledger.collections("docs")) == [green]


@pytest.mark.parametrize("state", CollectionState)
def test_every_state_comes_back_as_itself(ledger: Ledger, state: CollectionState) -> None:
    ledger.put_collection(replace(collection_of("docs-1"), state=state))
    assert [type(record.state) for record in ledger.collections("docs")] == (
        [] if state is CollectionState.DROPPED else [CollectionState]
    )


def test_a_collection_remembers_when_it_came_into_its_state(ledger: Ledger) -> None:
    def changed_ns() -> int:
        return ledger.collections("docs")[0].changed_ns

    before = time.time_ns()
    ledger.put_collection(replace(collection_of("docs-1"), changed_ns=7))
    first = changed_ns()
    assert before <= first <= time.time_ns()
    ledger.put_collection(replace(collection_of("docs-1"), spec={"moved": "on"}, reason="because", changed_ns=7))
    assert changed_ns() == first
    ledger.put_collection(replace(collection_of("docs-1"), state=CollectionState.LIVE, changed_ns=7))
    assert changed_ns() > first


def test_numbers_are_never_given_twice(ledger: Ledger) -> None:
    assert ledger.last_number("docs", "f1") == 0
    for number in (2, 9, 10):
        ledger.put_collection(collection_of(f"docs-f1-{number}"))
    ledger.put_collection(replace(collection_of("docs-f1-10"), state=CollectionState.DROPPED))
    ledger.put_collection(collection_of("docs-f2-77", fingerprint="f2"))
    ledger.put_collection(collection_of("other-f1-88", alias="other"))
    ledger.put_collection(collection_of("docs-by-hand"))
    assert ledger.last_number("docs", "f1") == 10


def test_bucket_states_are_replaced_and_forgotten(ledger: Ledger) -> None:
    state = BucketState(digest="d", points=5, generation=1, seen=3, quarantined=1)
    ledger.put_bucket_state("one", "01", state)
    ledger.put_bucket_state("one", "00", state)
    ledger.put_bucket_state("two", "00", state)
    ledger.put_bucket_state("one", "01", replace(state, points=6))
    assert ledger.bucket_states("one") == {"00": state, "01": replace(state, points=6)}
    ledger.forget_bucket_states("one")
    assert ledger.bucket_states("one") == {}
    assert ledger.bucket_states("two") == {"00": state}


def test_reports_are_kept_by_part(ledger: Ledger) -> None:
    ledger.put_report("run", "scan", {"new": 1})
    ledger.put_report("run", "build", {"chunks": [1, 2]})
    ledger.put_report("run", "scan", {"new": 2})
    ledger.put_report("other", "scan", {})
    assert ledger.report("run") == {"build": {"chunks": [1, 2]}, "scan": {"new": 2}}


def test_decisions_are_appended_and_read_newest_first(ledger: Ledger) -> None:
    assert ledger.decisions() == []
    before = time.time_ns()
    for kind, target in (("switch", "docs-2"), ("gate", "docs-3"), ("switch", "docs-3")):
        ledger.add_decision(kind, {"to": target, "evidence": [1.5, None]})
    newest, gate, oldest = ledger.decisions()
    assert [newest.kind, gate.kind, oldest.kind] == ["switch", "gate", "switch"]
    assert newest.content == {"to": "docs-3", "evidence": [1.5, None]}
    assert before <= oldest.at_ns <= newest.at_ns <= time.time_ns()
    assert ledger.decisions(kind="gate") == [gate]
    assert ledger.decisions(kind="switch", limit=1) == [newest]
    assert ledger.decisions(limit=2) == [newest, gate]
    assert ledger.decisions(kind="drop") == []


# --- several at once ---


def test_many_threads_may_read_and_write(ledger: Ledger) -> None:
    commit(ledger, *(record_of(f"{number}") for number in range(50)))
    state = BucketState(digest="d", points=1, generation=1, seen=1, quarantined=0)
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                ledger.put_bucket_state("c", f"{number}-{turn}", state)
                assert len(ledger.documents()) == 50
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(ledger.bucket_states("c")) == 60


def test_scans_that_race_come_one_after_the_other_or_are_refused(ledger: Ledger, url: str) -> None:
    failures: list[BackendUnavailableError] = []
    commit(ledger)

    def race(name: str) -> None:
        own = SqlLedger(url)
        try:
            for turn in range(15):
                with contextlib.suppress(BackendRejectedError):
                    commit(own, record_of(f"{name}-{turn}"), generation=own.generation() + 1)
        except BackendUnavailableError as error:
            failures.append(error)

    threads = [threading.Thread(target=race, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert ledger.generation() > 15


def test_the_writer_lock_lets_one_in_and_tells_the_other_once_who_it_is(ledger: Ledger, url: str) -> None:
    told: list[str] = []
    with (
        ledger.writer_lock(wait_s=0, on_wait=told.append),
        pytest.raises(StoreLockedError, match="run again"),
        SqlLedger(url).writer_lock(wait_s=0.5, on_wait=told.append),
    ):
        pass
    (message,) = told
    assert "process" in message
    assert "since" in message


def test_the_writer_lock_is_free_again_also_after_an_error(ledger: Ledger, url: str) -> None:
    with pytest.raises(KeyError), ledger.writer_lock(wait_s=0, on_wait=pytest.fail):
        raise KeyError
    with SqlLedger(url).writer_lock(wait_s=0, on_wait=pytest.fail):
        pass


def test_whoever_waits_for_the_writer_lock_gets_it(ledger: Ledger, url: str) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def wait() -> None:
        with SqlLedger(url).writer_lock(wait_s=20, on_wait=lambda message: waiting.set()):
            order.append("second")

    with ledger.writer_lock(wait_s=0, on_wait=pytest.fail):
        other = threading.Thread(target=wait)
        other.start()
        assert waiting.wait(10)
        order.append("first")
    other.join(20)
    assert order == ["first", "second"]


# --- fencing ---


def usurp(url: str, folder: Path) -> SqlLedger:
    """A ledger that can take the writer lock although another holds it: locks get lost, too."""
    if url.startswith("sqlite"):
        return SqlLedger(url, lock_path=folder / "another.lock")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        holders = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = ("
        connection.execute(text(f"{holders}SELECT oid FROM pg_database WHERE datname = current_database())"))
    engine.dispose()
    return SqlLedger(url)


def writes(ledger: Ledger) -> dict[str, Callable[[], None]]:
    record = record_of("a")
    return {
        "set_meta": lambda: ledger.set_meta("key", "value"),
        "commit_scan": lambda: commit(ledger, record),
        "add_quarantine": lambda: ledger.add_quarantine([entry_of(record)]),
        "remove_quarantine": lambda: ledger.remove_quarantine([(record.content_hash, "p1")]),
        "put_collection": lambda: ledger.put_collection(collection_of("docs-1")),
        "put_bucket_state": lambda: ledger.put_bucket_state("docs-1", "00", BucketState("d", 1, 1, 1, 0)),
        "forget_bucket_states": lambda: ledger.forget_bucket_states("docs-1"),
        "put_report": lambda: ledger.put_report("run", "scan", {}),
        "add_decision": lambda: ledger.add_decision("switch", {}),
    }


def test_every_holder_of_the_writer_lock_gets_a_larger_number(ledger: Ledger, url: str) -> None:
    numbers = []
    for opened in (ledger, SqlLedger(url), ledger):
        with opened.writer_lock(wait_s=0, on_wait=pytest.fail) as number:
            numbers.append(number)
            opened.check_writer()
            opened.set_meta("key", "value")
    assert numbers == sorted(set(numbers))
    assert numbers[0] > 0


def test_a_holder_that_was_overtaken_writes_nothing_more(ledger: Ledger, url: str, tmp_path: Path) -> None:
    with ledger.writer_lock(wait_s=0, on_wait=pytest.fail) as first:
        ledger.set_meta("key", "old")
        later = usurp(url, tmp_path)
        with later.writer_lock(wait_s=5, on_wait=print) as second:
            assert second > first
            with pytest.raises(StaleWriterError, match=rf"lost the writer lock.*number {first}.*number {second}.*run again"):
                ledger.check_writer()
            for write in writes(ledger).values():
                with pytest.raises(StaleWriterError):
                    write()
            later.check_writer()
            for write in writes(later).values():
                write()
        with pytest.raises(StaleWriterError):
            ledger.set_meta("key", "late")
    assert ledger.meta("key") == "value"


def test_nobody_overtakes_a_write_that_has_begun(url: str, tmp_path: Path) -> None:
    ledger, told = SqlLedger(url), []

    def overtake() -> None:
        with SqlLedger(url, lock_path=tmp_path / "another.lock").writer_lock(wait_s=5, on_wait=print):
            told.append("overtaken")

    with ThreadPoolExecutor(1) as thread, ledger.writer_lock(wait_s=0, on_wait=pytest.fail):
        if not url.startswith("sqlite"):
            usurp(url, tmp_path)
        with ledger._fence.writing() as connection:
            future = thread.submit(overtake)
            time.sleep(0.5)
            connection.exec_driver_sql("INSERT INTO rag_meta (key, value) VALUES ('key', 'whole')")
            told.append("written")
        future.result(10)
    assert told == ["written", "overtaken"]
    assert ledger.meta("key") == "whole"


def test_the_fence_holds_for_every_thread_of_the_holder(ledger: Ledger, url: str, tmp_path: Path) -> None:
    def outcome(write: Callable[[], None]) -> str:
        with ThreadPoolExecutor(1) as thread:
            error = thread.submit(write).exception()
        return type(error).__name__ if error else "written"

    with ledger.writer_lock(wait_s=0, on_wait=pytest.fail):
        assert outcome(lambda: ledger.set_meta("key", "thread")) == "written"
        with usurp(url, tmp_path).writer_lock(wait_s=5, on_wait=print):
            assert outcome(lambda: ledger.set_meta("key", "late")) == "StaleWriterError"
            assert outcome(ledger.check_writer) == "StaleWriterError"


def test_who_holds_no_lock_is_not_checked(ledger: Ledger, url: str) -> None:
    with SqlLedger(url).writer_lock(wait_s=0, on_wait=pytest.fail):
        ledger.check_writer()
        ledger.set_meta("key", "value")
    with ledger.writer_lock(wait_s=0, on_wait=pytest.fail):
        pass
    with SqlLedger(url).writer_lock(wait_s=0, on_wait=pytest.fail):
        ledger.check_writer()
        ledger.set_meta("key", "value")


# --- erasure ---


def test_blocks_are_kept_once_and_for_good(ledger: Ledger, url: str) -> None:
    first, second = Block("a" * 32, "sha256:1", "e1", 5), Block("b" * 32, "sha256:2", "e1", 6)
    assert ledger.blocks() == []
    ledger.add_blocks([second, first, first])
    ledger.add_blocks([replace(first, erasure="e2", at_ns=9), replace(first, content_hash="sha256:3", at_ns=7)])
    assert SqlLedger(url).blocks() == [first, second, replace(first, content_hash="sha256:3", at_ns=7)]


def test_reports_and_decisions_that_name_something_are_forgotten_and_others_stay(ledger: Ledger) -> None:
    ledger.put_report("run", "scan", {"changes": ["gehört \u4e2d"]})
    ledger.put_report("run", "other", {"changes": ["quiet"]})
    ledger.add_decision("switch", {"reason": "because of secret.md"})
    ledger.add_decision("switch", {"reason": "quiet"})
    assert ledger.forget_mentions([]) == 0
    assert ledger.forget_mentions(["gehört \u4e2d", "secret.md", ""]) == 2
    assert (list(ledger.report("run")), [d.content["reason"] for d in ledger.decisions()]) == (["other"], ["quiet"])


def test_a_compacted_ledger_keeps_its_rows_and_no_byte_of_what_was_deleted(ledger: Ledger, url: str, tmp_path: Path) -> None:
    ledger.put_report("run", "scan", {"text": "xyzzy-sentinel " * 900})
    ledger.set_meta("key", "kept")
    ledger.forget_mentions(["xyzzy-sentinel"])
    ledger.compact()
    assert ledger.meta("key") == "kept"
    if url.startswith("sqlite"):
        files = list(tmp_path.glob("ledger.sqlite*"))
        assert files
        assert not [file for file in files if b"xyzzy-sentinel" in file.read_bytes()]
    ledger.set_meta("key", "written after it")


# --- tables of older code ---


@pytest.fixture
def old_url(url: str) -> str:
    """A ledger as version 1 left it, with a collection."""
    ledger = SqlLedger(url)
    ledger.put_collection(replace(collection_of("docs-1"), state=CollectionState.LIVE))
    with ledger._database.writing() as connection:
        for column in ("reason", "changed_ns"):
            connection.exec_driver_sql(f"ALTER TABLE rag_collections DROP COLUMN {column}")
        connection.exec_driver_sql("DROP TABLE rag_blocks")
        connection.exec_driver_sql("UPDATE rag_meta SET value = '1' WHERE key = 'schema_version'")
    return url


def test_a_ledger_of_version_1_is_migrated_by_its_first_use(old_url: str) -> None:
    ledger = SqlLedger(old_url)
    old = replace(collection_of("docs-1"), state=CollectionState.LIVE)
    assert ledger.collections("docs") == [old]
    ledger.put_collection(old)
    assert ledger.collections("docs") == [old]
    ledger.put_collection(replace(old, state=CollectionState.RETIRED, reason="docs-2 is live"))
    (retired,) = SqlLedger(old_url).collections("docs")
    assert (retired.reason, retired.changed_ns > 0, ledger.meta("schema_version")) == ("docs-2 is live", True, "3")


def test_a_migration_that_breaks_off_leaves_the_old_tables(old_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(ledger_tables.MIGRATIONS, 2, (*ledger_tables.MIGRATIONS[2], "ALTER TABLE missing ADD COLUMN x TEXT"))
        with pytest.raises((BackendRejectedError, BackendUnavailableError)):
            SqlLedger(old_url).generation()
    assert [record.name for record in SqlLedger(old_url).collections("docs")] == ["docs-1"]


def test_processes_that_migrate_at_once_do_it_once(old_url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda number: SqlLedger(old_url).collections("docs"), range(8)))
    assert [len(records) for records in found] == [1] * 8


@pytest.mark.parametrize("version", [3, 4])
def test_a_process_that_comes_second_to_a_migration_leaves_it_alone(old_url: str, version: int) -> None:
    late = SqlLedger(old_url)._database
    engine = late._make_engine()
    SqlLedger(old_url).set_meta("schema_version", str(version))
    assert late._migrate(engine) == version
    engine.dispose()
