"""Progress over work that is done in slices, and progress that nobody watches."""

import threading
from collections import Counter

from rag_pipeline.ports import Progress


class SilentProgress:
    """Takes every report and shows nothing."""

    def extend(self, stage: str, amount: int) -> None:
        """Nothing."""

    def advance(self, stage: str, amount: int = 1) -> None:
        """Nothing."""


SILENT = SilentProgress()


class SlicedProgress:
    """One count over several slices: what a slice left undone is not new work for the next one."""

    def __init__(self, inner: Progress) -> None:
        self._inner = inner
        self._open: Counter[str] = Counter()
        """Announced and not done."""
        self._carried: Counter[str] = Counter()
        self._lock = threading.Lock()

    def next_slice(self) -> None:
        """The slice is over; whatever it announced and did not do will be announced again."""
        with self._lock:
            self._carried = self._open.copy()

    def extend(self, stage: str, amount: int) -> None:
        with self._lock:
            known = min(self._carried[stage], amount)
            self._carried[stage] -= known
            self._open[stage] += amount - known
        self._inner.extend(stage, amount - known)

    def advance(self, stage: str, amount: int = 1) -> None:
        with self._lock:
            self._open[stage] -= amount
        self._inner.advance(stage, amount)
