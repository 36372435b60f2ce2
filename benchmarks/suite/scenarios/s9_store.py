"""S9: upsert and search in the store alone; the work is in ``benchmarks/store.py``, which has its own settings."""

import json
import sys

from benchmarks.suite.bench import Bench
from benchmarks.suite.processes import run as run_process
from benchmarks.suite.product import ROOT, environment
from benchmarks.suite.results import ScenarioResult

TITLE = "The store alone"
SCRIPT = ROOT / "benchmarks" / "store.py"


def run(bench: Bench) -> list[ScenarioResult]:
    result = ScenarioResult("s9", TITLE, bench.describe(script=SCRIPT.name, points=bench.size.points))
    folder = bench.empty_folder("s9")
    figures = folder / "store.json"
    command = [str(SCRIPT), "--points", str(bench.size.points), "--folder", str(folder), "--out", str(figures)]
    run_process([sys.executable, *command], folder=ROOT, environment=environment()).checked()
    measured = json.loads(figures.read_text(encoding="utf-8"))
    result.facts = {part: measured[part] for part in ("edge", "server")}
    return [result]
