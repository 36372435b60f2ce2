"""The peers, each run in a process of its own by the Python of their own environment."""

import importlib.util
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.suite.processes import Finished, run
from benchmarks.suite.product import ROOT, model_path
from benchmarks.suite.rounds import ContestantFailedError, Measured

FOLDER = ROOT / "benchmarks" / "peers"
DEFAULT_PYTHON = ROOT / ".peers" / "bin" / "python"
PEERS = {
    "naive loop": "run_naive.py",
    "LlamaIndex": "run_llamaindex.py",
    "LangChain": "run_langchain.py",
    "Haystack": "run_haystack.py",
    "CocoIndex": "run_cocoindex.py",
}
INCREMENTAL = ("CocoIndex", "LlamaIndex", "LangChain", "Haystack")
"""Those that keep a state; the loop starts over."""
VARIANTS = ("documented", "tuned")


@dataclass(frozen=True, slots=True)
class Peers:
    """Where the peers' environment is, and which of them are asked for."""

    python: Path
    names: tuple[str, ...]

    def index(self, name: str, work: "PeerWork") -> Measured:
        """One run over the folder, on the state that the last one left there."""
        done = self.script(PEERS[name], work.request())
        values = _answer(done)
        return Measured(done.wall_s, done.cpu_s, {**values, "peak_mib": done.peak_mib})

    def script(self, script: str, request: dict[str, Any], *arguments: str) -> Finished:
        """One run of a script of the peers' folder."""
        if not self.python.exists():
            raise ContestantFailedError(f"no {self.python}; run make bench-peers")
        # Absolute but not resolved: the link in the environment is what makes it that environment.
        command = [str(self.python.absolute()), str(FOLDER / script), *arguments]
        environment = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "HAYSTACK_TELEMETRY_ENABLED": "False", "PYTHONPATH": ""}
        return run(command, folder=ROOT, environment=environment, text=json.dumps(request)).checked()

    def answer(self, script: str, request: dict[str, Any], *arguments: str) -> dict[str, Any]:
        """The JSON that the script ends with."""
        return _answer(self.script(script, request, *arguments))


@dataclass(frozen=True, slots=True)
class PeerWork:
    """What a peer is given: documents, the pieces they are cut into, and a folder for its state."""

    docs: Path
    pieces: Path
    """JSON: path of a document to the texts of its chunks."""
    state: Path
    variant: str
    is_noop: bool = False
    """Nothing changed since the last run: a peer that can only look whether documents are there may do that."""

    def request(self) -> dict[str, Any]:
        """The JSON that the peer reads."""
        return {
            "docs": str(self.docs),
            "pieces": str(self.pieces),
            "state": str(self.state),
            "variant": self.variant,
            "model": str(model_path()),
            "window": 512,
            "is_noop": self.is_noop,
        }

    def clear(self) -> None:
        """Nothing is left of earlier runs."""
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir(parents=True)


def _answer(done: Finished) -> dict[str, Any]:
    lines = done.output.strip().splitlines()
    if not lines:
        raise ContestantFailedError("it printed nothing")
    values: dict[str, Any] = json.loads(lines[-1])
    return values


def has_openvino() -> bool:
    """Whether the fastest engine can be run here."""
    return importlib.util.find_spec("openvino") is not None
