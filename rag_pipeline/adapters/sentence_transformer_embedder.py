"""Embeds with sentence-transformers on this machine's CPU or GPU."""

import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from rag_pipeline.adapters.arithmetic import SAMPLE_TEXTS, Trial, agreement, half_precision, measure, verdict
from rag_pipeline.adapters.model_files import tokenizer_file
from rag_pipeline.adapters.model_tokens import TokenCounter
from rag_pipeline.adapters.process_memory import MemoryReturn, keep_few_shapes
from rag_pipeline.errors import BackendRejectedError, BadVectorError, BatchTooLargeError, SettingsError
from rag_pipeline.schema import Matrix, ModelFacts, Vector
from rag_pipeline.settings import EmbeddingSettings

if TYPE_CHECKING:
    import torch

_SYSTEM = "embedding model"
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "defaultcpuallocator", "alloc_failed")
_MISSING = re.compile(r"^(\S+)\s*\|\s*MISSING\b", re.MULTILINE)
"""A line of the report that transformers logs on loading."""


class SentenceTransformerEmbedder:
    """An ``Embedder`` over the files of a model. Nothing is loaded before the first text.

    With ``dtype: auto`` the arithmetic is chosen before the first documents, by trying; a process that only asks
    questions stays with float32 and saves the second.
    """

    def __init__(self, facts: ModelFacts, settings: EmbeddingSettings) -> None:
        self.dimension = facts.dimension
        self._facts = facts
        self._settings = settings
        self._model: _Model | None = None
        self._is_settled = settings.dtype != "auto"
        self._choice: dict[str, Any] = {"why": f"embedding.dtype is {settings.dtype}" if self._is_settled else "not tried yet"}
        # One forward pass uses every core or the whole device; two at once would only take each other's memory.
        self._lock = threading.RLock()

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        with self._lock:
            if not self._is_settled:
                self._settle_arithmetic()
            return self._loaded().embed(texts, prompt=self._settings.document_prompt)

    def embed_query(self, text: str) -> Vector:
        with self._lock:
            vector: Vector = self._loaded().embed([text], prompt=self._settings.query_prompt)[0]
            return vector

    def describe(self) -> Mapping[str, Any]:
        place = self._model.describe() if self._model else {"device": self._settings.device, "dtype": self._settings.dtype}
        return {"engine": "sentence-transformers", "model": self._facts.model, **place, **self._choice}

    def _loaded(self) -> "_Model":
        if self._model is None:
            dtype = "float32" if self._settings.dtype == "auto" else self._settings.dtype
            self._model = _Model(self._facts, self._settings, dtype=dtype)
            self._model.prove()
        return self._model

    def _settle_arithmetic(self) -> None:
        """Takes half precision where a sample shows it to be faster and to agree with float32."""
        model = self._loaded()
        half = half_precision(model.device)
        if half is None:
            self._choice = {"why": f"{model.device} has no units for half precision"}
        else:
            trials = self._try_out(model, half)
            is_better, why = verdict(*trials)
            self._choice = {"why": why, "trials": [trial.describe() for trial in trials]}
            if not is_better:
                self._model = _Model(self._facts, self._settings, dtype="float32")
        self._is_settled = True

    def _try_out(self, model: "_Model", half: str) -> tuple[Trial, Trial]:
        reference = model.embed_samples()
        full_speed = measure(model.embed_tokens, device=model.device)
        model.convert(half)
        vectors = model.embed_samples()
        return (
            Trial("float32", tokens_per_s=full_speed, agreement=1.0),
            Trial(half, tokens_per_s=measure(model.embed_tokens, device=model.device), agreement=agreement(reference, vectors)),
        )


class _Model:
    """The loaded modules: the transformer in the chosen arithmetic, everything behind it in float32."""

    def __init__(self, facts: ModelFacts, settings: EmbeddingSettings, *, dtype: str) -> None:
        keep_few_shapes()
        import torch

        self.device = _pick_device(settings.device)
        self._torch = torch
        self._memory = MemoryReturn() if self.device == "cpu" else None
        self._facts = facts
        self._counter = TokenCounter(tokenizer_file(Path(facts.path)), max_tokens=settings.max_tokens)
        self._modules = list(_load(facts, device=self.device, dtype=getattr(torch, dtype)))
        self.convert(dtype)

    def convert(self, dtype: str) -> None:
        """Changes the arithmetic of the transformer. Pooling in half precision would cost agreement and gain no time."""
        self.dtype = dtype
        self._modules[0].to(getattr(self._torch, dtype))
        for module in self._modules[1:]:
            module.float()

    def describe(self) -> dict[str, Any]:
        name = self._torch.cuda.get_device_name() if self.device == "cuda" else self.device
        return {"device": self.device, "device_name": name, "dtype": self.dtype, "threads": self._torch.get_num_threads()}

    def prove(self) -> None:
        """Raises SettingsError or BadVectorError for a model that contradicts its own files."""
        own = self._modules[0].preprocess([SAMPLE_TEXTS[0]])["input_ids"][0].tolist()
        if own != self._counter.uncounted_ids([SAMPLE_TEXTS[0]])[0]:
            raise SettingsError(
                f"embedding.model: tokenizer.json of {self._facts.model} and its tokenizer settings disagree; get the model again"
            )
        vectors = self.embed_samples()
        if not np.isfinite(vectors).all() or len(np.unique(vectors, axis=0)) < len(SAMPLE_TEXTS):
            raise BadVectorError(f"{self._facts.model} gives no usable vectors for sample texts; get the model's files again")

    def embed(self, texts: Sequence[str], *, prompt: str) -> Matrix:
        """float32 ``(len(texts), dimension)``."""
        if not texts:
            return np.zeros((0, self._facts.dimension), dtype=np.float32)
        ids = self._counter.token_ids([prompt + text for text in texts])
        vectors = self._forward(ids, prompt_length=self._counter.prompt_length(prompt))
        if self._memory is not None:
            self._memory.count(len(ids) * max(map(len, ids)))
        return vectors

    def embed_samples(self) -> Matrix:
        """Vectors of the sample texts, cut where the window is very short."""
        ids = self._counter.uncounted_ids(SAMPLE_TEXTS)
        return self._forward([row[: self._counter.max_tokens] for row in ids], prompt_length=0)

    def embed_tokens(self, count: int, length: int) -> int:
        """Works on that many texts of that many tokens, or of as many as the window has, and says how many in all."""
        length = min(length, self._counter.max_tokens)
        ids = self._counter.uncounted_ids([" ".join(SAMPLE_TEXTS)])[0]
        self._forward([(ids * (length // len(ids) + 1))[:length]] * count, prompt_length=0)
        return count * length

    def _forward(self, ids: list[list[int]], *, prompt_length: int) -> Matrix:
        try:
            with self._torch.inference_mode():
                vectors = self._run_modules(ids, prompt_length)
                if self._facts.is_normalized:
                    vectors = self._torch.nn.functional.normalize(vectors, dim=1)
                matrix: Matrix = vectors.cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            self._translate(error, len(ids))
        if matrix.shape != (len(ids), self._facts.dimension):
            raise BadVectorError(f"{self._facts.model} made an array {matrix.shape} and not {(len(ids), self._facts.dimension)}")
        return matrix

    def _run_modules(self, ids: list[list[int]], prompt_length: int) -> "torch.Tensor":
        tokens, mask = self._counter.pad(ids)
        features: dict[str, Any] = {
            "input_ids": self._torch.from_numpy(tokens).to(self.device),
            "attention_mask": self._torch.from_numpy(mask).to(self.device),
        }
        features = self._modules[0](features)
        features["token_embeddings"] = features["token_embeddings"].float()
        features["prompt_length"] = prompt_length
        for module in self._modules[1:]:
            features = module(features)
        vectors: torch.Tensor = features["sentence_embedding"].float()
        return vectors

    def _translate(self, error: RuntimeError | MemoryError, count: int) -> NoReturn:
        """Raises the pipeline's own error."""
        if not isinstance(error, MemoryError) and not any(words in str(error).lower() for words in _OUT_OF_MEMORY):
            raise BackendRejectedError(
                f"the forward pass over {count} texts failed on {self.device} ({type(error).__name__}); "
                "set embedding.device: cpu and embedding.dtype: float32 to find out whether the device is at fault",
                system=_SYSTEM,
            ) from error
        if self.device == "cuda":
            self._torch.cuda.empty_cache()
        raise BatchTooLargeError(f"{count} texts do not fit in the memory of {self.device}", system=_SYSTEM) from None


def _pick_device(wanted: str) -> str:
    """``cuda``, ``mps`` or ``cpu``. Raises SettingsError where the wanted one is not there."""
    import torch

    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(device for device, is_there in found.items() if is_there)
    if not found[wanted]:
        raise SettingsError(
            f"embedding.device: torch finds no {wanted} here; set it to auto or cpu, or install torch for {wanted}"
        )
    return wanted


def _load(facts: ModelFacts, *, device: str, dtype: "torch.dtype") -> Any:
    """The modules of the model, from local safetensors files, without code of the model's own."""
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    try:
        with _quiet_loading() as missing:
            model = SentenceTransformer(
                facts.path,
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "dtype": dtype},
            )
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, ImportError, SafetensorError) as error:
        raise SettingsError(
            f"embedding.model: {facts.model} could not be loaded ({type(error).__name__}); get the model's files again"
        ) from error
    if missing:
        raise SettingsError(
            f"embedding.model: the weights of {facts.model} lack {len(missing)} tensors, such as {missing[0]}, which would be "
            "filled with random numbers; get the model's files again"
        )
    return model.eval()


@contextmanager
def _quiet_loading() -> Iterator[list[str]]:
    """No progress bars inside; the list gets the names of tensors that the files lack.

    The library fills such tensors with random numbers and tells nobody but its log.
    """
    progress: Any = import_module("transformers.utils.logging")  # its functions carry no annotations
    reports, missing = logging.getLogger("transformers.modeling_utils"), list[str]()

    def collect(record: logging.LogRecord) -> bool:
        names = _MISSING.findall(record.getMessage())
        # The pooler belongs to another training goal; no step behind the transformer reads it.
        missing.extend(name for name in names if "pooler" not in name)
        return not names

    was_enabled = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()
    reports.addFilter(collect)
    try:
        yield missing
    finally:
        reports.removeFilter(collect)
        if was_enabled:
            progress.enable_progress_bar()
