"""Decides by which engine and arithmetic a model embeds documents: what the settings say, what was found before, or a trial."""

from pathlib import Path
from typing import Any

from rag_pipeline.adapters import openvino_engine
from rag_pipeline.adapters.arithmetic import Trial, Way, choose, half_precision, measure, ways_to_try
from rag_pipeline.adapters.cpu_streams import in_streams
from rag_pipeline.adapters.device_queue import QueuedModel
from rag_pipeline.adapters.engine_records import EngineRecord, EngineRecords, record_key
from rag_pipeline.adapters.engines import Engine, LoadedModel
from rag_pipeline.adapters.gpu_plan import GpuPlanner
from rag_pipeline.adapters.model_opener import ModelOpener
from rag_pipeline.adapters.openvino_engine import ConvertedModel, OpenvinoEngine
from rag_pipeline.adapters.torch_engine import TorchEngine
from rag_pipeline.errors import MissingExtraError, SettingsError
from rag_pipeline.schema import Matrix, ModelFacts
from rag_pipeline.settings import EmbeddingSettings


class EngineChoice:
    """The choice for one model; ``evidence`` says how it was made."""

    def __init__(self, facts: ModelFacts, settings: EmbeddingSettings, cache_dir: Path | None) -> None:
        self.evidence: dict[str, Any] = {"why": "not tried yet"}
        self._settings = settings
        self._opener = ModelOpener(facts, settings, cache_dir)
        self._records = EngineRecords(cache_dir)
        asked = settings.model_dump(include={"engine", "dtype", "device"})
        self._key = record_key(weights=facts.weights_sha256, **asked) if cache_dir else ""

    def for_questions(self) -> LoadedModel[Engine]:
        """A model that is ready soon: the converted one, which needs no torch, in float32; torch where nothing is kept."""
        dtype = "float32" if self._settings.dtype == "auto" else self._settings.dtype
        record = None if self._engine() == "torch" else self._records.read(self._key)
        if record is not None and (dtype == "float32" or record.way.engine == "openvino"):
            kept = self._opener.kept(dtype)
            if kept is not None:
                self.evidence = {"why": "a question takes the converted model, which starts without torch"}
                return kept
        return self.for_documents() if self._settings.engine == "openvino" else self._opener.torch(dtype)

    def for_documents(self, present: LoadedModel[Engine] | None = None) -> LoadedModel[Engine]:
        """The model that documents are embedded with; ``present`` is one that is loaded already."""
        if self._engine() == "torch" and self._settings.dtype != "auto":
            self.evidence = {"why": f"embedding.dtype is {self._settings.dtype}"}
            return present or self._opener.torch(self._settings.dtype)
        return self._as_remembered(present) or self._tried(present)

    def queued(self, model: LoadedModel[Engine]) -> QueuedModel | None:
        """The chosen model on every GPU, or in streams on a CPU; None where it works off one batch after the other."""
        engine = model.engine
        if isinstance(engine, OpenvinoEngine):
            return in_streams(self._opener.around(engine), self._settings.batch_tokens)
        if not isinstance(engine, TorchEngine) or engine.device != "cuda":
            return None
        planner = GpuPlanner(self._opener, self._settings, self._records)
        on_all = planner.open(self._opener.around(engine))
        self.evidence = {**self.evidence, **planner.evidence}
        return on_all

    def _engine(self) -> str:
        """What the settings ask for, where the package is there."""
        if self._settings.engine == "torch" or openvino_engine.is_installed():
            return self._settings.engine
        if self._settings.engine == "openvino":
            raise MissingExtraError(feature="embedding.engine: openvino", extra="openvino")
        return "torch"

    def _as_remembered(self, present: LoadedModel[Engine] | None) -> LoadedModel[Engine] | None:
        record = self._records.read(self._key)
        if record is None:
            return None
        model = present if present and present.way == record.way else self._open_remembered(record.way)
        if model is not None:
            self.evidence = {**record.evidence, "is_remembered": True}
        return model

    def _open_remembered(self, way: Way) -> LoadedModel[Engine] | None:
        return self._opener.torch(way.dtype) if way.engine == "torch" else self._opener.kept(way.dtype)

    def _tried(self, present: LoadedModel[Engine] | None) -> LoadedModel[Engine]:
        reference = self._reference(present)
        trials = _Trials(self._opener, reference, engine=self._engine(), dtype=self._settings.dtype)
        way = trials.best()
        self.evidence = trials.evidence
        if reference.engine.device == "cpu":
            self._records.write(self._key, EngineRecord(way, self.evidence))
        return trials.open(way)

    def _reference(self, present: LoadedModel[Engine] | None) -> LoadedModel[TorchEngine]:
        """The model in torch and float32, which every other way is compared with."""
        if present and isinstance(present.engine, TorchEngine) and present.engine.dtype == "float32":
            return self._opener.around(present.engine)
        return self._opener.torch("float32")


class _Trials:
    """What is tried on a model, against its vectors in torch and float32."""

    def __init__(self, opener: ModelOpener, reference: LoadedModel[TorchEngine], *, engine: str, dtype: str) -> None:
        self.evidence: dict[str, Any] = {}
        self._opener = opener
        self._torch_model = reference
        self._vectors: Matrix = reference.embed_samples()
        self._device = reference.engine.device
        self._half = half_precision(self._device)
        self._converted = self._convert(engine)
        openvino = openvino_engine.dtypes() if self._converted else []
        self._ways = ways_to_try(engine if self._converted else "torch", dtype, openvino=openvino, half=self._half)
        if engine == "openvino" and not self._ways:
            raise SettingsError(
                f"embedding.dtype: OpenVINO has {' and '.join(openvino)} on this CPU, not {dtype}; set it to auto"
            )

    def best(self) -> Way:
        """The way that wins."""
        if len(self._ways) == 1:
            way = self._ways[0]
            is_bare = way.engine == "torch" and self._half is None
            self.evidence["why"] = (
                f"{self._device} has no units for half precision" if is_bare else f"{way} is all that fits the settings"
            )
            return way
        trials = [self._try(way) for way in self._ways]
        way, why = choose(trials)
        self.evidence = {"why": why, "trials": [trial.describe() for trial in trials], **self.evidence}
        return way

    def open(self, way: Way) -> LoadedModel[Engine]:
        """The model by that way; torch can go from float32 to half precision in place, the other way it is loaded again."""
        if self._converted is not None and way.engine == "openvino":
            return self._opener.openvino(self._converted, way.dtype)
        engine = self._torch_model.engine
        if engine.dtype == "float32" != way.dtype:
            engine.convert(way.dtype)
        elif engine.dtype != way.dtype:
            self._torch_model = self._opener.torch(way.dtype)
        return self._torch_model

    def _try(self, way: Way) -> Trial:
        model = self.open(way)
        with model.engine.on_one_core():
            cosine = model.agreement_with(self._vectors)
            return Trial(way, tokens_per_s=measure(model.embed_tokens, model.engine.clock), agreement=cosine)

    def _convert(self, engine: str) -> ConvertedModel | None:
        """The converted model, or None where the engine is not asked for or cannot run this model, with the reason kept."""
        if engine == "torch" or self._device != "cpu":
            return None
        try:
            return self._opener.read_converted() or self._opener.convert(self._torch_model)
        except SettingsError as error:
            if engine == "openvino":
                raise
            self.evidence["left_out"] = str(error)
            return None
