"""A database that holds the ledger's tables: how it is opened, read and written."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event, exc, func, inspect, make_url, select
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.schema import Table
from sqlalchemy.sql.dml import Insert

from rag_pipeline.adapters import ledger_tables as tables
from rag_pipeline.adapters.sql_errors import translated_errors
from rag_pipeline.errors import MissingExtraError, SettingsError

SCHEMA_LOCK = 7_261_950_001
"""Key of the Postgres lock under which tables are made."""

_VERSION_KEY = "schema_version"
_BUSY_TIMEOUT_MS = 60_000
_WAL_POLL_S = 0.05
_WRITES = "rag_writes"


class SqlDatabase:
    """SQLite or Postgres by URL. Opened by its first use; a SQLite file is made by its first write.

    SQLite runs in WAL mode, so readers never wait for a writer, with ``synchronous=NORMAL``: a power cut may take the last
    transactions but never the file's consistency, and a ledger that lags behind the store is put right by the next run.
    """

    def __init__(self, url: str) -> None:
        self.url = _parse(url)
        self.address = self.url.render_as_string(hide_password=True)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._opening = threading.Lock()
        self._engine: Engine | None = None

    @property
    def file(self) -> Path | None:
        """The SQLite file; None for a server."""
        return Path(self.url.database) if self.is_sqlite and self.url.database else None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the database."""
        with translated_errors(self.address), self._engine_for_reading().connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction, committed when the block ends without an error."""
        with translated_errors(self.address):
            engine = self._opened().execution_options(**{_WRITES: True})
            with engine.connect() as connection, connection.begin():
                yield connection

    def insert_new(self, table: Table) -> Insert:
        """A statement that adds a row; nothing happens where its key is there."""
        insert: Any = insert_sqlite if self.is_sqlite else insert_postgresql
        statement: Insert = insert(table).on_conflict_do_nothing()
        return statement

    def upsert(self, table: Table, *, summed: str | None = None) -> Insert:
        """A statement that adds a row, or replaces the one with its key; the column ``summed`` adds up instead."""
        insert: Any = insert_sqlite if self.is_sqlite else insert_postgresql
        statement = insert(table)
        changed = {column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key}
        if summed:
            changed[summed] = table.columns[summed] + statement.excluded[summed]
        upsert: Insert = statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=changed)
        return upsert

    def connect(self) -> Connection:
        """A connection for the caller to keep and close."""
        with translated_errors(self.address):
            return self._opened().connect()

    def compact(self) -> None:
        """Rewrites the tables without what was deleted. A server's own log and backups are the server's."""
        with translated_errors(self.address):
            raw = self._opened().raw_connection()
            try:
                driver: Any = raw.driver_connection
                if self.is_sqlite:
                    for statement in ("PRAGMA secure_delete=ON", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                        driver.execute(statement).fetchall()
                else:
                    driver.rollback()
                    driver.autocommit = True
                    with driver.cursor() as cursor:
                        cursor.execute("VACUUM FULL " + ", ".join(table.name for table in tables.metadata.sorted_tables))
                    driver.autocommit = False
            finally:
                raw.close()

    def _engine_for_reading(self) -> Engine:
        """An empty database in memory stands in for a file that is not there, so that reading leaves no trace."""
        if self._engine is None and self.file and not self.file.exists():
            return self._empty
        return self._opened()

    @cached_property
    def _empty(self) -> Engine:
        engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        tables.metadata.create_all(engine)
        return engine

    def _opened(self) -> Engine:
        with self._opening:
            if self._engine is None:
                with ExitStack() as undo:
                    engine = self._make_engine()
                    undo.callback(engine.dispose)
                    self._prepare(engine)
                    undo.pop_all()
                self._engine = engine
            return self._engine

    def _make_engine(self) -> Engine:
        try:
            engine = create_engine(self.url, pool_pre_ping=not self.is_sqlite)
        except ModuleNotFoundError as error:
            raise MissingExtraError(feature=f"ledger_url '{self.url.drivername}'", extra="postgres") from error
        if self.is_sqlite:
            if self.file:
                self.file.parent.mkdir(parents=True, exist_ok=True)
            event.listen(engine, "connect", _set_up_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _prepare(self, engine: Engine) -> None:
        """Makes or migrates the tables. Raises SettingsError when newer code wrote them. Writes nothing where all is well."""
        with engine.begin() as connection:
            version = self._schema_version(connection)
        if version is None or version < tables.SCHEMA_VERSION:
            version = self._migrate(engine)
        if version > tables.SCHEMA_VERSION:
            raise SettingsError(
                f"the ledger {self.address} was written by a newer rag-pipeline (schema {version}, this one knows "
                f"{tables.SCHEMA_VERSION}); install that version, or use another state"
            )

    def _schema_version(self, connection: Connection) -> int | None:
        if not inspect(connection).has_table(tables.meta.name):
            return None
        version = connection.scalar(select(tables.meta.c.value).where(tables.meta.c.key == _VERSION_KEY))
        return int(version) if version is not None else None

    def _migrate(self, engine: Engine) -> int:
        """The version that the tables have after it. All in one transaction: a crash leaves the version before."""
        with engine.execution_options(**{_WRITES: True}).begin() as connection:
            if not self.is_sqlite:  # two processes may open one database at once
                connection.execute(select(func.pg_advisory_xact_lock(SCHEMA_LOCK)))
            version = self._schema_version(connection)
            if version is None:
                tables.metadata.create_all(connection)
            elif version >= tables.SCHEMA_VERSION:  # the other process was first
                return version
            else:
                _alter_tables(connection, version)
            connection.execute(self.upsert(tables.meta), {"key": _VERSION_KEY, "value": str(tables.SCHEMA_VERSION)})
        return tables.SCHEMA_VERSION


def _alter_tables(connection: Connection, version: int) -> None:
    for following in range(version + 1, tables.SCHEMA_VERSION + 1):
        for statement in tables.MIGRATIONS[following]:
            connection.exec_driver_sql(statement)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except exc.ArgumentError:
        raise SettingsError(
            "ledger_url: not a database URL; write sqlite:///FILE or postgresql+psycopg2://USER@HOST/NAME"
        ) from None
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise SettingsError(f"ledger_url: '{parsed.get_backend_name()}' is not supported; use sqlite or postgresql")
    return parsed


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say, see _begin_sqlite
    for pragma in (f"busy_timeout={_BUSY_TIMEOUT_MS}", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()
    _use_wal(connection)


def _use_wal(connection: Any) -> None:
    """Turns WAL mode on, which only one of several processes that open a new file at once can do.

    The others are told that the file is locked, without the wait of ``busy_timeout``.
    """
    deadline_s = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError:
            if time.monotonic() >= deadline_s:
                raise
            time.sleep(_WAL_POLL_S)


def _begin_sqlite(connection: Connection) -> None:
    """Writers take the write lock at once: a reader that turns writer half way would fail instead of waiting."""
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
