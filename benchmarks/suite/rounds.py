"""Contestants timed in turn: a warm-up, then rounds in the order ABBA, until the repetitions or the time are used up."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.suite.results import Row


class ContestantFailedError(Exception):
    """A system could not do the work; the message is shown in its row."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One repetition of one system."""

    wall_s: float
    cpu_s: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contestant:
    """A system in one configuration."""

    system: str
    run: Callable[[], Measured]
    variant: str = ""
    warm_up: Callable[[], object] | None = None
    """Something small that fills caches; None where ``run`` starts nothing."""

    @property
    def name(self) -> str:
        """As its row is called."""
        return Row(self.system, self.variant).name


@dataclass(frozen=True, slots=True)
class Budget:
    """How often, and how long at most."""

    repetitions: int
    seconds: float | None = None
    """No new round begins when it would not end within this time; the first always runs."""


def timed(work: Callable[[], dict[str, Any] | None]) -> Measured:
    """Wall and processor seconds of work in this process."""
    started, cpu = time.perf_counter(), time.process_time()
    facts = work()
    return Measured(time.perf_counter() - started, time.process_time() - cpu, facts or {})


def in_this_process(work: Callable[[], dict[str, Any] | None]) -> Callable[[], Measured]:
    """``timed``, later."""
    return lambda: timed(work)


def compare(contestants: Sequence[Contestant], budget: Budget) -> list[Row]:
    """A row for each contestant. One that fails is dropped with its reason, and the others go on."""
    rows = {id(contestant): Row(contestant.system, contestant.variant) for contestant in contestants}
    started = time.perf_counter()
    for contestant in contestants:
        if contestant.warm_up is not None:
            _try(contestant, contestant.warm_up, rows[id(contestant)])
    for round_number in _rounds(budget, started):
        order = contestants if round_number % 2 == 0 else list(reversed(contestants))
        for contestant in order:
            row = rows[id(contestant)]
            if row.failure is None:
                say(f"  round {round_number + 1}: {row.name}")
                _keep(row, _try(contestant, contestant.run, row))
    return list(rows.values())


def _rounds(budget: Budget, started: float) -> Iterator[int]:
    longest = 0.0
    for number in range(budget.repetitions):
        begun = time.perf_counter()
        if number and budget.seconds is not None and begun - started + longest > budget.seconds:
            say(f"  {number} of {budget.repetitions} rounds: the time for this scenario is used up")
            return
        yield number
        longest = max(longest, time.perf_counter() - begun)


def _try(contestant: Contestant, work: Callable[[], object], row: Row) -> object:
    try:
        return work()
    except ContestantFailedError as error:
        row.failure = str(error)
        say(f"  {contestant.system} {contestant.variant} failed: {error}")
        return None


def _keep(row: Row, measured: object) -> None:
    if isinstance(measured, Measured):
        row.wall_s.append(measured.wall_s)
        row.cpu_s.append(measured.cpu_s)
        row.facts = measured.facts


def say(message: str) -> None:
    """A line of progress, beside the table on standard output."""
    print(message, file=sys.stderr, flush=True)
