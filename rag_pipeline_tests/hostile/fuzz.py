"""``python -m rag_pipeline_tests.hostile.fuzz 20000 1``: so many mutants of that seed through the parsing processes."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from rag_pipeline.adapters.parser_pool import ProcessPoolParser
from rag_pipeline.errors import DocumentError
from rag_pipeline.ports import ParseRequest
from rag_pipeline.settings import ParsingSettings
from rag_pipeline_tests.hostile.mutants import mutants

TIMEOUT_S = 20
_DEATHS = frozenset({"timeout", "crash", "limit_memory"})
_REPORT_EVERY = 1000


@dataclass(slots=True)
class Tally:
    """What became of the mutants."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By format and reason; ``parsed`` for none."""
    deaths: list[str] = field(default_factory=list)
    """Mutants that cost a parsing process its time, its memory or its life."""
    seconds: float = 0.0

    @property
    def total(self) -> int:
        return self.outcomes.total()

    def lines(self) -> Iterator[str]:
        """A table of reasons by format."""
        for name in sorted({name for name, _ in self.outcomes}):
            found = Counter({reason: count for (of, reason), count in self.outcomes.items() if of == name})
            yield f"{name:6} " + ", ".join(f"{reason} {count}" for reason, count in found.most_common())
        yield f"{self.total} mutants in {self.seconds:.0f} s; died: {self.deaths or 'none'}"


def fuzz(count: int, seed: int, *, workers: int = 1, first: int = 0) -> Tally:
    """Every mutant parsed in a child, and counted."""
    tally = Tally()
    started = time.monotonic()
    parser = ProcessPoolParser(ParsingSettings(workers=workers, timeout_s=TIMEOUT_S))
    requests = (ParseRequest(f"{seed}:{m.number}:{m.path}", m.path, m.data) for m in mutants(seed, count, first=first))
    try:
        for outcome in parser.parse_all(requests):
            reason = outcome.result.reason if isinstance(outcome.result, DocumentError) else "parsed"
            tally.outcomes[outcome.document_id.rpartition(".")[2], reason] += 1
            if reason in _DEATHS:
                tally.deaths.append(f"{outcome.document_id} {reason}")
            tally.seconds = time.monotonic() - started
            if tally.total % _REPORT_EVERY == 0:
                print("\n".join(tally.lines()), flush=True)
    finally:
        parser.close()
    return tally


if __name__ == "__main__":
    print("\n".join(fuzz(int(sys.argv[1]), int(sys.argv[2])).lines()))
