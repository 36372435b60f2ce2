"""Chooses the engine and the arithmetic of a model by trying them: the fastest that agrees with torch in float32."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rag_pipeline.schema import Matrix

AGREEMENT_MIN = 0.99
"""Smallest cosine between a sample text's two vectors."""
GAIN_MIN = 1.1
"""Less is noise, and float32 is the safer of two equals. Between engines with the same arithmetic any gain will do: what is
timed is one core, and OpenVINO shares several better (``cpu_streams.py``)."""

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
class Way:
    """An engine and its arithmetic."""

    engine: str
    dtype: str
    attention: str = ""
    """A kind that transformers knows by this name; its own choice where it is empty."""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.engine, self.dtype, self.attention)))


@dataclass(frozen=True, slots=True)
class Trial:
    """One way on the sample."""

    way: Way
    tokens_per_s: float
    agreement: float
    """Smallest cosine to torch in float32 among the sample texts."""

    def describe(self) -> dict[str, Any]:
        """JSON values for metadata."""
        speed, agreement = round(self.tokens_per_s), round(self.agreement, 5)
        attention = {"attention": self.way.attention} if self.way.attention else {}
        return {"engine": self.way.engine, "dtype": self.way.dtype, **attention, "tokens_per_s": speed, "agreement": agreement}


def ways_to_try(engine: str, dtype: str, *, openvino: Sequence[str], half: str | None) -> list[Way]:
    """What the settings leave open, the most exact first.

    ``openvino`` are the kinds of arithmetic that this engine has on the device, none where it is not there; ``half`` is
    the half precision that torch computes in hardware.
    """
    torch_dtypes = [kind for kind in ("float32", half) if kind] if dtype == "auto" else [dtype]
    ways = [Way("torch", kind) for kind in torch_dtypes if engine != "openvino"]
    ways += [Way("openvino", kind) for kind in openvino if engine != "torch" and dtype in ("auto", kind)]
    return sorted(ways, key=lambda way: way.dtype != "float32")


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


def measure(embed_tokens: Callable[[int, int], int], clock: Callable[[], float]) -> float:
    """Tokens a second of the fastest of a few looks, which together take about half a second.

    ``embed_tokens`` works on a number of texts of a number of tokens and says how many tokens that were in all. On a CPU
    the clock is that of one core: on a machine that others use as well, several threads wait for each other and wall
    time says nothing about arithmetic.
    """

    def look(count: int) -> tuple[float, int]:
        started = clock()
        tokens = embed_tokens(count, _LENGTH)
        return max(clock() - started, 1e-9), tokens

    seconds, tokens = look(1)
    if seconds < _TRIAL_S:  # else the model is large, and one look has to do
        count = max(1, min(64, int(_TRIAL_S / seconds / _LOOKS)))
        seconds, tokens = min(look(count) for _ in range(_LOOKS))
    return tokens / seconds


def agreement(reference: Matrix, other: Matrix) -> float:
    """Smallest cosine between rows of the same text; -1 where a row is not finite."""
    lengths = np.linalg.norm(reference, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (reference * other).sum(axis=1) / lengths
    return float(np.nan_to_num(cosines, nan=-1.0, posinf=-1.0, neginf=-1.0).min())


def choose(trials: Sequence[Trial]) -> tuple[Way, str]:
    """The way to take, and why: the fastest that agrees; a less exact one only where it is worth it.

    ``trials`` start with the most exact way, which all others are compared with.
    """
    first = best = trials[0]
    for trial in trials[1:]:
        is_same_arithmetic = trial.way.engine != best.way.engine and trial.way.dtype == best.way.dtype
        needed = best.tokens_per_s * (1.0 if is_same_arithmetic else GAIN_MIN)
        if trial.agreement >= AGREEMENT_MIN and trial.tokens_per_s >= needed:
            best = trial
    return best.way, "; ".join(_reason(trial, best, first) for trial in trials[1:]) or f"{first.way} is all that there is to try"


def _reason(trial: Trial, best: Trial, first: Trial) -> str:
    gain = trial.tokens_per_s / first.tokens_per_s
    seen = f"{trial.way} is {gain:.1f} x as fast as {first.way} here, smallest cosine {trial.agreement:.4f}"
    if trial.agreement < AGREEMENT_MIN:
        return f"{seen}: below {AGREEMENT_MIN}"
    return seen if trial is best else f"{seen}: not worth it"
