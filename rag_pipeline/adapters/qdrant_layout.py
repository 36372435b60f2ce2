"""What both Qdrant stores share: names of vectors and payload indexes, checks before a write, filters, batches."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from rag_pipeline.errors import BackendRejectedError, BadVectorError
from rag_pipeline.schema import Point, SparseVector, Vector
from rag_pipeline.settings.store import VectorIndexSettings

SYSTEM = "qdrant"
DENSE = "dense"
SPARSE = "bm25"

KEYWORD_INDEXES = ("bucket", "document_id", "source", "path", "uri", "type", "format", "kind")
"""Payload keys with a keyword index; made before any point, or the graph lacks the links for filtered search."""
INTEGER_INDEXES = ("page", "ordinal")

MIN_NORM = 1e-3
"""Below it the engine leaves a cosine vector unnormalised: its test for a zero length is 1.2e-7 on the square."""
MAX_NORM = 1e6
"""Far above it the squares overflow float32 and the score is no number."""

FLOAT32_MAX = float(np.finfo(np.float32).max)
NUMBER_BYTES_PROTOBUF = 4
NUMBER_BYTES_JSON = 20

Piece = TypeVar("Piece")

CHECKED_TOGETHER = 1024

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,127}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def rejected(message: str) -> BackendRejectedError:
    """The error for a request that the store will never take."""
    return BackendRejectedError(message, system=SYSTEM)


def missing_collection(name: str) -> BackendRejectedError:
    """The error for a collection that is not there."""
    return rejected(f"there is no collection '{name}'; run rag index to build it")


def other_dimension(name: str, present: int, wanted: int) -> BackendRejectedError:
    """The error for a collection that stands with vectors of another size."""
    return rejected(f"collection '{name}' holds {present} dimensions, not {wanted}; another model needs a collection of its own")


def behind_alias(name: str, aliases: Sequence[str]) -> BackendRejectedError:
    """The error for a drop of what readers use."""
    return rejected(f"collection '{name}' is behind the alias '{', '.join(aliases)}'; switch the alias before dropping it")


def check_name(name: str) -> None:
    """Raises BackendRejectedError unless the name is safe as a folder, in a URL, and on a file system without case."""
    if not _NAME.fullmatch(name):
        raise rejected(f"'{name[:40]}' is no name for a collection or alias; use up to 128 of a-z, 0-9, '-' and '_'")


def check_metadata(metadata: Mapping[str, Any]) -> str:
    """The metadata as JSON text. Raises BackendRejectedError when it holds anything but JSON values."""
    try:
        return json.dumps(metadata, ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise rejected("collection metadata must hold JSON values only") from error


def check_points(points: Sequence[Point], dimension: int) -> None:
    """Raises for a point that must not be stored: BadVectorError for its vectors, BackendRejectedError for its id.

    The engine accepts NaN and infinity, counts the point, and never finds it again: nobody else would notice.
    """
    for point in points:
        if not _UUID.fullmatch(point.id):
            raise rejected(f"'{point.id[:60]}' is no point id; an id is a UUID in lower case with hyphens")
        if point.vector.shape != (dimension,):
            check_vector(point.vector, dimension, owner=f"point {point.id}")
        _check_sparse(point)
    for start in range(0, len(points), CHECKED_TOGETHER):
        together = points[start : start + CHECKED_TOGETHER]
        _check_weights(together)
        _check_norms(together, dimension)


def _check_weights(points: Sequence[Point]) -> None:
    if _fit_float32(chain.from_iterable(point.sparse.values for point in points)):
        return
    point = next(point for point in points if not _fit_float32(point.sparse.values))
    raise BadVectorError(f"point {point.id}: sparse vector holds a number that is none in float32; check the sparse encoder")


def _fit_float32(values: Iterable[float]) -> bool:
    """Whether float32 holds every value as a number. NaN is in no relation to anything, so it makes the largest no number."""
    try:
        numbers = np.fromiter(values, dtype=np.float64)
    except (OverflowError, TypeError, ValueError):  # an integer of hundreds of digits, or no number at all
        return False
    return bool(np.abs(numbers).max(initial=0.0) <= FLOAT32_MAX)


def _check_norms(points: Sequence[Point], dimension: int) -> None:
    numbers = np.stack([point.vector for point in points]).astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", numbers, numbers))
    is_usable = (norms >= MIN_NORM) & (norms <= MAX_NORM)
    for point, is_fine in zip(points, is_usable.tolist(), strict=True):
        if not is_fine:
            check_vector(point.vector, dimension, owner=f"point {point.id}")


def check_vector(vector: Vector, dimension: int, *, owner: str) -> None:
    """Raises BadVectorError unless the vector has this dimension, finite numbers and a usable length."""
    if vector.shape != (dimension,):
        raise BadVectorError(f"{owner}: vector of shape {vector.shape}, the collection holds ({dimension},)")
    norm = math.sqrt(float(np.dot(vector.astype(np.float64), vector)))
    if not math.isfinite(norm):
        raise BadVectorError(f"{owner}: vector holds NaN or infinity; check the model and its arithmetic")
    if not MIN_NORM <= norm <= MAX_NORM:
        raise BadVectorError(f"{owner}: vector of length {norm:.3g} is outside {MIN_NORM:g} to {MAX_NORM:g}; check the model")


def _check_sparse(point: Point) -> None:
    indices, values = point.sparse.indices, point.sparse.values
    if len(indices) != len(values) or len(set(indices)) != len(indices):
        raise BadVectorError(f"point {point.id}: sparse vector with unequal or repeated indices; check the sparse encoder")


def build_filter(dialect: Any, filters: Mapping[str, Any] | None) -> Any:
    """The filter that wants every key to match, in the classes of ``dialect``: qdrant_edge or qdrant_client.models.

    None for no filter. Raises BackendRejectedError for values that no keyword or integer index can hold.
    """
    if not filters:
        return None
    return dialect.Filter(must=[_condition(dialect, key, value) for key, value in filters.items()])


def search_params(dialect: Any, tuning: VectorIndexSettings) -> Any:
    """What a dense search asks of the engine beyond its defaults, in the classes of ``dialect``; None for nothing."""
    quantization = None
    if tuning.quantization.kind != "none":
        quantization = dialect.QuantizationSearchParams(
            rescore=tuning.quantization.rescore, oversampling=tuning.quantization.oversampling
        )
    if tuning.hnsw.ef_search is None and quantization is None:
        return None
    return dialect.SearchParams(hnsw_ef=tuning.hnsw.ef_search, quantization=quantization)


def matches_nothing(filters: Mapping[str, Any] | None) -> bool:
    """Whether a filter asks for one value out of an empty list."""
    return any(_is_list(value) and not len(value) for value in (filters or {}).values())


def _condition(dialect: Any, key: str, value: Any) -> Any:
    values = list(value) if _is_list(value) else [value]
    kinds = {type(item) for item in values}
    if kinds in ({str}, {int}):
        return dialect.FieldCondition(key=key, match=dialect.MatchAny(any=values))
    if not kinds <= {str, int}:
        # True and False: the edge engine reads them as 1 and 0 and finds nothing.
        raise rejected(f"filter '{key}': only text, whole numbers, or a list of them")
    matches = [dialect.FieldCondition(key=key, match=dialect.MatchValue(value=item)) for item in values]
    return dialect.Filter(should=matches)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset)


def batches(pieces: Iterable[tuple[Piece, int]], *, max_points: int, max_bytes: float) -> Iterator[list[Piece]]:
    """The pieces, which come with their sizes in bytes, in order and cut so that no batch passes either limit.

    A piece larger than a batch stands alone.
    """
    batch: list[Piece] = []
    batch_bytes = 0
    for piece, size in pieces:
        if batch and (len(batch) == max_points or batch_bytes + size > max_bytes):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(piece)
        batch_bytes += size
    if batch:
        yield batch


def size_bytes(point: Point, number_bytes: int) -> int:
    """About the bytes of the point on its way. Raises BackendRejectedError for a payload that is not JSON."""
    if not all(isinstance(key, str) for key in point.payload):
        raise bad_payload(point.id)
    try:
        payload = json.dumps(point.payload, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError):
        # The cause would quote the text.
        raise bad_payload(point.id) from None
    numbers = len(point.vector) + 2 * len(point.sparse.indices)
    return len(payload) + number_bytes * numbers + 64


def bad_payload(point_id: str) -> BackendRejectedError:
    """The error for a payload that no store could give back as it came."""
    return rejected(f"point {point_id}: its payload must hold JSON values in valid Unicode only")


def read_vectors(held: Any) -> tuple[Vector | None, SparseVector | None]:
    """Dense and sparse vector of a record, as either client gives them; a point may lack one or both."""
    vectors = held if isinstance(held, dict) else {}
    dense, sparse = vectors.get(DENSE), vectors.get(SPARSE)
    return (
        None if dense is None else np.asarray(dense, dtype=np.float32),
        None if sparse is None else SparseVector(tuple(sparse.indices), tuple(sparse.values)),
    )
