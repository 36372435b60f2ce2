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
    result = ScenarioResult("s9", TITLE, bench.describe(script=SCRIPT.name))
    if not SCRIPT.exists():
        result.failure = f"there is no {SCRIPT.name} in benchmarks/"
        return [result]
    done = run_process([sys.executable, str(SCRIPT), "--json"], folder=ROOT, environment=environment()).checked()
    result.facts = json.loads(done.output)
    return [result]
