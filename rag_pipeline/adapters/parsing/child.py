"""What runs inside a parsing process: it is shut in, says so, and then answers one request after another."""

import contextlib
import json
import logging
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rag_pipeline.adapters.parsing import frames
from rag_pipeline.adapters.parsing.detection import identify
from rag_pipeline.adapters.parsing.dispatch import failures_translated, parse_original, parser_of
from rag_pipeline.adapters.parsing.limits import Limits as Limits
from rag_pipeline.adapters.parsing.limits import limits_set
from rag_pipeline.adapters.parsing.sandbox import shut_in
from rag_pipeline.adapters.parsing.unstructured_library import QUIET_ENVIRONMENT, forbid_torch
from rag_pipeline.adapters.parsing.wire import dump_document, dump_error
from rag_pipeline.errors import DocumentError, ParseLimitError
from rag_pipeline.schema import DocumentType

ParseFunction = Callable[[bytes, str, Limits], bytes]
"""Bytes, path and limits in; what `wire` reads out."""

_STACK_FRAMES = 3000
_ALARM_AFTER_S = 5
_STATM = Path("/proc/self/statm")


def serve(channel: int, function: ParseFunction, folder: Path, *, open_files: int, file_bytes: int) -> None:
    """Answers requests from the channel until it closes."""
    with open(channel, "rb", closefd=False) as requests, open(channel, "wb", closefd=False) as answers:
        _prepare()
        in_force = shut_in(folder, open_files=open_files, file_bytes=file_bytes)
        frames.write_frame(answers, frames.READY, 0, json.dumps(in_force).encode())
        while (head := frames.read_frame(requests)) and (data := frames.read_frame(requests)):
            order = json.loads(head[2])
            request = _Request(answers, head[1], Limits(**order["limits"]))
            _answer(request, function, path=order["path"], data=data[2])


def tell_type(document_type: DocumentType) -> None:
    """Lets the pipeline know the type before the parser begins, so that it can name it if the parser kills this process."""
    if _request is not None:
        _request.tell(document_type)


def parse_bytes(data: bytes, path: str, limits: Limits) -> bytes:
    """The document, or the error that it caused, as `wire` writes them."""
    document_type: DocumentType | None = None
    try:
        with limited(limits), failures_translated("type detection"):
            original = identify(data, path)
        document_type = original.type
        tell_type(document_type)
        getattr(parser_of(original.type, original.format), "prepare", _nothing)()
        with limited(limits):
            return dump_document(parse_original(original))
    except DocumentError as error:
        return dump_error(error, document_type)
    except MemoryError:
        return dump_error(_memory_error(limits), document_type)


@contextlib.contextmanager
def limited(limits: Limits) -> Iterator[None]:
    """Time, CPU and address space limited by the kernel, which also ends a child that nobody waits for any more.

    CPU and address space count from what the process has now, so that what was taken before is no document's.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(math.ceil(limits.timeout_s) + _ALARM_AFTER_S)
    try:
        with limits_set(limits), _limited_cpu(limits.cpu_s), _limited_memory(limits.memory_bytes):
            yield
    finally:
        signal.alarm(0)


@contextlib.contextmanager
def _limited_cpu(seconds: int) -> Iterator[None]:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = math.ceil(time.process_time()) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


@contextlib.contextmanager
def _limited_memory(memory_bytes: int) -> Iterator[None]:
    if not _STATM.exists():  # not Linux: the time limit alone must do
        yield
        return
    import resource

    present = int(_STATM.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = present + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _nothing() -> None:
    """Stands in for parsers with nothing to load."""


def _prepare() -> None:
    """Quiets libraries, and takes from the process what parsing does not need."""
    os.environ.update(QUIET_ENVIRONMENT)
    forbid_torch()
    sys.setrecursionlimit(_STACK_FRAMES)
    warnings.simplefilter("ignore")  # what libraries say of a document may quote it, and nobody reads a child's output
    logging.disable()


@dataclass(slots=True)
class _Request:
    """The one that is answered now."""

    answers: BinaryIO
    number: int
    limits: Limits
    type: DocumentType | None = None

    def tell(self, document_type: DocumentType) -> None:
        self.type = document_type
        frames.write_frame(self.answers, frames.TYPE, self.number, document_type.value.encode())

    def answer(self, body: bytes) -> None:
        if len(body) > self.limits.output_bytes:
            detail = f"gives more than {self.limits.output_bytes >> 20} MiB; raise parsing.max_output_mb or split the file"
            body = dump_error(ParseLimitError(detail, reason="limit_output"), self.type)
        frames.write_frame(self.answers, frames.ANSWER, self.number, body)


_request: _Request | None = None


def _answer(request: _Request, function: ParseFunction, *, path: str, data: bytes) -> None:
    global _request
    _request = request
    try:
        body = function(data, path, request.limits)
    except MemoryError:
        body = dump_error(_memory_error(request.limits), request.type)
    request.answer(body)


def _memory_error(limits: Limits) -> ParseLimitError:
    detail = f"needs more than {limits.memory_bytes >> 20} MiB; raise parsing.memory_mb or split the file"
    return ParseLimitError(detail, reason="limit_memory")
