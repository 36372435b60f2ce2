"""Batches on their way through GPUs or streams of a CPU: read ahead by threads, computed by whichever device is free.

Each device has a thread of its own that orders one batch while the one before it is computed, so the device has always
something to do; only then it waits for the earlier one. Threads are enough for several devices: the libraries hold Python's
lock for the ordering alone, not for the computation.
"""

import os
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rag_pipeline.adapters.engines import LoadedModel, QueuedEngine
from rag_pipeline.errors import BackendRejectedError, BatchTooLargeError
from rag_pipeline.ports import Batching, Wait
from rag_pipeline.schema import Matrix

_READERS_MAX = 12
"""Threads that read texts. One reads about 0.7 million tokens a second, a small model on a large GPU takes ten times that."""
_AHEAD = 2
"""Batches of one device: the one that it computes and the one that waits behind it."""


class DeviceQueue:
    """The same model on each device, and the batches that are under way to it."""

    def __init__(self, models: Sequence[LoadedModel[QueuedEngine]], *, readers: int | None = None) -> None:
        self._readers = readers or max(1, min(_READERS_MAX, (os.cpu_count() or 2) * 3 // 4))
        self.at_once = self._readers + _AHEAD * len(models)
        """Batches that are worth having under way together."""
        self._reader = models[0]
        self._free: queue.SimpleQueue[LoadedModel[QueuedEngine]] = queue.SimpleQueue()
        for model in models:
            self._free.put(model)
        self._here = threading.local()
        self._reading = ThreadPoolExecutor(self._readers, thread_name_prefix="read")
        self._devices = ThreadPoolExecutor(
            len(models), thread_name_prefix="device", initializer=_take_device, initargs=(self._here, self._free)
        )

    def begin(self, texts: Sequence[str], *, prompt: str) -> Wait:
        """Begins a batch; the call waits for its vectors and raises what went wrong with it, whatever became of others."""
        under_way = self._reading.submit(self._read, list(texts), prompt)
        return lambda: self._result(under_way)

    def _result(self, under_way: "Future[tuple[list[list[int]], Future[Wait]]]") -> Matrix:
        ids, computed = under_way.result()
        return self._reader.received(computed.result()(), ids)

    def _read(self, texts: list[str], prompt: str) -> "tuple[list[list[int]], Future[Wait]]":
        """Hands the batch to the devices as soon as it can be computed."""
        ids, prompt_length = self._reader.read(texts, prompt=prompt)
        prepared = self._reader.engine.prepare(ids, prompt_length=prompt_length)
        return ids, self._devices.submit(self._compute, prepared)

    def _compute(self, prepared: Any) -> Wait:
        wait: Wait = self._here.model.engine.start(prepared)
        earlier, self._here.earlier = self._here.earlier, wait
        if earlier is not None:
            with suppress(BackendRejectedError, BatchTooLargeError):  # who began that batch is told
                earlier()
        return wait


def _take_device(here: threading.local, free: "queue.SimpleQueue[LoadedModel[QueuedEngine]]") -> None:
    """Begins a thread. Knows no queue: a thread keeps what it began with, and would keep the queue and its models for good."""
    here.model, here.earlier = free.get(), None


@dataclass(frozen=True, slots=True)
class QueuedModel:
    """A model on all devices, and the batches that suit them."""

    queue: DeviceQueue
    batch_tokens: int | None
    """As found by trying, or its share of them on a CPU; None where the settings decide."""
    batch_texts: int
    length_step: int = 1

    def batching(self, tokens: int) -> Batching:
        """The batches to give it, where the settings ask for so many tokens."""
        return Batching(self.batch_tokens or tokens, self.batch_texts, self.queue.at_once, self.length_step)
