"""The Parser port on a pool of child processes: a document that hangs, crashes or eats memory costs two children, no more."""

import json
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import asdict

from rag_pipeline.adapters.child_processes import (
    FORK_SERVER,
    AnswerTooLargeError,
    Child,
    ChildError,
    ChildTimeoutError,
    Job,
)
from rag_pipeline.adapters.malware_scanner import MalwareScanner
from rag_pipeline.adapters.parsing import versions
from rag_pipeline.adapters.parsing.limits import Limits
from rag_pipeline.adapters.parsing.wire import load_outcome, load_type
from rag_pipeline.errors import DocumentError, ParseError, ParseLimitError
from rag_pipeline.ports import ParseOutcome, ParseRequest
from rag_pipeline.schema import DocumentType
from rag_pipeline.settings import ParsingSettings

PARSE = "rag_pipeline.adapters.parsing.child:parse_bytes"
"""What children run, as ``module:function``."""

_DRAWN_PER_WORKER = 4
_DRAWN_BYTES = 64 * 1024 * 1024
_TRIES = 2
_TIME_SIGNALS = (signal.SIGXCPU, signal.SIGALRM)


class _Task:
    """A request on its way, and the child that works on it."""

    def __init__(self, request: ParseRequest) -> None:
        self.request = request
        self.outcome: Future[ParseOutcome]
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._is_cancelled = False

    def hold(self, child: Child) -> None:
        """Notes the child that works on it. Raises CancelledError where nobody wants the outcome any more."""
        with self._lock:
            if self._is_cancelled:
                raise CancelledError
            self._child = child

    def release(self) -> None:
        """The child is done with it."""
        with self._lock:
            self._child = None

    def cancel(self) -> None:
        """Nobody wants the outcome: a task that waits never starts, a child that works on it is cut off."""
        self.outcome.cancel()
        with self._lock:
            self._is_cancelled = True
            if self._child is not None:
                self._child.interrupt()

    @property
    def is_cancelled(self) -> bool:
        return self._is_cancelled


class ProcessPoolParser:
    """Parses in ``settings.workers`` processes. They start with the first document and end with `close`."""

    def __init__(self, settings: ParsingSettings, *, function: str = PARSE) -> None:
        self._settings = settings
        self._workers = settings.workers or _cpu_count()
        self._limits = Limits.of(settings)
        self._job = Job(function, settings.max_open_files, self._limits.output_bytes)
        self._scanner = MalwareScanner(settings.scanner, settings.scanner_timeout_s) if settings.scanner else None
        self._threads: ThreadPoolExecutor | None = None
        self._idle: list[Child] = []
        self._lock = threading.Lock()

    def fingerprint(self, document_type: DocumentType | None) -> str:
        return versions.fingerprint(document_type, keeps_hidden_text=self._limits.keeps_hidden_text)

    def parse_all(self, requests: Iterable[ParseRequest]) -> Iterator[ParseOutcome]:
        source = iter(requests)
        window: deque[_Task] = deque()
        try:
            while self._fill(window, source):
                yield window[0].outcome.result()
                window.popleft()
        finally:
            for task in window:
                task.cancel()

    def close(self) -> None:
        with self._lock:
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(cancel_futures=True)
        while self._idle:
            FORK_SERVER.end(self._idle.pop())

    def _fill(self, window: deque[_Task], source: Iterator[ParseRequest]) -> bool:
        """Draws requests up to the bounds, at least one; False when none is left."""
        size = sum(len(task.request.data) for task in window)
        while len(window) < _DRAWN_PER_WORKER * self._workers and (size < _DRAWN_BYTES or not window):
            request = next(source, None)
            if request is None:
                break
            task = _Task(request)
            task.outcome = self._running_threads().submit(self._outcome, task)
            window.append(task)
            size += len(request.data)
        return bool(window)

    def _running_threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix="parsing")
            return self._threads

    def _outcome(self, task: _Task) -> ParseOutcome:
        """What became of it, after one more try in a fresh child where the first could be chance."""
        request = task.request
        if self._scanner is not None and self._scanner.finds_malware(request.data):
            error: DocumentError = ParseError("the scanner found malware in it; remove the file", reason="malware")
            return ParseOutcome(request.document_id, None, error)
        outcome = self._try(task, self._take_child())
        for _ in range(1, _TRIES):
            if not _may_be_chance(outcome):
                break
            outcome = self._try(task, FORK_SERVER.start(self._job))
        return outcome

    def _try(self, task: _Task, child: Child) -> ParseOutcome:
        """One try, in this child, which serves again only if it did well."""
        request = task.request
        order = json.dumps({"path": request.path, "limits": asdict(self._limits)}).encode()
        is_good = False
        try:
            task.hold(child)
            answer = child.ask(order, request.data, timeout_s=self._limits.timeout_s, max_bytes=self._limits.output_bytes)
            outcome = _read_answer(request.document_id, answer)
            is_good = not _may_be_chance(outcome)
        except ChildError as failure:
            outcome = self._failed(task, child, failure)
        finally:
            task.release()
            self._give_back(child, is_good=is_good)
        return outcome

    def _failed(self, task: _Task, child: Child, failure: ChildError) -> ParseOutcome:
        status = FORK_SERVER.end(child)
        if task.is_cancelled:
            raise CancelledError
        return ParseOutcome(task.request.document_id, load_type(child.type_told), self._blame(failure, status))

    def _blame(self, failure: ChildError, status: int | None) -> ParseLimitError:
        ended_by = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else 0
        if isinstance(failure, AnswerTooLargeError):
            detail = f"gives more than {self._settings.max_output_mb} MiB; raise parsing.max_output_mb or split the file"
            return ParseLimitError(detail, reason="limit_output")
        if isinstance(failure, ChildTimeoutError) or ended_by in _TIME_SIGNALS:
            limits = f"{self._settings.timeout_s:g} s, or {self._settings.cpu_s} s of CPU"
            return ParseLimitError(f"took longer than {limits}; raise parsing.timeout_s and cpu_s", reason="timeout")
        return ParseLimitError("its parsing process died; repair or exclude the file", reason="crash")

    def _take_child(self) -> Child:
        while True:
            with self._lock:
                child = self._idle.pop() if self._idle else None
            if child is None:
                return FORK_SERVER.start(self._job)
            if child.is_silent():
                return child
            FORK_SERVER.end(child)

    def _give_back(self, child: Child, *, is_good: bool) -> None:
        if is_good and child.asked < self._settings.documents_per_worker:
            with self._lock:
                self._idle.append(child)
        else:
            FORK_SERVER.end(child)


def measures_in_force() -> tuple[str, ...]:
    """The measures of `parsing.sandbox` that hold here, tried in a child. Raises BackendUnavailableError where none starts."""
    child = FORK_SERVER.start(Job(PARSE, open_files=64, file_bytes=1 << 20))
    FORK_SERVER.end(child)
    return child.protections


def _read_answer(document_id: str, answer: bytes) -> ParseOutcome:
    try:
        return load_outcome(document_id, answer)
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        name = type(problem).__name__
        return ParseOutcome(
            document_id, None, ParseError(f"its parsing process sent no readable answer ({name}); replace the file")
        )


def _may_be_chance(outcome: ParseOutcome) -> bool:
    """Whether a fresh process on a quieter machine might do better. An answer that came too large would come so again."""
    return isinstance(outcome.result, ParseLimitError) and outcome.result.reason in ("timeout", "crash", "limit_memory")


def _cpu_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
