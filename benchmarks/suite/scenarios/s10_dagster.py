"""S10: what Dagster costs. The same work with and without it, the model stubbed out: first index, nothing to do, model switch.

python benchmarks/suite/scenarios/s10_dagster.py FOLDER index|reindex dagster|direct
"""

import json
import sys
import time
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.suite.bench import Bench
from benchmarks.suite.corpus import make_small_files
from benchmarks.suite.processes import run as run_process
from benchmarks.suite.product import PROMPT, ROOT, environment, write_settings
from benchmarks.suite.results import OURS, ScenarioResult
from benchmarks.suite.rounds import Contestant, Measured, compare
from benchmarks.suite.snapshots import keep, put_back

WAYS = ("dagster", "direct")
NAMES = {"dagster": "the job, in this process", "direct": "the same calls without Dagster"}
CASES = {
    "s10": ("Dagster over a first index, model stubbed out", "index"),
    "s10-noop": ("Dagster over a run without changes", "index"),
    "s10-switch": ("Dagster over a model switch, model stubbed out", "reindex"),
}


def run(bench: Bench) -> list[ScenarioResult]:
    folder = bench.empty_folder("s10")
    files = bench.size.files
    make_small_files(folder / "docs", files, seed=bench.seed)
    write_settings(folder)
    (folder / ".rag").mkdir()
    keep(folder / ".rag")
    results = [_race(bench, folder, "s10", files)]
    _call(folder, "index", "direct")
    keep(folder / ".rag")
    results.append(_race(bench, folder, "s10-noop", files))
    write_settings(folder, embedding={"document_prompt": PROMPT})
    return [*results, _race(bench, folder, "s10-switch", files)]


def _race(bench: Bench, folder: Path, key: str, files: int) -> ScenarioResult:
    title, command = CASES[key]
    result = ScenarioResult(key, title, bench.describe(files=files))
    result.rows = compare(
        [Contestant(OURS, partial(_restored, folder, command, way), NAMES[way]) for way in WAYS],
        bench.budget,
    )
    walls = [row.wall for row in result.rows if row.wall is not None]
    if len(walls) == len(WAYS):
        result.facts["added_s"] = round(walls[0].median - walls[1].median, 2)
    result.notes = ["inside the process, imports included, the interpreter's start left out"]
    return result


def _restored(folder: Path, command: str, way: str) -> Measured:
    put_back(folder / ".rag")
    return _call(folder, command, way)


def _call(folder: Path, command: str, way: str) -> Measured:
    done = run_process(
        [sys.executable, "-m", "benchmarks.suite.scenarios.s10_dagster", str(folder), command, way],
        folder=ROOT,
        environment=environment(),
    ).checked()
    values: dict[str, Any] = json.loads(done.output.strip().splitlines()[-1])
    return Measured(values.pop("seconds"), done.cpu_s, values)


def main() -> None:
    """One run in this process; prints seconds and what was done."""
    folder, command, way = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    started = time.perf_counter()
    with redirect_stdout(sys.stderr):
        from rag_pipeline_tests.projects import open_project

        project = open_project(folder / "rag_pipeline.yaml")
        points = (_with_dagster if way == "dagster" else _direct)(project, command)
        project.close()
    print(json.dumps({"seconds": time.perf_counter() - started, "points": points}))


def _with_dagster(project: Any, command: str) -> int:
    from rag_pipeline.cli.dagster_run import run_index, run_job

    is_index = command == "index"
    done = run_index(project, approve_deletes=False, compare_all=False) if is_index else run_job(project, "reindex", {})
    if done.cause is not None:
        sys.exit(done.cause)
    return int(project.store.count(project.target.name))


def _direct(project: Any, command: str) -> int:
    from rag_pipeline.operations.progress import SILENT

    if command == "index":
        from rag_pipeline_tests.projects import index_once

        index_once(project)
    else:
        from rag_pipeline.operations.reindex import reindex
        from rag_pipeline.operations.release import release, validate

        reindex(project, project.buckets, progress=SILENT)
        validate(project, progress=SILENT)
        release(project, approve=False, by="benchmark", progress=SILENT)
    return int(project.store.count(project.target.name))


if __name__ == "__main__":
    main()
