"""A model in torch: loaded by sentence-transformers, run on this machine's CPU or GPU."""

import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from rag_pipeline.adapters.batch_layout import flat, padded, stepped
from rag_pipeline.adapters.cuda_devices import memory_of, place_of
from rag_pipeline.adapters.model_tokens import TokenCounter
from rag_pipeline.errors import BackendRejectedError, BatchTooLargeError, SettingsError
from rag_pipeline.ports import Wait
from rag_pipeline.schema import Matrix, ModelFacts

if TYPE_CHECKING:
    import torch

_SYSTEM = "embedding model"
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "defaultcpuallocator", "alloc_failed")
_MISSING = re.compile(r"^(\S+)\s*\|\s*MISSING\b", re.MULTILINE)
"""A line of the report that transformers logs on loading."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch in memory of the host, as the device fetches it."""

    tensors: Mapping[str, "torch.Tensor"]
    numbers: Mapping[str, int]
    prompt_length: int
    texts: int


class TorchEngine:
    """An ``Engine``: the transformer in the chosen arithmetic, everything behind it in float32."""

    name = "torch"

    def __init__(
        self, facts: ModelFacts, counter: TokenCounter, *, device: str, dtype: str, number: int = 0, attention: str = ""
    ) -> None:
        """``number`` is that of the GPU; ``attention`` a kind that transformers knows, its own choice where it is empty."""
        import torch

        self.device = pick_device(device)
        self._torch = torch
        self._counter = counter
        self._is_normalized = facts.is_normalized
        self._place = place_of(self.device, number)
        self._memory = memory_of(self.device, self._place)
        self.modules = list(_load(facts, device=self._place, dtype=getattr(torch, dtype), attention=attention))
        self.is_padding_free = bool(getattr(self.modules[0], "can_flatten_inputs", False))
        self._first_position = self._find_first_position() if self.is_padding_free else 0
        self.convert(dtype)

    def convert(self, dtype: str) -> None:
        """Changes the arithmetic of the transformer. Pooling in half precision would cost agreement and gain no time."""
        self.dtype = dtype
        self.modules[0].to(getattr(self._torch, dtype))
        for module in self.modules[1:]:
            module.float()

    def describe(self) -> dict[str, Any]:
        name = self._torch.cuda.get_device_name(self._place) if self.device == "cuda" else self.device
        threads = self._torch.get_num_threads()
        return {"engine": self.name, "device": self.device, "device_name": name, "dtype": self.dtype, "threads": threads}

    def reads_alike(self, text: str, ids: list[int]) -> bool:
        """Whether the library's own tokenizer makes the same ids of a text."""
        own: list[int] = self.modules[0].preprocess([text])["input_ids"][0].tolist()
        return own == ids

    @contextmanager
    def on_one_core(self) -> Iterator[None]:
        if self.device != "cpu":
            yield
            return
        threads = self._torch.get_num_threads()
        self._torch.set_num_threads(1)
        try:
            yield
        finally:
            self._torch.set_num_threads(threads)

    def clock(self) -> float:
        return time.thread_time() if self.device == "cpu" else time.perf_counter()

    def forward(self, ids: list[list[int]], *, prompt_length: int) -> Matrix:
        return self.start(self.prepare(ids, prompt_length=prompt_length))()

    def prepare(self, ids: list[list[int]], *, prompt_length: int) -> Prepared:
        """What ``start`` reads, in memory of the host. Any thread may do it while the device computes."""
        try:
            arrays = self._lay_out(ids)
            tensors = {name: self._torch.from_numpy(array) for name, array in arrays.items() if isinstance(array, np.ndarray)}
            held = {name: self._memory.hold(tensor) for name, tensor in tensors.items()}
        except (RuntimeError, MemoryError) as error:
            self._translate(error, len(ids))
        numbers = {name: value for name, value in arrays.items() if name not in held}
        return Prepared(held, numbers, prompt_length=prompt_length, texts=len(ids))

    def start(self, prepared: Prepared) -> Wait:
        """Has the vectors computed; on CUDA it returns before that is done, and the call that it gives waits."""
        count = prepared.texts
        try:
            with self._torch.inference_mode():
                vectors = self._run_modules(prepared)
                if self._is_normalized:
                    vectors = self._torch.nn.functional.normalize(vectors, dim=1)
                wait = self._memory.fetch(vectors)
        except (RuntimeError, MemoryError) as error:
            self._translate(error, count)
        return lambda: self._waited(wait, count)

    def _waited(self, wait: Wait, count: int) -> Matrix:
        try:
            return wait()
        except (RuntimeError, MemoryError) as error:  # what went wrong on a GPU often shows here only
            self._translate(error, count)

    def _lay_out(self, ids: list[list[int]]) -> Mapping[str, Any]:
        if self.is_padding_free:
            return flat(ids, first_position=self._first_position)
        return stepped(ids, self._counter) if self.device == "cuda" else padded(ids, self._counter)

    def _find_first_position(self) -> int:
        """The number of the first position, which is not 0 in some families of models."""
        return int(self.modules[0].preprocess(["a"])["position_ids"].min())

    def _run_modules(self, prepared: Prepared) -> "torch.Tensor":
        features = {name: self._memory.send(tensor) for name, tensor in prepared.tensors.items()}
        features = self.modules[0]({**features, **prepared.numbers})
        features["token_embeddings"] = features["token_embeddings"].float()
        features["prompt_length"] = prepared.prompt_length
        for module in self.modules[1:]:
            features = module(features)
        vectors: torch.Tensor = features["sentence_embedding"].float()
        return vectors

    def _translate(self, error: RuntimeError | MemoryError, count: int) -> NoReturn:
        """Raises the pipeline's own error."""
        if not is_out_of_memory(error):
            raise BackendRejectedError(
                f"the forward pass over {count} texts failed on {self.device} ({type(error).__name__}); "
                "set embedding.device: cpu and embedding.dtype: float32 to find out whether the device is at fault",
                system=_SYSTEM,
            ) from error
        # The error would keep the tensors of every step that it came through, on the device that has no room for them.
        error.with_traceback(None)
        if self.device == "cuda":
            self._torch.cuda.empty_cache()
        raise BatchTooLargeError(f"{count} texts do not fit in the memory of {self.device}", system=_SYSTEM) from None


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether a forward pass failed for want of memory, in the words of any device."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def pick_device(wanted: str) -> str:
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


def _load(facts: ModelFacts, *, device: str, dtype: "torch.dtype", attention: str) -> Any:
    """The modules of the model, from local safetensors files, without code of the model's own."""
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    how = {"use_safetensors": True, "dtype": dtype, **({"attn_implementation": attention} if attention else {})}
    try:
        with quiet_loading() as missing:
            model = SentenceTransformer(
                facts.path,
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs=how,
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
def quiet_loading() -> Iterator[list[str]]:
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
