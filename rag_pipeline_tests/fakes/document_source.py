"""A source in memory whose clock, time stamps and failures the test sets."""

from dataclasses import dataclass, field
from fnmatch import fnmatch

from rag_pipeline.errors import SourceUnavailableError, UnstableDocumentError
from rag_pipeline.indexing.identity import content_digest
from rag_pipeline.schema import Exclusion, FileContent, FileStat, Listing, SourceFile


@dataclass
class SteppedClock:
    """A clock that stands still unless told."""

    time_ns: int = 1_700_000_000_000_000_000

    def now_ns(self) -> int:
        return self.time_ns


@dataclass
class _File:
    data: bytes
    modified_ns: int
    version: str


@dataclass
class MemorySource:
    """Port ``DocumentSource`` on a dictionary.

    ``tick_ns`` is the granularity of its stamps. With ``tells_versions`` a write also changes the version, as a change time does.
    """

    name: str = "memory"
    clock: SteppedClock = field(default_factory=SteppedClock)
    tick_ns: int = 1
    tells_versions: bool = True
    exclude: tuple[str, ...] = ()
    size_max_bytes: int = 1_000_000
    is_missing: bool = False
    unreadable: set[str] = field(default_factory=set)
    vanishing: set[str] = field(default_factory=set)
    """Listed, but gone when they are to be read."""
    reads: list[str] = field(default_factory=list)
    listings: int = 0
    url: str = "memory"
    files: dict[str, _File] = field(default_factory=dict)
    _writes: int = 0

    def write(self, path: str, data: bytes, *, keep_stamp: bool = False) -> None:
        """As a program would; ``keep_stamp`` sets the modification time back afterwards."""
        self._writes += 1
        old = self.files.get(path)
        stamp = old.modified_ns if keep_stamp and old else self.clock.now_ns() // self.tick_ns * self.tick_ns
        self.files[path] = _File(data, stamp, str(self._writes) if self.tells_versions else "")

    def rename(self, old: str, new: str) -> None:
        """Keeps the stamp where a version tells the move; a source without versions copies and deletes, as an object store."""
        file = self.files.pop(old)
        if self.tells_versions:
            self.files[new] = file
        else:
            self.write(new, file.data)

    def delete(self, path: str) -> None:
        del self.files[path]

    def list_files(self) -> Listing:
        self.listings += 1
        if self.is_missing:
            raise SourceUnavailableError(f"source '{self.name}': cannot list '{self.url}'")
        files, excluded = [], []
        for path, file in sorted(self.files.items()):
            if any(fnmatch(path, pattern) for pattern in self.exclude):
                excluded.append(Exclusion(path, "pattern"))
            elif len(file.data) > self.size_max_bytes:
                excluded.append(Exclusion(path, "too_large"))
            else:
                files.append(SourceFile(path, _stat(file)))
        return Listing(self.name, self.clock.now_ns(), tuple(files), tuple(excluded), self.stat_digest())

    def read(self, path: str) -> FileContent:
        self.reads.append(path)
        if path not in self.files or path in self.vanishing:
            raise FileNotFoundError(path)
        if path in self.unreadable:
            raise UnstableDocumentError(f"'{path}' cannot be read")
        file = self.files[path]
        return FileContent(file.data, _stat(file), content_digest(file.data))

    def digest(self, path: str) -> tuple[FileStat, str]:
        content = self.read(path)
        return content.stat, content.content_hash

    def stat_digest(self) -> str | None:
        return None if self.is_missing else repr([(path, _stat(file)) for path, file in sorted(self.files.items())])

    def uri(self, path: str) -> str:
        return f"{self.url}/{path}"


def _stat(file: _File) -> FileStat:
    return FileStat(len(file.data), file.modified_ns, file.version)
