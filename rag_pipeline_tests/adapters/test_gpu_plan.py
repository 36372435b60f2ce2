"""What is chosen for GPUs, on stand-ins: batches that grow as long as it pays, attention by trial, one model a device."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from rag_pipeline.adapters import engines, gpu_plan
from rag_pipeline.adapters.device_queue import QueuedModel
from rag_pipeline.adapters.engine_records import EngineRecords
from rag_pipeline.adapters.gpu_plan import GpuPlanner, speed, tune_batch
from rag_pipeline.adapters.model_opener import ModelOpener
from rag_pipeline.adapters.sentence_transformer_embedder import SentenceTransformerEmbedder
from rag_pipeline.errors import BatchTooLargeError
from rag_pipeline.indexing.embedding import embed_texts
from rag_pipeline.ports import QueuedEmbedder
from rag_pipeline.schema import Matrix
from rag_pipeline.settings import EmbeddingSettings
from rag_pipeline_tests.adapters.gpus import stand_in_attention, stand_in_gpus
from rag_pipeline_tests.packaged_model import packaged_embedder, packaged_facts

TEXTS = [f"text {number} " * (number % 9 + 1) for number in range(40)]
TOKENS = [3 * (number % 9 + 1) + 2 for number in range(40)]


def opened(cache: Path | None = None, **settings: Any) -> SentenceTransformerEmbedder:
    chosen = EmbeddingSettings.model_validate({"dtype": "float32", "engine": "torch", "batch_tokens": 256, **settings})
    return SentenceTransformerEmbedder(packaged_facts(), chosen, cache)


def growing_until(most: int) -> Callable[[object, list[int]], float]:
    """A device whose speed doubles with the batch up to so many tokens."""
    return lambda model, lengths: float(min(sum(lengths), most))


# --- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("speeds", "best", "tried"),
    [
        ([100, 150, 180, 185, 300], 400, 4),  # 2.8 % more is not worth twice the memory
        ([100, 104, 109, None], 400, 4),
        ([100, 90, 500], 100, 2),
        ([None, 500], 100, 1),
        ([1, 2, 4, 8, 16, 32, 64], 1600, 5),
    ],
    ids=["flat", "memory", "slower", "nothing_fits", "endless"],
)
def test_batches_are_doubled_while_it_pays_and_fits(speeds: list[float | None], best: int, tried: int) -> None:
    def speed_of(tokens: int) -> float:
        value = speeds[[100, 200, 400, 800, 1600, 3200, 6400].index(tokens)]
        if value is None:
            raise BatchTooLargeError("no room", system="gpu")
        return value

    tokens, trials = tune_batch(speed_of, 100)
    assert (tokens, len(trials)) == (best, tried)
    assert json.dumps([trial.describe() for trial in trials])


def test_the_size_is_found_before_the_first_batch_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_gpus(monkeypatch)
    monkeypatch.setattr(gpu_plan, "speed", growing_until(1024))
    embedder = opened()
    assert isinstance(embedder, QueuedEmbedder)
    batching = embedder.batching(256)
    assert (batching.tokens, batching.length_step) == (1024, 16)
    assert batching.at_once >= 3
    told = embedder.describe()
    assert (told["batch_tokens"], told["gpus"], told["device"]) == (1024, ["Stand-in 9000"], "cuda")
    assert [trial["tokens"] for trial in told["batch_trials"]] == [256, 512, 1024, 2048]


def test_a_size_that_is_written_down_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("measured")

    stand_in_gpus(monkeypatch)
    monkeypatch.setattr(gpu_plan, "speed", refuse)
    assert opened(tune_batches=False).batching(777).tokens == 777


def test_a_cpu_keeps_its_own_batches_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    batching = opened(device="cpu").batching(777)
    assert (batching.tokens, batching.texts, batching.at_once, batching.length_step) == (777, 256, 1, 1)


def test_what_was_found_is_remembered_for_these_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in_gpus(monkeypatch)
    monkeypatch.setattr(gpu_plan, "speed", growing_until(1024))
    opened(tmp_path).batching(256)
    monkeypatch.setattr(gpu_plan, "speed", growing_until(512))
    again = opened(tmp_path)
    assert (again.batching(256).tokens, again.describe()["is_remembered"]) == (1024, True)
    assert opened(tmp_path, batch_tokens=128).batching(128).tokens == 512
    monkeypatch.setattr("torch.cuda.get_device_name", lambda number=0: "Stand-in 1")
    assert opened(tmp_path).batching(256).tokens == 512


def test_a_speed_is_that_of_the_tokens_that_were_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_gpus(monkeypatch)
    model = ModelOpener(packaged_facts(), EmbeddingSettings(dtype="float32"), None).torch("float32")
    ticks = iter(range(1000))
    monkeypatch.setattr(model.engine, "clock", lambda: next(ticks) / 100)
    assert speed(model, [16, 16, 8]) == pytest.approx(40 * 3 / 0.01)


# --- several GPUs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2])
def test_every_gpu_gets_the_model_and_vectors_stay_the_same(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    asked = stand_in_gpus(monkeypatch, count)
    embedder = opened(tune_batches=False)
    rows: dict[int, Any] = {}

    def keep(positions: list[int], vectors: Matrix) -> None:
        rows.update(zip(positions, vectors, strict=True))

    report = embed_texts(TEXTS, TOKENS, embedder=embedder, batch_tokens=64, on_batch=keep, is_normalized=True)
    assert report.batches > 5
    assert asked.places == [f"cuda:{number}" for number in range(count)]
    found = np.stack([rows[position] for position in range(len(TEXTS))])
    assert np.allclose(found, packaged_embedder().embed_documents(TEXTS), atol=1e-5)
    assert np.allclose(embedder.embed_documents(TEXTS[:3]), found[:3], atol=1e-5)
    assert np.allclose(embedder.embed_query(TEXTS[5]), found[5], atol=1e-5)
    assert embedder.embed_documents([]).shape == (0, 384)


# --- attention without padding -----------------------------------------------------------------------------------------


def planned(
    monkeypatch: pytest.MonkeyPatch,
    *,
    gain: float,
    dtype: str = "bfloat16",
    version: str | None = "2.8",
    cache: Path | None = None,
    **how: Any,
) -> tuple[GpuPlanner, QueuedModel]:
    """The plan where flash attention is so many times as fast."""
    stand_in_gpus(monkeypatch)
    stand_in_attention(monkeypatch, **how)
    monkeypatch.setattr(engines, "SAMPLE_TEXTS", engines.SAMPLE_TEXTS[:4])  # bfloat16 is slow on a CPU without it
    monkeypatch.setattr(gpu_plan, "FLASH", "stand_in")
    monkeypatch.setattr(gpu_plan, "_flash_version", lambda: version)
    monkeypatch.setattr(gpu_plan, "speed", lambda model, _: 100 * gain if model.engine.is_padding_free else 100.0)
    settings = EmbeddingSettings(dtype=dtype, tune_batches=False)  # type: ignore[arg-type]
    opener = ModelOpener(packaged_facts(), settings, None)
    planner = GpuPlanner(opener, settings, EngineRecords(cache))
    return planner, planner.open(opener.torch(dtype))


def least_cosine(on_gpus: QueuedModel) -> float:
    """Of the vectors of a few uneven texts, to those of float32."""
    texts = TEXTS[:9]
    return float((on_gpus.queue.begin(texts, prompt="")() * packaged_embedder().embed_documents(texts)).sum(axis=1).min())


def test_attention_without_padding_is_taken_where_it_is_faster_and_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    planner, on_gpus = planned(monkeypatch, gain=1.5)
    assert "stand_in is 1.5 x" in planner.evidence["attention"]
    assert planner.evidence["attention_trials"][1]["attention"] == "stand_in"
    assert on_gpus.length_step == 1
    assert least_cosine(on_gpus) > 0.99


def test_the_attention_is_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    planned(monkeypatch, gain=1.5, cache=tmp_path)
    planner, on_gpus = planned(monkeypatch, gain=0.1, cache=tmp_path)
    assert on_gpus.length_step == 1
    assert planner.evidence["is_remembered"]
    assert planned(monkeypatch, gain=0.1, cache=tmp_path, version="2.9")[1].length_step == 16


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"gain": 1.05}, "not worth it"),
        ({"gain": 9.0, "is_wrong": True}, "below 0.99"),
        ({"gain": 9.0, "fails": True}, "does not run"),
        ({"gain": 9.0, "version": None}, ""),
        ({"gain": 9.0, "dtype": "float32"}, ""),
    ],
    ids=["slow", "wrong", "fails", "not_installed", "float32"],
)
def test_else_the_usual_attention_stays(monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], why: str) -> None:
    planner, on_gpus = planned(monkeypatch, **how)
    assert why in planner.evidence.get("attention", "")
    assert ("attention" in planner.evidence) == bool(why)
    assert on_gpus.length_step == 16
    assert least_cosine(on_gpus) > 0.99
