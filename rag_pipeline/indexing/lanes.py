"""Work that flows through lanes side by side: while one item is embedded, the next is parsed, the last is stored.

Every lane keeps its own time, so that a run can say which one it had to wait for.
"""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

Item = TypeVar("Item")
Lane = Callable[[Iterator[Any]], Iterator[Any]]
"""Items in, items out, in one thread; it may gather several before it gives one."""

END = object()
LOOK_S = 0.1
"""Seconds between two looks whether another lane has failed."""


@dataclass(slots=True)
class LaneTimes:
    """Where the wall time of one lane went; the three add up to it."""

    busy_s: float = 0.0
    input_wait_s: float = 0.0
    """For the lane before, or because nothing was left to do."""
    output_wait_s: float = 0.0
    """For room in the queue to the lane after."""

    @property
    def wall_s(self) -> float:
        """Of the whole flow."""
        return self.busy_s + self.input_wait_s + self.output_wait_s

    def plus(self, other: "LaneTimes") -> "LaneTimes":
        """Both, one after the other."""
        return LaneTimes(
            self.busy_s + other.busy_s, self.input_wait_s + other.input_wait_s, self.output_wait_s + other.output_wait_s
        )


def flow(items: Iterable[Any], lanes: Mapping[str, Lane], *, depth: int = 1) -> dict[str, LaneTimes]:
    """Passes the items through all lanes in order, each in a thread of its own but the last, which runs here; their times.

    At most ``depth`` finished items wait between two lanes, so memory does not grow with the number of items. The first
    exception of any lane stops the others at their next item and is raised here.
    """
    flowing = _Flow(items, lanes, depth)
    flowing.run()
    return flowing.times


class _Flow:
    """The threads and queues of one call of ``flow``."""

    def __init__(self, items: Iterable[Any], lanes: Mapping[str, Lane], depth: int) -> None:
        self.times = {name: LaneTimes() for name in lanes}
        self._items = items
        self._lanes = list(lanes.items())
        self._queues: list[queue.Queue[Any]] = [queue.Queue(maxsize=depth) for _ in self._lanes[1:]]
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._started_s = time.perf_counter()

    def run(self) -> None:
        threads = [
            threading.Thread(target=self._work, args=(position,), name=name, daemon=True)
            for position, (name, _) in enumerate(self._lanes[:-1])
        ]
        for thread in threads:
            thread.start()
        self._work(len(self._lanes) - 1)
        for thread in threads:
            thread.join()
        ended_s = time.perf_counter()
        for times in self.times.values():
            times.input_wait_s += ended_s - self._started_s - times.wall_s
        if self._failures:
            raise self._failures[0]

    def _work(self, position: int) -> None:
        name, lane = self._lanes[position]
        times = self.times[name]
        target = self._queues[position] if position < len(self._queues) else None
        source = self._drain(self._queues[position - 1], times) if position else iter(self._items)
        try:
            with closing(_as_generator(lane(source))) as results:
                for result in results:
                    if target is not None and not self._put(target, result, times):
                        return
        except _StoppedError:
            return
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
            self._failures.append(error)
            self._stop.set()
        finally:
            if target is not None:
                self._put(target, END, times)
            times.busy_s = time.perf_counter() - self._started_s - times.input_wait_s - times.output_wait_s

    def _put(self, target: "queue.Queue[Any]", item: Any, times: LaneTimes) -> bool:
        began_s = time.perf_counter()
        try:
            while not self._stop.is_set():
                try:
                    target.put(item, timeout=LOOK_S)
                except queue.Full:
                    continue
                return True
            return False
        finally:
            times.output_wait_s += time.perf_counter() - began_s

    def _drain(self, source: "queue.Queue[Any]", times: LaneTimes) -> Iterator[Any]:
        while not self._stop.is_set():
            began_s = time.perf_counter()
            try:
                item = source.get(timeout=LOOK_S)
            except queue.Empty:
                continue
            finally:
                times.input_wait_s += time.perf_counter() - began_s
            if item is END:
                return
            yield item
        raise _StoppedError  # an input that is cut off must not look like its end


class _StoppedError(Exception):
    """Another lane failed."""


def _as_generator(items: Iterator[Item]) -> Generator[Item, None, None]:
    """The items, as something that can be closed early."""
    yield from items
