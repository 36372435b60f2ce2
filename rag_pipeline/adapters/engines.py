"""A loaded model: an engine that computes vectors from token ids, and what every engine needs around it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from rag_pipeline.adapters.arithmetic import SAMPLE_TEXTS, Way, agreement
from rag_pipeline.adapters.model_tokens import TokenCounter
from rag_pipeline.adapters.process_memory import MemoryReturn
from rag_pipeline.errors import BadVectorError
from rag_pipeline.ports import Wait
from rag_pipeline.schema import Matrix, ModelFacts

SAMPLE_TOKENS = 64
"""No sample text is longer, so that the samples of every larger window are the same."""


class Engine(Protocol):
    """A library that runs a model on a device."""

    name: str
    device: str
    dtype: str

    def forward(self, ids: list[list[int]], *, prompt_length: int) -> Matrix:
        """float32, one row a text. Raises BatchTooLargeError where they do not fit, else BackendRejectedError."""

    def on_one_core(self) -> AbstractContextManager[None]:
        """Inside, a CPU engine keeps to one core: the calling thread's."""

    def clock(self) -> float:
        """Seconds, by the clock that fits the device."""

    def describe(self) -> dict[str, Any]:
        """JSON values for metadata."""


class QueuedEngine(Engine, Protocol):
    """An engine that works through several batches without being waited for."""

    def prepare(self, ids: list[list[int]], *, prompt_length: int) -> Any:
        """What ``start`` reads; made by any thread while the device computes."""

    def start(self, prepared: Any) -> Wait:
        """Orders the computation; the call waits for its vectors. Either raises what ``forward`` raises."""


EngineT_co = TypeVar("EngineT_co", bound=Engine, covariant=True)


class LoadedModel(Generic[EngineT_co]):
    """Texts to vectors by an engine, never cut, every shape checked, memory given back."""

    def __init__(self, facts: ModelFacts, engine: EngineT_co, counter: TokenCounter) -> None:
        self._engine = engine
        self._facts = facts
        self._counter = counter
        self._memory = MemoryReturn() if engine.device == "cpu" else None

    @property
    def engine(self) -> EngineT_co:
        """What computes."""
        return self._engine

    @property
    def way(self) -> Way:
        """Its engine and arithmetic."""
        return Way(self.engine.name, self.engine.dtype)

    def embed(self, texts: Sequence[str], *, prompt: str) -> Matrix:
        """float32 ``(len(texts), dimension)``."""
        if not texts:
            return np.zeros((0, self._facts.dimension), dtype=np.float32)
        ids, prompt_length = self.read(texts, prompt=prompt)
        return self.received(self.engine.forward(ids, prompt_length=prompt_length), ids)

    def read(self, texts: Sequence[str], *, prompt: str) -> tuple[list[list[int]], int]:
        """Token ids of each text with the prompt, and the tokens of the prompt. Raises TruncationError."""
        ids = self._counter.token_ids([prompt + text for text in texts])
        return ids, self._counter.prompt_length(prompt)

    def embed_samples(self) -> Matrix:
        """Vectors of the sample texts, cut where they or the window are of another length than is usual."""
        longest = min(SAMPLE_TOKENS, self._counter.max_tokens)
        return self._forward([row[:longest] for row in self._counter.uncounted_ids(SAMPLE_TEXTS)], prompt_length=0)

    def embed_tokens(self, count: int, length: int) -> int:
        """Works on that many texts of that many tokens, or of as many as the window has, and says how many in all."""
        ids = self.sample_ids([length] * count)
        self._forward(ids, prompt_length=0)
        return sum(map(len, ids))

    def sample_ids(self, lengths: Sequence[int]) -> list[list[int]]:
        """Ids of so many tokens for each text, or of as many as the window has."""
        ids = self._counter.uncounted_ids([" ".join(SAMPLE_TEXTS)])[0]
        long = ids * (self._counter.max_tokens // len(ids) + 1)
        return [long[: min(length, self._counter.max_tokens)] for length in lengths]

    def prove(self) -> Matrix:
        """The vectors of the sample texts. Raises BadVectorError where they are not usable."""
        vectors = self.embed_samples()
        if not np.isfinite(vectors).all() or len(np.unique(vectors, axis=0)) < len(SAMPLE_TEXTS):
            raise BadVectorError(f"{self._facts.model} gives no usable vectors for sample texts; get the model's files again")
        return vectors

    def agreement_with(self, reference: Matrix) -> float:
        """Smallest cosine between a sample text's vector here and that in the reference."""
        return agreement(reference, self.embed_samples())

    def _forward(self, ids: list[list[int]], *, prompt_length: int) -> Matrix:
        return self._checked(self.engine.forward(ids, prompt_length=prompt_length), len(ids))

    def received(self, vectors: Matrix, ids: list[list[int]]) -> Matrix:
        """The same array, checked; memory that its batch left behind is given back. For one thread at a time."""
        if self._memory is not None:
            self._memory.count(len(ids) * max(map(len, ids)))
        return self._checked(vectors, len(ids))

    def _checked(self, matrix: Matrix, count: int) -> Matrix:
        """The same array. Raises BadVectorError where it has another shape than so many texts of this model have."""
        if matrix.shape != (count, self._facts.dimension):
            raise BadVectorError(f"{self._facts.model} made an array {matrix.shape} and not {(count, self._facts.dimension)}")
        return matrix
