"""Runs of different buckets write one index side by side, and never one bucket, nor while somebody writes the whole."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from rag_pipeline.adapters.sql_ledger import SqlLedger
from rag_pipeline.errors import StaleWriterError, StoreLockedError
from rag_pipeline.schema import BucketState
from rag_pipeline_tests.postgres_server import running_postgres

STATE = BucketState("d", 1, 1, 1, 0)


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture
def url(server_url: str) -> str:
    name = f"locks_{time.time_ns()}"
    engine = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server_url.removesuffix("postgres") + name


def is_taken(ledger: SqlLedger, *buckets: str) -> bool:
    try:
        with ledger.bucket_locks(list(buckets), wait_s=0, on_wait=lambda _: None):
            return False
    except StoreLockedError:
        return True


def is_writer_locked(ledger: SqlLedger) -> bool:
    try:
        with ledger.writer_lock(wait_s=0, on_wait=lambda _: None):
            return False
    except StoreLockedError:
        return True


def lose_locks(url: str) -> None:
    """As a broken connection does, and a machine that went down and comes back."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )
    engine.dispose()


def test_beside_sqlite_the_writer_lock_serves_for_buckets_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    ledger, other = SqlLedger(url), SqlLedger(url)
    assert not ledger.has_bucket_locks
    with ledger.bucket_locks(["00"], wait_s=0, on_wait=pytest.fail):
        ledger.put_bucket_state("docs-1", "00", STATE)
        assert is_taken(other, "01")
        assert is_writer_locked(other)
    assert not is_taken(other, "01")


def test_an_item_is_added_once_to_a_remembered_list(tmp_path: Path) -> None:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    for item in ("b", "a", "b"):
        ledger.add_to_meta("list", item)
    assert ledger.meta("list") == '["a", "b"]'


@pytest.mark.deep
def test_several_hold_different_buckets_and_none_the_same_one(url: str) -> None:
    ledger, other = SqlLedger(url), SqlLedger(url)
    with ledger.bucket_locks(["00", "01"], wait_s=0, on_wait=pytest.fail):
        assert is_taken(other, "01", "02")
        assert not is_taken(other, "02", "03")
        with other.bucket_locks(["02"], wait_s=0, on_wait=pytest.fail):
            ledger.put_bucket_state("docs-1", "00", STATE)
            other.put_bucket_state("docs-1", "02", STATE)
            ledger.check_writer()
            other.check_writer()
    assert not is_taken(other, "01", "02")


@pytest.mark.deep
def test_whoever_writes_the_whole_waits_for_every_bucket_and_they_for_it(url: str) -> None:
    ledger, other = SqlLedger(url), SqlLedger(url)
    with ledger.bucket_locks(["00"], wait_s=0, on_wait=pytest.fail):
        assert is_writer_locked(other)
    with ledger.writer_lock(wait_s=0, on_wait=pytest.fail):
        assert is_taken(other, "07")
    assert not is_writer_locked(other)


@pytest.mark.deep
def test_who_waits_for_the_whole_is_not_kept_out_by_buckets_that_come_later(url: str) -> None:
    first, whole, later = SqlLedger(url), SqlLedger(url), SqlLedger(url)
    waiting, order = threading.Event(), []

    def write_whole() -> None:
        with whole.writer_lock(wait_s=20, on_wait=lambda _: waiting.set()):
            order.append("whole")

    with ExitStack() as locks, ThreadPoolExecutor(1) as thread:
        locks.enter_context(first.bucket_locks(["00"], wait_s=0, on_wait=pytest.fail))
        done = thread.submit(write_whole)
        assert waiting.wait(10)
        time.sleep(0.5)
        assert is_taken(later, "01")
        locks.close()
        with later.bucket_locks(["01"], wait_s=20, on_wait=lambda _: None):
            order.append("later")
        done.result(20)
    assert order == ["whole", "later"]


@pytest.mark.deep
@pytest.mark.parametrize("taken", [["01", "02"], None], ids=["a bucket of it", "the whole"])
def test_a_run_of_buckets_that_was_overtaken_writes_nothing_more(url: str, taken: list[str] | None) -> None:
    ledger, later = SqlLedger(url), SqlLedger(url)
    with ledger.bucket_locks(["00", "01"], wait_s=0, on_wait=pytest.fail):
        ledger.put_bucket_state("docs-1", "00", STATE)
        lose_locks(url)
        options = {"wait_s": 5.0, "on_wait": print}
        with later.bucket_locks(taken, **options) if taken else later.writer_lock(**options):  # type: ignore[arg-type]
            later.put_bucket_state("docs-1", "01", STATE)
            with pytest.raises(StaleWriterError, match="lock of bucket 01" if taken else "lost the writer lock"):
                ledger.check_writer()
        with pytest.raises(StaleWriterError):
            ledger.put_bucket_state("docs-1", "00", BucketState("late", 1, 1, 1, 0))
    assert later.bucket_states("docs-1") == {"00": STATE, "01": STATE}
    ledger.check_writer()


@pytest.mark.deep
def test_a_run_of_other_buckets_overtakes_nobody(url: str) -> None:
    ledger, other = SqlLedger(url), SqlLedger(url)
    with ledger.bucket_locks(["00"], wait_s=0, on_wait=pytest.fail):
        lose_locks(url)
        with other.bucket_locks(["01"], wait_s=5, on_wait=print):
            ledger.put_bucket_state("docs-1", "00", STATE)
            other.put_bucket_state("docs-1", "01", STATE)


@pytest.mark.deep
def test_no_item_is_lost_of_a_list_to_which_several_add_at_once(url: str) -> None:
    ledgers = [SqlLedger(url) for _ in range(4)]

    def add(number: int) -> None:
        for item in range(20):
            ledgers[number].add_to_meta("list", f"{number}-{item:02}")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(add, range(4)))
    found = SqlLedger(url).meta("list")
    assert found is not None
    assert len(set(found.split(","))) == 80
