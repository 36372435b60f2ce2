"""The messages between the pipeline and a parsing process: a kind, the request's number and a length, then so many bytes.

Nothing in them is ever unpickled. Whoever reads knows the most that it will take before the first byte of it arrives.
"""

import struct
from typing import BinaryIO

HEADER = struct.Struct("!BQQ")
READY, REQUEST, TYPE, ANSWER = range(1, 5)

MAX_NOTE_BYTES = 4096
"""Most bytes of a message that is not an answer."""
MAX_NOTES = 4
"""Most messages before an answer."""


def pack(kind: int, number: int, length: int) -> bytes:
    """The header of a message."""
    return HEADER.pack(kind, number, length)


def write_frame(stream: BinaryIO, kind: int, number: int, body: bytes) -> None:
    """Writes a whole message. Only for a process that may wait for its reader as long as it likes."""
    stream.write(pack(kind, number, len(body)))
    stream.write(body)
    stream.flush()


def read_frame(stream: BinaryIO) -> tuple[int, int, bytes] | None:
    """Kind, number and body of the next message; None when the writer is gone. Waits as long as it takes."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, number, length = HEADER.unpack(header)
    body = stream.read(length)
    return (kind, number, body) if len(body) == length else None
