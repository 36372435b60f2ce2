"""S4: another vector space for documents that are indexed already, until the alias points at it."""

import json
from pathlib import Path
from typing import Any

from benchmarks.suite.bench import Bench
from benchmarks.suite.corpus import copy_pages
from benchmarks.suite.product import PROMPT, Piece, index_facts, rag, read_pieces, unique_texts, write_settings
from benchmarks.suite.results import OURS, ScenarioResult
from benchmarks.suite.rounds import Contestant, ContestantFailedError, Measured, compare
from benchmarks.suite.scenarios.s1_cold_index import cold_peers, limits
from benchmarks.suite.snapshots import keep, put_back

TITLE = "Model switch, to a searchable index behind the alias"


def run(bench: Bench) -> list[ScenarioResult]:
    folder = bench.empty_folder("s4")
    pieces = make_old_index(bench, folder)
    prompted = [Piece(piece.path, piece.ordinal, PROMPT + piece.text, piece.tokens) for piece in pieces]
    result = ScenarioResult("s4", TITLE, bench.describe(pages=bench.size.pages, corpus=bench.corpus.name))
    result.facts = {"chunks": len(pieces)}
    result.notes = [
        "the switch is to another document prompt: another vector space with weights of the same size",
        "no peer builds a second index beside the first; the loop that starts over stands for them",
    ]
    contestants = [
        Contestant(OURS, lambda: _switch(folder)),
        *cold_peers(bench, folder, folder / "docs", prompted, names=("naive loop",)),
        *limits(list(unique_texts(prompted)), result),
    ]
    result.rows = compare(bench.chosen(contestants), bench.budget)
    return [result]


def make_old_index(bench: Bench, folder: Path) -> list[Piece]:
    """A folder whose index is live and kept, and whose settings ask for another vector space; its chunks."""
    copy_pages(folder / "docs", bench.corpus, bench.size.pages)
    write_settings(folder)
    rag(folder, "index")
    pieces = read_pieces(folder)
    keep(folder / ".rag")
    write_settings(folder, embedding={"document_prompt": PROMPT})
    return pieces


def _switch(folder: Path) -> Measured:
    put_back(folder / ".rag")
    done, values = rag(folder, "reindex")
    return Measured(done.wall_s, done.cpu_s, {**switch_facts(values), "peak_mib": done.peak_mib})


def switch_facts(values: dict[str, Any]) -> dict[str, Any]:
    """The counts of a reindex. Raises ContestantFailedError when it did not switch."""
    if not values["switched"]:
        raise ContestantFailedError(f"the gate refused: {json.dumps(values.get('gate'))[:200]}")
    return {**index_facts(values), "switched": True}
