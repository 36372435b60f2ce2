"""What every scenario is given: sizes, repetitions, corpus, peers, a scratch folder."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.suite import engines
from benchmarks.suite.corpus import PYTHON_PAGES
from benchmarks.suite.peers import Peers, PeerWork
from benchmarks.suite.processes import run
from benchmarks.suite.product import ROOT, Piece, environment, model_path
from benchmarks.suite.results import OURS
from benchmarks.suite.rounds import Budget, Contestant, ContestantFailedError, Measured

WINDOW = 512
BATCH = 32


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    pages: int
    """HTML pages of a first index, an edit and a model switch."""
    files: int
    """Small files of a run without changes."""
    parsed: int
    """Pages and PDFs that are only parsed."""
    points: int
    """Points of the store alone."""
    budget_s: float | None
    """Of the rounds of one scenario."""


SIZES = {
    "tiny": Size(pages=4, files=200, parsed=10, points=2_000, budget_s=60),
    "quick": Size(pages=12, files=1_000, parsed=30, points=20_000, budget_s=110),
    "full": Size(pages=500, files=10_000, parsed=250, points=100_000, budget_s=None),
}


@dataclass(frozen=True, slots=True)
class Bench:
    """The settings of one run of the suite."""

    size: Size
    repetitions: int
    peers: Peers
    folder: Path
    seed: int = 1
    corpus: Path = PYTHON_PAGES
    only: tuple[str, ...] = ()
    """Rows of S1 and S4 beside ours, such as ``LangChain, tuned``; all where none is named."""

    @property
    def budget(self) -> Budget:
        """Of the rounds of one scenario."""
        return Budget(self.repetitions, self.size.budget_s)

    def empty_folder(self, name: str) -> Path:
        """A scratch folder."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def chosen(self, contestants: list[Contestant]) -> list[Contestant]:
        """Ours and those that are asked for. Raises ContestantFailedError for a row that is not there."""
        names = [one.name for one in contestants]
        if unknown := sorted(set(self.only) - set(names)):
            raise ContestantFailedError(f"no row {'; '.join(unknown)}; there are {'; '.join(names)}")
        return [one for one in contestants if not self.only or one.system == OURS or one.name in self.only]

    def describe(self, **more: Any) -> dict[str, Any]:
        """The settings that belong to a result."""
        return {"repetitions": self.repetitions, "budget_s": self.size.budget_s, "seed": self.seed, **more}


def write_pieces(file: Path, pieces: list[Piece]) -> Path:
    """The chunks of each document as the peers read them."""
    by_path: dict[str, list[str]] = {}
    for piece in pieces:
        by_path.setdefault(piece.path, []).append(piece.text)
    file.write_text(json.dumps(by_path))
    return file


def engine(name: str, texts: list[str], vectors: Path | None = None) -> Contestant:
    """The encoder alone over these texts, as the limit that ours is held to."""
    request = {"texts": texts, "model": str(model_path()), "window": WINDOW, "batch": BATCH, "vectors": vectors and str(vectors)}

    def measure() -> Measured:
        done = run_engine(name, request)
        return Measured(done["seconds"], done["cpu_s"], {"texts_encoded": len(texts)})

    return Contestant(engines.NAMES[name], measure, "encoder alone")


def run_engine(name: str, request: dict[str, Any]) -> dict[str, Any]:
    """The engine's answer, from a process of its own."""
    import sys

    command = [sys.executable, str(ROOT / "benchmarks" / "suite" / "engines.py"), name]
    done = run(command, folder=ROOT, environment=environment(), text=json.dumps(request)).checked()
    values: dict[str, Any] = json.loads(done.output.strip().splitlines()[-1])
    return values


def peer_contestants(
    bench: Bench,
    works: Callable[[str, str], PeerWork],
    *,
    names: tuple[str, ...],
    variants: tuple[str, ...],
    before: Callable[[PeerWork], None],
    warm: Callable[[str], object] | None = None,
) -> list[Contestant]:
    """Every peer in every variant; ``before`` puts its state as the scenario wants it, outside the time."""

    def contestant(name: str, variant: str) -> Contestant:
        def measure() -> Measured:
            work = works(name, variant)
            before(work)
            return bench.peers.index(name, work)

        return Contestant(name, measure, variant, (lambda: warm(name)) if warm else None)

    wanted = [name for name in names if name in bench.peers.names]
    return [contestant(name, variant) for name in wanted for variant in variants]
