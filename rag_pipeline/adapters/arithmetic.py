"""Chooses the arithmetic of a model by trying it: half precision where it is faster and agrees with float32."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rag_pipeline.schema import Matrix

AGREEMENT_MIN = 0.99
"""Smallest cosine between a sample text's two vectors."""
GAIN_MIN = 1.1
"""Less is noise, and float32 is the safer of two equals."""

SAMPLE_TEXTS = (
    "The river rose three metres in one night, and by morning the lower fields of the village stood under water.",
    "def total(prices: list[float], rate: float = 0.19) -> float:\n    return round(sum(prices) * (1 + rate), 2)",
    "| part | size | stock |\n| bolt M8 | 8 x 40 mm | 1,250 |\n| washer | 8.4 mm | 9,800 |",
    "Set the time limit to zero to wait without end; any other value is taken as seconds.",
    "Ein Vertrag kommt durch zwei übereinstimmende Willenserklärungen zustande: Angebot und Annahme.",
    "새 모델로 색인을 다시 만드는 동안에도 검색은 멈추지 않는다.",
    "Yes.",
)

_TRIAL_S = 0.4
_LOOKS = 4
_LENGTH = 128


@dataclass(frozen=True, slots=True)
class Trial:
    """One arithmetic on the sample."""

    dtype: str
    tokens_per_s: float
    agreement: float
    """Smallest cosine to float32 among the sample texts."""

    def describe(self) -> dict[str, Any]:
        """JSON values for metadata."""
        return {"dtype": self.dtype, "tokens_per_s": round(self.tokens_per_s), "agreement": round(self.agreement, 5)}


def half_precision(device: str) -> str | None:
    """The half precision that the device computes in hardware, or None."""
    import torch

    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if device == "mps":
        return "float16"
    # Without such units a CPU emulates half precision, a hundred times slower than float32.
    units: Mapping[str, Any] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bfloat16" if any(units.get(unit) for unit in ("avx512_bf16", "amx_bf16", "bf16")) else None


def measure(embed_tokens: Callable[[int, int], int], *, device: str) -> float:
    """Tokens a second; on a CPU those of one core, in that core's own time.

    ``embed_tokens`` works on a number of texts of a number of tokens and says how many tokens that were in all. On a
    machine that others use as well, several threads wait for each other and wall time says nothing about arithmetic.
    """
    if device != "cpu":
        return _best_rate(embed_tokens, time.perf_counter)
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _best_rate(embed_tokens, time.thread_time)
    finally:
        torch.set_num_threads(threads)


def agreement(reference: Matrix, other: Matrix) -> float:
    """Smallest cosine between rows of the same text; -1 where a row is not finite."""
    lengths = np.linalg.norm(reference, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (reference * other).sum(axis=1) / lengths
    return float(np.nan_to_num(cosines, nan=-1.0, posinf=-1.0, neginf=-1.0).min())


def verdict(full: Trial, half: Trial) -> tuple[bool, str]:
    """Whether half precision is taken, and why."""
    gain = half.tokens_per_s / full.tokens_per_s
    seen = f"{half.dtype} is {gain:.1f} x as fast as float32 here, smallest cosine to it {half.agreement:.4f}"
    if half.agreement < AGREEMENT_MIN:
        return False, f"{seen}: below {AGREEMENT_MIN}"
    return gain >= GAIN_MIN, seen if gain >= GAIN_MIN else f"{seen}: not worth it"


def _best_rate(embed_tokens: Callable[[int, int], int], clock: Callable[[], float]) -> float:
    """Tokens a second of the fastest of a few looks, which together take about half a second."""

    def look(count: int) -> tuple[float, int]:
        started = clock()
        tokens = embed_tokens(count, _LENGTH)
        return max(clock() - started, 1e-9), tokens

    seconds, tokens = look(1)
    if seconds < _TRIAL_S:  # else the model is large, and one look has to do
        count = max(1, min(64, int(_TRIAL_S / seconds / _LOOKS)))
        seconds, tokens = min(look(count) for _ in range(_LOOKS))
    return tokens / seconds
