"""The locks that keep two runs from writing one thing: a file beside SQLite, advisory locks on Postgres.

Who writes the index as a whole holds the writer lock alone. On Postgres, runs of different buckets hold it together, as shared,
and each of their buckets alone; so no two write one bucket, and none writes while somebody writes the whole.

A lock can be lost without its holder noticing: a broken connection to Postgres, a lock file deleted, a network disk. So every
holder takes a number in the ledger, larger than all before, and writes nothing more once a larger one stands there: one for the
index, and one for each bucket. Whoever takes the whole index raises its number, which ends the runs of buckets that lost it.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import Connection, exc, select, text

from rag_pipeline.adapters import ledger_tables as tables
from rag_pipeline.adapters.sql_database import SqlDatabase
from rag_pipeline.adapters.sql_errors import translated_errors
from rag_pipeline.errors import BackendUnavailableError, StaleWriterError, StoreLockedError

WRITER_LOCK = 7_261_950_002
"""Key of the Postgres advisory lock."""
TURNSTILE = 7_261_950_003
"""Key of the lock that all pass on their way to the writer lock, so that runs of buckets, which come in at any time, do not
keep out who waits for the whole."""
BUCKET_LOCKS = 7_261_960_000
"""Key of the lock of bucket 0; the others follow."""
GONE_AFTER_S = 60
"""Seconds after which the server takes a machine for gone that does not answer, and frees its locks."""
_POLL_S = 0.2
_WHO_CHARACTERS = 60
_NAME_BYTES = 63

OnWait = Callable[[str], None]

_FENCE_KEY = "fence"

_NEXT_FENCE = text("""
    INSERT INTO rag_meta (key, value) VALUES (:key, '1')
    ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(rag_meta.value AS BIGINT) + 1 AS TEXT)
    RETURNING value
""")


class WriterFence:
    """The numbers under which one ledger object writes while it holds locks; none otherwise."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database
        self._held: Mapping[str, int] = {}

    @contextmanager
    def raised(self, lock: AbstractContextManager[None]) -> Iterator[int]:
        """Takes the writer lock and the next number, and gives both back."""
        with lock:
            with self._database.writing() as connection:
                number = _next(connection, _FENCE_KEY)
            with self._holding({_FENCE_KEY: number}):
                yield number

    @contextmanager
    def raised_for(self, buckets: Sequence[str], lock: AbstractContextManager[None]) -> Iterator[None]:
        """Takes the locks of the buckets and their next numbers, and gives both back. The number of the index stays as it is."""
        with lock:
            with self._database.writing() as connection:
                whole = _stored(connection, [_FENCE_KEY]).get(_FENCE_KEY, 0)
                numbers = {key: _next(connection, key) for key in map(_bucket_fence, sorted(buckets))}
            with self._holding({_FENCE_KEY: whole, **numbers}):
                yield

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that no later holder can overtake. Raises StaleWriterError when one has come already."""
        with self._database.writing() as connection:
            self._check(connection)
            yield connection

    def check(self) -> None:
        """Raises StaleWriterError when a later holder has come."""
        if self._held:
            with self._database.reading() as connection:
                self._check(connection)

    @contextmanager
    def _holding(self, numbers: Mapping[str, int]) -> Iterator[None]:
        self._held = numbers
        try:
            yield
        finally:
            self._held = {}

    def _check(self, connection: Connection) -> None:
        held = self._held
        if not held:
            return
        stored = _stored(connection, held)
        for key, own in held.items():
            if stored.get(key, 0) != own:
                what = "the writer lock" if key == _FENCE_KEY else f"the lock of bucket {key.removeprefix(_FENCE_KEY + ':')}"
                raise StaleWriterError(
                    f"this run lost {what}: it held it as number {own}, number {stored.get(key, 0)} has written the index since; "
                    "what this run had not written yet was given up; run again when the other one has ended"
                )


def _bucket_fence(bucket: str) -> str:
    return f"{_FENCE_KEY}:{bucket}"


def _next(connection: Connection, key: str) -> int:
    return int(connection.execute(_NEXT_FENCE, {"key": key}).scalar_one())


def _stored(connection: Connection, keys: Iterable[str]) -> dict[str, int]:
    """Numbers as they stand, shared with our own threads; a later holder waits with its own until this transaction has ended.

    In the order of their keys, in which they are raised too, so that no two transactions wait for each other.
    """
    row = tables.meta.c
    query = select(row.key, row.value).where(row.key.in_(list(keys))).order_by(row.key).with_for_update(read=True)
    return {key: int(value) for key, value in connection.execute(query)}


@contextmanager
def locked_file(path: Path, *, wait_s: float, on_wait: OnWait) -> Iterator[None]:
    """Holds the lock file. The system frees it when its process dies, however that happens."""
    holder = path.with_name(path.name + ".holder")
    lock = FileLock(path, thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _Patience(wait_s, on_wait).acquire(lambda: _try_file(lock), lambda: _read_holder(holder))
    except OSError as error:
        raise BackendUnavailableError(
            f"the lock file {path} cannot be used ({error.strerror or type(error).__name__}); "
            "free space, or see that this user may write there",
            system="lock",
        ) from error
    try:
        with suppress(OSError):  # it tells who waits whom for
            holder.write_text(json.dumps(_myself()), encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


@contextmanager
def locked_database(
    database: SqlDatabase, *, wait_s: float, on_wait: OnWait, buckets: Sequence[str] | None = None
) -> Iterator[None]:
    """Holds the writer lock, or with ``buckets`` a share of it and theirs, on a connection of its own.

    The server frees them when that connection ends.
    """
    wanted = [_Wanted(WRITER_LOCK, is_shared=buckets is not None)]
    wanted += [_Wanted(BUCKET_LOCKS + int(bucket, 16)) for bucket in sorted(buckets or ())]
    with database.connect() as connection, translated_errors(database.address):
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        for name, value in _session_settings().items():
            connection.execute(_SET, {"name": name, "value": value})
        patience = _Patience(wait_s, on_wait)
        try:
            patience.acquire(_Wanted(TURNSTILE).trying(connection), partial(_server_holder, connection, WRITER_LOCK))
            for lock in wanted:
                patience.acquire(lock.trying(connection), partial(_server_holder, connection, lock.key))
                if lock.key == WRITER_LOCK:
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": TURNSTILE})
            yield
        finally:
            with suppress(exc.DBAPIError):  # a broken connection has freed the locks
                connection.execute(text("SELECT pg_advisory_unlock_all()"))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One advisory lock."""

    key: int
    is_shared: bool = False

    def trying(self, connection: Connection) -> Callable[[], bool]:
        """What takes it, if it is free."""
        function = "pg_try_advisory_lock_shared" if self.is_shared else "pg_try_advisory_lock"
        return lambda: bool(connection.scalar(text(f"SELECT {function}(:key)"), {"key": self.key}))


_SET = text("SELECT set_config(:name, :value, false)")
_HOLDER = text("""
    SELECT activity.application_name || ' since ' || date_trunc('second', activity.backend_start)
    FROM pg_locks AS held JOIN pg_stat_activity AS activity USING (pid)
    WHERE held.locktype = 'advisory' AND held.granted AND activity.datname = current_database()
    AND ((held.classid::bigint << 32) | held.objid::bigint) = :key
""")


def _session_settings() -> dict[str, str]:
    """The name to show, and how soon a machine that went down is noticed: by default two hours."""
    third = str(GONE_AFTER_S // 3)
    keepalives = {"tcp_keepalives_idle": third, "tcp_keepalives_interval": third, "tcp_keepalives_count": "2"}
    return {"application_name": _server_name(), **keepalives}


def _server_holder(connection: Connection, key: int) -> str:
    return str(connection.scalar(_HOLDER, {"key": key}) or "another process")


class _Patience:
    """Waits for locks, one after the other, up to one time in all; says once whom for."""

    def __init__(self, wait_s: float, on_wait: OnWait) -> None:
        self._wait_s = wait_s
        self._on_wait = on_wait
        self._deadline_s: float | None = None

    def acquire(self, try_once: Callable[[], bool], who: Callable[[], str]) -> None:
        """Returns when the lock is taken. Raises StoreLockedError when the time is over."""
        while not try_once():
            if self._deadline_s is None:
                self._on_wait(f"waiting up to {self._wait_s:g} s for {who()}, which is writing this index")
                self._deadline_s = time.monotonic() + self._wait_s
            elif time.monotonic() >= self._deadline_s:
                raise StoreLockedError(
                    f"{who()} is writing this index and was not done within {self._wait_s:g} s; run again when it has ended"
                )
            else:
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
