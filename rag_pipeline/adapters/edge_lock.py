"""One process at a time in the folder of the embedded store, and how a long work lets others have their turn.

Who waits touches the file ``waiting`` at each of its tries. The holder looks at it between two writes, and gives way.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from rag_pipeline.errors import BackendUnavailableError, StoreLockedError

POLL_S = 0.1
FRESH_S = 2.0
"""A waiter that was not heard of for so long is gone."""
TURN_S = 0.5
"""How long a freed lock is left for the waiter to take."""
QUIET_S = 1.0
"""A wait for the lock that one gave away itself is told only after this time."""


class EdgeLock:
    """The lock of a store folder. The operating system frees it when its process dies, however it dies.

    ``on_wait`` is told once, by which process the store is held and how long the wait may last.
    """

    def __init__(self, root: Path, *, wait_s: float, on_wait: Callable[[str], None]) -> None:
        self._root = root
        self._wait_s = wait_s
        self._on_wait = on_wait
        self._holder_file = root / "lock.json"
        self._waiting_file = root / "waiting"
        self._lock = FileLock(root / "lock", thread_local=False)
        self._gave_way = False

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return bool(self._lock.is_locked)

    @property
    def is_wanted(self) -> bool:
        """Whether this object holds the lock while another process waits for it. One look at a file."""
        if not self.is_held:
            return False
        try:
            age_s = time.time() - self._waiting_file.stat().st_mtime
        except OSError:
            return False
        return abs(age_s) < FRESH_S

    def acquire(self) -> None:
        """Takes the lock, waiting as long as allowed. Raises StoreLockedError then, BackendUnavailableError where it cannot."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            if not self._try():
                self._wait()
        except OSError as error:
            raise BackendUnavailableError(
                f"the store in {self._root} cannot be locked ({error.strerror or type(error).__name__}); "
                "free space, or see that this user may write there",
                system="store",
            ) from error
        self._gave_way = False
        with suppress(OSError):  # it tells who waits whom for
            self._holder_file.write_text(json.dumps(_this_process()), encoding="utf-8")

    def give_way(self) -> None:
        """Frees the lock and waits until somebody has taken it, or nobody has for a moment."""
        self._gave_way = True
        self.release()
        deadline_s = time.monotonic() + TURN_S
        while self._waiting_file.exists() and time.monotonic() < deadline_s:
            time.sleep(POLL_S / 10)
        self._withdraw()

    def release(self) -> None:
        """Frees the lock; nothing happens where it is not held."""
        if self.is_held:
            with suppress(OSError):
                self._holder_file.unlink(missing_ok=True)
            self._lock.release()

    def retry(self, is_done: Callable[[], bool]) -> None:
        """Calls until it is done, as long as a wait may last: for a shard that a process outside our lock has open."""
        deadline_s = time.monotonic() + self._wait_s
        if is_done():
            return
        self._announce()
        while not is_done():
            if time.monotonic() >= deadline_s:
                raise self._locked_error()
            time.sleep(POLL_S)

    def _try(self) -> bool:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def _wait(self) -> None:
        try:
            self._poll()
        finally:
            self._withdraw()

    def _poll(self) -> None:
        started_s, is_told = time.monotonic(), False
        while True:
            waited_s = time.monotonic() - started_s
            if not is_told and waited_s >= (QUIET_S if self._gave_way else 0):
                self._announce()
                is_told = True
            self._call_attention()
            if self._try():
                return
            if waited_s >= self._wait_s:
                raise self._locked_error()
            time.sleep(POLL_S)

    def _call_attention(self) -> None:
        with suppress(OSError):  # a full disk: then it takes as long as it takes
            self._waiting_file.touch()

    def _withdraw(self) -> None:
        """Who else waits calls again at its next try."""
        with suppress(OSError):
            self._waiting_file.unlink()

    def _announce(self) -> None:
        self._on_wait(f"the store in {self._root} is in use by {self._holder()}; waiting up to {self._wait_s:g} s")

    def _locked_error(self) -> StoreLockedError:
        return StoreLockedError(
            f"the store in {self._root} is in use by {self._holder()} and was not freed within {self._wait_s:g} s; wait for "
            "that process or end it, raise store.lock_wait_s, or use a Qdrant server for several processes at once"
        )

    def _holder(self) -> str:
        try:
            holder = json.loads(self._holder_file.read_text(encoding="utf-8"))
            who = f"process {holder['pid']} on {holder['host']} ({holder['command']}), since {holder['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"
        return f"this very process, through another store object, {who}" if holder["pid"] == os.getpid() else who


def _this_process() -> dict[str, str | int]:
    # Arguments after the first may hold secrets.
    command = " ".join([Path(sys.argv[0] or sys.executable).name, *sys.argv[1:2]])
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": since}
