"""Repeated timings: median, spread, and whether a figure may be published."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

NOISY_SPREAD = 0.15
"""Largest distance of the slowest from the fastest repetition, in medians, that may be published."""
FEWEST = 5
"""Repetitions below which a median is marked."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The same quantity measured several times."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Sample":
        """A sample of at least one value."""
        if not values:
            raise ValueError("a sample needs a value")
        return cls(tuple(values))

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Slowest less fastest, as a share of the median."""
        return (max(self.values) - min(self.values)) / self.median if self.median else 0.0

    @property
    def mark(self) -> str:
        """``noisy``, ``few`` or nothing: why the figure must not be published, if so."""
        if self.spread > NOISY_SPREAD:
            return "noisy"
        return "few" if len(self.values) < FEWEST else ""


@dataclass(frozen=True, slots=True)
class Ratio:
    """One sample over another."""

    median: float
    least: float
    most: float
    mark: str

    @classmethod
    def of(cls, numerator: Sample, denominator: Sample) -> "Ratio | None":
        """Ratio of the medians, and the widest range that the values allow; None over nothing."""
        if not min(denominator.values) > 0:
            return None
        marks = {numerator.mark, denominator.mark}
        return cls(
            numerator.median / denominator.median,
            min(numerator.values) / max(denominator.values),
            max(numerator.values) / min(denominator.values),
            "noisy" if "noisy" in marks else "few" if "few" in marks else "",
        )
