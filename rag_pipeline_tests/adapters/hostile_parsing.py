"""Functions that a test has a pool run instead of the real parsing: what a hostile document would make a parser do."""

import ctypes
import json
import os
import pickle
import signal
import sys
import time
from pathlib import Path

from rag_pipeline.adapters.parsing.child import Limits, limited, parse_bytes, tell_type
from rag_pipeline.adapters.parsing.frames import ANSWER, TYPE, pack, write_frame
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


def allocate(data: bytes) -> None:
    bytearray(20 << 30)


def allocate_in_pieces(data: bytes) -> None:
    pieces = []
    while True:
        pieces.append(b"x" * (8 << 20))


def burn(data: bytes) -> None:
    while True:
        pass


def fork_without_end(data: bytes) -> None:
    library = ctypes.CDLL(None)
    for _ in range(10_000):
        if library.fork() >= 0:
            time.sleep(600)  # one is too many, and the test sees that it took too long
    os._exit(3)


def talk_without_end(data: bytes) -> None:
    while True:
        os.write(CHANNEL, b"more " * 10_000)


def note_without_end(data: bytes) -> None:
    with open(CHANNEL, "wb", closefd=False) as channel:
        while True:
            write_frame(channel, TYPE, 1, b"text")


def announce_too_much(data: bytes) -> None:
    os.write(CHANNEL, pack(ANSWER, 1, 1 << 50))
    time.sleep(600)


def announce_and_stop(data: bytes) -> None:
    os.write(CHANNEL, pack(ANSWER, 1, 100) + b"{")
    time.sleep(600)


def write_without_end(data: bytes) -> None:
    with Path("endless").open("wb") as file:
        while True:
            file.write(b"x" * (1 << 20))


CHANNEL = 3
ORDERS = {
    "allocate": allocate,
    "allocate_in_pieces": allocate_in_pieces,
    "burn": burn,
    "fork": fork_without_end,
    "talk": talk_without_end,
    "note": note_without_end,
    "announce_too_much": announce_too_much,
    "announce_and_stop": announce_and_stop,
    "write": write_without_end,
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


def answer_at_length(data: bytes, path: str, limits: Limits) -> bytes:
    """A document that is sound and larger than any may be."""
    tell_type(DocumentType.TEXT)
    return b" " * (limits.output_bytes + 1) if path == "long" else parse_bytes(data, path, limits)


def answer_more_than_asked(data: bytes, path: str, limits: Limits) -> bytes:
    """After its answer comes one for the next document."""
    if path == "two":
        with open(CHANNEL, "wb", closefd=False) as channel:
            write_frame(channel, ANSWER, 1, parse_bytes(data, "a.txt", limits))
            write_frame(channel, ANSWER, 2, parse_bytes(b"false words", "a.txt", limits))
        time.sleep(600)
    return parse_bytes(data, path, limits)


def crash_when_used(data: bytes, path: str, limits: Limits) -> bytes:
    """Parses one document in each process and dies of the next."""
    if used:
        os._exit(3)
    used.append(path)
    return parse_bytes(data, path, limits)


used: list[str] = []


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {os.environ['CANARY']}",)


def answer_pickled(data: bytes, path: str, limits: Limits) -> bytes:
    """A pickle that does harm to whoever opens it."""
    os.environ["CANARY"] = data.decode()
    return pickle.dumps(Bomb())


def answer_nonsense(data: bytes, path: str, limits: Limits) -> bytes:
    """No JSON at all."""
    return b"\x80\x04nonsense"
