"""The command: runs scenarios one after the other, keeps each result as it comes, prints tables, writes the page."""

import argparse
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.suite import catalogue, report
from benchmarks.suite.bench import SIZES, Bench
from benchmarks.suite.corpus import PYTHON_PAGES
from benchmarks.suite.machine import describe_machine
from benchmarks.suite.peers import DEFAULT_PYTHON, PEERS, Peers
from benchmarks.suite.product import ROOT
from benchmarks.suite.results import ScenarioResult, load, save
from benchmarks.suite.rounds import ContestantFailedError, say

RESULTS = ROOT / "benchmarks" / "results.json"
STOPPED = 143
PAGE = ROOT / "docs" / "performance.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 when a scenario that was asked for did not run."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))
    if options.report_only:
        report.write_page(options.page, load(options.out))
        return 0
    results = load(options.out)
    failed = False
    with tempfile.TemporaryDirectory(prefix="rag-bench-", dir=options.folder) as folder:
        bench = _bench(options, Path(folder))
        for key in options.scenarios or catalogue.ALL:
            for result in _run(key, bench):
                results[result.key] = result
                failed |= result.failure is not None
                report.show(result)
            save(options.out, results)
    if options.page is not None:
        report.write_page(options.page, results)
    return int(failed)


def _bench(options: argparse.Namespace, folder: Path) -> Bench:
    peers = Peers(options.peer_python, tuple(name for name in PEERS if name not in options.without))
    chosen = {
        name: getattr(options, name)
        for name in ("pages", "files", "parsed", "points", "budget_s")
        if getattr(options, name) is not None
    }
    return Bench(
        replace(SIZES[options.size], **chosen),
        options.repetitions,
        peers,
        folder,
        seed=options.seed,
        corpus=options.corpus,
        only=tuple(options.only),
    )


def _run(key: str, bench: Bench) -> list[ScenarioResult]:
    say(f"{key}: {catalogue.SCENARIOS[key]}")
    machine, started = describe_machine(), time.perf_counter()
    try:
        found = catalogue.load(key)(bench)
    except ContestantFailedError as error:
        found = [ScenarioResult(key, catalogue.SCENARIOS[key], bench.describe(), failure=str(error))]
    except Exception as error:  # noqa: BLE001 - one broken scenario must not cost the results of the others
        traceback.print_exc()
        found = [ScenarioResult(key, catalogue.SCENARIOS[key], bench.describe(), failure=f"{type(error).__name__}: {error}")]
    for result in found:
        result.machine, result.seconds = machine, round(time.perf_counter() - started, 1)
    say(f"{key}: {time.perf_counter() - started:.0f} s")
    return found


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("scenarios", nargs="*", type=str.lower, metavar="SCENARIO", help=f"of {', '.join(catalogue.SCENARIOS)}")
    parser.add_argument("--size", choices=SIZES, default="quick", help="quick fits two cores in twenty minutes")
    parser.add_argument("--pages", type=int, help="HTML pages of a first index, in place of the size's")
    parser.add_argument("--files", type=int, help="small files of a run without changes, in place of the size's")
    parser.add_argument("--parsed", type=int, help="pages and PDFs that are only parsed, in place of the size's")
    parser.add_argument("--points", type=int, help="points of the store alone, in place of the size's")
    parser.add_argument("--budget-s", type=float, help="seconds for the rounds of a scenario, in place of the size's")
    parser.add_argument("--repetitions", type=int, default=5, help="rounds; fewer where the time of a size is used up")
    parser.add_argument("--seed", type=int, default=1, help="of made documents and of what is edited")
    parser.add_argument("--corpus", type=Path, default=PYTHON_PAGES, help="folder of HTML pages")
    parser.add_argument("--peer-python", type=Path, default=DEFAULT_PYTHON, help="of the environment of make bench-peers")
    parser.add_argument("--without", nargs="*", default=[], metavar="PEER", help=f"of {', '.join(PEERS)}")
    parser.add_argument(
        "--only", nargs="*", default=[], metavar="ROW", help="of S1 and S4 beside ours, such as 'LangChain, tuned'"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON; other scenarios in it are kept")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page whose figures are replaced")
    parser.add_argument("--no-page", dest="page", action="store_const", const=None, help="leave the page alone")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    parser.add_argument("--report-only", action="store_true", help="the page anew from the JSON, nothing is measured")
    options = parser.parse_args(arguments)
    if unknown := set(options.scenarios) - set(catalogue.SCENARIOS):
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(catalogue.SCENARIOS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
