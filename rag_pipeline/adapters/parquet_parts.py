"""A folder of Parquet files a bucket: read as one, added to and replaced atomically.

A file is named ``NUMBER-base`` or ``NUMBER-part-TOKEN``. In the order of names, the last base and what follows it are the
rows; all before it is rubbish of an interrupted replace. So a replace is one new base with the next number, after which the
older files go, and a crash between the two is harmless. Files appear whole: written aside, synced and renamed on a local
disk, one PUT elsewhere.
"""

import errno
import logging
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from rag_pipeline.adapters.remote_errors import describe_error, remote_errors
from rag_pipeline.errors import BackendUnavailableError, SettingsError

T = TypeVar("T")

SYSTEM = "artifacts"
_SUFFIX = ".parquet"
_BASE = "-base"
_NUMBER_DIGITS = 12
_NAME = re.compile(r"[0-9]{12}-(base|part-[0-9a-f]+)\.parquet")
_COMPRESSION_LEVEL = 1
_ATTEMPTS = 5
JOINED_FILES = 8
"""So many small files of a bucket may stay beside each other."""
_UNDECODED = (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError, OSError)
"""What pyarrow raises for a file that it cannot read; its own OSError has no number."""
_log = logging.getLogger(__name__)


class _NotOneTableError(Exception):
    """Tables that have no columns in common, or none at all."""


class ParquetParts:
    """The files of one artifact at an fsspec URL or a local path, one folder a bucket.

    An artifact can be made again from what it was made of. So a file that cannot be decoded is left out with a warning, and
    its rows are made anew; a store that does not answer is an error.
    """

    def __init__(
        self,
        url: str,
        *,
        storage_options: Mapping[str, Any] | None = None,
        dictionary: Sequence[str] = (),
        removes_damaged: bool = False,
    ) -> None:
        """``removes_damaged``: where some columns tell what there is, and a file of damaged others would claim it for ever."""
        self._url = url
        self._removes_damaged = removes_damaged
        self._options = dict(storage_options or {})
        self._dictionary = list(dictionary)

    def tables(self, bucket: str, columns: Sequence[str] | None = None) -> list[pa.Table]:
        """The tables of the bucket, oldest first, with these columns or all."""
        with self._translated(bucket):
            for _ in range(_ATTEMPTS):
                try:
                    found = [self._read(path, columns) for path in _current(self._files(bucket))]
                except FileNotFoundError:  # a replace removed it between our listing and our read
                    continue
                return [table for table in found if table is not None]
        raise BackendUnavailableError(f"bucket {bucket} of {self._url} is replaced again and again; run again", system=SYSTEM)

    def append(self, bucket: str, table: pa.Table) -> None:
        """Adds a file."""
        with self._translated(bucket):
            number = self._next_number(self._files(bucket))
            self._write(f"{self._folder(bucket)}/{number}-part-{uuid.uuid4().hex[:8]}{_SUFFIX}", [table])

    def replace(self, bucket: str, table: pa.Table) -> None:
        """Makes the table all that the bucket holds."""
        with self._translated(bucket):
            self._rebase(bucket, self._files(bucket), [table])

    def join(self, bucket: str) -> None:
        """Makes one file of many of like columns, row for row, one of them in memory at a time."""
        with self._translated(bucket):
            files = self._files(bucket)
            current = _current(files)
            if len(current) <= JOINED_FILES:
                return
            tables = (table for path in current if (table := self._read(path, None)) is not None)
            with suppress(_NotOneTableError):  # of another version, or all damaged: the next replace makes one of what is left
                self._rebase(bucket, files, tables)

    def clear(self, bucket: str) -> None:
        """Removes all files of the bucket."""
        with self._translated(bucket):
            self._remove(self._files(bucket))

    def count_files(self, bucket: str) -> int:
        """Files of the bucket, rubbish included."""
        with self._translated(bucket):
            return len(self._files(bucket))

    def buckets(self) -> list[str]:
        """Buckets with at least one file, sorted."""
        with self._translated("*"):
            return [name for name in self._names(self._root) if self._files(name)]

    def artifacts(self) -> list[str]:
        """Seen as a folder of artifacts: the names of those with at least one file, sorted."""
        with self._translated("*"):
            return [name for name in self._names(self._root) if any(self._files_below(name))]

    def remove_folder(self, name: str) -> None:
        """Removes a bucket or an artifact whole; nothing happens where there is none."""
        with self._translated(name):
            try:
                self._system[0].rm(self._folder(name), recursive=True)
            except FileNotFoundError:
                return

    # --- files ---

    @cached_property
    def _system(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        try:
            system, root = url_to_fs(self._url, use_listings_cache=False, skip_instance_cache=True, **self._options)
        except (ImportError, ValueError, TypeError) as error:
            raise SettingsError(
                f"state: '{self._url}' cannot be opened ({type(error).__name__}); check the URL and that its package is installed"
            ) from error
        return system, str(root).rstrip("/")

    @property
    def _root(self) -> str:
        return self._system[1]

    @property
    def _is_local(self) -> bool:
        return "file" in self._system[0].protocol

    def _folder(self, bucket: str) -> str:
        return f"{self._root}/{bucket}"

    def _list(self, folder: str) -> list[str]:
        try:
            if self._is_local:
                return [entry.path for entry in os.scandir(folder)]
            return [str(name) for name in self._system[0].ls(folder, detail=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _names(self, folder: str) -> list[str]:
        return sorted(name.rstrip("/").rpartition("/")[2] for name in self._list(folder))

    def _files_below(self, name: str) -> Iterator[str]:
        for bucket in self._names(self._folder(name)):
            yield from self._files(f"{name}/{bucket}")

    def _files(self, bucket: str) -> list[str]:
        return sorted(path for path in self._list(self._folder(bucket)) if _NAME.fullmatch(path.rpartition("/")[2]))

    def _next_number(self, files: Sequence[str]) -> str:
        newest = max((int(path.rpartition("/")[2][:_NUMBER_DIGITS]) for path in files), default=0)
        return f"{newest + 1:0{_NUMBER_DIGITS}d}"

    def _read(self, path: str, columns: Sequence[str] | None) -> pa.Table | None:
        try:
            if self._is_local:
                return pq.ParquetFile(path, memory_map=True).read(columns)
            with self._system[0].open(path, "rb") as file:
                return pq.ParquetFile(file).read(columns)
        except _UNDECODED as error:
            if isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError):
                raise
        # Some object stores raise what pyarrow raises. What fails from memory too is damage, and not the way to it.
        data = self._system[0].cat_file(path)
        try:
            return pq.ParquetFile(pa.BufferReader(data)).read(columns)
        except _UNDECODED as error:
            _log.warning("%s is damaged (%s) and left out; what it held is made again", path, type(error).__name__)
        if self._removes_damaged:
            with suppress(OSError):  # who may only read leaves it to who writes
                self._remove([path])
        return None

    def _rebase(self, bucket: str, old: Sequence[str], tables: Iterable[pa.Table]) -> None:
        """A new base, after which the files before it go."""
        self._write(f"{self._folder(bucket)}/{self._next_number(old)}{_BASE}{_SUFFIX}", tables)
        self._remove(old)

    def _write(self, path: str, tables: Iterable[pa.Table]) -> None:
        if self._is_local:
            with _synced(Path(path)) as file:
                self._write_tables(file, tables)
        else:
            sink = pa.BufferOutputStream()
            self._write_tables(sink, tables)
            self._system[0].pipe_file(path, sink.getvalue().to_pybytes())

    def _write_tables(self, sink: Any, tables: Iterable[pa.Table]) -> None:
        """One row group a table."""
        rest = iter(tables)
        first = next(rest, None)
        if first is None:
            raise _NotOneTableError
        options = {"compression": "zstd", "compression_level": _COMPRESSION_LEVEL, "use_dictionary": self._dictionary}
        with pq.ParquetWriter(sink, first.schema, **options) as writer:
            for table in chain([first], rest):
                if table.schema != first.schema:
                    raise _NotOneTableError
                writer.write_table(table)

    def _remove(self, paths: Sequence[str]) -> None:
        """Oldest first, so that what a crash leaves is still the newest base and its parts."""
        for path in paths:
            try:
                self._system[0].rm_file(path)
            except FileNotFoundError:
                continue

    @contextmanager
    def _translated(self, bucket: str) -> Iterator[None]:
        try:
            yield
        except remote_errors() as error:
            full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
            remedy = "free space" if full else "check that it is there and may be read and written"
            raise BackendUnavailableError(
                f"bucket {bucket} of {self._url} failed ({describe_error(error)}); {remedy}, then run again", system=SYSTEM
            ) from error


def _current(files: Sequence[str]) -> Sequence[str]:
    """The last base and what follows it, of all files of a bucket in the order of their names."""
    bases = [index for index, path in enumerate(files) if path.endswith(_BASE + _SUFFIX)]
    return files[bases[-1] :] if bases else files


def merge_rows(tables: Sequence[pa.Table], *, decode: Callable[[pa.Table], Sequence[T]], key: Callable[[T], str]) -> list[T]:
    """Rows of all tables, later ones of a key in place of earlier ones."""
    rows: dict[str, T] = {}
    for table in tables:
        rows.update((key(row), row) for row in decode(table))
    return list(rows.values())


@contextmanager
def _synced(path: Path) -> Iterator[BinaryIO]:
    """What is written inside is whole under the name afterwards, or not there, even after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
