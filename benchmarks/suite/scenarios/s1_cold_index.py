"""S1: the first index of real HTML pages, end to end: process start, parsing, cutting, encoding, storing."""

import shutil
from pathlib import Path

from benchmarks.suite.answers import agreement, reference_vectors, stored_by_peer
from benchmarks.suite.bench import Bench, engine, peer_contestants, write_pieces
from benchmarks.suite.corpus import copy_pages
from benchmarks.suite.peers import PEERS, VARIANTS, PeerWork, has_openvino
from benchmarks.suite.product import Piece, measured, rag, read_pieces, read_vectors, unique_texts, write_settings
from benchmarks.suite.results import OURS, Row, ScenarioResult
from benchmarks.suite.rounds import Contestant, ContestantFailedError, Measured, compare, say

TITLE = "First index of HTML pages, end to end"


def run(bench: Bench) -> list[ScenarioResult]:
    folder = bench.empty_folder("s1")
    copy_pages(folder / "docs", bench.corpus, bench.size.pages)
    write_settings(folder)
    rag(folder, "index")  # the warm-up of ours; its chunks are given to everybody
    pieces = read_pieces(folder)
    texts = unique_texts(pieces)
    result = ScenarioResult("s1", TITLE, bench.describe(pages=bench.size.pages, corpus=bench.corpus.name))
    result.facts = {"chunks": len(pieces), "tokens": sum(texts.values())}
    result.notes = ["every system stores the same chunks; the encoder alone has no start, no parsing and no store"]
    contestants = [
        Contestant(OURS, lambda: _first(folder)),
        *cold_peers(bench, folder, folder / "docs", pieces, names=tuple(PEERS)),
        *limits(list(texts), result),
    ]
    result.rows = compare(bench.chosen(contestants), bench.budget)
    _check_answers(bench, folder, pieces, result)
    return [result]


def _first(folder: Path) -> Measured:
    shutil.rmtree(folder / ".rag", ignore_errors=True)
    return measured(folder, "index")


def work_of(folder: Path, docs: Path, pieces: Path, name: str, variant: str) -> PeerWork:
    """The work of one peer in one variant, its state in a folder of its own."""
    return PeerWork(docs, pieces, folder / "peers" / f"{name.split()[0]}-{variant}", variant)


def cold_peers(
    bench: Bench,
    folder: Path,
    docs: Path,
    pieces: list[Piece],
    *,
    names: tuple[str, ...],
    variants: tuple[str, ...] = VARIANTS,
) -> list[Contestant]:
    """Peers that index the pieces from nothing."""
    given = write_pieces(folder / "pieces.json", pieces)
    warm = _warm_folder(folder, docs)

    def warm_up(name: str) -> object:
        work = PeerWork(warm, given, folder / "peers" / "warm", "tuned")
        work.clear()
        return bench.peers.index(name, work)

    return peer_contestants(
        bench,
        lambda name, variant: work_of(folder, docs, given, name, variant),
        names=names,
        variants=variants,
        before=PeerWork.clear,
        warm=warm_up,
    )


def _warm_folder(folder: Path, docs: Path) -> Path:
    """One page, under the name that it has in the pieces."""
    page = min((path for path in docs.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    target = folder / "warm" / page.relative_to(docs)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(page, target)
    return folder / "warm"


def limits(texts: list[str], result: ScenarioResult) -> list[Contestant]:
    """The encoder alone, as documented, tuned, and on the fastest engine."""
    names = ["float32", "bfloat16"]
    if has_openvino():
        names.append("openvino")
    else:
        result.notes.append("the package openvino is not installed, so the fastest engine is missing")
    return [engine(name, texts) for name in names]


def _check_answers(bench: Bench, folder: Path, pieces: list[Piece], result: ScenarioResult) -> None:
    """Adds to each row whether it holds what it should. A timing without it does not count."""
    say("  comparing the answers")
    texts = list(unique_texts(pieces))
    reference = reference_vectors(texts, folder, seed=bench.seed)
    for row in result.rows:
        if row.wall_s and (row.system == OURS or row.system in PEERS):
            row.facts.update(_answers(bench, folder, row, len(pieces), reference))


def _answers(bench: Bench, folder: Path, row: Row, points: int, reference: dict[str, object]) -> dict[str, object]:
    if row.system == OURS:
        vectors = read_vectors(folder)
        found = agreement(list(vectors), list(vectors.values()), reference, points=len(reference))
        return {**found, "points_held": row.facts["points"], "points_wanted": points}
    try:
        stored, rows = stored_by_peer(bench, work_of(folder, folder / "docs", folder / "pieces.json", row.system, row.variant))
    except ContestantFailedError as error:
        return {"same_answers": False, "answers": str(error)}
    return agreement(stored, rows, reference, points=points)
