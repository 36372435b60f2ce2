"""Children of `parsing.forkserver`, as the pipeline sees them: started, asked, and ended whatever they do.

What a child sends is read into bytes up to a known size and within a known time; nothing of it is ever unpickled.
"""

import atexit
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rag_pipeline.adapters.parsing import frames
from rag_pipeline.errors import BackendUnavailableError

_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME")
_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
_START_WAIT_S = 60.0
_PIECE_BYTES = 1 << 20
_REPLY_BYTES = 4096


class ChildError(Exception):
    """A child gave no answer. Never leaves the adapter."""


class ChildDiedError(ChildError):
    """It ended, or said what no child says."""


class ChildTimeoutError(ChildError):
    """It took too long."""


class AnswerTooLargeError(ChildError):
    """It said more than it may."""


@dataclass(frozen=True, slots=True)
class Job:
    """What children are started for: ``module:function``, and what they may open and write."""

    function: str
    open_files: int
    file_bytes: int


class Child:
    """One process. It answers one request at a time; after an error it can only be ended."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self.asked = 0
        self.is_ended = False
        self.protections: tuple[str, ...] = ()
        self.type_told = b""
        """What it said of the type of the last document, before it parsed it."""
        self._channel = channel

    def wait_ready(self) -> None:
        """Waits until it is shut in. Raises ChildError."""
        kind, _, body = self._read_frame(time.monotonic() + _START_WAIT_S, frames.MAX_NOTE_BYTES)
        if kind != frames.READY:
            raise ChildDiedError
        self.protections = tuple(map(str, json.loads(body)))

    def ask(self, order: bytes, data: bytes, *, timeout_s: float, max_bytes: int) -> bytes:
        """The answer. Raises ChildTimeoutError, AnswerTooLargeError or ChildDiedError."""
        deadline = time.monotonic() + timeout_s
        self.asked += 1
        self.type_told = b""
        for body in (order, data):
            self._write(frames.pack(frames.REQUEST, self.asked, len(body)), deadline)
            self._write(body, deadline)
        for _ in range(frames.MAX_NOTES + 1):
            kind, number, body = self._read_frame(deadline, max_bytes)
            if number != self.asked or kind not in (frames.TYPE, frames.ANSWER):
                raise ChildDiedError
            if kind == frames.ANSWER:
                return body
            self.type_told = body
        raise AnswerTooLargeError

    def is_silent(self) -> bool:
        """Whether it says nothing unasked; a child that does may not be asked again."""
        self._channel.settimeout(0)
        try:
            self._channel.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def interrupt(self) -> None:
        """Whoever waits for its answer is told that it is gone."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _read_frame(self, deadline: float, max_bytes: int) -> tuple[int, int, bytes]:
        kind, number, length = frames.HEADER.unpack(self._read(frames.HEADER.size, deadline))
        if length > (max_bytes if kind == frames.ANSWER else frames.MAX_NOTE_BYTES):
            raise AnswerTooLargeError
        return kind, number, bytes(self._read(length, deadline))

    def _read(self, size: int, deadline: float) -> bytearray:
        """Grows with what arrives, so that a length that nothing follows costs nothing."""
        data = bytearray()
        while len(data) < size:
            with self._within(deadline):
                piece = self._channel.recv(min(size - len(data), _PIECE_BYTES))
            if not piece:
                raise ChildDiedError
            data += piece
        return data

    def _write(self, data: bytes, deadline: float) -> None:
        with self._within(deadline):
            self._channel.sendall(data)

    @contextlib.contextmanager
    def _within(self, deadline: float) -> Iterator[None]:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise ChildTimeoutError
        try:
            self._channel.settimeout(left_s)
            yield
        except TimeoutError:
            raise ChildTimeoutError from None
        except OSError:
            raise ChildDiedError from None


class ForkServer:
    """Starts and ends children. Safe to use from many threads; starts with the first child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._left_to_others: list[object] = []

    def start(self, job: Job) -> Child:
        """A child that is shut in and waits. Raises BackendUnavailableError where none can be started."""
        ours, theirs = socket.socketpair()
        with theirs:
            order = {"function": job.function, "open_files": job.open_files, "file_bytes": job.file_bytes}
            try:
                child = Child(self._pid(self._order({"start": order}, theirs)), ours)
            except (OSError, ValueError) as error:
                ours.close()
                raise _unavailable(type(error).__name__) from None
        try:
            child.wait_ready()
        except (ChildError, ValueError) as error:
            self.end(child)
            raise _unavailable(type(error).__name__) from None
        return child

    def end(self, child: Child) -> int | None:
        """How it ended, as `os.waitpid` tells it; None where that is not known."""
        if child.is_ended:  # its number may belong to another child by now
            return None
        child.is_ended = True
        child.close()
        try:
            status = self._order({"end": child.pid}, None).get("status")
        except (OSError, ValueError):  # the server is gone, and every child of it with it
            return None
        return status if isinstance(status, int) else None

    def close(self) -> None:
        """Ends the server and all its children."""
        with self._lock:
            self._stop()

    def forget(self) -> None:
        """For a fork of the process that started it: that one goes on using it, and this one starts its own."""
        self._left_to_others.append(self._process)
        if self._control is not None:
            self._control.close()  # or the server would not notice that its process is gone
        self._lock = threading.Lock()
        self._process = self._control = None

    def _order(self, order: dict[str, Any], channel: socket.socket | None) -> dict[str, Any]:
        message = json.dumps(order).encode()
        with self._lock:
            control = self._running() if channel else self._control
            if control is None:
                return {}
            try:
                socket.send_fds(control, [message], [channel.fileno()] if channel else [])
                reply = bytearray()
                while not reply.endswith(b"\n"):
                    piece = control.recv(_REPLY_BYTES)
                    if not piece:
                        raise ConnectionError("the fork server ended")
                    reply += piece
            except OSError:
                self._stop()
                raise
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def _pid(self, reply: dict[str, Any]) -> int:
        if "pid" not in reply:
            raise OSError(f"no fork: {reply.get('error')}")
        return int(reply["pid"])

    def _running(self) -> socket.socket:
        if self._control is None:
            ours, theirs = socket.socketpair()
            ours.settimeout(_START_WAIT_S)
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603  this interpreter
                    _command(theirs.fileno()),
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            self._control = ours
        return self._control

    def _stop(self) -> None:
        process, control = self._process, self._control
        self._process = self._control = None
        if control is not None:
            control.close()
        if process is not None:
            try:
                process.wait(_START_WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


FORK_SERVER = ForkServer()
"""The one of this process. It keeps running until the process ends; its children end with their pool."""
atexit.register(FORK_SERVER.close)
os.register_at_fork(after_in_child=FORK_SERVER.forget)


def _command(descriptor: int) -> list[str]:
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; from rag_pipeline.adapters.parsing.forkserver import main; main({descriptor})"
    )
    return [sys.executable, "-c", code]


def _environment() -> dict[str, str]:
    """Nothing that could be a secret: the memory of a process keeps what it was started with."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return kept | _ONE_THREAD | {"TMPDIR": tempfile.gettempdir()}


def _unavailable(problem: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"no process can be started ({problem}); check memory and process limits, and 'rag doctor'", system="parsing"
    )
