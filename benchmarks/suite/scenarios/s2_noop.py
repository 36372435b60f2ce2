"""S2: nothing changed. Whole processes, and the work of each without its start, by file."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.suite.bench import Bench, peer_contestants, write_pieces
from benchmarks.suite.corpus import make_small_files
from benchmarks.suite.peers import INCREMENTAL, PeerWork
from benchmarks.suite.product import measured, open_project, open_sensor, rag, read_pieces, write_settings
from benchmarks.suite.results import OURS, Row, ScenarioResult
from benchmarks.suite.rounds import Contestant, ContestantFailedError, Measured, compare, say, timed
from benchmarks.suite.scenarios.s1_cold_index import work_of
from benchmarks.suite.statistics import Sample

TITLE = "Nothing changed"
LOOK = "the sensor's look"
TICKS = "the sensor's ticks until its next look"


def run(bench: Bench) -> list[ScenarioResult]:
    folder = bench.empty_folder("s2")
    make_small_files(folder / "docs", bench.size.files, seed=bench.seed)
    write_settings(folder)
    rag(folder, "index")
    given = write_pieces(folder / "pieces.json", read_pieces(folder))
    result = ScenarioResult("s2", TITLE, bench.describe(files=bench.size.files))
    works = partial(work_of, folder, folder / "docs", given)
    wanted = [name for name in INCREMENTAL if name in bench.peers.names]
    built = [name for name in wanted if build_state(bench, name, works(name, "tuned"), result)]

    def noop(name: str, variant: str) -> PeerWork:
        return replace(works(name, variant), is_noop=True)

    contestants = [
        Contestant(OURS, lambda: measured(folder, "index")),
        Contestant(OURS, _look(folder), LOOK),
        Contestant(OURS, _ticks(folder), TICKS),
        *peer_contestants(bench, noop, names=tuple(built), variants=("tuned",), before=lambda _: None),
    ]
    result.rows += compare(contestants, bench.budget)
    result.notes = [
        "peers on the state that their tuned first index left; the naive loop keeps none and starts over",
        "look and ticks: as in a code server that looked before; the first after an index run compares every record",
        "ticks: ten, Dagster's own part included; the first looks, the others have no file event and look at no file",
        "Haystack looks whether a document is there (CacheChecker); it would not see that one was edited",
    ]
    for row in result.rows:
        _by_file(row, bench.size.files)
    return [result]


def build_state(bench: Bench, name: str, work: PeerWork, result: ScenarioResult) -> bool:
    """The state that a peer's runs start from; a row with the reason when it cannot be made."""
    say(f"  first index: {name}")
    work.clear()
    try:
        bench.peers.index(name, work)
    except ContestantFailedError as error:
        result.rows.append(Row(name, "tuned", failure=str(error)))
        return False
    return True


def _look(folder: Path) -> Callable[[], Measured]:
    """A look of the sensor, in this process as in a code server that runs already and has looked before."""
    project = open_project(folder)

    def look() -> Measured:
        project.look_for_changes()  # after an index run the first look compares everything
        return timed(lambda: {"found": bool(project.look_for_changes())})

    return look


def _ticks(folder: Path) -> Callable[[], Measured]:
    """Ticks over a folder whose file events the system tells, in such a process."""
    run_ticks = open_sensor(folder)

    def ticks() -> Measured:
        run_ticks()
        return timed(run_ticks)

    return ticks


def _by_file(row: Row, files: int) -> None:
    if not row.wall_s:
        return
    whole = Sample.of(row.wall_s).median
    each, times = ("us_per_file_and_tick", row.facts["ticks"]) if "ticks" in row.facts else ("us_per_file", 1)
    row.facts[each] = round((row.facts.get("work_s") or whole) / (files * times) * 1e6, 2)
