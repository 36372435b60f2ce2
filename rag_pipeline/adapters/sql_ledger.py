"""The ledger in a SQL database: SQLite beside the index, or Postgres by URL."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, exists, func, insert, select, update

from rag_pipeline.adapters import ledger_tables as tables
from rag_pipeline.adapters.sql_blocks import delete_mentions, insert_blocks, read_blocks
from rag_pipeline.adapters.sql_database import SqlDatabase
from rag_pipeline.adapters.sql_errors import SYSTEM
from rag_pipeline.adapters.writer_locks import WriterFence, locked_database, locked_file
from rag_pipeline.errors import BackendRejectedError, SettingsError
from rag_pipeline.indexing.quarantine import entry_for
from rag_pipeline.schema import (
    Block,
    BucketState,
    CollectionRecord,
    CollectionState,
    Decision,
    DocumentRecord,
    DocumentType,
    FileStat,
    QuarantineEntry,
)

_KEPT_SCANS = 1_000
_ROWS_AT_ONCE = 10_000


class SqlLedger:
    """Port ``Ledger``. Safe to use from several threads; every method is one transaction.

    ``lock_path`` is where the writer lock lies for SQLite; by default beside the database file.
    """

    def __init__(self, url: str, *, lock_path: Path | None = None) -> None:
        self._database = SqlDatabase(url)
        self._fence = WriterFence(self._database)
        self.has_bucket_locks = not self._database.is_sqlite
        file = self._database.file
        self._lock_path = lock_path or (file.with_name(file.name + ".lock") if file else None)

    def writer_lock(self, *, wait_s: float, on_wait: Callable[[str], None]) -> AbstractContextManager[int]:
        """Not reentrant: a second lock waits, in the same process too. All threads write under its number."""
        return self._fence.raised(self._lock(wait_s=wait_s, on_wait=on_wait))

    def bucket_locks(self, buckets: list[str], *, wait_s: float, on_wait: Callable[[str], None]) -> AbstractContextManager[Any]:
        if not self.has_bucket_locks:
            return self.writer_lock(wait_s=wait_s, on_wait=on_wait)
        lock = locked_database(self._database, wait_s=wait_s, on_wait=on_wait, buckets=buckets)
        return self._fence.raised_for(buckets, lock)

    def _lock(self, *, wait_s: float, on_wait: Callable[[str], None]) -> AbstractContextManager[None]:
        if not self._database.is_sqlite:
            return locked_database(self._database, wait_s=wait_s, on_wait=on_wait)
        if self._lock_path is None:
            raise SettingsError("ledger_url: a SQLite ledger in memory has no writer lock; name a file")
        return locked_file(self._lock_path, wait_s=wait_s, on_wait=on_wait)

    def check_writer(self) -> None:
        self._fence.check()

    # --- scans ---

    def generation(self) -> int:
        with self._database.reading() as connection:
            return connection.scalar(select(func.max(tables.scans.c.generation))) or 0

    def scan_summary(self) -> Mapping[str, Any] | None:
        newest = select(tables.scans.c.summary).order_by(tables.scans.c.generation.desc()).limit(1)
        with self._database.reading() as connection:
            summary = connection.scalar(newest)
        return json.loads(summary) if summary else None

    def commit_scan(
        self, *, generation: int, upserts: Sequence[DocumentRecord], deletes: Sequence[str], summary: Mapping[str, Any]
    ) -> None:
        """Raises BackendRejectedError when another scan was committed meanwhile."""
        with self._fence.writing() as connection:
            newest = connection.scalar(select(func.max(tables.scans.c.generation))) or 0
            if generation not in (newest, newest + 1):
                raise BackendRejectedError(
                    f"scan {generation} follows on scan {generation - 1}, but scan {newest} is the newest; run again",
                    system=SYSTEM,
                )
            rows = [{"document_id_": document} for document in deletes]
            if rows:
                connection.execute(_DELETE_DOCUMENT, rows)
            for batch in _batches(upserts):
                connection.execute(self._database.upsert(tables.documents), [_document_row(record) for record in batch])
            connection.execute(self._database.upsert(tables.scans), {"generation": generation, "summary": _json(summary)})
            if upserts or deletes:
                connection.execute(_DELETE_OUTLIVED_QUARANTINE)
                _hand_over_quarantine(connection)
            connection.execute(delete(tables.scans).where(tables.scans.c.generation <= generation - _KEPT_SCANS))

    # --- documents ---

    def documents(self, *, source: str | None = None, bucket: str | None = None) -> dict[str, DocumentRecord]:
        query = select(tables.documents)
        if source is not None:
            query = query.where(tables.documents.c.source == source)
        if bucket is not None:
            query = query.where(tables.documents.c.bucket == bucket)
        with self._database.reading() as connection:
            return {row[0]: _record(row) for row in connection.execute(query.execution_options(yield_per=_ROWS_AT_ONCE))}

    def contents(self) -> Iterator[tuple[str, str, str, str]]:
        """Plain columns, as making whole records takes most of the time of reading them.

        Ordered by an expression that no index knows: the table is read in one go and sorted, not row by row through the index.
        """
        row = tables.documents.c
        query = select(row.bucket, row.document_id, row.content_hash, row.uri).order_by(row.bucket.concat(""))
        with self._database.reading() as connection:
            yield from connection.execute(query.execution_options(yield_per=_ROWS_AT_ONCE))

    def count_documents(self) -> int:
        with self._database.reading() as connection:
            return connection.scalar(select(func.count()).select_from(tables.documents)) or 0

    # --- settings of the state ---

    def meta(self, key: str) -> str | None:
        with self._database.reading() as connection:
            return connection.scalar(select(tables.meta.c.value).where(tables.meta.c.key == key))

    def set_meta(self, key: str, value: str) -> None:
        with self._fence.writing() as connection:
            connection.execute(self._database.upsert(tables.meta), {"key": key, "value": value})

    def add_to_meta(self, key: str, item: str) -> None:
        known = select(tables.meta.c.value).where(tables.meta.c.key == key).with_for_update()
        with self._fence.writing() as connection:
            connection.execute(self._database.insert_new(tables.meta), {"key": key, "value": "[]"})
            items = {*json.loads(connection.scalar(known) or "[]"), item}
            connection.execute(self._database.upsert(tables.meta), {"key": key, "value": json.dumps(sorted(items))})

    # --- quarantine ---

    def quarantine(self, *, bucket: str | None = None) -> list[QuarantineEntry]:
        """One entry for each present document whose content failed, ordered by source and path."""
        document = tables.documents.c
        named = [getattr(document, name).label(f"of_{name}") for name in _OWN]
        query = select(tables.quarantine, *named).join(
            tables.documents, document.content_hash == tables.quarantine.c.content_hash
        )
        if bucket is not None:
            query = query.where(document.bucket == bucket)
        query = query.order_by(document.source, document.path, tables.quarantine.c.parser_fingerprint)
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings().fetchall()
        found = (entry_for(_entry(row), **{name: row[f"of_{name}"] for name in _OWN}) for row in rows)
        return [entry for entry in found if entry is not None]

    def add_quarantine(self, entries: Sequence[QuarantineEntry]) -> None:
        """An entry that is there already counts up its attempts and takes the newest facts."""
        if not entries:
            return
        with self._fence.writing() as connection:
            upsert = self._database.upsert(tables.quarantine, summed="attempts")
            rows = [_quarantine_row(entry) for entry in entries]
            # In one order, so that runs of different buckets that meet the same contents do not wait for each other.
            connection.execute(upsert, sorted(rows, key=lambda row: (row["content_hash"], row["parser_fingerprint"])))

    def remove_quarantine(self, keys: Sequence[tuple[str, str]]) -> None:
        if not keys:
            return
        with self._fence.writing() as connection:
            connection.execute(_DELETE_QUARANTINE, [{"hash_": key[0], "fingerprint_": key[1]} for key in sorted(keys)])

    # --- erasure ---

    def add_blocks(self, blocks: Sequence[Block]) -> None:
        with self._fence.writing() as connection:
            insert_blocks(connection, blocks)

    def blocks(self) -> list[Block]:
        with self._database.reading() as connection:
            return read_blocks(connection)

    def forget_mentions(self, pieces: Sequence[str]) -> int:
        with self._fence.writing() as connection:
            return delete_mentions(connection, pieces)

    def compact(self) -> None:
        self._fence.check()
        self._database.compact()

    # --- collections ---

    def collections(self, alias: str) -> list[CollectionRecord]:
        row = tables.collections.c
        query = (
            select(row.name, row.alias, row.fingerprint, row.state, row.spec, row.reason, row.changed_ns)
            .where(row.alias == alias, row.state != CollectionState.DROPPED.value)
            .order_by(row.position)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).fetchall()
        return [
            CollectionRecord(name, alias, fingerprint, CollectionState(state), json.loads(spec), reason, changed_ns)
            for name, alias, fingerprint, state, spec, reason, changed_ns in rows
        ]

    def put_collection(self, record: CollectionRecord) -> None:
        state = CollectionState(record.state).value
        values = {**asdict(record), "state": state, "spec": _json(record.spec)}
        with self._fence.writing() as connection:
            values["changed_ns"] = _changed_ns(connection, record.name, state)
            known = update(tables.collections).where(tables.collections.c.name == record.name).values(**values)
            if not connection.execute(known).rowcount:
                connection.execute(insert(tables.collections), values)

    def last_number(self, alias: str, fingerprint: str) -> int:
        row = tables.collections.c
        query = select(row.name).where(row.alias == alias, row.fingerprint == fingerprint)
        with self._database.reading() as connection:
            endings = [name.rpartition("-")[2] for name in connection.scalars(query)]
        return max((int(ending) for ending in endings if ending.isdecimal()), default=0)

    def bucket_states(self, collection: str) -> dict[str, BucketState]:
        row = tables.bucket_states.c
        query = select(row.bucket, row.digest, row.points, row.generation, row.seen, row.quarantined)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(row.collection == collection).order_by(row.bucket)).fetchall()
        return {bucket: BucketState(*state) for bucket, *state in rows}

    def put_bucket_state(self, collection: str, bucket: str, state: BucketState) -> None:
        with self._fence.writing() as connection:
            values = {"collection": collection, "bucket": bucket, **asdict(state)}
            connection.execute(self._database.upsert(tables.bucket_states), values)

    def forget_bucket_states(self, collection: str) -> None:
        with self._fence.writing() as connection:
            connection.execute(delete(tables.bucket_states).where(tables.bucket_states.c.collection == collection))

    # --- reports and decisions ---

    def put_report(self, run_id: str, part: str, content: Mapping[str, Any]) -> None:
        with self._fence.writing() as connection:
            connection.execute(self._database.upsert(tables.reports), {"run_id": run_id, "part": part, "content": _json(content)})

    def report(self, run_id: str) -> dict[str, Mapping[str, Any]]:
        query = select(tables.reports.c.part, tables.reports.c.content).where(tables.reports.c.run_id == run_id)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(tables.reports.c.part)).fetchall()
        return {part: json.loads(content) for part, content in rows}

    def add_decision(self, kind: str, content: Mapping[str, Any]) -> None:
        with self._fence.writing() as connection:
            connection.execute(insert(tables.decisions), {"at_ns": time.time_ns(), "kind": kind, "content": _json(content)})

    def decisions(self, *, kind: str | None = None, limit: int | None = None) -> list[Decision]:
        row = tables.decisions.c
        query = select(row.at_ns, row.kind, row.content).order_by(row.position.desc()).limit(limit)
        if kind is not None:
            query = query.where(row.kind == kind)
        with self._database.reading() as connection:
            rows = connection.execute(query).fetchall()
        return [Decision(at_ns, kind, json.loads(content)) for at_ns, kind, content in rows]


_DELETE_DOCUMENT = delete(tables.documents).where(tables.documents.c.document_id == bindparam("document_id_"))
_DELETE_QUARANTINE = delete(tables.quarantine).where(
    tables.quarantine.c.content_hash == bindparam("hash_"), tables.quarantine.c.parser_fingerprint == bindparam("fingerprint_")
)
_DELETE_OUTLIVED_QUARANTINE = delete(tables.quarantine).where(
    ~exists().where(tables.documents.c.content_hash == tables.quarantine.c.content_hash)
)
"""Entries of contents that no document has: what was deleted leaves no path or detail behind."""
_ORPHANED_QUARANTINE = select(tables.quarantine).where(
    ~exists().where(
        tables.documents.c.document_id == tables.quarantine.c.document_id,
        tables.documents.c.content_hash == tables.quarantine.c.content_hash,
    )
)
_OWN = ("document_id", "source", "path", "generation")
"""What an entry says of its document, not of its content."""


def _hand_over_quarantine(connection: Connection) -> None:
    """Names a document that is there in entries whose own is gone or mended, and drops those that hold for none."""
    known, document = tables.quarantine.c, tables.documents.c
    for row in connection.execute(_ORPHANED_QUARANTINE).mappings().fetchall():
        entry = _entry(row)
        others = select(*(getattr(document, name) for name in _OWN)).where(document.content_hash == entry.content_hash)
        heirs = (entry_for(entry, **other) for other in connection.execute(others.order_by(document.path)).mappings())
        heir = next((found for found in heirs if found is not None), None)
        own = (known.content_hash == entry.content_hash, known.parser_fingerprint == entry.parser_fingerprint)
        if heir is None:
            connection.execute(delete(tables.quarantine).where(*own))
        else:
            values = {name: getattr(heir, name) for name in _OWN}
            connection.execute(update(tables.quarantine).where(*own).values(**values))


def _entry(row: RowMapping) -> QuarantineEntry:
    values = {column.name: row[column.name] for column in tables.quarantine.columns}
    return QuarantineEntry(**{**values, "type": DocumentType(row["type"]) if row["type"] else None})


def _changed_ns(connection: Connection, name: str, state: str) -> int:
    """When the collection came into this state: now, unless it is in it already."""
    row = tables.collections.c
    known = connection.execute(select(row.state, row.changed_ns).where(row.name == name).with_for_update()).first()
    return int(known.changed_ns) if known and known.state == state else time.time_ns()


def _batches(records: Sequence[DocumentRecord]) -> Iterable[Sequence[DocumentRecord]]:
    return (records[start : start + _ROWS_AT_ONCE] for start in range(0, len(records), _ROWS_AT_ONCE))


def _record(row: Any) -> DocumentRecord:
    """The record of a row; source and bucket, the same in many rows, are one object each."""
    document, source, path, uri, bucket, size_bytes, modified_ns, version, *others = row
    stat = FileStat(size_bytes, modified_ns, version)
    return DocumentRecord(document, sys.intern(source), path, uri, sys.intern(bucket), stat, *others)


def _document_row(record: DocumentRecord) -> dict[str, Any]:
    stat = record.stat
    return {
        "document_id": record.document_id,
        "source": record.source,
        "path": record.path,
        "uri": record.uri,
        "bucket": record.bucket,
        "size_bytes": stat.size_bytes,
        "modified_ns": stat.modified_ns,
        "version": stat.version,
        "content_hash": record.content_hash,
        "is_racy": record.is_racy,
        "generation": record.generation,
    }


def _quarantine_row(entry: QuarantineEntry) -> dict[str, Any]:
    return {**asdict(entry), "detail": entry.detail.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")}


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, allow_nan=False)
