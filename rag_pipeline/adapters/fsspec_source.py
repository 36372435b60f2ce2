"""Any fsspec file system as a source of documents: S3, GCS, Azure, SFTP, memory.

On object stores one flat listing is read and a file's version is its ETag or generation; elsewhere folders are walked and
its version is its time. The system is asked about a file before and after its bytes are read, and only an equal answer counts.
"""

import errno
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar

from blake3 import blake3

from rag_pipeline.adapters.path_names import raw_path, readable_path
from rag_pipeline.adapters.path_rules import PathRules
from rag_pipeline.adapters.remote_errors import describe_error, remote_errors
from rag_pipeline.adapters.system_clock import SystemClock
from rag_pipeline.errors import SettingsError, SourceUnavailableError, UnstableDocumentError
from rag_pipeline.indexing.identity import content_digest
from rag_pipeline.ports import Clock
from rag_pipeline.schema import Exclusion, FileContent, FileStat, Listing, SourceFile
from rag_pipeline.settings import SourceSettings

T = TypeVar("T")
Info = Mapping[str, Any]

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss"})
"""Protocols without real folders: one listing tells all, and an empty prefix is no sign of trouble while its bucket stands."""

_ATTEMPTS = 4
_PAUSE_S = 0.1
_BLOCK_BYTES = 8 * 1024 * 1024
_VERSION_KEYS = ("generation", "ETag", "etag", "md5Hash", "content_md5")
_TIME_KEYS = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
_ALWAYS_YOUNG_NS = 1 << 62
"""Time of a file whose system tells none: its stat never proves anything, so it is read at every scan."""
_NS_PER_US, _US_PER_S = 1_000, 1_000_000
_CREDENTIALS = re.compile(r"(?<=//)[^/@]*@")


class FsspecSource:
    """Port ``DocumentSource`` on an fsspec URL."""

    def __init__(self, settings: SourceSettings, *, clock: Clock | None = None) -> None:
        self.name = settings.name
        self._url = settings.url
        self._address = _CREDENTIALS.sub("", settings.url).rstrip("/")
        self._options = dict(settings.storage_options)
        self._rules = PathRules(settings)
        self._clock = clock or SystemClock()

    def list_files(self) -> Listing:
        started_ns = self._clock.now_ns()
        sieve = _Sieve(self._rules)
        with self._whole_or_error():
            for info in self._flat_infos() if self._is_object_store else self._walked_infos(sieve):
                sieve.add(info["name"][len(self._root) :].removeprefix("/"), info)
        files = tuple(sorted(sieve.files, key=lambda file: file.path))
        excluded = tuple(sorted(sieve.excluded, key=lambda exclusion: exclusion.path))
        return Listing(source=self.name, started_ns=started_ns, files=files, excluded=excluded)

    def read(self, path: str) -> FileContent:
        stat, data = self._read_stable(path, self._read_whole)
        return FileContent(data=data, stat=stat, content_hash=content_digest(data))

    def digest(self, path: str) -> tuple[FileStat, str]:
        return self._read_stable(path, self._hash_blocks)

    def stat_digest(self) -> None:
        """Nothing: what takes its time is asking, and a listing asks no more."""

    def uri(self, path: str) -> str:
        return f"{self._address}/{path}"

    # --- the file system ---

    @cached_property
    def _system(self) -> tuple[Any, str]:
        """The file system, without any cache of listings, and the root on it."""
        from fsspec.core import url_to_fs

        try:
            system, root = url_to_fs(self._url, use_listings_cache=False, skip_instance_cache=True, **self._options)
        except (ImportError, ValueError, TypeError) as error:
            raise self._settings_error(error) from error
        return system, str(root).rstrip("/")

    @property
    def _root(self) -> str:
        return self._system[1]

    @property
    def _is_object_store(self) -> bool:
        protocol = self._system[0].protocol
        return not OBJECT_STORES.isdisjoint((protocol,) if isinstance(protocol, str) else protocol)

    # --- listing ---

    def _flat_infos(self) -> Iterator[Info]:
        system, root = self._system
        if not root:
            raise SettingsError(
                f"sources.{self.name}.url: '{self._address}' names no bucket; write {self._address}//BUCKET/PREFIX"
            )
        found = system.find(root, detail=True)
        if not found and not system.exists(root.lstrip("/").split("/")[0]):
            raise FileNotFoundError(errno.ENOENT, "no such bucket")
        yield from (info for info in found.values() if info["name"].startswith(root + "/"))

    def _walked_infos(self, sieve: "_Sieve") -> Iterator[Info]:
        system, root = self._system
        folders = [root]
        while folders:
            for info in system.ls(folders.pop(), detail=True):
                name = info["name"].rstrip("/")
                if info["type"] != "directory":
                    yield info
                elif name != root and not sieve.drops_folder(name[len(root) :].lstrip("/")):
                    folders.append(name)

    @contextmanager
    def _whole_or_error(self) -> Iterator[None]:
        try:
            yield
        except remote_errors() as error:
            raise SourceUnavailableError(
                f"source '{self.name}': cannot list '{self._address}' ({describe_error(error)}); "
                "check the address, the credentials and the network, then run again. Nothing was deleted"
            ) from error

        except TypeError as error:  # some file systems take any option and hand it on at the first request
            raise self._settings_error(error) from error

    def _settings_error(self, error: Exception) -> SettingsError:
        return SettingsError(
            f"sources.{self.name}.url: '{self._address}' cannot be opened ({type(error).__name__}); "
            "check the URL, its storage_options and that the package of its protocol is installed"
        )

    # --- reading ---

    def _read_stable(self, path: str, consume: Callable[[str, int], T]) -> tuple[FileStat, T]:
        """Stat and result of one real version: the system says the same before and after."""
        failure: Exception | None = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE_S * attempt)
            try:
                before = self._stat(path)
                result = consume(self._locate(path), before.size_bytes)
                if self._stat(path) == before:
                    return before, result
                failure = None
            except FileNotFoundError:
                raise FileNotFoundError(errno.ENOENT, "gone from the source", path) from None
            except PermissionError as error:
                raise UnstableDocumentError(f"'{path}' may not be read; check the permissions of its object") from error
            except remote_errors() as error:
                failure = error
        raise self._read_error(path, failure)

    def _read_error(self, path: str, failure: Exception | None) -> Exception:
        if failure is None:
            return UnstableDocumentError(f"'{path}' changed during each of {_ATTEMPTS} reads; it is tried again at the next scan")
        return SourceUnavailableError(
            f"source '{self.name}': reading '{path}' failed {_ATTEMPTS} times ({describe_error(failure)}); "
            "check the network, then run again"
        )

    def _stat(self, path: str) -> FileStat:
        info = self._system[0].info(self._locate(path))
        if info["type"] != "file":
            raise FileNotFoundError(errno.ENOENT, "a folder now")
        stat = _file_stat(info)
        if stat.size_bytes > self._rules.size_max_bytes:
            raise UnstableDocumentError(f"'{path}' has grown above max_size_mb; the next scan excludes it")
        return stat

    def _locate(self, path: str) -> str:
        return f"{self._root}/{raw_path(path)}"

    def _read_whole(self, location: str, size_bytes: int) -> bytes:
        return b"".join(self._blocks(location, size_bytes, block_bytes=size_bytes))

    def _hash_blocks(self, location: str, size_bytes: int) -> str:
        hasher = blake3()
        for block in self._blocks(location, size_bytes, block_bytes=_BLOCK_BYTES):
            hasher.update(block)
        return hasher.hexdigest()

    def _blocks(self, location: str, size_bytes: int, *, block_bytes: int) -> Iterator[bytes]:
        """Exactly ``size_bytes`` bytes, or an error."""
        for start in range(0, size_bytes, max(1, block_bytes)):
            end = min(start + block_bytes, size_bytes)
            block = self._system[0].cat_file(location, start=start, end=end)
            if len(block) != end - start:
                raise OSError(errno.EAGAIN, "fewer bytes than told")
            yield block


class _Sieve:
    """Sorts what a listing gives into files and exclusions, folders that a rule leaves out once each."""

    def __init__(self, rules: PathRules) -> None:
        self.files: list[SourceFile] = []
        self.excluded: list[Exclusion] = []
        self._rules = rules
        self._drops = {"": False}

    def drops_folder(self, folder: str) -> bool:
        """Whether the folder or one above it is left out; notes the uppermost one."""
        if folder not in self._drops:
            above, _, name = folder.rpartition("/")
            is_dropped = self.drops_folder(above)
            if not is_dropped and self._rules.is_folder_excluded(folder, name):
                self._exclude(folder + "/", "pattern")
                is_dropped = True
            self._drops[folder] = is_dropped
        return self._drops[folder]

    def add(self, path: str, info: Info) -> None:
        folder, _, name = path.rpartition("/")
        if not name or self.drops_folder(folder):  # an empty name marks a folder on object stores
            return
        if info.get("islink") or info["type"] == "link":
            self._exclude(path, "symlink")
        elif info["type"] != "file":
            self._exclude(path, "not_regular")
        elif not self._rules.is_file_included(path, name):
            self._exclude(path, "pattern")
        elif info["size"] is not None and info["size"] > self._rules.size_max_bytes:
            self._exclude(path, "too_large")
        else:
            self.files.append(SourceFile(readable_path(path), _file_stat(info)))

    def _exclude(self, path: str, reason: str) -> None:
        self.excluded.append(Exclusion(readable_path(path), reason))


def _file_stat(info: Info) -> FileStat:
    """Times are cut to seconds where a version is told: a listing and a request for one object round them differently."""
    version = next((str(info[key]).strip('"') for key in _VERSION_KEYS if info.get(key)), "")
    time_us = next((_time_us(info[key]) for key in _TIME_KEYS if info.get(key)), None)
    if time_us is None:
        modified_ns = 0 if version else _ALWAYS_YOUNG_NS
    else:
        modified_ns = (time_us // _US_PER_S * _US_PER_S if version else time_us) * _NS_PER_US
    return FileStat(size_bytes=int(info.get("size") or 0), modified_ns=modified_ns, version=version)


def _time_us(value: object) -> int | None:
    """Microseconds since 1970, UTC, from any form in which fsspec systems tell a time."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return round(value * _US_PER_S) if isinstance(value, int | float) else None
