"""A model in OpenVINO: converted once from the torch module, kept on disk, run on this machine's CPU without torch."""

import importlib.metadata
import importlib.util
import logging
import shutil
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from rag_pipeline.adapters.model_tokens import TokenCounter
from rag_pipeline.adapters.token_head import TokenHead, normalize
from rag_pipeline.adapters.torch_engine import TorchEngine, is_out_of_memory
from rag_pipeline.errors import BackendRejectedError, BatchTooLargeError, SettingsError
from rag_pipeline.ports import Wait
from rag_pipeline.schema import Matrix, ModelFacts

_SYSTEM = "embedding model (OpenVINO)"
_MODEL_FILE = "model.xml"
_REFERENCE_FILE = "reference.npy"
_HINTS = {"float32": "f32", "bfloat16": "bf16"}
Prepared = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]
"""Token ids, mask, tokens of the prompt."""
_KEPT_SHAPES = 16
"""Shapes whose machine code is kept; the library keeps thousands, and hardly one comes back."""


def is_installed() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec("openvino") is not None


def dtypes() -> list[str]:
    """The arithmetic that this CPU computes in hardware, most exact first."""
    capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ["float32", "bfloat16"] if "BF16" in capabilities else ["float32"]


def converter_versions() -> dict[str, str]:
    """Versions of the libraries that decide what a converted model looks like."""
    names = ("openvino", "torch", "transformers", "sentence-transformers")
    return {name: importlib.metadata.version(name) for name in names}


class ConvertedModel:
    """A model as OpenVINO holds it, and the vectors that torch gave for the sample texts in float32."""

    def __init__(self, graph: Any, reference: Matrix) -> None:
        self.graph = graph
        self.reference = reference

    def save(self, folder: Path) -> None:
        """Into the folder, whole or not at all; what was kept of the same model by other versions goes."""
        draft: Path | None = None
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".tmp", dir=folder.parent))
            _openvino().save_model(self.graph, draft / _MODEL_FILE, compress_to_fp16=False)
            np.save(draft / _REFERENCE_FILE, self.reference)
            for older in folder.parent.glob(f"{folder.name.partition('-')[0]}-*"):
                if older != draft:
                    shutil.rmtree(older)
            draft.replace(folder)
        except (OSError, RuntimeError):  # a cache that cannot be written costs time and nothing else
            if draft is not None:
                shutil.rmtree(draft, ignore_errors=True)


def read_converted(folder: Path) -> ConvertedModel | None:
    """The model that was kept, or None where there is none that can be read."""
    try:
        reference: Matrix = np.load(folder / _REFERENCE_FILE)
        return ConvertedModel(_core().read_model(folder / _MODEL_FILE), reference)
    except (OSError, ValueError, RuntimeError):
        return None


def convert(engine: TorchEngine, reference: Matrix) -> ConvertedModel:
    """The transformer of a torch engine in float32. Raises SettingsError where it cannot be converted."""
    import torch

    transformer = engine.modules[0]

    class TokenVectors(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = transformer

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            features = self.transformer({"input_ids": input_ids, "attention_mask": attention_mask})
            return features["token_embeddings"]

    # One padded row, or the tracer would see a model that takes no mask.
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    example = {"input_ids": torch.full((2, 5), 7), "attention_mask": mask}
    openvino = _openvino()
    from openvino.tools.ovc.error import BasicError

    try:
        with _quiet(), torch.no_grad():
            graph = openvino.convert_model(TokenVectors().eval(), example_input=example)
    except (BasicError, RuntimeError, TypeError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
        raise SettingsError(
            f"embedding.engine: OpenVINO cannot convert this model ({type(error).__name__}); set it to torch"
        ) from error
    if len(graph.inputs) != 2 or len(graph.outputs) != 1:
        raise SettingsError(
            "embedding.engine: OpenVINO converts this model to something else than token vectors; set it to torch"
        )
    return ConvertedModel(graph, reference)


class OpenvinoEngine:
    """A ``QueuedEngine`` over a converted model; compiled by the first text.

    Several threads may compute at once: as many as there are streams go side by side, each on its share of the cores.
    """

    name = "openvino"
    device = "cpu"

    def __init__(self, facts: ModelFacts, converted: ConvertedModel, counter: TokenCounter, *, dtype: str) -> None:
        self.dtype = dtype
        self.streams = 1
        self._graph = converted.graph
        self._head = TokenHead(Path(facts.path))
        self._is_normalized = facts.is_normalized
        self._counter = counter
        self._compiled: Any = None
        self._compiling = threading.Lock()
        self._here = threading.local()
        self._threads = 0

    def describe(self) -> dict[str, Any]:
        name = _core().get_property("CPU", "FULL_DEVICE_NAME")
        threads = {"threads": self._threads, "streams": self.streams}
        return {"engine": self.name, "device": self.device, "device_name": name, "dtype": self.dtype, **threads}

    @contextmanager
    def on_one_core(self) -> Iterator[None]:
        self._compile(threads=1)
        try:
            yield
        finally:
            self._let_go()

    def split(self, streams: int) -> None:
        """From the next batch on so many streams share the cores."""
        self.streams = streams
        self._let_go()

    def clock(self) -> float:
        return time.thread_time()

    def forward(self, ids: list[list[int]], *, prompt_length: int) -> Matrix:
        return self.start(self.prepare(ids, prompt_length=prompt_length))()

    def prepare(self, ids: list[list[int]], *, prompt_length: int) -> Prepared:
        return (*self._counter.pad(ids), prompt_length)

    def start(self, prepared: Prepared) -> Wait:
        """Computes in the calling thread, so nothing is left to wait for."""
        tokens, mask, prompt_length = prepared
        here = self._here
        try:
            answer = self._request(here).infer([tokens, mask], share_inputs=True, share_outputs=True)
            vectors = self._head.pool(next(iter(answer.values())), mask, prompt_length=prompt_length)
        except (RuntimeError, MemoryError) as error:
            self._translate(error, len(tokens), here)
        if self._is_normalized:
            vectors = normalize(vectors)
        return lambda: vectors

    def _request(self, here: threading.local) -> Any:
        """This thread's own, since its outputs are overwritten by the next batch."""
        with self._compiling:
            compiled = self._compiled or self._compile()
        if getattr(here, "compiled", None) is not compiled:
            here.compiled, here.request = compiled, compiled.create_infer_request()
        return here.request

    def _let_go(self) -> None:
        """Of the compiled model, in every thread that does not compute just now; the next batch compiles it again."""
        self._compiled, self._here = None, threading.local()

    def _compile(self, threads: int | None = None) -> Any:
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _HINTS[self.dtype],
            "NUM_STREAMS": self.streams,
            "CPU_RUNTIME_CACHE_CAPACITY": _KEPT_SHAPES,
            # A stream that is bound to a core waits for whatever else runs there while another core is idle.
            "ENABLE_CPU_PINNING": False,
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        self._compiled = _core().compile_model(self._graph, "CPU", settings)
        self._threads = self._compiled.get_property("INFERENCE_NUM_THREADS")
        return self._compiled

    def _translate(self, error: RuntimeError | MemoryError, count: int, here: threading.local) -> NoReturn:
        """Raises the pipeline's own error."""
        if is_out_of_memory(error) or "bad_alloc" in str(error):
            if here is self._here:  # else another thread has let go of it already
                self._let_go()
            raise BatchTooLargeError(f"{count} texts do not fit in memory", system=_SYSTEM) from None
        raise BackendRejectedError(
            f"the forward pass over {count} texts failed ({type(error).__name__}); set embedding.engine: torch to find out "
            "whether the engine is at fault",
            system=_SYSTEM,
        ) from error


_load_lock = threading.Lock()


def _openvino() -> Any:
    """The library without its telemetry, which would ask the network at every import and every conversion.

    It falls back to an empty stand-in where ``openvino_telemetry`` cannot be imported; so it cannot be, in this process.
    Nothing is written to the user's home, where the library keeps the consent for other programs.
    """
    with _load_lock:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # documented: an import of it fails
        import openvino
    return openvino


@cache
def _core() -> Any:
    return _openvino().Core()


@contextmanager
def _quiet() -> Iterator[None]:
    """No advice of the tracer inside: what it warns of, the comparison of vectors finds out."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
