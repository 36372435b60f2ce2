"""Where a vector is kept, for millions of them."""

import hashlib
import tracemalloc

from rag_pipeline.indexing import owners
from rag_pipeline.indexing.owners import Owners

COUNT = 3 * owners.MERGED_ENTRIES


def digest(number: int) -> bytes:
    return hashlib.blake2b(str(number).encode(), digest_size=16).digest()


def test_every_digest_is_found_where_it_was_noted() -> None:
    kept = Owners()
    for number in range(COUNT):
        kept.add(f"bucket {number % 7}", [digest(number)])
    wanted = [digest(number) for number in range(COUNT)]
    assert kept.find(wanted) == {digest(number): f"bucket {number % 7}" for number in range(COUNT)}


def test_unknown_digests_are_not_found() -> None:
    kept = Owners()
    assert kept.find([digest(1)]) == {}
    kept.add("00", [digest(number) for number in range(COUNT)])
    assert kept.find([digest(-1), digest(-2)]) == {}


def test_the_newest_note_counts() -> None:
    kept = Owners()
    kept.add("00", [digest(number) for number in range(COUNT)])
    kept.add("01", [digest(5)])
    assert kept.find([digest(5), digest(6)]) == {digest(5): "01", digest(6): "00"}


def test_a_note_costs_a_few_bytes() -> None:
    tracemalloc.start()
    kept = Owners()
    for start in range(0, 200_000, 1000):
        kept.add("00", (digest(number) for number in range(start, start + 1000)))
    held_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held_bytes < 200_000 * 60
