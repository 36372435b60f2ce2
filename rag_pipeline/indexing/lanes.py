"""Work that flows through stages side by side: while one item is embedded, the next is parsed, the last is stored."""

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

END = object()


def flow(items: Iterable[Any], stages: Sequence[Callable[[Any], Any]], *, depth: int = 1) -> None:
    """Passes every item through all stages in order, each stage in a thread of its own but the last, which runs here.

    At most ``depth`` finished items wait between two stages, so memory does not grow with the number of items. The first
    exception of any stage stops the others at their next item and is raised here.
    """
    stop = threading.Event()
    failures: list[BaseException] = []
    queues: list[queue.Queue[Any]] = [queue.Queue(maxsize=depth) for _ in stages[1:]]

    def work(position: int, source: Iterable[Any]) -> None:
        stage = stages[position]
        target = queues[position] if position < len(queues) else None
        try:
            for item in source:
                result = stage(item)
                if target is not None and not _put(target, result, stop):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
            failures.append(error)
            stop.set()
        finally:
            if target is not None:
                _put(target, END, stop)

    threads = [
        threading.Thread(target=work, args=(i, items if i == 0 else _drain(queues[i - 1], stop)), name=f"stage-{i}", daemon=True)
        for i in range(len(stages) - 1)
    ]
    for thread in threads:
        thread.start()
    work(len(stages) - 1, _drain(queues[-1], stop) if queues else items)
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _put(target: "queue.Queue[Any]", item: Any, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            target.put(item, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False


def _drain(source: "queue.Queue[Any]", stop: threading.Event) -> Iterable[Any]:
    while not stop.is_set():
        try:
            item = source.get(timeout=0.1)
        except queue.Empty:
            continue
        if item is END:
            return
        yield item
