"""The Parser port on a pool of child processes: a document that hangs, crashes or eats memory costs one child, no more."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as DeadlineError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

from pebble import ProcessExpired, ProcessPool

from rag_pipeline.adapters.child_processes import child_context
from rag_pipeline.adapters.parsing import child, versions
from rag_pipeline.adapters.parsing.wire import load_outcome
from rag_pipeline.errors import BackendUnavailableError, DocumentError, ParseError, ParseLimitError
from rag_pipeline.ports import ParseOutcome, ParseRequest
from rag_pipeline.schema import DocumentType
from rag_pipeline.settings import ParsingSettings

_DRAWN_PER_WORKER = 4
_DRAWN_BYTES = 64 * 1024 * 1024
_TELLING_TIMEOUT_S = 10.0
_START_WAIT_S = 60.0

ParseFunction = Callable[[bytes, str, child.Limits], bytes]
"""Runs in a child: bytes, path and limits in, what `wire` reads out."""


@dataclass(slots=True)
class _Pending:
    """A request and the answer that it will have."""

    request: ParseRequest
    answer: Future[bytes]


class ProcessPoolParser:
    """Parses in ``settings.workers`` processes. They start with the first document and end with `close`."""

    def __init__(self, settings: ParsingSettings, *, parse: ParseFunction = child.parse_bytes) -> None:
        self._settings = settings
        self._workers = settings.workers or _cpu_count()
        self._limits = child.Limits.of(settings)
        self._parse = parse
        self._pool: ProcessPool | None = None
        self._lock = threading.Lock()

    def fingerprint(self, document_type: DocumentType | None) -> str:
        return versions.fingerprint(document_type)

    def parse_all(self, requests: Iterable[ParseRequest]) -> Iterator[ParseOutcome]:
        source = iter(requests)
        window: deque[_Pending] = deque()
        try:
            while self._fill(window, source):
                if self._is_lost(window[0].answer):
                    self._run_alone(window)
                pending = window.popleft()
                yield self._outcome(pending)
        finally:
            for pending in window:
                pending.answer.cancel()

    def close(self) -> None:
        with self._lock:
            self._end_pool()

    def _end_pool(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()

    def _fill(self, window: deque[_Pending], source: Iterator[ParseRequest]) -> bool:
        """Draws requests up to the bounds, at least one; False when none is left."""
        size = sum(len(pending.request.data) for pending in window)
        while len(window) < _DRAWN_PER_WORKER * self._workers and (size < _DRAWN_BYTES or not window):
            request = next(source, None)
            if request is None:
                break
            window.append(_Pending(request, self._schedule(self._parse, request, limits=self._limits)))
            size += len(request.data)
        return bool(window)

    def _schedule(self, function: ParseFunction, request: ParseRequest, *, limits: child.Limits) -> Future[bytes]:
        arguments = (request.data, request.path, limits)
        try:
            answer: Future[bytes] = self._running_pool().schedule(function, args=arguments, timeout=limits.timeout_s)
        except RuntimeError:  # the pool broke just now
            self.close()
            answer = self._running_pool().schedule(function, args=arguments, timeout=limits.timeout_s)
        return answer

    def _running_pool(self) -> ProcessPool:
        with self._lock:
            if self._pool is None or not self._pool.active:
                self._end_pool()
                self._pool = ProcessPool(
                    max_workers=self._workers,
                    max_tasks=self._settings.documents_per_worker,
                    initializer=child.prepare_child,
                    context=child_context(),
                )
            return self._pool

    def _is_lost(self, answer: Future[bytes]) -> bool:
        """Whether the pool broke, or forgot the task, as it does when a child dies between taking and confirming it."""
        longest_s = self._settings.timeout_s * (_DRAWN_PER_WORKER + 1) + _START_WAIT_S
        done, _ = wait([answer], timeout=longest_s)
        return not done or isinstance(answer.exception(), BrokenProcessPool)

    def _run_alone(self, window: deque[_Pending]) -> None:
        """Sends every request of a broken pool again, one at a time, so that only the one to blame is blamed."""
        self.close()
        for pending in window:
            self._check_children_start()
            if not pending.answer.done() or pending.answer.exception() is not None:
                pending.answer = self._schedule(self._parse, pending.request, limits=self._limits)
                wait([pending.answer], timeout=self._settings.timeout_s + _START_WAIT_S)

    def _check_children_start(self) -> None:
        """Raises BackendUnavailableError when no child can do even nothing: then no document is to blame."""
        nothing = ParseRequest(document_id="", path="", data=b"")
        try:
            self._schedule(child.tell_type, nothing, limits=self._limits).result(timeout=_START_WAIT_S)
        except (BrokenProcessPool, ProcessExpired, DeadlineError, OSError) as error:
            raise BackendUnavailableError(
                f"no process can be started ({type(error).__name__}); check memory and process limits", system="parsing"
            ) from None

    def _outcome(self, pending: _Pending) -> ParseOutcome:
        try:
            return load_outcome(pending.request.document_id, pending.answer.result(timeout=0))
        except DeadlineError:
            error: DocumentError = self._limit(
                f"took longer than {self._settings.timeout_s:g} s; raise parsing.timeout_s", "timeout"
            )
        except (ProcessExpired, BrokenProcessPool):
            error = self._limit("its parsing process died; repair or exclude the file", "crash")
        except MemoryError:
            error = self._limit(f"needs more than {self._settings.memory_mb} MiB; raise parsing.memory_mb", "limit_memory")
        except (ValueError, KeyError, TypeError) as problem:
            error = ParseError(f"its parsing process sent no readable answer ({type(problem).__name__}); replace the file")
        return ParseOutcome(pending.request.document_id, self._told_type(pending.request), error)

    def _limit(self, detail: str, reason: str) -> ParseLimitError:
        return ParseLimitError(detail, reason=reason)

    def _told_type(self, request: ParseRequest) -> DocumentType | None:
        """The type, told in a fresh task, so that the quarantine knows which parser failed."""
        limits = replace(self._limits, timeout_s=min(_TELLING_TIMEOUT_S, self._settings.timeout_s))
        try:
            name = self._schedule(child.tell_type, request, limits=limits).result(
                timeout=self._settings.timeout_s + _START_WAIT_S
            )
        except (DeadlineError, ProcessExpired, BrokenProcessPool):
            return None
        return DocumentType(name.decode()) if name else None


def _cpu_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
