"""What a model does behind its transformer: token vectors to one vector of a text, in float32 and without torch.

The steps are those of sentence-transformers, with the same results to the last bits (``test_token_head.py``).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rag_pipeline.adapters.model_files import ModelStep, model_steps
from rag_pipeline.errors import SettingsError
from rag_pipeline.schema import Matrix

Tokens = npt.NDArray[np.float32]
"""Token vectors ``(texts, tokens, width)``."""
Mask = npt.NDArray[np.int64]
"""1 where a token belongs to the text ``(texts, tokens)``; padding stands behind."""
_Step = Callable[[Matrix], Matrix]

_SMALLEST = np.float32(1e-9)
_NORM_SMALLEST = np.float32(1e-12)

_ACTIVATIONS: Mapping[str, _Step] = {
    "Identity": lambda values: values,
    "Tanh": np.tanh,
    "ReLU": lambda values: np.maximum(values, np.float32(0)),
}


class TokenHead:
    """The steps behind the transformer of a model. Raises SettingsError for one that is not known here."""

    def __init__(self, folder: Path) -> None:
        steps = model_steps(folder)[1:]
        pooling = steps[0].settings() if steps else {}
        if steps and steps[0].kind != "Pooling":
            raise SettingsError(f"embedding.engine: the step {steps[0].kind} before pooling is done by torch alone")
        self._modes = _modes(pooling)
        self._skips_prompt = pooling.get("include_prompt") is False
        self._steps = [_step(step) for step in steps[1:]]

    def pool(self, tokens: Tokens, mask: Mask, *, prompt_length: int) -> Matrix:
        """One vector a text."""
        counted = _without_prompt(mask, prompt_length) if self._skips_prompt else mask
        parts = [_POOLINGS[mode](tokens, counted) for mode in self._modes]
        vectors = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        for step in self._steps:
            vectors = step(vectors)
        return np.ascontiguousarray(vectors, dtype=np.float32)


def normalize(vectors: Matrix) -> Matrix:
    """Each row at length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, _NORM_SMALLEST), dtype=np.float32)


def _without_prompt(mask: Mask, prompt_length: int) -> Mask:
    counted = mask.copy()
    counted[:, :prompt_length] = 0
    return counted


def _first(tokens: Tokens, mask: Mask) -> Matrix:
    return np.asarray(tokens[np.arange(len(tokens)), mask.argmax(axis=1)])


def _last(tokens: Tokens, mask: Mask) -> Matrix:
    return np.asarray(tokens[np.arange(len(tokens)), mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)])


def _maximum(tokens: Tokens, mask: Mask) -> Matrix:
    return np.asarray(np.where(mask[:, :, np.newaxis] == 0, -np.inf, tokens).max(axis=1), dtype=np.float32)


def _weighted(tokens: Tokens, weights: npt.NDArray[np.float32]) -> Matrix:
    """The weighted sum of a text's token vectors, as a product of matrices."""
    return np.asarray(np.matmul(weights[:, np.newaxis, :], tokens)[:, 0], dtype=np.float32)


def _mean(tokens: Tokens, mask: Mask) -> Matrix:
    weights = mask.astype(np.float32)
    return np.asarray(_weighted(tokens, weights) / np.maximum(weights.sum(axis=1, keepdims=True), _SMALLEST))


def _root_mean(tokens: Tokens, mask: Mask) -> Matrix:
    weights = mask.astype(np.float32)
    return np.asarray(_weighted(tokens, weights) / np.sqrt(np.maximum(weights.sum(axis=1, keepdims=True), _SMALLEST)))


def _rising_mean(tokens: Tokens, mask: Mask) -> Matrix:
    weights = (mask * np.arange(1, mask.shape[1] + 1)).astype(np.float32)
    return np.asarray(_weighted(tokens, weights) / np.maximum(weights.sum(axis=1, keepdims=True), _SMALLEST))


_POOLINGS: Mapping[str, Callable[[Tokens, Mask], Matrix]] = {
    "cls": _first,
    "max": _maximum,
    "mean": _mean,
    "mean_sqrt_len_tokens": _root_mean,
    "weightedmean": _rising_mean,
    "lasttoken": _last,
}
_OLD_NAMES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def _modes(settings: Mapping[str, Any]) -> Sequence[str]:
    """The ways of pooling, in the order in which their results stand behind each other."""
    named = settings.get("pooling_mode") or [mode for key, mode in _OLD_NAMES.items() if settings.get(key) is True] or "mean"
    modes = [named] if isinstance(named, str) else list(named)
    for mode in modes:
        if mode not in _POOLINGS:
            raise SettingsError(f"embedding.engine: pooling of the kind {mode} is done by torch alone")
    return modes


def _step(step: ModelStep) -> _Step:
    if step.kind == "Normalize":
        return normalize
    if step.kind == "Dropout":  # does nothing outside of training
        return _ACTIVATIONS["Identity"]
    if step.kind == "Dense":
        return _dense(step)
    if step.kind == "LayerNorm":
        return _layer_norm(step)
    raise SettingsError(f"embedding.engine: the step {step.kind} is done by torch alone")


def _dense(step: ModelStep) -> _Step:
    settings = step.settings()
    activation = str(settings.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    names = ("module_input_name", "module_output_name")
    others = [key for key in names if settings.get(key) not in (None, "sentence_embedding")]
    others += ["use_residual"] if settings.get("use_residual") else []
    if activation not in _ACTIVATIONS or others:
        raise SettingsError(f"embedding.engine: a Dense step with {', '.join(others) or activation} is done by torch alone")
    weights = _weights(step)
    matrix, bias = weights["linear.weight"].T, weights.get("linear.bias", np.float32(0))

    def apply(vectors: Matrix) -> Matrix:
        return _ACTIVATIONS[activation](np.asarray(vectors @ matrix + bias, dtype=np.float32))

    return apply


def _layer_norm(step: ModelStep) -> _Step:
    weights = _weights(step)

    def apply(vectors: Matrix) -> Matrix:
        centred = vectors - vectors.mean(axis=1, keepdims=True)
        spread = np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + np.float32(1e-5))
        return np.asarray(centred / spread * weights["norm.weight"] + weights["norm.bias"], dtype=np.float32)

    return apply


def _weights(step: ModelStep) -> dict[str, npt.NDArray[np.float32]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return {name: tensor.astype(np.float32) for name, tensor in load_file(step.folder / "model.safetensors").items()}
    except (OSError, SafetensorError, TypeError) as error:
        raise SettingsError(
            f"embedding.model: the weights of {step.folder} cannot be read ({type(error).__name__}); get the model again"
        ) from error
