"""S5: kill -9 in the middle of a model switch, then the same command again. How much was done twice."""

import json
from pathlib import Path

from benchmarks.suite.bench import Bench
from benchmarks.suite.product import rag, start
from benchmarks.suite.results import OURS, ScenarioResult
from benchmarks.suite.rounds import Contestant, ContestantFailedError, Measured, compare
from benchmarks.suite.scenarios.s4_model_switch import make_old_index, switch_facts
from benchmarks.suite.snapshots import put_back

TITLE = "kill -9 at half of a model switch, then resumed"


def run(bench: Bench) -> list[ScenarioResult]:
    folder = bench.empty_folder("s5")
    chunks = len(make_old_index(bench, folder))
    whole_s = rag(folder, "reindex")[0].wall_s
    result = ScenarioResult("s5", TITLE, bench.describe(pages=bench.size.pages, corpus=bench.corpus.name))
    result.facts = {"chunks": chunks, "whole_switch_s": round(whole_s, 2), "killed_at_s": round(whole_s / 2, 2)}
    result.notes = [
        "the time is that of the killed and the second process together",
        "encoded twice: texts that the second run encodes again, of all; kept is what rag plan no longer asks for after the kill",
    ]
    result.rows = compare([Contestant(OURS, lambda: _killed(folder, whole_s / 2))], bench.budget)
    return [result]


def _killed(folder: Path, kill_after_s: float) -> Measured:
    put_back(folder / ".rag")
    wanted = _left(folder)
    first = start(folder, "reindex", kill_after_s=kill_after_s)
    if first.code == 0:
        raise ContestantFailedError("it was done before the kill; take more pages")
    left = _left(folder)
    second, values = rag(folder, "reindex")
    facts = switch_facts(values)
    facts.update(kept_at_kill=wanted - left, left_at_kill=left, encoded_twice=facts["texts_encoded"] - left)
    _check(folder)
    return Measured(first.wall_s + second.wall_s, first.cpu_s + second.cpu_s, facts)


def _left(folder: Path) -> int:
    """Texts that a reindex still has to encode."""
    release = rag(folder, "plan")[1]["release"]
    return int(release["chunks"]["embed"]) if release else 0


def _check(folder: Path) -> None:
    """Raises ContestantFailedError unless every id and vector is as it should be."""
    done = start(folder, "fsck")
    if done.code:
        raise ContestantFailedError(f"fsck found something: {json.dumps(done.output)[:200]}")
