"""S8: the encoder alone over the same chunks: the pipeline's, plain ``encode``, and the fastest engine known here."""

from typing import Any

from benchmarks.suite.bench import Bench
from benchmarks.suite.corpus import copy_pages
from benchmarks.suite.product import embed, open_embedder, rag, read_pieces, unique_texts, write_settings
from benchmarks.suite.results import OURS, ScenarioResult
from benchmarks.suite.rounds import Contestant, compare, in_this_process
from benchmarks.suite.scenarios.s1_cold_index import limits

TITLE = "The encoder alone over the same chunks"
FEWEST_TEXTS = 32


def run(bench: Bench) -> list[ScenarioResult]:
    folder = bench.empty_folder("s8")
    copy_pages(folder / "docs", bench.corpus, bench.size.pages)
    write_settings(folder)
    rag(folder, "index")
    tokens = unique_texts(read_pieces(folder))
    texts = list(tokens)
    embedder, batch_tokens = open_embedder(folder)
    embedder.embed_documents(texts[:FEWEST_TEXTS])
    result = ScenarioResult("s8", TITLE, bench.describe(pages=bench.size.pages, batch_tokens=batch_tokens))
    result.facts = {"chunks": len(texts), "tokens": sum(tokens.values()), "engine": dict(embedder.describe())}
    kept: dict[str, Any] = {}

    def ours() -> dict[str, Any]:
        kept["vectors"] = embed(embedder, texts, list(tokens.values()), batch_tokens=batch_tokens)
        return {"texts_encoded": len(texts)}

    contestants = [Contestant(OURS, in_this_process(ours), "as an index run does"), *limits(texts, result)]
    result.rows = compare(contestants, bench.budget)
    _add_agreement(bench, result, texts, kept)
    for row in result.rows:
        if row.wall is not None:
            row.facts["tokens_per_s"] = round(sum(tokens.values()) / row.wall.median)
    return [result]


def _add_agreement(bench: Bench, result: ScenarioResult, texts: list[str], kept: dict[str, Any]) -> None:
    from benchmarks.suite.answers import agreement, reference_vectors

    if "vectors" in kept and result.ours is not None:
        reference = reference_vectors(texts, bench.folder, seed=bench.seed)
        result.ours.facts.update(agreement(texts, kept["vectors"], reference, points=len(texts)))
