"""The torch engine as it runs on CUDA, on stand-ins: copies beside the computation, few shapes, no padding where it can be."""

import gc
import weakref
from typing import Any, NoReturn

import numpy as np
import pytest

from rag_pipeline.adapters.batch_layout import LENGTH_STEP, flat, stepped
from rag_pipeline.adapters.cuda_devices import PinnedMemory, memory_of, place_of
from rag_pipeline.adapters.engines import LoadedModel
from rag_pipeline.adapters.model_opener import ModelOpener
from rag_pipeline.adapters.torch_engine import TorchEngine
from rag_pipeline.errors import BatchTooLargeError
from rag_pipeline.settings import EmbeddingSettings
from rag_pipeline_tests.adapters.gpus import stand_in_attention, stand_in_gpus
from rag_pipeline_tests.packaged_model import packaged_embedder, packaged_facts

TEXTS = ["a short one", "one that is a good deal longer than the other " * 9, "and one between them, of a dozen words or so"]
OPENER = ModelOpener(packaged_facts(), EmbeddingSettings(device="auto", dtype="float32"), None)


def opened(monkeypatch: pytest.MonkeyPatch, **how: Any) -> tuple[LoadedModel[TorchEngine], list[str]]:
    asked = stand_in_gpus(monkeypatch)
    model = OPENER.torch("float32", **how)
    asked.events.clear()
    return model, asked.events


# --- layout ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lengths", "columns"), [((3, 40), 48), ((16, 9), 16), ((505, 4), 512), ((511, 4), 512)])
def test_uneven_texts_are_padded_to_one_of_few_lengths(lengths: tuple[int, ...], columns: int) -> None:
    laid = stepped([[7] * length for length in lengths], OPENER.counter)
    assert laid["input_ids"].shape == laid["attention_mask"].shape == (2, columns)
    assert columns % LENGTH_STEP == 0
    assert laid["attention_mask"].sum(axis=1).tolist() == list(lengths)
    assert (laid["input_ids"][laid["attention_mask"] == 0] == 0).all()


def test_no_text_is_padded_beyond_the_window() -> None:
    opener = ModelOpener(packaged_facts(), EmbeddingSettings(max_tokens=100), None)
    assert stepped([[7] * 99, [7]], opener.counter)["input_ids"].shape == (2, 100)


def test_texts_of_one_length_need_neither_padding_nor_a_mask() -> None:
    laid = stepped([[7] * 21, [8] * 21], OPENER.counter)
    assert laid.keys() == {"input_ids"}
    assert laid["input_ids"].shape == (2, 21)


def test_without_padding_the_texts_stand_behind_each_other() -> None:
    laid = flat([[5, 6, 7], [8], [9, 4]], first_position=2)
    assert laid["input_ids"].tolist() == [[5, 6, 7, 8, 9, 4]]
    assert laid["position_ids"].tolist() == [[2, 3, 4, 2, 2, 3]]
    assert laid["seq_idx"].tolist() == [[0, 0, 0, 1, 2, 2]]
    assert laid["cu_seq_lens_q"].tolist() == laid["cu_seq_lens_k"].tolist() == [0, 3, 4, 6]
    assert (laid["max_length_q"], laid["cu_seq_lens_q"].dtype, laid["seq_idx"].dtype) == (3, np.int32, np.int32)


# --- the engine ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("texts", [TEXTS, ["one and the same"] * 3], ids=["uneven", "even"])
def test_vectors_are_those_of_the_cpu(monkeypatch: pytest.MonkeyPatch, texts: list[str]) -> None:
    model, _ = opened(monkeypatch)
    assert np.allclose(model.embed(texts, prompt=""), packaged_embedder().embed_documents(texts), atol=1e-5)


def test_copies_are_ordered_and_only_the_reader_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    model, events = opened(monkeypatch)
    ids, _ = model.read(TEXTS, prompt="")
    prepared = model.engine.prepare(ids, prompt_length=0)
    assert events == ["pin", "pin"]
    wait = model.engine.start(prepared)
    assert events == ["pin", "pin", "send", "send", "pin result", "fetch", "record on stream of cpu"]
    first, again = wait(), wait()
    assert events[7:] == ["wait"]
    assert first is again


def test_what_shows_only_at_the_end_is_translated_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model, events = opened(monkeypatch)
    ids, _ = model.read(TEXTS, prompt="")
    wait = model.engine.start(model.engine.prepare(ids, prompt_length=0))

    def fail(self: object) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr("torch.cuda.Event.synchronize", fail)
    with pytest.raises(BatchTooLargeError, match="3 texts do not fit in the memory of cuda"):
        wait()
    assert events[-1] == "empty cache"


def test_a_batch_that_did_not_fit_leaves_nothing_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = opened(monkeypatch)
    seen: list[weakref.ref[Any]] = []

    def fail(module: object, inputs: tuple[dict[str, Any], ...]) -> NoReturn:
        seen.append(weakref.ref(inputs[0]["token_embeddings"]))
        raise RuntimeError("CUDA out of memory")

    model.engine.modules[1].register_forward_pre_hook(fail)
    with pytest.raises(BatchTooLargeError) as kept:
        model.embed(TEXTS, prompt="")
    gc.collect()
    assert kept.value
    assert [reference() for reference in seen] == [None]


def test_memory_of_the_host_that_cannot_be_pinned_asks_for_half_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = opened(monkeypatch)

    def fail(self: object) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr("torch.Tensor.pin_memory", fail)
    with pytest.raises(BatchTooLargeError):
        model.embed(TEXTS, prompt="")


def test_each_gpu_has_its_own_place() -> None:
    assert [place_of("cuda", 0), place_of("cuda", 3), place_of("cpu", 0), place_of("mps", 0)] == [
        "cuda:0",
        "cuda:3",
        "cpu",
        "mps",
    ]
    assert isinstance(memory_of("cuda", "cuda:1"), PinnedMemory)
    assert not isinstance(memory_of("mps", "mps"), PinnedMemory)


# --- attention without padding -----------------------------------------------------------------------------------------


def test_without_padding_the_vectors_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_attention(monkeypatch)
    model, _ = opened(monkeypatch, attention="stand_in")
    assert model.engine.is_padding_free
    assert np.allclose(model.embed(TEXTS, prompt=""), packaged_embedder().embed_documents(TEXTS), atol=1e-5)
    prepared = model.engine.prepare(model.sample_ids([5, 9]), prompt_length=0)
    assert prepared.tensors["input_ids"].shape == (1, 14)
