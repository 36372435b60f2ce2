"""Models of several collections at once: each opened once, each held to the files that its collection was built with."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_pipeline.adapters.models import Models
from rag_pipeline.adapters.truncated_embedder import TruncatedEmbedder
from rag_pipeline.errors import ModelChangedError, SettingsError
from rag_pipeline.project import Project
from rag_pipeline.schema import ModelFacts, VectorSpace
from rag_pipeline.settings import load_settings
from rag_pipeline_tests.packaged_model import packaged_facts
from rag_pipeline_tests.projects import embedder_of, write_settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models of few bytes, ``first`` and ``second``."""
    for name in ("first", "second"):
        shutil.copytree(packaged_facts().path, tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors"))
        (tmp_path / name / "model.safetensors").write_bytes(name.encode())
    return tmp_path


def models_of(folder: Path, **embedding: Any) -> Models:
    settings = load_settings(write_settings(folder, embedding={"model": "first", **embedding}), {})
    return Models(settings, cache_dir=folder / "cache")


def space_of(folder: Path, **embedding: Any) -> VectorSpace:
    return Project(load_settings(write_settings(folder, embedding={"model": "first", **embedding}), {})).spec.vector_space


class Opened:
    """Stand-ins for embedders, and what they were opened for."""

    def __init__(self) -> None:
        self.spaces: list[tuple[str, VectorSpace]] = []

    def __call__(self, facts: ModelFacts, space: VectorSpace) -> Any:
        self.spaces.append((facts.path, space))
        return embedder_of(space)


def test_a_vector_space_is_opened_once(folder: Path) -> None:
    models, opened, space = models_of(folder), Opened(), space_of(folder)
    models.open = opened
    assert models.embedder(space) is models.embedder(replace(space))
    assert opened.spaces == [(str(folder / "first"), space)]


def test_an_older_collection_keeps_its_model_while_the_settings_name_another(folder: Path) -> None:
    old, new = space_of(folder), space_of(folder, model="second", document_prompt="passage: ")
    models, opened = models_of(folder, model="second", document_prompt="passage: "), Opened()
    models.open = opened
    assert models.embedder(old) is not models.embedder(new)
    assert [path for path, _ in opened.spaces] == [str(folder / "first"), str(folder / "second")]


def test_models_with_one_tokenizer_cut_alike(folder: Path) -> None:
    models = models_of(folder)
    first, second = space_of(folder), space_of(folder, model="second")
    text = "Words and 단어."
    assert np.array_equal(models.tokenizer(first).spans([text])[0], models.tokenizer(second).spans([text])[0])
    assert models.facts("first").tokenizer_sha256 == models.facts("second").tokenizer_sha256
    assert models.facts("first").weights_sha256 != models.facts("second").weights_sha256


@pytest.mark.parametrize("ask", [Models.embedder, Models.tokenizer], ids=["embedder", "tokenizer"])
def test_files_that_changed_under_their_name_are_refused(folder: Path, ask: Any) -> None:
    space = space_of(folder)
    (folder / "first" / "model.safetensors").write_bytes(b"other")
    models = models_of(folder)
    with pytest.raises(ModelChangedError, match="put the old files back, or run rag reindex") as caught:
        ask(models, space)
    assert space.weights_sha256[:12] in str(caught.value)
    (folder / "first" / "model.safetensors").write_bytes(b"first")
    assert ask(models_of(folder), space) is not None


def test_a_model_of_an_older_collection_that_is_gone_is_named(folder: Path) -> None:
    space = space_of(folder)
    shutil.rmtree(folder / "first")
    with pytest.raises(ModelChangedError, match="the model first, which a collection was built with, cannot be had"):
        models_of(folder, model="second").embedder(space)


def test_a_model_of_the_settings_that_is_gone_is_an_error_of_the_settings(folder: Path) -> None:
    space = space_of(folder)
    shutil.rmtree(folder / "first")
    with pytest.raises(SettingsError) as caught:
        models_of(folder).embedder(space)
    assert not isinstance(caught.value, ModelChangedError)


def test_a_smaller_dimension_is_cut_from_the_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = models_of(folder)
    given: list[Any] = []

    def open_whole(facts: ModelFacts, settings: Any) -> Any:
        given.append(settings)
        return embedder_of(space_of(folder))

    monkeypatch.setattr(models, "_open_whole", open_whole)
    cut = models.embedder(replace(space_of(folder), dimension=128, query_prompt="query: ", max_tokens=256))
    assert isinstance(cut, TruncatedEmbedder)
    assert cut.embed_documents(["a text"]).shape == (1, 128)
    whole = models.embedder(space_of(folder))
    assert whole.embed_documents(["a text"]).shape == (1, 384)
    assert [(settings.query_prompt, settings.max_tokens) for settings in given] == [("query: ", 256), ("", 512)]


def test_an_older_model_is_opened_with_its_own_prompts_and_window_on_this_device(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = replace(space_of(folder), document_prompt="old: ", max_tokens=128)
    models = models_of(folder, model="second", device="cpu", document_prompt="new: ", endpoint_model="served")
    given: list[Any] = []

    def open_whole(facts: ModelFacts, settings: Any) -> Any:
        given.append(settings)
        return embedder_of(old)

    monkeypatch.setattr(models, "_open_whole", open_whole)
    models.embedder(old)
    (settings,) = given
    assert (settings.model, settings.document_prompt, settings.max_tokens) == ("first", "old: ", 128)
    assert (settings.device, settings.endpoint_model) == ("cpu", None)
