"""How far a run is, as log lines of its step."""

import threading
import time
from collections import Counter
from collections.abc import Callable

INTERVAL_S = 10
ORDER = ("buckets", "documents", "chunks", "embeddings", "collection", "fsck", "questions")


class LogProgress:
    """Logs one line at most every ``INTERVAL_S`` seconds, with what is known of the rest."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._known: Counter[str] = Counter()
        self._done: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._started_s = time.monotonic()
        self._next_s = self._started_s + INTERVAL_S

    def extend(self, stage: str, amount: int) -> None:
        with self._lock:
            self._known[stage] += amount

    def advance(self, stage: str, amount: int = 1) -> None:
        with self._lock:
            self._done[stage] += amount
            if time.monotonic() < self._next_s:
                return
            self._next_s = time.monotonic() + INTERVAL_S
            line = ", ".join(f"{name} {self._done[name]}/{self._known[name]}" for name in ORDER if self._known[name])
            line += self._outlook()
        self._log(line)

    def _outlook(self) -> str:
        """Rate, and minutes left if the other buckets take as long as those that are done."""
        elapsed_s = time.monotonic() - self._started_s
        rate = f"; {self._done['embeddings'] / elapsed_s:.1f} chunks/s" if self._done["embeddings"] else ""
        done, left = self._done["buckets"], self._known["buckets"] - self._done["buckets"]
        return rate + (f"; about {elapsed_s / done * left / 60:.1f} minutes left" if done and left > 0 else "")
