"""Upserts of a server: batches by count and bytes, several under way at once, each one waited for."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

import grpc
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as messages
from qdrant_client.conversions.conversion import GrpcToRest

from rag_pipeline.adapters import qdrant_layout as layouts
from rag_pipeline.adapters.qdrant_request import PointEncoder, difference_to_shipped, encode_request, shipped_struct
from rag_pipeline.adapters.qdrant_server_errors import write
from rag_pipeline.errors import BatchTooLargeError
from rag_pipeline.schema import Point

Piece = TypeVar("Piece")

CHECKED_POINTS = 16
"""Points of the first write that are compared as well, since what a corpus holds no fixed sample foresees."""

_UPSERT = "/qdrant.Points/Upsert"
_log = logging.getLogger(__name__)


class Sender(Protocol[Piece]):
    """One way of getting points to a server."""

    def prepare(self, points: Iterable[Point]) -> Iterator[tuple[Piece, int]]:
        """Each point as it is sent, with its size in bytes. Raises BackendRejectedError for a payload that is not JSON."""

    def send(self, collection: str, pieces: Sequence[Piece]) -> models.UpdateResult:
        """What the server answers when it is done. From any thread."""


class ShippedSender:
    """The shipped client, over whatever it speaks."""

    def __init__(self, client: Callable[[], QdrantClient], *, ordering: models.WriteOrdering, is_grpc: bool) -> None:
        self._client = client
        self._ordering = ordering
        self._number_bytes = layouts.NUMBER_BYTES_PROTOBUF if is_grpc else layouts.NUMBER_BYTES_JSON

    def prepare(self, points: Iterable[Point]) -> Iterator[tuple[Point, int]]:
        for point in points:
            yield point, layouts.size_bytes(point, self._number_bytes)

    def send(self, collection: str, pieces: Sequence[Point]) -> models.UpdateResult:
        structs = [shipped_struct(point) for point in pieces]
        return self._client().upsert(collection, structs, wait=True, ordering=self._ordering)


class EncodedSender:
    """Bytes of our own making; the encoder is compared with the shipped client before its first use."""

    def __init__(self, channel: grpc.Channel, *, ordering: models.WriteOrdering, timeout_s: float) -> None:
        self._ordering = ordering
        self._timeout_s = timeout_s
        self._encoder = PointEncoder()
        self._upsert: grpc.UnaryUnaryMultiCallable[bytes, messages.PointsOperationResponse] = channel.unary_unary(
            _UPSERT, response_deserializer=messages.PointsOperationResponse.FromString
        )

    def prepare(self, points: Iterable[Point]) -> Iterator[tuple[bytes, int]]:
        for point in points:
            encoded = self._encoder.encode(point)
            yield encoded, len(encoded)

    def send(self, collection: str, pieces: Sequence[bytes]) -> models.UpdateResult:
        request = encode_request(collection, pieces, self._ordering)
        return GrpcToRest.convert_update_result(self._upsert(request, timeout=self._timeout_s).result)


class PointWriter:
    """Writes points so that all of them are stored when ``write`` returns, and nothing is under way any more."""

    def __init__(
        self,
        *,
        shipped: ShippedSender,
        encoded: Callable[[], EncodedSender] | None,
        ordering: models.WriteOrdering,
        batch_points: int,
        batch_bytes: float,
        streams: int,
    ) -> None:
        """``encoded`` opens the faster way, or is None where only the shipped client will do."""
        self._shipped = shipped
        self._open_encoded = encoded
        self._encoded: EncodedSender | None = None
        self._ordering = ordering
        self._batch_points = batch_points
        self._batch_bytes = batch_bytes
        self._streams = streams

    def write(self, collection: str, points: Sequence[Point]) -> None:
        """Writes the points in order; several batches at once only where no id comes twice."""
        encoded = self._trusted(points)
        if encoded is not None:
            self._write(encoded, collection, points)
        else:
            self._write(self._shipped, collection, points)

    def forget(self) -> None:
        """Lets go of what was opened; the next write opens it again."""
        self._encoded = None

    def _trusted(self, points: Sequence[Point]) -> EncodedSender | None:
        if self._encoded is None and self._open_encoded is not None and points:
            difference = difference_to_shipped(points[:CHECKED_POINTS], self._ordering)
            if difference is None:
                self._encoded = self._open_encoded()
            else:
                self._open_encoded = None
                _log.warning("points are sent by the shipped client, at about a third of the speed: %s", difference)
        return self._encoded

    def _write(self, sender: Sender[Piece], collection: str, points: Sequence[Point]) -> None:
        batches = layouts.batches(sender.prepare(points), max_points=self._batch_points, max_bytes=self._batch_bytes)
        is_repeating = len({point.id for point in points}) < len(points)
        streams = 1 if is_repeating else self._streams
        with ThreadPoolExecutor(streams) as threads:
            under_way: deque[Future[None]] = deque()
            for batch in batches:
                if len(under_way) == streams:
                    under_way.popleft().result()
                under_way.append(threads.submit(_send, sender, collection, batch))
            for writing in under_way:
                writing.result()


def _send(sender: Sender[Piece], collection: str, batch: Sequence[Piece]) -> None:
    """Writes one batch, halved as often as the server finds it too large."""
    try:
        write(f"writing {len(batch)} points to '{collection}'", lambda: sender.send(collection, batch))
    except BatchTooLargeError:
        if len(batch) == 1:
            raise
        half = len(batch) // 2
        _send(sender, collection, batch[:half])
        _send(sender, collection, batch[half:])
