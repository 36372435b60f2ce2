"""Facts of large files that are dear to compute, remembered until the file changes."""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

Fact = TypeVar("Fact", str, int)

_RACY_NS = 2_000_000_000
"""A file younger than this may change again without a new time stamp, so nothing is remembered of it."""


class FileFacts:
    """Facts by file, kept in one JSON file; whatever is in doubt is computed again.

    A fact holds while size, both time stamps and inode of the file are the same. Without a folder, and where the
    folder cannot be written, everything is computed each time.
    """

    def __init__(self, folder: Path | None) -> None:
        self._file = folder / "file_facts.json" if folder else None
        self._entries = self._read()

    def remember(self, file: Path, name: str, compute: Callable[[Path], Fact]) -> Fact:
        """The remembered fact of the file, or what ``compute`` says."""
        stamp = _stamp(file)
        entry = self._entries.get(str(file))
        if not isinstance(entry, dict) or entry.get("stamp") != stamp:
            entry = {"stamp": stamp}
        elif name in entry:
            fact: Fact = entry[name]
            return fact
        fact = compute(file)
        if stamp == _stamp(file) and max(stamp[1:3]) < time.time_ns() - _RACY_NS:
            self._entries[str(file)] = {**entry, name: fact}
            self._write()
        return fact

    def _read(self) -> dict[str, Any]:
        try:
            entries = json.loads(self._file.read_text(encoding="utf-8")) if self._file else {}
        except (OSError, ValueError):
            return {}
        return entries if isinstance(entries, dict) else {}

    def _write(self) -> None:
        if self._file is None:
            return
        draft = self._file.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(self._entries), encoding="utf-8")
            draft.replace(self._file)
        except OSError:  # a cache that cannot be written costs time and nothing else
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def _stamp(file: Path) -> list[int]:
    """Size, time of the last write, time of the last change of any kind, inode."""
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
