"""Opens one model by any engine and arithmetic, and keeps its converted form."""

import hashlib
import json
from pathlib import Path
from typing import TypeVar

from rag_pipeline.adapters import openvino_engine
from rag_pipeline.adapters.arithmetic import AGREEMENT_MIN, SAMPLE_TEXTS
from rag_pipeline.adapters.engine_records import library_versions
from rag_pipeline.adapters.engines import SAMPLE_TOKENS, Engine, LoadedModel
from rag_pipeline.adapters.model_files import tokenizer_file
from rag_pipeline.adapters.model_tokens import TokenCounter
from rag_pipeline.adapters.openvino_engine import ConvertedModel, OpenvinoEngine
from rag_pipeline.adapters.process_memory import keep_few_shapes
from rag_pipeline.adapters.torch_engine import TorchEngine
from rag_pipeline.errors import SettingsError
from rag_pipeline.schema import ModelFacts
from rag_pipeline.settings import EmbeddingSettings

EngineT = TypeVar("EngineT", bound=Engine)

EXACT_MIN = 0.9999
"""Smallest cosine of a converted model in float32 to torch; below it the conversion is wrong, not rounded."""


class ModelOpener:
    """The files of a model, ready to be loaded in any way."""

    def __init__(self, facts: ModelFacts, settings: EmbeddingSettings, cache_dir: Path | None) -> None:
        self.facts = facts
        self._settings = settings
        self._folder = cache_dir / "openvino" / self._name() if cache_dir else None
        self._counter: TokenCounter | None = None

    def torch(self, dtype: str, *, number: int = 0, attention: str = "") -> LoadedModel[TorchEngine]:
        """In torch. Raises SettingsError or BadVectorError for a model that contradicts its own files.

        ``number`` and ``attention`` as in ``TorchEngine``.
        """
        keep_few_shapes()
        how = {"device": self._settings.device, "dtype": dtype, "attention": attention}
        engine = TorchEngine(self.facts, self.counter, number=number, **how)
        if not engine.reads_alike(SAMPLE_TEXTS[0], self.counter.uncounted_ids([SAMPLE_TEXTS[0]])[0]):
            raise SettingsError(
                f"embedding.model: tokenizer.json of {self.facts.model} and its tokenizer settings disagree; get the model again"
            )
        model = self.around(engine)
        model.prove()
        return model

    def around(self, engine: EngineT) -> LoadedModel[EngineT]:
        """The model over an engine that is loaded already."""
        return LoadedModel(self.facts, engine, self.counter)

    def openvino(self, converted: ConvertedModel, dtype: str) -> LoadedModel[OpenvinoEngine]:
        """In OpenVINO. Raises SettingsError where a step behind the transformer is not known."""
        keep_few_shapes()
        return LoadedModel(self.facts, OpenvinoEngine(self.facts, converted, self.counter, dtype=dtype), self.counter)

    def kept(self, dtype: str) -> LoadedModel[OpenvinoEngine] | None:
        """In OpenVINO from what was converted before, without torch; None where nothing is kept that agrees with torch."""
        converted = self.read_converted()
        if converted is None:
            return None
        model = self.openvino(converted, dtype)
        is_same = model.agreement_with(converted.reference) >= (EXACT_MIN if dtype == "float32" else AGREEMENT_MIN)
        return model if is_same else None

    def read_converted(self) -> ConvertedModel | None:
        """The converted model that is kept for these weights and library versions."""
        if self._folder is None or not self._folder.is_dir() or not openvino_engine.is_installed():
            return None
        return openvino_engine.read_converted(self._folder)

    def convert(self, model: LoadedModel[TorchEngine]) -> ConvertedModel:
        """The converted form of a model in torch and float32, kept. Raises SettingsError where it cannot be had."""
        converted = openvino_engine.convert(model.engine, model.embed_samples())
        cosine = self.openvino(converted, "float32").agreement_with(converted.reference)
        if cosine < EXACT_MIN:
            raise SettingsError(
                f"embedding.engine: converted to OpenVINO, {self.facts.model} makes other vectors (cosine {cosine:.4f}); "
                "set it to torch"
            )
        if self._folder is not None:
            converted.save(self._folder)
        return self.read_converted() or converted

    @property
    def counter(self) -> TokenCounter:
        """Texts to token ids; read by the first use."""
        if self._counter is None:
            self._counter = TokenCounter(tokenizer_file(Path(self.facts.path)), max_tokens=self._settings.max_tokens)
        return self._counter

    def _name(self) -> str:
        what = {"libraries": library_versions(), "sample_tokens": min(SAMPLE_TOKENS, self._settings.max_tokens)}
        return f"{self.facts.weights_sha256[:16]}-{hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]}"
