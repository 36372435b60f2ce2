"""Functions that a test has a pool run instead of the real parsing: what a hostile document would make a parser do."""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

from rag_pipeline.adapters.parsing.child import Limits, limited, parse_bytes, tell_type
from rag_pipeline.schema import DocumentType


def obey(data: bytes, path: str, limits: Limits) -> bytes:
    """Does what the path says; everything else is parsed."""
    order = ORDERS.get(path)
    if order is not None:
        tell_type(DocumentType.TEXT)
        with limited(limits):
            order(data)
    return parse_bytes(data, path, limits)


def hang_in_python(data: bytes) -> None:
    while True:
        time.sleep(0.01)


def hang_in_c(data: bytes) -> None:
    ctypes.PyDLL(None).sleep(600)  # holds the interpreter's lock, so no Python handler runs


def exit_at_once(data: bytes) -> None:
    os._exit(3)


def segfault(data: bytes) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def exit_later(data: bytes) -> None:
    time.sleep(0.3)
    os._exit(3)


ORDERS = {
    "hang": hang_in_python,
    "hang_in_c": hang_in_c,
    "exit": exit_at_once,
    "segfault": segfault,
    "exit_later": exit_later,
}


def hoard(data: bytes, path: str, limits: Limits) -> bytes:
    """Takes memory where the real parser would, and is told off as that one is."""
    from rag_pipeline.adapters.parsing import child

    real = child.parse_original
    child.parse_original = lambda original: real(original) if path != "hoard" else bytearray(4 << 30) and real(original)  # type: ignore[assignment]
    try:
        return parse_bytes(data, path, limits)
    finally:
        child.parse_original = real


def describe_process(data: bytes, path: str, limits: Limits) -> bytes:
    """A document that tells what its process has."""
    facts = {
        "pid": os.getpid(),
        "environment": dict(os.environ),
        "modules": [name for name in ("torch", "unstructured", "spacy", "dagster", "pandas", "pytest") if sys.modules.get(name)],
        "threads": len(list(Path("/proc/self/task").iterdir())),
    }
    return json.dumps(
        {
            "type": "text",
            "format": "text",
            "title": "",
            "elements": [["text", json.dumps(facts), [], None]],
            "metadata": {},
            "flags": [],
        }
    ).encode()


def describe_after_parsing(data: bytes, path: str, limits: Limits) -> bytes:
    """The same, once the document has been parsed."""
    parse_bytes(data, path, limits)
    return describe_process(data, path, limits)


def answer_nonsense(data: bytes, path: str, limits: Limits) -> bytes:
    """No JSON at all."""
    return b"\x80\x04nonsense"
