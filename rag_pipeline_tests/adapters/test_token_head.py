"""The numpy steps against those of sentence-transformers, module by module."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_pipeline.adapters.token_head import TokenHead, normalize
from rag_pipeline.errors import SettingsError

WIDTH = 6
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
TOKENS = np.random.default_rng(0).normal(size=(3, 5, WIDTH)).astype(np.float32)
MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


def _save(folder: Path, modules: list[Any]) -> Path:
    """A model folder whose transformer is nothing but a name."""
    entries = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for number, module in enumerate(modules, 1):
        path = f"{number}_{type(module).__name__}"
        (folder / path).mkdir(parents=True)
        module.save(str(folder / path))
        entries.append({"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{path[2:]}"})
    (folder / "modules.json").write_text(json.dumps(entries))
    return folder


def _by_torch(modules: list[Any], prompt_length: int) -> Any:
    import torch

    features: dict[str, Any] = {
        "token_embeddings": torch.from_numpy(TOKENS),
        "attention_mask": torch.from_numpy(MASK),
        "prompt_length": prompt_length,
    }
    with torch.inference_mode():
        for module in modules:
            features = module.eval()(features)
    return features["sentence_embedding"].numpy()


@pytest.mark.parametrize("includes_prompt", [True, False])
@pytest.mark.parametrize("mode", [*MODES, ["cls", "mean"]])
def test_pooling_is_that_of_the_library(mode: Any, includes_prompt: bool, tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    modules = [Pooling(WIDTH, mode, include_prompt=includes_prompt)]
    vectors = TokenHead(_save(tmp_path, modules)).pool(TOKENS, MASK, prompt_length=2)
    assert np.allclose(vectors, _by_torch(modules, 2), atol=1e-6)


def test_old_names_of_pooling_are_known(tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    _save(tmp_path, [Pooling(WIDTH)])
    old = {"word_embedding_dimension": WIDTH, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(old))
    vectors = TokenHead(tmp_path).pool(TOKENS, MASK, prompt_length=0)
    assert np.allclose(vectors, _by_torch([Pooling(WIDTH, ["cls", "mean"])], 0), atol=1e-6)


@pytest.mark.parametrize("activation", ["Tanh", "Identity", "ReLU"])
def test_steps_behind_pooling_are_those_of_the_library(activation: str, tmp_path: Path) -> None:
    import torch
    from sentence_transformers.sentence_transformer.modules import Dense, Dropout, LayerNorm, Normalize, Pooling

    layer_norm = LayerNorm(4)
    torch.nn.init.uniform_(layer_norm.norm.weight)
    dense = Dense(WIDTH, 4, activation_function=getattr(torch.nn, activation)())
    modules = [Pooling(WIDTH), dense, Dropout(), layer_norm, Normalize()]
    vectors = TokenHead(_save(tmp_path, modules)).pool(TOKENS, MASK, prompt_length=0)
    assert np.allclose(vectors, _by_torch(modules, 0), atol=1e-6)


def test_a_model_without_steps_gets_the_mean(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    vectors = TokenHead(tmp_path).pool(TOKENS, MASK, prompt_length=0)
    assert np.allclose(vectors[1], TOKENS[1, :3].mean(axis=0), atol=1e-6)


def test_an_unknown_activation_stays_with_torch(tmp_path: Path) -> None:
    import torch
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling

    _save(tmp_path, [Pooling(WIDTH), Dense(WIDTH, 4, activation_function=torch.nn.GELU())])
    with pytest.raises(SettingsError, match="GELU is done by torch alone"):
        TokenHead(tmp_path)


def test_a_residual_stays_with_torch(tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling

    _save(tmp_path, [Pooling(WIDTH), Dense(WIDTH, 4, use_residual=True)])
    with pytest.raises(SettingsError, match="use_residual is done by torch alone"):
        TokenHead(tmp_path)


def test_a_row_of_zeros_is_no_division_by_zero() -> None:
    assert (normalize(np.zeros((1, 3), dtype=np.float32)) == 0).all()
