"""S3: a few documents edited, deleted and renamed. Texts that went through the model, beside the chunks that are new."""

from functools import partial
from pathlib import Path

from benchmarks.suite.bench import Bench, peer_contestants, write_pieces
from benchmarks.suite.corpus import change_files, copy_pages
from benchmarks.suite.peers import INCREMENTAL, PeerWork
from benchmarks.suite.product import measured, rag, read_pieces, unique_texts, write_settings
from benchmarks.suite.results import OURS, ScenarioResult
from benchmarks.suite.rounds import Contestant, Measured, compare
from benchmarks.suite.scenarios.s1_cold_index import work_of
from benchmarks.suite.scenarios.s2_noop import build_state
from benchmarks.suite.snapshots import keep, put_back

TITLE = "One document in a hundred edited, one in a thousand deleted, one renamed"


def run(bench: Bench) -> list[ScenarioResult]:
    folder = bench.empty_folder("s3")
    files = copy_pages(folder / "docs", bench.corpus, bench.size.pages)
    write_settings(folder)
    rag(folder, "index")
    before = read_pieces(folder)
    given = write_pieces(folder / "pieces.json", before)
    result = ScenarioResult("s3", TITLE, bench.describe(pages=bench.size.pages, corpus=bench.corpus.name))
    works = partial(work_of, folder, folder / "docs", given)
    wanted = [name for name in INCREMENTAL if name in bench.peers.names]
    built = [name for name in wanted if build_state(bench, name, works(name, "tuned"), result)]
    for state in (folder / ".rag", *(works(name, "tuned").state for name in built)):
        keep(state)
    changes = change_files(files, seed=bench.seed)
    rag(folder, "index", "--approve-deletes")
    after = read_pieces(folder)
    write_pieces(given, after)
    new = unique_texts(after).keys() - unique_texts(before).keys()
    result.facts = {
        "edited": changes.edited,
        "deleted": changes.deleted,
        "renamed": changes.moved,
        "new_texts": len(new),
        "points_wanted": len(after),
    }
    result.notes = ["a rename brings no new text; points that are too many are answers from documents that are gone"]
    contestants = [
        Contestant(OURS, lambda: _changed(folder)),
        *peer_contestants(bench, works, names=tuple(built), variants=("tuned",), before=_put_back),
    ]
    result.rows += compare(contestants, bench.budget)
    return [result]


def _put_back(work: PeerWork) -> None:
    put_back(work.state)


def _changed(folder: Path) -> Measured:
    put_back(folder / ".rag")
    return measured(folder, "index", "--approve-deletes")
