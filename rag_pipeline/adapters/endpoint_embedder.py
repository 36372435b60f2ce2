"""Embeds through a served model that speaks the OpenAI protocol: text-embeddings-inference, vLLM, Infinity and others."""

import base64
import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from rag_pipeline.adapters.endpoint_pace import Breaker, RequestPace
from rag_pipeline.adapters.model_files import tokenizer_file
from rag_pipeline.adapters.model_tokens import TokenCounter, readable
from rag_pipeline.errors import (
    BackendRejectedError,
    BackendUnavailableError,
    BadVectorError,
    BatchTooLargeError,
    SettingsError,
)
from rag_pipeline.schema import Matrix, ModelFacts, Vector
from rag_pipeline.settings import EmbeddingSettings

_ATTEMPTS = 6
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
"""Also the longest time that a server's ``Retry-After`` is obeyed."""
_RETRIED = {408, 425, 429}
_PART_TEXTS_MIN = 8
"""Texts of a request at least, where a batch is shared out among several."""
_TOO_LARGE = ("too large", "batch size", "too many inputs")
_REMEDIES = {
    401: "check EMBEDDING_API_KEY",
    403: "check EMBEDDING_API_KEY",
    404: "check embedding.endpoint and embedding.endpoint_model",
}


class EndpointEmbedder:
    """An ``Embedder`` over HTTP. The local files of the model count the tokens, so that the server never cuts a text."""

    def __init__(
        self,
        facts: ModelFacts,
        settings: EmbeddingSettings,
        api_key: str | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.dimension = facts.dimension
        self._facts = facts
        self._settings = settings
        self._url = _embeddings_url(settings.endpoint or "")
        self._system = f"embedding endpoint {self._url.netloc.decode()}"
        self._model = settings.endpoint_model or settings.model.partition("@")[0]
        self._encoding = "base64"
        self._sleep = sleep
        self._pace = RequestPace(settings.requests_per_minute, sleep=sleep)
        self._breaker = Breaker(self._system)
        self._counter = TokenCounter(tokenizer_file(Path(facts.path)), max_tokens=settings.max_tokens)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(timeout=settings.timeout_s, headers=headers)

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        return self._embed([self._settings.document_prompt + text for text in texts])

    def embed_query(self, text: str) -> Vector:
        vector: Vector = self._embed([self._settings.query_prompt + text])[0]
        return vector

    def describe(self) -> Mapping[str, Any]:
        return {"engine": "endpoint", "model": self._model, "device": self._url.netloc.decode(), "dtype": "decided by the server"}

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()

    def _embed(self, texts: list[str]) -> Matrix:
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        self._counter.token_ids(texts)
        matrix = self._ask(texts)
        if self._facts.is_normalized:
            with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused by who keeps vectors
                norms = np.linalg.norm(matrix, axis=1, keepdims=True)
                matrix = np.divide(matrix, norms, out=matrix, where=norms > 0)
        return matrix

    def _ask(self, texts: list[str]) -> Matrix:
        """The vectors, asked for in several requests side by side where there are texts enough."""
        parts = _parts(texts, self._settings.requests_at_once)
        if len(parts) == 1:
            return self._read_vectors(self._post(texts), len(texts))
        with ThreadPoolExecutor(len(parts)) as pool:
            return np.concatenate(list(pool.map(lambda part: self._read_vectors(self._post(part), len(part)), parts)))

    def _post(self, texts: list[str]) -> httpx.Response:
        """An answer with status 200, after as many tries as it is worth."""
        problem, attempts = "", self._breaker.tries(_ATTEMPTS)
        for attempt in range(attempts):
            self._pace.wait()
            try:
                response = self._send(texts)
            except httpx.RequestError as error:  # also a body that nobody can unpack
                problem, wait_s = type(error).__name__, None
            else:
                if response.status_code not in _RETRIED and response.status_code < 500:
                    self._breaker.note(is_up=True)
                    return self._accept(response, len(texts))
                problem, wait_s = f"status {response.status_code}", _retry_after_s(response)
            if attempt < attempts - 1:
                self._sleep(_wait_s(attempt, wait_s))
        self._breaker.note(is_up=False)
        raise BackendUnavailableError(
            f"no answer to {len(texts)} texts after {attempts} tries, the last one: {problem}; "
            "see that the server is up, or raise embedding.timeout_s, and run again",
            system=self._system,
        )

    def _send(self, texts: list[str]) -> httpx.Response:
        """One request. A server that does not know base64 is asked for numbers from then on."""
        encoding = self._encoding  # of this request: one beside it may learn meanwhile that it is not known
        body = {"model": self._model, "input": [readable(text) for text in texts], "encoding_format": encoding}
        response = self._client.post(self._url, json=body)
        if response.status_code in {400, 422} and encoding == "base64" and "encoding_format" in response.text:
            self._encoding = "float"
            return self._send(texts)
        return response

    def _accept(self, response: httpx.Response, count: int) -> httpx.Response:
        """The same response where it is a success. A server may quote its input, so no body gets into a message."""
        status = response.status_code
        if status == 200:
            return response
        if status == 413 or (status in {400, 422} and any(words in response.text.lower() for words in _TOO_LARGE)):
            raise BatchTooLargeError(f"{count} texts are more than it takes in one request", system=self._system)
        raise BackendRejectedError(
            f"refused {count} texts with status {status}; {_REMEDIES.get(status, 'read the log of the server')}",
            system=self._system,
        )

    def _read_vectors(self, response: httpx.Response, count: int) -> Matrix:
        """float32 ``(count, dimension)`` in the order of the texts, whatever the order of the answer."""
        try:
            items = response.json()["data"]
            rows = {int(item.get("index", position)): _vector(item["embedding"]) for position, item in enumerate(items)}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise BackendRejectedError(
                f"answered with something that is no list of embeddings ({type(error).__name__}); check embedding.endpoint",
                system=self._system,
            ) from None
        if sorted(rows) != list(range(count)) or len(items) != count:
            raise BadVectorError(f"{self._system} answered {count} texts with {len(items)} vectors; nothing of them is kept")
        wrong = next((row.size for row in rows.values() if row.shape != (self.dimension,)), None)
        if wrong is not None:
            raise BadVectorError(
                f"{self._system} made a vector of dimension {wrong}, and {self._facts.model} has {self.dimension}; "
                "set embedding.model and embedding.endpoint_model to the same model"
            )
        return np.stack([rows[position] for position in range(count)])


def _parts(texts: list[str], at_once: int) -> list[list[str]]:
    """The texts in order, in so many parts of like number, none so small that the request would cost more than it brings."""
    count = max(1, min(at_once, len(texts) // _PART_TEXTS_MIN))
    size = -(-len(texts) // count)
    return [texts[start : start + size] for start in range(0, len(texts), size)]


def _embeddings_url(endpoint: str) -> httpx.URL:
    """The full address: of a bare host, of its ``/v1``, or as it is."""
    try:
        url = httpx.URL(endpoint)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in {"http", "https"} or not url.host:
        raise SettingsError("embedding.endpoint: is not a web address; write http://HOST:PORT or https://HOST/v1")
    path = url.path.rstrip("/")
    if not path.endswith("/embeddings"):
        path += "/embeddings" if path.endswith("/v1") else "/v1/embeddings"
    return url.copy_with(path=path)


def _vector(embedding: str | list[float]) -> Vector:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").astype(np.float32)
    return np.asarray(embedding, dtype=np.float32)


def _wait_s(attempt: int, asked_s: float | None) -> float:
    """A time that doubles, spread so that many clients do not return at once; longer where the server asked for it."""
    longest_s = min(_FIRST_WAIT_S * 2**attempt, _LONGEST_WAIT_S)
    own_s = random.SystemRandom().uniform(longest_s / 2, longest_s)
    return min(max(asked_s or 0.0, own_s), _LONGEST_WAIT_S)


def _retry_after_s(response: httpx.Response) -> float | None:
    """Seconds of the header ``Retry-After``, which holds seconds or a date; None where it says nothing usable."""
    header = response.headers.get("retry-after", "")
    try:
        if header.isascii() and header.isdigit():
            return float(header)
        now = response.headers.get("date")  # by the server's clock, which need not be ours
        return (parsedate_to_datetime(header) - (parsedate_to_datetime(now) if now else datetime.now(UTC))).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
