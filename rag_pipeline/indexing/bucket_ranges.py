"""How the buckets of an index are shared out among runs."""

from collections.abc import Container, Sequence


def bucket_ranges(buckets: Sequence[str], *, per_run: int | None, wanted: Container[str]) -> list[list[str]]:
    """The buckets in ranges of so many, all in one without a number; only ranges with a bucket that is wanted.

    The borders do not move with what is wanted, so a range that is asked for again is the same one.
    """
    size = per_run or len(buckets)
    ranges = [list(buckets[start : start + size]) for start in range(0, len(buckets), size)]
    return [names for names in ranges if any(name in wanted for name in names)]
