"""How far a run is, as bars on a terminal."""

import threading
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LABELS = {
    "scan": "scanning sources",
    "buckets": "buckets in step",
    "documents": "documents parsed",
    "chunks": "documents cut",
    "embeddings": "chunks embedded",
    "collection": "points written",
    "fsck": "buckets checked",
    "questions": "questions asked",
}


class _RateColumn(ProgressColumn):
    """How many in a second: ``62/s``, below ten ``4.1/s``."""

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text(f"{rate:.{0 if rate >= 10 else 1}f}/s" if rate else "", style="progress.data.speed")


class BarProgress:
    """One bar a stage on standard error; silent where that is no terminal."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=is_quiet or not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._totals: dict[str, int] = {}
        self._lock = threading.Lock()

    def extend(self, stage: str, amount: int) -> None:
        if not amount:
            return
        with self._lock:
            self._totals[stage] = self._totals.get(stage, 0) + amount
            self._bars.update(self._task(stage), total=self._totals[stage])

    def advance(self, stage: str, amount: int = 1) -> None:
        with self._lock:
            self._bars.update(self._task(stage), advance=amount)

    def _task(self, stage: str) -> TaskID:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(LABELS.get(stage, stage), total=None)
        return self._tasks[stage]

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._bars.stop()
