"""The lock that keeps two runs from writing one index: a file beside SQLite, an advisory lock on Postgres.

A lock can be lost without its holder noticing: a broken connection to Postgres, a lock file deleted, a network disk. So every
holder takes a number in the ledger, larger than all before, and writes nothing more once a larger one stands there.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import Connection, exc, select, text

from rag_pipeline.adapters import ledger_tables as tables
from rag_pipeline.adapters.sql_database import SqlDatabase
from rag_pipeline.adapters.sql_errors import translated_errors
from rag_pipeline.errors import StaleWriterError, StoreLockedError

WRITER_LOCK = 7_261_950_002
"""Key of the Postgres advisory lock."""
_POLL_S = 0.2
_WHO_CHARACTERS = 60
_NAME_BYTES = 63

OnWait = Callable[[str], None]

_FENCE_KEY = "fence"
_FENCE = select(tables.meta.c.value).where(tables.meta.c.key == _FENCE_KEY)

_NEXT_FENCE = text("""
    INSERT INTO rag_meta (key, value) VALUES (:key, '1')
    ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(rag_meta.value AS BIGINT) + 1 AS TEXT)
    RETURNING value
""")


class WriterFence:
    """The number under which one ledger object writes while it holds the writer lock; none otherwise."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database
        self._number: int | None = None

    @contextmanager
    def raised(self, lock: AbstractContextManager[None]) -> Iterator[int]:
        """Takes the lock and the next number, and gives both back."""
        with lock:
            number = self._number = self._next()
            try:
                yield number
            finally:
                self._number = None

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that no later holder can overtake. Raises StaleWriterError when one has come already."""
        with self._database.writing() as connection:
            self._check(connection)
            yield connection

    def check(self) -> None:
        """Raises StaleWriterError when a later holder has come."""
        if self._number is not None:
            with self._database.reading() as connection:
                self._check(connection)

    def _next(self) -> int:
        with self._database.writing() as connection:
            return int(connection.execute(_NEXT_FENCE, {"key": _FENCE_KEY}).scalar_one())

    def _check(self, connection: Connection) -> None:
        own = self._number
        if own is None:
            return
        # Shared with our own threads; a later holder waits with its number until this transaction has ended.
        stored = int(connection.scalar(_FENCE.with_for_update(read=True)) or 0)
        if stored != own:
            raise StaleWriterError(
                f"this run lost the writer lock: it held it as number {own}, number {stored} has written the index since; "
                "what this run had not written yet was given up; run again when the other one has ended"
            )


@contextmanager
def locked_file(path: Path, *, wait_s: float, on_wait: OnWait) -> Iterator[None]:
    """Holds the lock file. The system frees it when its process dies, however that happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = path.with_name(path.name + ".holder")
    lock = FileLock(path, thread_local=False)
    _acquire(lambda: _try_file(lock), lambda: _read_holder(holder), wait_s=wait_s, on_wait=on_wait)
    try:
        holder.write_text(json.dumps(_myself()), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


@contextmanager
def locked_database(database: SqlDatabase, *, wait_s: float, on_wait: OnWait) -> Iterator[None]:
    """Holds the advisory lock on a connection of its own; the server frees it when that connection ends."""
    with database.connect() as connection, translated_errors(database.address):
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text("SELECT set_config('application_name', :name, false)"), {"name": _server_name()})
        _acquire(
            lambda: bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": WRITER_LOCK})),
            lambda: str(connection.scalar(_HOLDER, {"key": WRITER_LOCK}) or "another process"),
            wait_s=wait_s,
            on_wait=on_wait,
        )
        try:
            yield
        finally:
            with suppress(exc.DBAPIError):  # a broken connection has freed the lock
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": WRITER_LOCK})


_HOLDER = text("""
    SELECT activity.application_name || ' since ' || date_trunc('second', activity.backend_start)
    FROM pg_locks AS held JOIN pg_stat_activity AS activity USING (pid)
    WHERE held.locktype = 'advisory' AND held.granted AND activity.datname = current_database()
    AND ((held.classid::bigint << 32) | held.objid::bigint) = :key
""")


def _acquire(try_once: Callable[[], bool], who: Callable[[], str], *, wait_s: float, on_wait: OnWait) -> None:
    if try_once():
        return
    on_wait(f"waiting up to {wait_s:g} s for {who()}, which is writing this index")
    deadline = time.monotonic() + wait_s
    while not try_once():
        if time.monotonic() >= deadline:
            raise StoreLockedError(
                f"{who()} is writing this index and was not done within {wait_s:g} s; run again when it has ended"
            )
        time.sleep(_POLL_S)


def _try_file(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _myself() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])[:_WHO_CHARACTERS],
        "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    }


def _server_name() -> str:
    """As Postgres shows a connection: 63 bytes."""
    me = _myself()
    return f"process {me['pid']} on {me['host']}"[:_NAME_BYTES]


def _short(holder: dict[str, Any]) -> str:
    return f"'{holder['command']}' (process {holder['pid']} on {holder['host']} since {holder['since']})"


def _read_holder(path: Path) -> str:
    try:
        return _short(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
