"""How a model runs on this machine's GPUs: its attention and the size of its batches, found by trying and remembered."""

import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rag_pipeline.adapters.arithmetic import Trial, Way, choose
from rag_pipeline.adapters.batch_layout import LENGTH_STEP
from rag_pipeline.adapters.cuda_devices import gpu_names
from rag_pipeline.adapters.device_queue import DeviceQueue, QueuedModel
from rag_pipeline.adapters.engine_records import EngineRecord, EngineRecords, record_key
from rag_pipeline.adapters.engines import LoadedModel
from rag_pipeline.adapters.model_opener import ModelOpener
from rag_pipeline.adapters.torch_engine import TorchEngine
from rag_pipeline.errors import BackendRejectedError, BadVectorError, BatchTooLargeError, SettingsError
from rag_pipeline.settings import EmbeddingSettings

FLASH = "flash_attention_2"
"""transformers' name for attention without padding, by the package ``flash_attn``."""
GROWTH_MIN = 1.03
"""A batch of twice the tokens that gains less is not worth its memory."""

_DOUBLINGS = 4
"""At most; beyond some hundred thousand tokens a batch takes longer to read than any device waits for."""
_LENGTH = 256
"""Tokens of a text in a trial: about those of a chunk."""
_BATCH_TEXTS = 4096
_LOOKS = 3
_ORDERED = 3
"""Batches that are ordered one behind the other in a look, so that only the device is measured."""
_LONG_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class BatchTrial:
    """One size of batch; no speed where it did not fit in memory."""

    tokens: int
    tokens_per_s: float | None

    def describe(self) -> dict[str, Any]:
        """JSON values for metadata."""
        return {"tokens": self.tokens, "tokens_per_s": round(self.tokens_per_s) if self.tokens_per_s else "does not fit"}


class GpuPlanner:
    """What is tried on the first GPU holds for all; ``evidence`` says how it came about."""

    def __init__(self, opener: ModelOpener, settings: EmbeddingSettings, records: EngineRecords) -> None:
        self.evidence: dict[str, Any] = {}
        self._opener = opener
        self._settings = settings
        self._records = records

    def open(self, model: LoadedModel[TorchEngine]) -> QueuedModel:
        """The model on every GPU that this process sees; ``model`` is the one on the first."""
        gpus = gpu_names()
        key = self._key(model.engine.dtype, gpus)
        record = self._records.read(key)
        if record is None:
            record = self._tried(model)
            self._records.write(key, record)
        else:
            record = EngineRecord(record.way, {**record.evidence, "is_remembered": True})
        self.evidence = {"gpus": gpus, **record.evidence}
        first = model if not record.way.attention else self._nth(record.way, 0)
        queue = DeviceQueue([first, *(self._nth(record.way, number) for number in range(1, len(gpus)))])
        step = 1 if first.engine.is_padding_free else LENGTH_STEP
        return QueuedModel(queue, record.evidence.get("batch_tokens"), _BATCH_TEXTS, step)

    def _key(self, dtype: str, gpus: Sequence[str]) -> str:
        asked = self._settings.model_dump(include={"batch_tokens", "tune_batches", "max_tokens"})
        weights = self._opener.facts.weights_sha256
        return record_key(what="gpus", weights=weights, dtype=dtype, gpus=list(gpus), flash=_flash_version(), **asked)

    def _nth(self, way: Way, number: int) -> LoadedModel[TorchEngine]:
        return self._opener.torch(way.dtype, number=number, attention=way.attention)

    def _tried(self, model: LoadedModel[TorchEngine]) -> EngineRecord:
        way, model, evidence = self._with_attention(model)
        if not self._settings.tune_batches:
            return EngineRecord(way, evidence)
        tokens, trials = tune_batch(lambda tokens: speed(model, _even(tokens)), self._settings.batch_tokens)
        described = [trial.describe() for trial in trials]
        return EngineRecord(way, {**evidence, "batch_tokens": tokens, "batch_trials": described})

    def _with_attention(self, model: LoadedModel[TorchEngine]) -> tuple[Way, LoadedModel[TorchEngine], dict[str, Any]]:
        """The way that is faster on uneven texts and agrees with float32, its model, and the evidence."""
        usual = Way("torch", model.engine.dtype)
        if _flash_version() is None or usual.dtype == "float32":
            return usual, model, {}
        try:
            models = {usual: model, Way("torch", usual.dtype, FLASH): self._opener.torch(usual.dtype, attention=FLASH)}
            trials = self._attention_trials(models)
        except (SettingsError, BackendRejectedError, BatchTooLargeError, BadVectorError):
            return usual, model, {"attention": f"{FLASH} does not run with this model on this device"}
        way, why = choose(trials)
        return way, models[way], {"attention": why, "attention_trials": [trial.describe() for trial in trials]}

    def _attention_trials(self, models: Mapping[Way, LoadedModel[TorchEngine]]) -> list[Trial]:
        reference = self._opener.torch("float32").embed_samples()
        lengths = _uneven(self._settings.batch_tokens)
        return [Trial(way, speed(model, lengths), model.agreement_with(reference)) for way, model in models.items()]


def tune_batch(speed_of: Callable[[int], float], first: int) -> tuple[int, list[BatchTrial]]:
    """The tokens of a batch, doubled from the first as long as that makes it faster and fits, and what was tried."""
    trials: list[BatchTrial] = []
    best = first
    for tokens in (first << doubling for doubling in range(_DOUBLINGS + 1)):
        trials.append(_try(speed_of, tokens))
        before, now = trials[-2].tokens_per_s if len(trials) > 1 else 0.0, trials[-1].tokens_per_s
        if now is None or before is None or now <= GROWTH_MIN * before:
            break
        best = tokens
    return best, trials


def _try(speed_of: Callable[[int], float], tokens: int) -> BatchTrial:
    try:
        return BatchTrial(tokens, speed_of(tokens))
    except BatchTooLargeError:
        return BatchTrial(tokens, None)


def _even(tokens: int) -> list[int]:
    """Lengths of texts that make up so many tokens."""
    length = min(_LENGTH, tokens)
    return [length] * (tokens // length)


def _uneven(tokens: int) -> list[int]:
    """The same, as uneven as the texts of a batch may be: down to half of the longest."""
    count = max(2, tokens // _LENGTH)
    return [_LENGTH - number * _LENGTH // (2 * count) for number in range(count)]


def speed(model: LoadedModel[TorchEngine], lengths: Sequence[int]) -> float:
    """Tokens a second of the device alone: the batch is made ready before, and one is ordered behind the other."""
    engine = model.engine
    ids = model.sample_ids(lengths)
    prepared = engine.prepare(ids, prompt_length=0)

    def look(batches: int) -> float:
        started = engine.clock()
        for wait in [engine.start(prepared) for _ in range(batches)]:
            wait()
        return max(engine.clock() - started, 1e-9) / batches

    look(1)  # the first of a shape also loads code
    seconds = look(1)
    if seconds < _LONG_LOOK_S:
        seconds = min(look(_ORDERED) for _ in range(_LOOKS))
    return sum(map(len, ids)) / seconds


def _flash_version() -> str | None:
    """The version of ``flash_attn``, or None where it is not installed."""
    if importlib.util.find_spec("flash_attn") is None:
        return None
    try:
        return importlib.metadata.version("flash_attn")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
