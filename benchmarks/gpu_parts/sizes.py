"""How much is measured: on a GPU in under ten minutes, or a try of the steps."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """Amounts of one run."""

    is_smoke: bool
    products: tuple[tuple[int, int, int], ...]
    """Rows, inner size and columns of the matrices."""
    copy_mib: int
    chunk_tokens: int
    timing_s: float
    """Seconds of one timing, about."""
    rounds: int
    most_texts: int
    """Texts of one timing at most."""
    agreement_texts: int
    switch_chunks: int
    switch_slice: int
    """Chunks that go through the lanes of the switch together."""
    tuned_batch: int
    """Texts of a batch of `encode`, tuned."""
    seconds_for_models: float
    """No model is begun later than this."""


FULL = Size(
    is_smoke=False,
    products=((8192, 8192, 8192), (65536, 384, 1536), (65536, 768, 3072), (65536, 1024, 4096)),
    copy_mib=256,
    chunk_tokens=512,
    timing_s=2.5,
    rounds=3,
    most_texts=60_000,
    agreement_texts=256,
    switch_chunks=200_000,
    switch_slice=8192,
    tuned_batch=256,
    seconds_for_models=330,
)

SMOKE = Size(
    is_smoke=True,
    products=((64, 64, 64), (128, 32, 64)),
    copy_mib=1,
    chunk_tokens=32,
    timing_s=0.05,
    rounds=1,
    most_texts=24,
    agreement_texts=8,
    switch_chunks=96,
    switch_slice=32,
    tuned_batch=8,
    seconds_for_models=60,
)
