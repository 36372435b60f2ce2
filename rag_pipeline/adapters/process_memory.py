"""Keeps the memory of a process from growing with the number of texts it embeds, of records it compares, of points it stores.

On a CPU, batches of uneven shape leave two things behind. glibc's heap is torn: what a batch frees lies between what stays, and
the next batch, a little larger, takes new memory. And machine code is kept for each of the last 1,024 shapes, which hardly ever
come back.

Measured with the packaged model in bfloat16 on two cores, text of real pages, batches of 8,192 tokens. Anonymous memory after
loading: 440 MiB. After 700,000 to 800,000 tokens: 1,013 as glibc has it, 612 with free memory given back after each batch, 445
with few shapes as well. Giving back takes 0.01 s after a batch of 0.9 s. A fixed threshold for mapping (M_MMAP_THRESHOLD) stops
the tearing too, but then every layer pays for fresh pages: a fifth of the speed. One arena alone (M_ARENA_MAX) does nothing.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache

FREED_TOKENS = 4096
"""Padded tokens after which free memory goes back to the system: every full batch, but not every single short text."""

_KEPT_SHAPES = 16
"""Enough that the layers of one batch share their code."""

_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""Those of oneDNN and of torch above it; code goes only when both have let it go. Read at the first computation."""


class MemoryReturn:
    """Gives free memory back to the system after every so many tokens."""

    def __init__(self, give_back: Callable[[], None] | None = None) -> None:
        self._give_back = give_back or give_back_free_memory
        self._tokens = 0

    def count(self, tokens: int) -> None:
        """To be told of every batch, after its memory is free."""
        self._tokens += tokens
        if self._tokens >= FREED_TOKENS:
            self._tokens = 0
            self._give_back()


def keep_few_shapes() -> None:
    """To be called before the first computation; what the user has set stands."""
    for name in _CACHES:
        os.environ.setdefault(name, str(_KEPT_SHAPES))


def give_back_free_memory() -> None:
    """Of the C library where that is glibc, and of Arrow, which keeps its own.

    After 50,000 rows to Parquet and back Arrow kept 63 MiB and gave back 45 to 60; what threads of its own still hold stays.
    """
    arrow = sys.modules.get("pyarrow")
    if arrow is not None and hasattr(arrow, "default_memory_pool"):  # not while it is being imported
        arrow.default_memory_pool().release_unused()
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    # musl has no such function, and its heap gives free memory back by itself.
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim
