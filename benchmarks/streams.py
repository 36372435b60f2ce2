"""Batches side by side on a CPU: one on all cores beside one on each, with nothing else to do and with one core taken.

    python benchmarks/streams.py --corpus /usr/share/doc/python3.11/html --texts 1200

Texts are pieces of real pages, as long as chunks are, embedded by the pipeline's own embedder with OpenVINO in the
arithmetic that fits this CPU. A core is taken by a process that counts. Both ways in turn, medians with least and most.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent.parent))  # the packaged model comes from the tests

from benchmarks.embedding import read_texts
from rag_pipeline.adapters import cpu_streams, openvino_engine
from rag_pipeline.adapters.model_files import tokenizer_file
from rag_pipeline.adapters.model_tokens import load_tokenizer
from rag_pipeline.adapters.sentence_transformer_embedder import SentenceTransformerEmbedder
from rag_pipeline.indexing.embedding import embed_texts
from rag_pipeline.settings import EmbeddingSettings
from rag_pipeline_tests.packaged_model import packaged_facts

WINDOW = 512


def main() -> None:
    options = _options()
    tokenizer = load_tokenizer(tokenizer_file(Path(packaged_facts().path)))
    texts = list(islice(read_texts(options.corpus, tokenizer, WINDOW), options.texts))
    counts = [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts)]
    cores = cpu_streams.core_count()
    with tempfile.TemporaryDirectory() as cache:
        ways = {f"{streams} side by side": _embedder(streams, Path(cache)) for streams in (1, cores)}
        for load in ("nothing else to do", "one core taken"):
            rates: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(options.rounds):
                for name, embedder in ways.items():
                    with _one_core_taken() if load == "one core taken" else nullcontext():
                        rates[name].append(_tokens_per_s(embedder, texts, counts))
            for name, values in rates.items():
                seen = f"{statistics.median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})"
                print(f"{load:20} {name:16} {seen} tokens/s", flush=True)
        print(json.dumps({name: embedder.describe() for name, embedder in ways.items()}, default=str))


def _embedder(streams: int, cache: Path) -> SentenceTransformerEmbedder:
    settings = EmbeddingSettings(device="cpu", engine="openvino", dtype=openvino_engine.dtypes()[-1])  # type: ignore[arg-type]
    embedder = SentenceTransformerEmbedder(packaged_facts(), settings, cache)
    with patch.object(cpu_streams, "core_count", lambda: streams):
        embedder.embed_documents(["loads the model and decides"])
    return embedder


def _tokens_per_s(embedder: SentenceTransformerEmbedder, texts: list[str], counts: list[int]) -> float:
    started = time.perf_counter()
    embed_texts(texts, counts, embedder=embedder, batch_tokens=8192, on_batch=lambda _positions, _vectors: None)
    return sum(counts) / (time.perf_counter() - started)


@contextmanager
def _one_core_taken() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("/usr/share/doc/python3.11/html"))
    parser.add_argument("--texts", type=int, default=1200)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
