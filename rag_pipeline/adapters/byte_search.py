"""Looks for pieces of text in the bytes of files: plain, as UTF-16, as JSON writes them, and inside Parquet."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rag_pipeline.errors import BackendUnavailableError

BLOCK_BYTES = 64 * 2**10
"""Read at once; blocks overlap by the longest form. One of zeros alone is passed over: logs are laid out ahead with them."""
SQLITE_MAGIC = b"SQLite format 3\0"
BUSY_TIMEOUT_S = 30.0


def written_forms(pieces: Iterable[str]) -> frozenset[bytes]:
    """How files may hold the pieces: UTF-8, UTF-16 in both orders, JSON with escapes, JSON inside of JSON."""
    forms: set[bytes] = set()
    for piece in pieces:
        once = json.dumps(piece)[1:-1]
        twice = json.dumps(once)[1:-1]
        forms |= {piece.encode("utf-8", "replace"), once.encode(), twice.encode()}
        forms |= {piece.encode(order, "replace") for order in ("utf-16-le", "utf-16-be")}
    return frozenset(form for form in forms if form)


def files_below(folders: Iterable[Path]) -> list[Path]:
    """Every file below the folders once, sorted; links are not followed."""
    found: set[Path] = set()
    for folder in folders:
        if folder.is_dir():
            found |= {path.resolve() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    return sorted(found)


def find_in_files(files: Iterable[Path], forms: Collection[bytes]) -> list[Path]:
    """Files that hold one of the forms; one that goes away meanwhile holds nothing."""
    return [path for path in files if forms and _holds(path, forms)]


def delete_rows_below(folder: Path, forms: Collection[bytes]) -> int:
    """How many rows went from the SQLite files below the folder because one of the forms stands in them; nothing is left."""
    databases = [path for path in files_below([folder]) if _is_sqlite(path)]
    try:
        return sum(_clean_database(path, forms) for path in databases)
    except sqlite3.Error as error:
        raise BackendUnavailableError(
            f"records below {folder} cannot be cleared ({error}); stop what uses them, then run again", system="records"
        ) from error


def delete_logs_below(folder: Path, forms: Collection[bytes], *, suffixes: Sequence[str]) -> int:
    """How many captured logs went because one of the forms stands in them."""
    found = find_in_files((path for path in files_below([folder]) if path.suffix in suffixes), forms)
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _holds(path: Path, forms: Collection[bytes]) -> bool:
    try:
        blocks = _decoded(path) if path.suffix == ".parquet" else _blocks(path, max(map(len, forms)))
        return any(form in block for block in blocks for form in forms)
    except FileNotFoundError:
        return False


def _blocks(path: Path, overlap: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        tail = b""
        while block := file.read(BLOCK_BYTES):
            joined = tail + block
            if joined.count(0) < len(joined):
                yield joined
            tail = joined[-overlap:]


def _decoded(path: Path) -> Iterator[bytes]:
    """The texts of a Parquet file; one that cannot be decoded is looked at as it is."""
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if name != "vector":
                    yield "\n".join(_texts(column.to_pylist())).encode("utf-8", "replace")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        yield path.read_bytes()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for below in value.items():
            yield from _texts(list(below))
    elif isinstance(value, (list, tuple)):
        for below in value:
            yield from _texts(below)


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
    except FileNotFoundError:
        return False


def _clean_database(path: Path, forms: Collection[bytes]) -> int:
    """Every row is looked at, since a text may lie over several pages of the file; then the file is rewritten."""
    with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete=ON").fetchall()
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        deleted = sum(_delete_rows(connection, name, forms) for name in names if not name.startswith("sqlite_"))
        if deleted:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return deleted


def _delete_rows(connection: sqlite3.Connection, table: str, forms: Collection[bytes]) -> int:
    quoted = '"' + table.replace('"', '""') + '"'
    found = []
    for key, *values in connection.execute(f"SELECT rowid, * FROM {quoted}"):  # noqa: S608 - a name from the file's own list
        held = [value if isinstance(value, bytes) else str(value).encode("utf-8", "replace") for value in values if value]
        if any(form in value for value in held for form in forms):
            found.append((key,))
    if found:
        connection.executemany(f"DELETE FROM {quoted} WHERE rowid = ?", found)  # noqa: S608 - as above
    return len(found)
