"""Batches on their way through stand-in devices: what overlaps, what keeps its order, and who is told of a failure."""

import gc
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_pipeline.adapters.device_queue import DeviceQueue
from rag_pipeline.adapters.engines import LoadedModel
from rag_pipeline.adapters.model_files import tokenizer_file
from rag_pipeline.adapters.model_tokens import TokenCounter
from rag_pipeline.errors import BackendRejectedError, BadVectorError, BatchTooLargeError, TruncationError
from rag_pipeline.schema import Matrix
from rag_pipeline_tests.packaged_model import packaged_facts

FACTS = packaged_facts()
COUNTER = TokenCounter(tokenizer_file(Path(FACTS.path)), max_tokens=64)
TEXTS = [[f"text {batch}", f"another {batch} " * (batch % 4 + 1)] for batch in range(24)]


@dataclass
class Device:
    """An engine whose vectors say which ids they are of; computes in a thread of its own, one batch after the other."""

    before: Callable[[int], object] = lambda number: None
    """Called with the number of a batch before it is computed; waits as long as a test wants."""
    fails: Callable[[list[list[int]]], Exception | None] = lambda ids: None
    columns: int = FACTS.dimension
    prepared: int = 0
    events: list[tuple[str, int]] = field(default_factory=list)
    name: str = "stand-in"
    device: str = "cuda"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        self._last: threading.Thread | None = None

    def prepare(self, ids: list[list[int]], *, prompt_length: int) -> Any:
        self.prepared += 1
        return ids, prompt_length

    def start(self, prepared: Any) -> Callable[[], Matrix]:
        ids, _ = prepared
        error = self.fails(ids)
        if isinstance(error, BatchTooLargeError):
            raise error
        number = self.count("ordered")
        self.events.append(("ordered", number))
        answer: list[Matrix] = []
        thread = threading.Thread(target=lambda earlier: answer.append(self._compute(ids, number, earlier)), args=(self._last,))
        thread.start()
        self._last = thread

        def wait() -> Matrix:
            thread.join()
            if error is not None:
                raise error
            return answer[0]

        return wait

    def count(self, kind: str) -> int:
        return sum(kind == found for found, _ in list(self.events))

    def gets_to(self, kind: str, count: int) -> bool:
        return comes_true(lambda: self.count(kind) >= count)

    def _compute(self, ids: list[list[int]], number: int, earlier: threading.Thread | None) -> Matrix:
        if earlier is not None:
            earlier.join()
        self.before(number)
        self.events.append(("computed", number))
        return vectors_of(ids, self.columns)


def vectors_of(ids: list[list[int]], columns: int = FACTS.dimension) -> Matrix:
    rows = [np.random.default_rng(row).standard_normal(columns) for row in ids]
    return np.array(rows, dtype=np.float32)


def comes_true(question: Callable[[], bool], within_s: float = 60) -> bool:
    """Whether it does in time; long, because it only takes as long where something is broken."""
    deadline = time.monotonic() + within_s
    while not question():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def queue_over(*devices: Device, readers: int = 2) -> DeviceQueue:
    return DeviceQueue([LoadedModel(FACTS, device, COUNTER) for device in devices], readers=readers)  # type: ignore[arg-type]


def expected(texts: list[str], prompt: str = "") -> Matrix:
    return vectors_of(COUNTER.token_ids([prompt + text for text in texts]))


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_every_batch_gets_its_own_vectors(devices: int) -> None:
    queue = queue_over(*(Device() for _ in range(devices)))
    waits = [queue.begin(texts, prompt="passage: ") for texts in TEXTS]
    for texts, wait in zip(TEXTS, waits, strict=True):
        assert np.array_equal(wait(), expected(texts, "passage: "))


def test_the_next_batch_is_ordered_before_the_last_is_computed() -> None:
    allowed = threading.Semaphore(0)
    device = Device(before=lambda _: allowed.acquire(timeout=60))
    queue = queue_over(device)
    waits = [queue.begin(texts, prompt="") for texts in TEXTS[:6]]
    try:
        for number in range(5):
            assert device.gets_to("ordered", number + 2)
            assert ("computed", number) not in device.events
            allowed.release()
    finally:
        allowed.release(len(waits))
    for wait in waits:
        wait()


def test_no_more_than_two_batches_wait_at_a_device() -> None:
    """Each of them holds memory of the device."""
    device = Device(before=lambda _: time.sleep(0.02))
    queue = queue_over(device)
    for wait in [queue.begin(texts, prompt="") for texts in TEXTS[:8]]:
        wait()
    waiting = 0
    for kind, _ in device.events:
        waiting += 1 if kind == "ordered" else -1
        assert waiting <= 2


def test_texts_are_read_while_the_device_is_busy() -> None:
    gate = threading.Event()
    device = Device(before=lambda _: gate.wait(60))
    queue = queue_over(device, readers=1)
    waits = [queue.begin(texts, prompt="") for texts in TEXTS[:8]]
    prepared_meanwhile = comes_true(lambda: device.prepared == 8)
    gate.set()
    assert prepared_meanwhile
    assert [wait().shape for wait in waits] == [(2, FACTS.dimension)] * 8


def test_a_slow_device_gets_fewer_batches() -> None:
    """It keeps the two that it has taken, and the other does the rest meanwhile."""
    fast = Device()
    slow = Device(before=lambda _: fast.gets_to("computed", len(TEXTS) - 2))
    queue = queue_over(slow, fast)
    for texts, wait in [(texts, queue.begin(texts, prompt="")) for texts in TEXTS]:
        assert np.array_equal(wait(), expected(texts))
    assert slow.count("computed") <= 2
    assert fast.count("computed") >= len(TEXTS) - 2


@pytest.mark.parametrize(
    "error", [BatchTooLargeError("2 texts", system="gpu"), BackendRejectedError("broken", system="gpu")], ids=["start", "wait"]
)
def test_who_began_a_batch_is_told_and_nobody_else(error: Exception) -> None:
    bad = COUNTER.token_ids(TEXTS[3])
    queue = queue_over(Device(fails=lambda ids: error if ids == bad else None))
    waits = [queue.begin(texts, prompt="") for texts in TEXTS[:8]]
    with pytest.raises(type(error)):
        waits[3]()
    for number in (0, 1, 2, 4, 5, 6, 7):
        assert np.array_equal(waits[number](), expected(TEXTS[number]))


def test_a_text_that_is_too_long_is_told_by_its_batch() -> None:
    queue = queue_over(Device())
    wait, other = queue.begin(["word " * 99], prompt=""), queue.begin(TEXTS[0], prompt="")
    with pytest.raises(TruncationError):
        wait()
    assert other().shape == (2, FACTS.dimension)


def test_vectors_of_another_dimension_are_refused() -> None:
    with pytest.raises(BadVectorError, match="383"):
        queue_over(Device(columns=383)).begin(TEXTS[0], prompt="")()


def test_more_devices_are_worth_more_batches() -> None:
    assert queue_over(Device(), readers=2).at_once == 4
    assert queue_over(Device(), Device(), readers=2).at_once == 6


def test_a_queue_that_nobody_holds_lets_go_of_its_models_and_threads() -> None:
    device = Device()
    model = LoadedModel(FACTS, device, COUNTER)  # type: ignore[type-var]
    held, before = weakref.ref(model), set(threading.enumerate())
    queue = DeviceQueue([model, model])  # type: ignore[list-item]
    queue.begin(TEXTS[0], prompt="")()
    begun = set(threading.enumerate()) - before
    assert begun
    del queue, model
    gc.collect()
    for thread in begun:
        thread.join(10)
    assert (held(), [thread for thread in begun if thread.is_alive()]) == (None, [])
