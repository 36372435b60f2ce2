"""Plain `encode` as documented and tuned, and this pipeline, over the same texts and weights."""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_parts.limits import synchronize
from benchmarks.gpu_parts.models import POSITIONS, Shape
from benchmarks.gpu_parts.sizes import Size
from benchmarks.gpu_parts.texts import Texts
from benchmarks.suite.product import embed
from rag_pipeline.adapters.model_files import inspect_model
from rag_pipeline.adapters.sentence_transformer_embedder import SentenceTransformerEmbedder
from rag_pipeline.settings import EmbeddingSettings

Encode = Callable[[Sequence[str], Sequence[int]], Any]

NATURAL = "natural"
_DEFAULT_BATCH = 32
_PILOT_TEXTS = 128


def compare(
    model: Path, shape: Shape, mixes: Mapping[str, Texts], *, device: str, size: Size, ceiling: float
) -> Iterator[dict[str, Any]]:
    """Rows of rates, shares of the ceiling, and agreement with float32, contestant by contestant."""
    for name, encode, described, cosine in _with_agreement(model, mixes[NATURAL], device, size):
        for mix, whole in mixes.items():
            speed = _rates(encode, whole, shape, device=device, size=size)
            speed["share_of_ceiling"] = round(speed["tflop_per_s"] / ceiling, 3)
            yield {"model": shape.name, "texts": mix, "by": name, **speed, "cosine_min": cosine, "settings": described}


def agreement(model: Path, texts: Texts, *, device: str, size: Size) -> list[dict[str, Any]]:
    """The smallest cosine to float32 by contestant, for a model whose vectors mean something."""
    found = _with_agreement(model, texts, device, size)
    return [{"by": name, "texts": size.agreement_texts, "cosine_min": cosine} for name, _, _, cosine in found]


def _with_agreement(model: Path, texts: Texts, device: str, size: Size) -> Iterator[tuple[str, Encode, dict[str, Any], float]]:
    reference = None
    for name, open_contestant in _contestants(model, device, size).items():
        encode, described = open_contestant()
        vectors = encode(*_first(texts, size.agreement_texts))
        reference = vectors if reference is None else reference
        yield name, encode, described, round(float(_cosines(reference, vectors).min()), 5)


def open_pipeline(model: Path, device: str) -> SentenceTransformerEmbedder:
    """This pipeline's embedder over a folder, nothing remembered from other runs."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # as a run of the pipeline sets it: it has threads of its own
    settings = EmbeddingSettings.model_validate(
        {"model": str(model), "device": device, "engine": "torch", "max_tokens": POSITIONS}
    )
    return SentenceTransformerEmbedder(inspect_model(str(model), base=model.parent), settings)


def pipeline_encode(embedder: SentenceTransformerEmbedder) -> Encode:
    """Batches as an index run makes them."""
    batch_tokens = EmbeddingSettings().batch_tokens
    return lambda texts, tokens: embed(embedder, texts, tokens, batch_tokens=batch_tokens)


def _contestants(model: Path, device: str, size: Size) -> dict[str, Callable[[], tuple[Encode, dict[str, Any]]]]:
    """The one that all are compared with first."""
    return {
        "encode, default": lambda: _plain(model, device, "float32", _DEFAULT_BATCH),
        "encode, tuned": lambda: _plain(model, device, "bfloat16", size.tuned_batch),
        "pipeline": lambda: _pipeline(model, device),
    }


def _plain(model: Path, device: str, dtype: str, batch: int) -> tuple[Encode, dict[str, Any]]:
    """`SentenceTransformer.encode`, which sorts by length itself; float32 comes out, as it would be stored."""
    import torch
    from sentence_transformers import SentenceTransformer

    os.environ.pop("TOKENIZERS_PARALLELISM", None)  # as it ships
    transformer = SentenceTransformer(str(model), device=device, model_kwargs={"dtype": getattr(torch, dtype)})
    transformer.max_seq_length = POSITIONS

    def encode(texts: Sequence[str], _: Sequence[int]) -> Any:
        rows = transformer.encode(list(texts), batch_size=batch, show_progress_bar=False, convert_to_tensor=True)
        return rows.float().cpu().numpy()

    return encode, {"dtype": dtype, "batch": batch}


def _pipeline(model: Path, device: str) -> tuple[Encode, dict[str, Any]]:
    embedder = open_pipeline(model, device)
    encode = pipeline_encode(embedder)
    encode(["warm"], [3])
    return encode, dict(embedder.describe())


def _rates(encode: Encode, whole: Texts, shape: Shape, *, device: str, size: Size) -> dict[str, Any]:
    """Medians over rounds of as many texts as take about the time of one timing."""
    part = _enough(encode, whole, device, size.timing_s)
    seconds = [_seconds(encode, part, device) for _ in range(size.rounds)]
    middle = statistics.median(seconds)
    return {
        "n": len(part[0]),
        "chunks_per_s": round(len(part[0]) / middle),
        "tokens_per_s": round(sum(part[1]) / middle),
        "spread": round((max(seconds) - min(seconds)) / middle, 3),
        "tflop_per_s": round(shape.flops(part[1]) / middle / 1e12, 4),
    }


def _enough(encode: Encode, whole: Texts, device: str, wanted_s: float) -> Texts:
    """As many texts as take about so long, found by trying more and more, which warms up as well."""
    count = min(_PILOT_TEXTS, len(whole[0]))
    _seconds(encode, _first(whole, count), device)
    while True:
        seconds = _seconds(encode, _first(whole, count), device)
        if seconds > wanted_s / 2 or count == len(whole[0]):
            return _first(whole, max(_PILOT_TEXTS, min(count, int(count * wanted_s / seconds))))
        count = min(len(whole[0]), max(2 * count, int(count * wanted_s / seconds)))


def _first(texts: Texts, count: int) -> Texts:
    return texts[0][:count], texts[1][:count]


def _seconds(encode: Encode, texts: Texts, device: str) -> float:
    synchronize(device)
    started = time.perf_counter()
    encode(*texts)
    synchronize(device)
    return time.perf_counter() - started


def _cosines(left: Any, right: Any) -> Any:
    return (left * right).sum(axis=1) / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1))
