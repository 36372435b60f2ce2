"""S7: cutting and counting tokens alone, against the tokenizer over the same text and the peers' splitters by tokens."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.suite.bench import WINDOW, Bench
from benchmarks.suite.corpus import find_pages
from benchmarks.suite.product import model_path
from benchmarks.suite.results import OURS, ScenarioResult
from benchmarks.suite.rounds import Contestant, Measured, compare, in_this_process

TITLE = "Cutting and counting tokens, one thread"
OVERLAP = 76
"""Tokens that the peers repeat: 15 % of a chunk, as ours."""
SPLITTERS = ("LangChain", "LlamaIndex")


def run(bench: Bench) -> list[ScenarioResult]:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from rag_pipeline.adapters.huggingface_tokenizer import HuggingFaceTokenizer
    from rag_pipeline.adapters.model_files import tokenizer_file
    from rag_pipeline.adapters.parsing.dispatch import parse_document
    from rag_pipeline.indexing.chunking.document import STRATEGIES, document_text

    pages = find_pages(bench.corpus, bench.size.parsed)
    documents = [parse_document(page.read_bytes(), page.name) for page in pages]
    texts = [document_text(document) for document in documents]
    tokenizer = HuggingFaceTokenizer(tokenizer_file(model_path()))
    tokens = sum(map(tokenizer.count, texts))
    result = ScenarioResult("s7", TITLE, bench.describe(pages=len(pages), tokens=tokens, chunk_tokens=WINDOW, overlap=OVERLAP))
    contestants = [
        *(Contestant(OURS, in_this_process(partial(_cut, documents, name, tokenizer)), name) for name in STRATEGIES),
        Contestant("tokenizer", in_this_process(lambda: _count(texts, tokenizer.count)), "alone"),
        *(Contestant(name, partial(_peer, bench, name, texts), "by tokens") for name in SPLITTERS if name in bench.peers.names),
    ]
    result.rows = compare(contestants, bench.budget)
    for row in result.rows:
        if row.wall is not None:
            row.facts["tokens_per_s"] = round(tokens / row.wall.median)
    return [result]


def _cut(documents: Sequence[Any], strategy: Any, tokenizer: Any) -> dict[str, Any]:
    from rag_pipeline.indexing.chunking.document import chunk_document
    from rag_pipeline.indexing.chunking.rules import ChunkingRule

    rule = ChunkingRule(strategy=strategy, size=WINDOW)
    return {"chunks": sum(len(chunk_document(document, rule=rule, tokenizer=tokenizer)) for document in documents)}


def _count(texts: Sequence[str], count: Callable[[str], int]) -> dict[str, Any]:
    return {"tokens": sum(map(count, texts))}


def _peer(bench: Bench, name: str, texts: Sequence[str]) -> Measured:
    request = {"peer": name, "texts": texts, "model": str(model_path()), "size": WINDOW, "overlap": OVERLAP}
    values = bench.peers.answer("run_splitter.py", request)
    return Measured(values["seconds"], values["cpu_s"], {"chunks": values["chunks"]})
