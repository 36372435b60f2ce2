"""Peak memory by the number of small documents: the real model is loaded and embeds one batch, a stand-in does the rest.

python -m benchmarks.suite.scenarios.memory FOLDER
"""

import resource
import sys
from pathlib import Path

from benchmarks.suite.bench import Bench
from benchmarks.suite.corpus import WORDS, make_small_files
from benchmarks.suite.processes import run as run_process
from benchmarks.suite.product import ROOT, environment, write_settings
from benchmarks.suite.results import OURS, ScenarioResult
from benchmarks.suite.rounds import Budget, Contestant, Measured, compare

TITLE = "Peak memory by number of documents"
SENTENCES = 40
GROWTH = 10


def run(bench: Bench) -> list[ScenarioResult]:
    sizes = (bench.size.files // 2, bench.size.files // 2 * GROWTH)
    result = ScenarioResult("memory", TITLE, bench.describe(documents=sizes, sentences=SENTENCES))
    result.rows = compare(
        [Contestant(OURS, lambda size=size: _index(bench, size), f"{size} documents") for size in sizes], Budget(1)
    )
    peaks = [row.facts.get("peak_mib", 0) for row in result.rows]
    if all(peaks):
        result.facts["growth"] = round(peaks[-1] / peaks[0], 3)
    result.notes = ["a stand-in for the model: the time says nothing"]
    return [result]


def _index(bench: Bench, size: int) -> Measured:
    folder = bench.empty_folder(f"memory-{size}")
    write_settings(folder, buckets=16)
    make_small_files(folder / "docs", size, seed=bench.seed, sentences=SENTENCES)
    command = [sys.executable, "-m", "benchmarks.suite.scenarios.memory", str(folder)]
    done = run_process(command, folder=ROOT, environment=environment()).checked()
    return Measured(done.wall_s, done.cpu_s, {"peak_mib": int(done.output.strip().splitlines()[-1])})


def main() -> None:
    """Prints the peak memory of this process in MiB after one first index."""
    from benchmarks.suite.stand_in import StandIn
    from rag_pipeline.project import Project
    from rag_pipeline_tests.projects import index_once, open_project

    file = Path(sys.argv[1]) / "rag_pipeline.yaml"
    real = Project.load(file)
    real.models.embedder(real.spec.vector_space).embed_documents([" ".join(WORDS * 10)] * 16)
    project = open_project(file, embedder=StandIn())
    index_once(project)
    project.close()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


if __name__ == "__main__":
    main()
