import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import exc

from rag_pipeline.adapters.sql_errors import translate
from rag_pipeline.adapters.sql_ledger import SqlLedger
from rag_pipeline.errors import (
    BackendError,
    BackendRejectedError,
    BackendUnavailableError,
    MissingExtraError,
    SettingsError,
    StoreLockedError,
)


def open_ledger(folder: Path) -> SqlLedger:
    return SqlLedger(f"sqlite:///{folder / 'ledger.sqlite'}")


def test_reading_a_state_that_is_not_there_leaves_no_trace(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "state")
    assert (ledger.generation(), ledger.documents(), ledger.meta("buckets"), ledger.quarantine()) == (0, {}, None, [])
    assert not (tmp_path / "state").exists()
    ledger.set_meta("buckets", "16")
    assert ledger.meta("buckets") == "16"
    assert (tmp_path / "state" / "ledger.sqlite").exists()


def test_sqlite_is_set_up_for_readers_beside_a_writer(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.set_meta("key", "old")
    with ledger._database.writing() as connection:
        connection.exec_driver_sql("UPDATE rag_meta SET value = 'new' WHERE key = 'key'")
        assert open_ledger(tmp_path).meta("key") == "old"
    assert ledger.meta("key") == "new"
    with ledger._database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_ledger_of_newer_code_is_refused(tmp_path: Path) -> None:
    open_ledger(tmp_path).set_meta("schema_version", "99")
    with pytest.raises(SettingsError, match="newer rag-pipeline"):
        open_ledger(tmp_path).generation()


@pytest.mark.parametrize("url", ["no url", "mysql://host/name"])
def test_a_url_that_is_no_ledger_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="ledger_url"):
        SqlLedger(url)


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(MissingExtraError, match=r"\.\[postgres\]"):
        SqlLedger("postgresql+psycopg2://user@host/name").generation()


def test_a_server_that_does_not_answer_is_unavailable_and_no_password_is_told() -> None:
    ledger = SqlLedger("postgresql+psycopg2://user:secret@127.0.0.1:1/name")
    with pytest.raises(BackendUnavailableError) as caught:
        ledger.generation()
    assert "secret" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


def test_a_file_that_is_no_database_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"this is not a database" * 100)
    with pytest.raises(BackendRejectedError, match="ledger"):
        open_ledger(tmp_path).generation()


def test_a_folder_in_place_of_the_file_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").mkdir()
    with pytest.raises(BackendError):
        open_ledger(tmp_path).generation()


def test_every_error_of_the_library_has_a_translation() -> None:
    classes = [error for error in vars(exc).values() if isinstance(error, type) and issubclass(error, exc.SQLAlchemyError)]
    assert len(classes) > 20
    for error in classes:
        translated = translate(error.__new__(error), "sqlite:///ledger")
        assert isinstance(translated, (BackendUnavailableError, BackendRejectedError))


def test_a_killed_holder_frees_the_writer_lock(tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from rag_pipeline.adapters.sql_ledger import SqlLedger
        with SqlLedger({f"sqlite:///{tmp_path / 'ledger.sqlite'}"!r}).writer_lock(wait_s=0, on_wait=print):
            print("locked", flush=True)
            time.sleep(60)
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        ledger, told = open_ledger(tmp_path), []
        with pytest.raises(StoreLockedError, match=str(holder.pid)), ledger.writer_lock(wait_s=0.1, on_wait=told.append):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with ledger.writer_lock(wait_s=10, on_wait=told.append):
            pass


def test_the_lock_lies_where_it_is_told_to(tmp_path: Path) -> None:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.sqlite'}", lock_path=tmp_path / "locks" / "writer.lock")
    with ledger.writer_lock(wait_s=0, on_wait=pytest.fail):
        assert (tmp_path / "locks" / "writer.lock").exists()
    with pytest.raises(SettingsError, match="in memory"):
        SqlLedger("sqlite://").writer_lock(wait_s=0, on_wait=pytest.fail)


def test_a_writer_waits_for_another_program_that_writes(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.set_meta("key", "old")
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    import threading

    threading.Timer(0.5, lambda: other.execute("COMMIT")).start()
    started = time.monotonic()
    ledger.set_meta("key", "new")
    assert time.monotonic() - started > 0.3
    other.close()


def test_a_new_file_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    def open_at_once(file: Path, barrier: threading.Barrier) -> None:
        ledger = SqlLedger(f"sqlite:///{file}")
        barrier.wait()
        ledger.set_meta("key", "value")

    for number in range(20):
        barrier = threading.Barrier(6)
        with ThreadPoolExecutor(6) as pool:
            opened = [pool.submit(open_at_once, tmp_path / f"{number}.sqlite", barrier) for _ in range(6)]
        for one in opened:
            one.result()
