"""What runs inside a parsing process, and what that process may do."""

import contextlib
import logging
import math
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from rag_pipeline.adapters.parsing.detection import identify
from rag_pipeline.adapters.parsing.dispatch import failures_translated, parse_original, parser_of
from rag_pipeline.adapters.parsing.limits import Limits as Limits
from rag_pipeline.adapters.parsing.limits import limits_set
from rag_pipeline.adapters.parsing.unstructured_library import QUIET_ENVIRONMENT, forbid_torch
from rag_pipeline.adapters.parsing.wire import dump_document, dump_error
from rag_pipeline.errors import DocumentError, ParseLimitError
from rag_pipeline.schema import DocumentType

_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR")
_STACK_FRAMES = 3000
_ALARM_AFTER_S = 5
_STATM = Path("/proc/self/statm")


def prepare_child() -> None:
    """Takes from a new process what parsing does not need: the environment with its secrets, and core dumps."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    os.environ.clear()
    os.environ.update(kept | QUIET_ENVIRONMENT)
    forbid_torch()
    sys.setrecursionlimit(_STACK_FRAMES)
    warnings.simplefilter("ignore")  # what libraries say of a document may quote it, and nobody reads a child's output
    logging.disable()
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def parse_bytes(data: bytes, path: str, limits: Limits) -> bytes:
    """The document, or the error that it caused, as `wire` writes them."""
    document_type: DocumentType | None = None
    try:
        with limited(limits), failures_translated("type detection"):
            original = identify(data, path)
        document_type = original.type
        getattr(parser_of(original.type, original.format), "prepare", _nothing)()
        with limited(limits):
            return dump_document(parse_original(original))
    except DocumentError as error:
        return dump_error(error, document_type)
    except MemoryError:
        detail = f"needs more than {limits.memory_bytes >> 20} MiB; raise parsing.memory_mb or split the file"
        return dump_error(ParseLimitError(detail, reason="limit_memory"), document_type)


def tell_type(data: bytes, path: str, limits: Limits) -> bytes:
    """The name of the type alone, for a document whose parser did not survive it; empty where it cannot be told."""
    try:
        with limited(limits), failures_translated("type detection"):
            return identify(data, path).type.value.encode()
    except (DocumentError, MemoryError):
        return b""


@contextlib.contextmanager
def limited(limits: Limits) -> Iterator[None]:
    """Time and address space limited by the kernel, which also ends a child that nobody waits for any more.

    The address space counts from what the process has now, so that what libraries took before is no document's.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(math.ceil(limits.timeout_s) + _ALARM_AFTER_S)
    try:
        with limits_set(limits), _limited_memory(limits.memory_bytes):
            yield
    finally:
        signal.alarm(0)


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
