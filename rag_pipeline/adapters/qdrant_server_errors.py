"""What a Qdrant server or its client raises, as our errors; and the patience with a server that is away."""

import time
from collections.abc import Callable
from typing import TypeVar

import grpc
import httpx
from pydantic import ValidationError
from qdrant_client import models
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from rag_pipeline.adapters.qdrant_layout import SYSTEM, rejected
from rag_pipeline.errors import BackendError, BackendUnavailableError, BatchTooLargeError

Result = TypeVar("Result")

FOREIGN_ERRORS = (ApiException, QdrantException, grpc.RpcError, httpx.HTTPError, ValueError, TypeError)
"""Everything the client raises for a request. ValueError and TypeError come from its own checks and its in-memory mode."""

RETRY_WAITS_S = (0.5, 1.0, 2.0, 4.0)
"""Pauses before the second to fifth try; a rate limit's own wish wins, up to the longest."""

_TRANSIENT_STATUSES = {408, 425, 429, 500, 502, 503, 504}
_TRANSIENT_CODES = {
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN,
}


def call(doing: str, request: Callable[[], Result]) -> Result:
    """What the request returns, asked again with growing pauses while the server is unavailable. Raises BackendError.

    Only for requests that may be repeated; every one of the store is.
    """
    for wait_s in RETRY_WAITS_S:
        try:
            return _try(doing, request)
        except BackendUnavailableError as error:
            time.sleep(_wished_wait_s(error, default=wait_s))
    return _try(doing, request)


def write(doing: str, request: Callable[[], models.UpdateResult]) -> None:
    """Calls a request that writes until the server says that it is done, not merely that it was heard."""
    call(doing, lambda: _check_completed(doing, request()))


def _check_completed(doing: str, result: models.UpdateResult) -> None:
    if result.status != models.UpdateStatus.COMPLETED:
        raise BackendUnavailableError(f"{doing}: the server answered '{result.status.value}', not 'completed'", system=SYSTEM)


def _try(doing: str, request: Callable[[], Result]) -> Result:
    try:
        return request()
    except FOREIGN_ERRORS as error:
        raise translate(error, doing) from error


def _wished_wait_s(error: BackendUnavailableError, *, default: float) -> float:
    cause = error.__cause__
    wish = cause.retry_after_s if isinstance(cause, ResourceExhaustedResponse) else default
    return float(min(wish, RETRY_WAITS_S[-1]))


def translate(error: BaseException, doing: str) -> BackendError:
    """Our error for one of the client's: unavailable, too large, or rejected."""
    if isinstance(error, ResponseHandlingException):
        return translate(error.source, doing)
    if isinstance(error, UnexpectedResponse):
        return _of_status(error.status_code or 0, doing, detail=error.content[:200].decode(errors="replace"))
    if isinstance(error, grpc.RpcError):
        return _of_code(error, doing)
    if isinstance(error, ResourceExhaustedResponse | httpx.TransportError | OSError):
        return _unavailable(doing, type(error).__name__)
    if isinstance(error, ValidationError):
        # Its text quotes the input, which may be a document's; the names of the fields do not.
        fields = ", ".join(".".join(map(str, item["loc"])) for item in error.errors(include_input=False))
        return rejected(f"{doing} failed: the client cannot handle {fields[:200]}; its version may not fit the server's")
    return rejected(f"{doing} failed: {type(error).__name__}: {str(error)[:200]}")


def _of_status(status: int, doing: str, *, detail: str) -> BackendError:
    if status == 413:
        return _too_large(doing)
    if status in _TRANSIENT_STATUSES:
        return _unavailable(doing, f"HTTP {status}")
    return rejected(f"{doing} failed: HTTP {status}: {detail}")


def _of_code(error: grpc.RpcError, doing: str) -> BackendError:
    code, details = _code(error), _details(error)
    # A message above the limit of either side has the code of a rate limit; only the words differ.
    if code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OUT_OF_RANGE) and "larger than" in details:
        return _too_large(doing)
    if code is None or code in _TRANSIENT_CODES:
        return _unavailable(doing, "no answer" if code is None else code.name)
    return rejected(f"{doing} failed: {code.name}: {details[:200]}")


def _code(error: grpc.RpcError) -> grpc.StatusCode | None:
    return error.code() if isinstance(error, grpc.Call) else None


def _details(error: grpc.RpcError) -> str:
    return (error.details() or "") if isinstance(error, grpc.Call) else ""


def _unavailable(doing: str, why: str) -> BackendUnavailableError:
    return BackendUnavailableError(f"{doing} failed: {why}; check that the server runs and store.url is right", system=SYSTEM)


def _too_large(doing: str) -> BatchTooLargeError:
    return BatchTooLargeError(f"{doing} failed: the request is larger than the server takes; lower store.batch_mb", system=SYSTEM)
