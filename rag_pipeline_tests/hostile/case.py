"""One bad input: how it is built, and what has to become of it."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LISTENER_ADDRESS = ("127.83.12.7", 48731)
LISTENER = "http://127.83.12.7:48731"
"""What inputs point to. Every test that listens shares it, so that whoever is asked first tells."""
CANARY_FILE = Path(tempfile.gettempdir()) / "rag-pipeline-canary.txt"
CANARY_WORDS = "words of the canary file"
OUTSIDE = ("outside.txt", "outside-absolute.txt", "outside-windows.txt", "planted-code-ran")
"""Names of files that inputs try to leave somewhere."""
ABSOLUTE_OUTSIDE = Path(tempfile.gettempdir()) / OUTSIDE[1]
PLANTED = Path(tempfile.gettempdir()) / "rag-pipeline-planted"
INDEXED = "indexed"
QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Case:
    """A bad input of the table in docs/hostile-files.md."""

    row: int
    path: str
    build: Callable[[], bytes]
    state: str = INDEXED
    reason: str = ""
    """Of the quarantine."""
    flags: tuple[str, ...] = ()
    """What an indexed one has to be flagged with, at least."""
    holds: str = ""
    """What an indexed one has to say."""
    lacks: str = ""
    """What an indexed one must not say."""
    is_slow: bool = False
    """Takes seconds to build or to refuse."""

    @property
    def name(self) -> str:
        return f"{self.row:02d}-{self.path}"


def indexed(
    row: int,
    path: str,
    build: Callable[[], bytes],
    *flags: str,
    holds: str = "",
    lacks: str = "",
    is_slow: bool = False,
) -> Case:
    """One that is indexed, with these flags."""
    return Case(row, path, build, INDEXED, "", tuple(sorted(flags)), holds, lacks, is_slow)


def quarantined(row: int, path: str, build: Callable[[], bytes], reason: str, *, is_slow: bool = False) -> Case:
    """One that goes to quarantine for this reason."""
    return Case(row, path, build, QUARANTINED, reason, is_slow=is_slow)
