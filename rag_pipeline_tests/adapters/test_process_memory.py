import ctypes
import os
import subprocess
import sys

import pytest

from rag_pipeline.adapters import process_memory
from rag_pipeline.adapters.process_memory import FREED_TOKENS, MemoryReturn, give_back_free_memory, keep_few_shapes

IS_GLIBC = sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
SHAPES = "LRU_CACHE_CAPACITY"

TORN_HEAP = """
import ctypes
from rag_pipeline.adapters.process_memory import give_back_free_memory

def resident_mib():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

malloc = ctypes.CDLL(None).malloc
free = ctypes.CDLL(None).free
malloc.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [malloc(100_000) for _ in range(1000)]
for block in blocks:
    ctypes.memset(block, 1, 100_000)
for block in blocks[:-1]:  # the last one holds the top of the heap
    free(block)
before = resident_mib()
give_back_free_memory()
print(before - resident_mib())
"""

ARROW_ROWS = """
import io
import pyarrow
import pyarrow.parquet
from rag_pipeline.adapters.process_memory import give_back_free_memory

def own_mib():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

def write_and_read():
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x" * 200 + str(row) for row in range(50_000)]}), file)
    pyarrow.parquet.read_table(io.BytesIO(file.getvalue()))

write_and_read()
give_back_free_memory()
before = own_mib()
write_and_read()
between = own_mib()
give_back_free_memory()
print(between - before, own_mib() - before)
"""


def test_memory_goes_back_after_every_full_batch_and_many_small_ones() -> None:
    returns: list[int] = []
    memory = MemoryReturn(lambda: returns.append(1))
    memory.count(FREED_TOKENS)
    assert len(returns) == 1
    for _ in range(3):
        memory.count(FREED_TOKENS // 4)
    assert len(returns) == 1
    memory.count(FREED_TOKENS // 4)
    assert len(returns) == 2


@pytest.mark.skipif(not IS_GLIBC, reason="another C library")
def test_a_torn_heap_shrinks() -> None:
    told = subprocess.run([sys.executable, "-c", TORN_HEAP], capture_output=True, text=True, check=True)
    assert float(told.stdout) > 50


@pytest.mark.skipif(not IS_GLIBC, reason="memory is read as Linux tells it")
def test_what_arrow_keeps_goes_back() -> None:
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "mimalloc", "OMP_NUM_THREADS": "2"}
    told = subprocess.run([sys.executable, "-c", ARROW_ROWS], env=environment, capture_output=True, text=True, check=True)
    grown, left = map(float, told.stdout.split())
    assert grown > 20
    assert left < grown / 2


def test_another_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    process_memory._malloc_trim.cache_clear()
    try:
        assert process_memory._malloc_trim() is None
        give_back_free_memory()
    finally:
        process_memory._malloc_trim.cache_clear()


def test_what_the_user_set_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHAPES, "7")
    keep_few_shapes()
    assert os.environ[SHAPES] == "7"
    monkeypatch.delenv(SHAPES)
    keep_few_shapes()
    assert int(os.environ[SHAPES]) < 1024
