"""The word of the port Ledger, held by SQLite and, where Debian's server is installed, by Postgres."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from rag_pipeline.adapters.sql_ledger import SqlLedger
from rag_pipeline.errors import BackendRejectedError, BackendUnavailableError, StoreLockedError
from rag_pipeline.indexing.identity import bucket_of, content_digest, document_id
from rag_pipeline.ports import Ledger
from rag_pipeline.schema import BucketState, CollectionRecord, DocumentRecord, DocumentType, FileStat, QuarantineEntry
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


def test_quarantine_is_found_by_bucket_of_any_document_with_the_content(ledger: Ledger) -> None:
    records = [record_of(f"{number}", "bad") for number in range(20)]
    commit(ledger, *records)
    ledger.add_quarantine([entry_of(records[0])])
    assert len(ledger.quarantine(bucket=records[-1].bucket)) == 1
    assert ledger.quarantine(bucket="ff") == []


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


def test_collections_keep_their_age_and_hide_when_dropped(ledger: Ledger) -> None:
    blue = CollectionRecord("docs-1", "docs", "f1", "building", {"model": "한", "sizes": [1, 2]})
    green = CollectionRecord("docs-2", "docs", "f2", "building", {})
    other = CollectionRecord("other-1", "other", "f1", "live", {})
    for collection in (blue, green, other):
        ledger.put_collection(collection)
    ledger.put_collection(replace(blue, state="live"))
    assert ledger.collections("docs") == [replace(blue, state="live"), green]
    ledger.put_collection(replace(blue, state="dropped"))
    assert ledger.collections("docs") == [green]


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


def test_decisions_are_appended(url: str) -> None:
    ledger = SqlLedger(url)
    ledger.add_decision("switch", {"to": "docs-2"})
    ledger.add_decision("switch", {"to": "docs-1"})
    assert [(kind, content) for _, kind, content in ledger.decisions()] == [
        ("switch", {"to": "docs-2"}),
        ("switch", {"to": "docs-1"}),
    ]


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
