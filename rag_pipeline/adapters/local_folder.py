"""A folder of this machine as a source of documents.

A listing follows no link unless the settings say so, and is either whole or an error. A file is opened once, and all that
is said of it (stat, bytes, hash) comes from that one handle.
"""

import errno
import marshal
import os
import stat as modes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from blake3 import blake3

from rag_pipeline.adapters.path_names import raw_path, readable_path
from rag_pipeline.adapters.path_rules import PathRules
from rag_pipeline.adapters.system_clock import SystemClock
from rag_pipeline.errors import SourceUnavailableError, UnstableDocumentError
from rag_pipeline.indexing.identity import content_digest
from rag_pipeline.ports import Clock
from rag_pipeline.schema import Exclusion, FileContent, FileStat, Listing, SourceFile
from rag_pipeline.settings import SourceSettings

T = TypeVar("T")

_ATTEMPTS = 4
_PAUSE_S = 0.05
_BLOCK_BYTES = 1024 * 1024
_MARSHAL_VERSION = 2
"""The last one whose bytes depend on the values alone; later ones mark what is referred to twice."""
_GONE = {errno.ENOENT, errno.ENOTDIR}
_OF_THE_FILE = {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO, errno.EIO, errno.ENODEV, errno.EISDIR, errno.ENAMETOOLONG}
"""What one file alone can be to blame for. All else, such as a lost mount or no free handle, is the whole source's trouble."""


class LocalFolderSource:
    """Port ``DocumentSource`` on a local folder. ``url`` is the address as the settings write it, the same on every machine."""

    def __init__(self, settings: SourceSettings, *, root: Path, url: str, clock: Clock | None = None) -> None:
        self.name = settings.name
        self._root = os.fspath(root)
        self._url = url.rstrip("/") if url != "/" else ""
        self._rules = PathRules(settings)
        self._follows_links = settings.follow_symlinks
        self._clock = clock or SystemClock()

    def list_files(self) -> Listing:
        started_ns = self._clock.now_ns()
        before = self._root_identity()
        with self._whole_or_error():
            walk = self._walk()
        if self._root_identity() != before:
            raise SourceUnavailableError(f"source '{self.name}': '{self._root}' was replaced during the listing; run again")
        return Listing(self.name, started_ns, walk.files(), walk.excluded(), walk.digest())

    def read(self, path: str) -> FileContent:
        stat, data = self._read_stable(path, _read_whole)
        return FileContent(data=data, stat=stat, content_hash=content_digest(data))

    def digest(self, path: str) -> tuple[FileStat, str]:
        return self._read_stable(path, _hash_blocks)

    def stat_digest(self) -> str | None:
        try:
            return self._walk().digest()
        except OSError:  # a listing says what is wrong
            return None

    def uri(self, path: str) -> str:
        return f"{self._url}/{path}" if self._url != "." else path

    # --- listing ---

    def _walk(self) -> "_Walk":
        walk = _Walk(self._root, rules=self._rules, follows_links=self._follows_links)
        walk.run()
        return walk

    def _root_identity(self) -> tuple[int, int]:
        with self._whole_or_error():
            stat = os.stat(self._root)  # noqa: PTH116 - the root may hold bytes that are not UTF-8
            if not modes.S_ISDIR(stat.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._root)
        return stat.st_dev, stat.st_ino

    @contextmanager
    def _whole_or_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = readable_path(os.fsdecode(error.filename or self._root))
            raise SourceUnavailableError(
                f"source '{self.name}': cannot list '{where}' ({error.strerror or type(error).__name__}); "
                "check that the folder exists, is mounted and may be read, then run again. Nothing was deleted"
            ) from error

    # --- reading ---

    def _read_stable(self, path: str, consume: Callable[[int, int], tuple[int, T]]) -> tuple[FileStat, T]:
        """Stat and result of one real version: the stat is equal before and after ``consume`` took all bytes."""
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE_S * attempt)
            with self._open(path) as handle:
                before = self._stat_handle(path, handle)
                size_bytes, result = consume(handle, before.size_bytes)
                if size_bytes == before.size_bytes and self._stat_handle(path, handle) == before:
                    return before, result
        raise UnstableDocumentError(f"'{path}' changed during each of {_ATTEMPTS} reads; it is tried again at the next scan")

    @contextmanager
    def _open(self, path: str) -> Iterator[int]:
        try:
            handle = self._open_handle(raw_path(path))
            try:
                yield handle
            finally:
                os.close(handle)
        except OSError as error:
            raise self._read_error(path, error) from error

    def _read_error(self, path: str, error: OSError) -> Exception:
        if error.errno in _GONE and os.path.isdir(self._root):  # noqa: PTH112
            return FileNotFoundError(errno.ENOENT, "gone from the source", path)
        if error.errno in _OF_THE_FILE:
            return UnstableDocumentError(f"'{path}' cannot be read ({error.strerror}); check its permissions")
        return SourceUnavailableError(
            f"source '{self.name}': reading '{path}' failed ({error.strerror}); check that the folder is mounted, then run again"
        )

    def _open_handle(self, raw: str) -> int:
        """A handle that a FIFO cannot block. Without links, no part of the path may be one, whoever swaps it meanwhile."""
        parts = raw.split("/")
        if not {"", ".", ".."}.isdisjoint(parts):
            raise FileNotFoundError(errno.ENOENT, "not a path below the root")
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        if self._follows_links:
            return os.open(f"{self._root}/{raw}", flags)
        folder = os.open(self._root, flags | os.O_DIRECTORY)
        for part in parts[:-1]:
            folder = _step(folder, part, flags | os.O_DIRECTORY | os.O_NOFOLLOW)
        return _step(folder, parts[-1], flags | os.O_NOFOLLOW)

    def _stat_handle(self, path: str, handle: int) -> FileStat:
        stat = os.fstat(handle)
        if not modes.S_ISREG(stat.st_mode):
            raise UnstableDocumentError(f"'{path}' is no regular file any more")
        if stat.st_size > self._rules.size_max_bytes:
            raise UnstableDocumentError(f"'{path}' has grown above max_size_mb; the next scan excludes it")
        return _file_stat(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


class _Walk:
    """One pass over a folder. Real folders come first, links to folders last, so that each real folder is seen once.

    What it saw is kept as plain tuples, in the order that the system tells: nearly all walks are only compared with the last.
    """

    def __init__(self, root: str, *, rules: PathRules, follows_links: bool) -> None:
        self._root = root
        self._rules = rules
        self._follows_links = follows_links
        self._folders = [""]
        self._linked_folders: list[str] = []
        self._seen: set[tuple[int, int]] = set()
        self._files: list[tuple[str, int, int, int, int]] = []
        """Path, size, time of modification and of change, number of the file."""
        self._excluded: list[tuple[str, str]] = []

    def files(self) -> tuple[SourceFile, ...]:
        """By path."""
        found = (SourceFile(readable_path(path), _file_stat(*stat)) for path, *stat in self._files)
        return tuple(sorted(found, key=lambda file: file.path))

    def excluded(self) -> tuple[Exclusion, ...]:
        """By path."""
        found = (Exclusion(readable_path(path), reason) for path, reason in self._excluded)
        return tuple(sorted(found, key=lambda exclusion: exclusion.path))

    def digest(self) -> str:
        """Of all that was seen."""
        return blake3(marshal.dumps((self._files, self._excluded), _MARSHAL_VERSION)).hexdigest()

    def run(self) -> None:
        while self._folders:
            self._visit(self._folders.pop())
            if not self._folders and self._linked_folders:
                self._linked_folders.sort(reverse=True)
                self._folders.append(self._linked_folders.pop())

    def _visit(self, folder: str) -> None:
        """``folder`` is empty for the root, else ends with ``/``."""
        location = f"{self._root}/{folder}"
        try:
            if self._follows_links and not self._is_first_visit(folder, location):
                return
            with os.scandir(location) as entries:
                for entry in entries:
                    name = entry.name
                    if entry.is_file(follow_symlinks=False):
                        self._add_file(folder + name, name, entry)
                    else:
                        self._add_other(folder + name, name, entry)
        except OSError as error:
            self._bear(error, folder=folder, location=location)

    def _bear(self, error: OSError, *, folder: str, location: str) -> None:
        """Goes on only where the folder was really removed meanwhile, or can never be reached by any program."""
        if error.errno == errno.ENAMETOOLONG:
            self._exclude(folder, "path_too_long")
        elif not (folder and error.errno in _GONE and not os.path.lexists(location)):
            error.filename = location
            raise error

    def _is_first_visit(self, folder: str, location: str) -> bool:
        stat = os.stat(location)  # noqa: PTH116
        identity = (stat.st_dev, stat.st_ino)
        if identity in self._seen:
            self._exclude(folder, "symlink")
            return False
        self._seen.add(identity)
        return True

    def _add_other(self, path: str, name: str, entry: os.DirEntry[str]) -> None:
        if entry.is_dir(follow_symlinks=False):
            self._add_folder(path, name, self._folders)
        elif entry.is_symlink():
            self._add_link(path, entry)
        else:
            self._exclude(path, "not_regular")

    def _add_folder(self, path: str, name: str, queue: list[str]) -> None:
        if self._rules.is_folder_excluded(path, name):
            self._exclude(path + "/", "pattern")
        else:
            queue.append(path + "/")

    def _add_file(self, path: str, name: str, entry: os.DirEntry[str]) -> None:
        if not self._rules.is_file_included(path, name):
            return self._exclude(path, "pattern")
        try:
            stat = entry.stat(follow_symlinks=self._follows_links)
        except FileNotFoundError:
            return None
        if not modes.S_ISREG(stat.st_mode):
            return self._exclude(path, "not_regular")
        if stat.st_size > self._rules.size_max_bytes:
            return self._exclude(path, "too_large")
        return self._files.append((path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))

    def _add_link(self, path: str, entry: os.DirEntry[str]) -> None:
        try:
            if not self._follows_links:
                self._exclude(path, "symlink")
            elif entry.is_dir():
                self._add_folder(path, entry.name, self._linked_folders)
            elif entry.is_file():
                self._add_file(path, entry.name, entry)
            else:
                self._exclude(path, "not_regular" if os.path.exists(entry.path) else "symlink")  # noqa: PTH110
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            self._exclude(path, "symlink")

    def _exclude(self, path: str, reason: str) -> None:
        self._excluded.append((path, reason))


def _read_whole(handle: int, size_bytes: int) -> tuple[int, bytes]:
    data = b"".join(_blocks(handle, size_bytes))
    return len(data), data


def _hash_blocks(handle: int, size_bytes: int) -> tuple[int, str]:
    hasher, read_bytes = blake3(), 0
    for block in _blocks(handle, size_bytes):
        hasher.update(block)
        read_bytes += len(block)
    return read_bytes, hasher.hexdigest()


def _blocks(handle: int, size_bytes: int) -> Iterator[bytes]:
    """The bytes, at most one more than expected, so that a file that grows while it is read comes to an end."""
    left = size_bytes + 1
    while left > 0 and (block := os.read(handle, min(left, _BLOCK_BYTES))):
        left -= len(block)
        yield block


def _step(folder: int, name: str, flags: int) -> int:
    """A handle on ``name`` inside the open folder, which is closed."""
    try:
        return os.open(name, flags, dir_fd=folder)
    finally:
        os.close(folder)


def _file_stat(size_bytes: int, modified_ns: int, changed_ns: int, number: int) -> FileStat:
    """The device is left out: it changes with a reboot or a remount, and then every file would be read again."""
    return FileStat(size_bytes, max(modified_ns, changed_ns), f"{modified_ns:x}-{changed_ns:x}-{number:x}")
