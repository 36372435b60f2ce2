"""Does the right page, and the right passage, come up? This pipeline against the default chunkings of its peers.

    python benchmarks/retrieval.py --golden dev.jsonl \
        --corpus python=/usr/share/doc/python3.11/html --corpus postgresql=/usr/share/doc/postgresql-doc-15/html \
        --peer-python .peers/bin/python --cache .benchmark-cache --out retrieval.json

Every system gets the same encoder, the same BM25, the same store and the same questions over all pages of all corpora in one
index. See benchmarks/README.md for what is measured and how the peers are run.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from retrieval_quality.chunkings import Chunking, cut_peers, cut_pipeline, read_pages
from retrieval_quality.judgement import MEASURES, Judged, Question, difference_interval, judge, read_questions
from retrieval_quality.systems import MODES, Index, VectorCache, build_index, open_project

PAGES_JUDGED = 10
HITS_ASKED = 100
"""Enough hits to name ten different pages."""
PIPELINE = "rag-pipeline"


@dataclass(frozen=True, slots=True)
class Row:
    """One system searched in one way."""

    system: str
    mode: str
    judged: Judged

    def mean(self, measure: str) -> float:
        values = self.judged[measure]
        return sum(values) / len(values)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A measure of the pipeline beside that of the best peer, with the interval of the difference."""

    measure: str
    ours: float
    peer: str
    peer_search: str
    peer_value: float
    low: float
    high: float


def main() -> int:
    options = _options()
    questions = read_questions(options.golden)
    corpora = dict(corpus.split("=", 1) for corpus in options.corpus)
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        base = open_project(Path(folder) / "base", alias="base")
        pages = read_pages(corpora)
        chunkings = [cut_pipeline(PIPELINE, base, pages)]
        chunkings += cut_peers(pages, python=options.peer_python, tokenizer=base.tokenizer, window=options.peer_window)
        cache = VectorCache(options.cache, base)
        rows, facts = [], {}
        for chunking in chunkings:
            index = build_index(chunking, Path(folder) / chunking.name, cache=cache)
            facts[chunking.name] = _facts(chunking)
            rows += [Row(chunking.name, mode, judge(questions, _ask(index, questions, mode))) for mode in MODES]
            index.close()
            print(f"{chunking.name}: {facts[chunking.name]}", file=sys.stderr, flush=True)
    print(_table(rows, facts))
    comparison = _compare(rows)
    print(_comparison_lines(comparison, questions=len(questions)))
    if options.out:
        options.out.write_text(json.dumps(_report(rows, facts, comparison, questions), indent=1) + "\n", encoding="utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=Path, required=True, help="questions as JSON lines: query, corpus, relevant, quote")
    parser.add_argument("--corpus", action="append", required=True, metavar="NAME=FOLDER", help="HTML pages; may be repeated")
    parser.add_argument("--peer-python", type=Path, help="interpreter that has the peers' packages; without it no peers are run")
    parser.add_argument(
        "--peer-window", type=int, default=256, help="tokens at which the peers' encoder cuts; as the model ships"
    )
    parser.add_argument("--cache", type=Path, default=Path(".benchmark-cache"), help="folder that keeps vectors between runs")
    parser.add_argument("--threads", type=int, default=0, help="of the encoder; default: torch's own choice")
    parser.add_argument("--out", type=Path, help="write everything, question by question, as JSON")
    return parser.parse_args()


def _ask(index: Index, questions: Sequence[Question], mode: str) -> list[list[tuple[str, str]]]:
    return [index.search(question.query, mode=mode, limit=HITS_ASKED) for question in questions]


def _facts(chunking: Chunking) -> dict[str, float]:
    counts = [piece.tokens for document in chunking.documents for piece in document.pieces]
    return {
        "pages": len(chunking.documents),
        "chunks": len(counts),
        "mean_tokens": round(sum(counts) / len(counts), 1),
        "max_tokens": max(counts),
    }


def _table(rows: Sequence[Row], facts: dict[str, dict[str, float]]) -> str:
    head = ["system", "search", *MEASURES, "chunks", "tokens"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        fact = facts[row.system]
        cells = [row.system, row.mode, *(f"{row.mean(measure):.3f}" for measure in MEASURES)]
        lines.append("| " + " | ".join([*cells, str(fact["chunks"]), str(fact["mean_tokens"])]) + " |")
    return "\n".join(lines)


def _compare(rows: Sequence[Row]) -> list[Comparison]:
    """The pipeline's own hybrid search against the best peer of each measure, by each way the peers were searched."""
    ours = next(row for row in rows if row.system == PIPELINE and row.mode == "hybrid")
    found: list[Comparison] = []
    for mode in ("rrf", "hybrid"):
        peers = [row for row in rows if row.system != PIPELINE and row.mode == mode]
        for measure in MEASURES if peers else ():
            best = max(peers, key=lambda row: row.mean(measure))
            low, high = difference_interval(ours.judged[measure], best.judged[measure])
            found.append(Comparison(measure, ours.mean(measure), best.system, mode, best.mean(measure), low, high))
    return found


def _comparison_lines(comparison: Sequence[Comparison], *, questions: int) -> str:
    lines = [f"\n{PIPELINE} hybrid against the best peer, {questions} questions (95 % interval, paired bootstrap):"]
    for entry in comparison:
        peer = f"{entry.peer} ({entry.peer_search}) {entry.peer_value:.3f}"
        lines.append(f"  {entry.measure:<15} {entry.ours:.3f}  {peer:<28} {entry.low:+.3f} to {entry.high:+.3f}")
    return "\n".join(lines)


def _report(
    rows: Sequence[Row], facts: dict[str, dict[str, float]], comparison: Sequence[Comparison], questions: Sequence[Question]
) -> dict[str, object]:
    return {
        "questions": [question.query for question in questions],
        "chunkings": facts,
        "results": [
            {"system": row.system, "search": row.mode, **{measure: row.mean(measure) for measure in MEASURES}} for row in rows
        ],
        "comparison": [asdict(entry) for entry in comparison],
        "by_question": [{"system": row.system, "search": row.mode, **row.judged} for row in rows],
    }


if __name__ == "__main__":
    sys.exit(main())
