"""Hints that something changed below local folders, from the operating system's events.

Only hints: the kernel drops events when its queue is full, network folders send none, and a watch may be refused. So
``changed`` answers yes whenever it does not know, and no is good for skipping some scans, never all.
"""

import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from watchdog.events import FileSystemEvent, FileSystemEventHandler

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver

START_WAIT_S = 2.0
"""How long ``start`` waits for the watches of a large tree; they are set on in the background."""
_STOP_WAIT_S = 5.0
_POLL_S = 5.0
_QUIET_EVENTS = frozenset({"opened", "closed_no_write"})
"""Events of readers, such as our own."""
_log = logging.getLogger(__name__)


class FolderWatcher:
    """Watches folders with all that is below them. ``polling`` compares listings instead, for network folders."""

    def __init__(self, paths: Iterable[Path], *, polling: bool = False) -> None:
        self._paths = [Path(path) for path in paths]
        self._polling = polling
        self._changed = threading.Event()
        self._ready = threading.Event()
        self._settled = threading.Event()
        self._stopping = threading.Event()
        self._observer: BaseObserver | None = None
        self._starter: threading.Thread | None = None

    @property
    def is_watching(self) -> bool:
        """Whether every folder is watched; until then ``changed`` always says yes."""
        observer = self._observer
        return self._ready.is_set() and observer is not None and all(part.is_alive() for part in (observer, *observer.emitters))

    def start(self) -> None:
        """Begins to watch; never fails and never takes long."""
        if self._starter is None:
            self._stopping.clear()
            self._settled.clear()
            self._starter = threading.Thread(target=self._watch, name="folder-watcher", daemon=True)
            self._starter.start()
            self._settled.wait(START_WAIT_S)

    def stop(self) -> None:
        """Ends the watch; it may be started again."""
        self._stopping.set()
        if self._starter is not None:
            self._starter.join(_STOP_WAIT_S)
        if self._observer is not None and self._observer.is_alive():
            self._observer.stop()
            self._observer.join(_STOP_WAIT_S)
        self._ready.clear()
        self._starter = self._observer = None

    def changed(self) -> bool:
        """Whether something happened since the last call, or may have."""
        was_watching = self.is_watching
        happened = self._changed.is_set()
        self._changed.clear()
        return happened or not was_watching

    def _watch(self) -> None:
        try:
            self._set_watches()
        except (OSError, RuntimeError, ImportError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            _log.warning("folders cannot be watched (%s); every look scans them instead", reason)
        finally:
            self._settled.set()

    def _set_watches(self) -> None:
        """Watches all folders. What happened before is unknown, so the first answer is yes."""
        self._observer = self._make_observer()
        self._observer.start()
        for path in self._paths:
            if self._stopping.is_set():
                return
            self._observer.schedule(_Listener(self._changed), str(path), recursive=True)
        self._changed.set()
        self._ready.set()

    def _make_observer(self) -> "BaseObserver":
        if self._polling:
            from watchdog.observers.polling import PollingObserver

            return PollingObserver(timeout=_POLL_S)
        from watchdog.observers import Observer

        return Observer()


class _Listener(FileSystemEventHandler):
    """Sets the flag for every event but those of readers."""

    def __init__(self, changed: threading.Event) -> None:
        self._changed = changed

    def dispatch(self, event: FileSystemEvent) -> None:
        if event.event_type not in _QUIET_EVENTS:
            self._changed.set()
