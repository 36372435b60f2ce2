"""Points as the protobuf bytes of an upsert request, written straight from their arrays.

The shipped client makes a Python float of every number and a message of every value; a packed protobuf list is the array's own
bytes behind a tag and a length. Used only where ``difference_to_shipped`` finds none.
"""

import json
import math
import struct
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import numpy as np
from google.protobuf.message import DecodeError
from qdrant_client import grpc as messages
from qdrant_client import models
from qdrant_client.conversions.conversion import RestToGrpc, json_to_value

from rag_pipeline.adapters.qdrant_layout import DENSE, SPARSE, bad_payload
from rag_pipeline.schema import Point, SparseVector

REPEATED_CHARACTERS = 256
"""Up to this length a text of the payload is kept encoded: source, address, title and hash are the same in many points."""
REPEATED_INTEGERS = 4096
REPEATED_ENTRIES = 20_000

_INT64 = 1 << 63
_PACKED_DOUBLE = struct.Struct("<d").pack


def _number(value: int) -> bytes:
    """The value as a protobuf varint."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


_NUMBERS = tuple(_number(value) for value in range(1 << 14))


def _framed(tag: bytes, body: bytes) -> bytes:
    """The body as a field of variable length."""
    size = len(body)
    return tag + (_NUMBERS[size] if size < 1 << 14 else _number(size)) + body


def _tag(field: int, wire_type: int = 2) -> bytes:
    return _number(field << 3 | wire_type)


_COLLECTION, _POINT, _ORDERING = _tag(1), _tag(3), _tag(4)
_WAIT = _tag(2, 0) + b"\x01"
_UUID = _framed(_tag(1), _framed(_tag(2), bytes(36)))[:-36]
_PAYLOAD, _VECTORS, _NAMED = _tag(3), _tag(4), _tag(2)
_ENTRY, _KEY, _VALUE = _tag(1), _tag(1), _tag(2)
_DENSE, _SPARSE, _PACKED = _tag(101), _tag(102), _tag(1)
_NULL = _tag(1, 0) + b"\x00"
_DOUBLE, _INTEGER, _TEXT, _BOOLEAN, _STRUCT, _LIST = _tag(2, 1), _tag(3, 0), _tag(4), _tag(5, 0), _tag(6), _tag(7)
_SPARSE_KEY = _framed(_KEY, SPARSE.encode())


def encode_request(collection: str, points: Sequence[bytes], ordering: models.WriteOrdering) -> bytes:
    """The request that writes the encoded points and waits for it."""
    order = RestToGrpc.convert_write_ordering(ordering).SerializeToString()
    return b"".join((_framed(_COLLECTION, collection.encode()), _WAIT, *points, _framed(_ORDERING, order)))


def shipped_sparse(sparse: SparseVector) -> models.SparseVector:
    """The weights as the shipped client takes them."""
    return models.SparseVector(indices=list(sparse.indices), values=list(sparse.values))


def shipped_struct(point: Point) -> models.PointStruct:
    """The point as the shipped client takes it."""
    vectors = {DENSE: point.vector.tolist(), SPARSE: shipped_sparse(point.sparse)}
    return models.PointStruct(id=point.id, vector=vectors, payload=dict(point.payload))


def difference_to_shipped(points: Sequence[Point], ordering: models.WriteOrdering) -> str | None:
    """What tells the bytes for these and some odd points from the shipped client's request, or None where nothing does."""
    encoder, points = PointEncoder(), [*points, *_odd_points()]
    try:
        ours = messages.UpsertPoints.FromString(encode_request("sample", [encoder.encode(point) for point in points], ordering))
        theirs = messages.UpsertPoints(
            collection_name="sample",
            wait=True,
            points=[RestToGrpc.convert_point_struct(shipped_struct(point)) for point in points],
            ordering=RestToGrpc.convert_write_ordering(ordering),
        )
    except (DecodeError, AttributeError, TypeError, ValueError) as error:
        return f"comparing the two encoders failed ({type(error).__name__})"
    return None if ours == theirs else "the encoder's request and the client's differ"


def _odd_points() -> list[Point]:
    """Points with every kind of value, twice, since the second is made of what was remembered of the first."""
    numbers = [0, 1, -1, 127, 128, 16_383, 16_384, 2**40, -(2**63), 2**63 - 1, 0.0, -1.5, 1e300]
    values = {
        "text": "색인 🐘\x00" * 100,
        "none": None,
        "yes": True,
        "no": False,
        "numbers": numbers,
        "": "",
        "empty": [{}, [], ""],
    }
    payload = {**values, "short": "bm25", "ordinal": 7, "page": 1, "deep": {"a": {"b": [values]}}}
    vector = np.array([1.0, -0.0, 1e-40, 3.4e38, 1 / 3], dtype=np.float32)
    weights = SparseVector((0, 127, 128, 2**32 - 1), (0.0, -1.5, 1 / 3, 3e38))
    return [Point(str(UUID(int=number)), vector, weights if number else SparseVector((), ()), payload) for number in range(3)]


class PointEncoder:
    """Encodes points one by one and remembers what repeats in their payloads. Threads may share it."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, bytes] = {}

    def encode(self, point: Point) -> bytes:
        """The point as a field of the request. Raises BackendRejectedError for a payload that is not JSON."""
        try:
            payload = self._payload(point.payload)
        except (AttributeError, TypeError, ValueError, RecursionError):
            # The cause would quote the text.
            raise bad_payload(point.id) from None
        return _framed(_POINT, b"".join((_UUID, point.id.encode(), payload, _vectors(point))))

    def _payload(self, payload: Mapping[str, Any]) -> bytes:
        known, parts = self._entries, list[bytes]()
        name: Hashable
        for key, value in payload.items():
            kind = type(value)
            if kind is str:
                name = (key, value) if len(value) <= REPEATED_CHARACTERS else None
            elif kind is int:
                name = (key, kind, value) if -1 < value < REPEATED_INTEGERS else None
            elif kind is list or kind is dict:
                written = repr(value)
                name = (key, kind, written) if len(written) <= REPEATED_CHARACTERS else None
            else:
                name = (key, kind, value) if value is None or kind is bool else None
            parts.append(known.get(name) or self._remembered(name, key, value))
        return b"".join(parts)

    def _remembered(self, name: Hashable, key: str, value: Any) -> bytes:
        encoded = _framed(_PAYLOAD, _entry(key, value))
        if name is not None:
            if len(self._entries) >= REPEATED_ENTRIES:
                self._entries.clear()
            self._entries[name] = encoded
        return encoded


@lru_cache(maxsize=16)
def _dense_prefix(dimension: int) -> bytes:
    numbers = bytes(4 * dimension)
    vector = _framed(_VALUE, _framed(_DENSE, _framed(_PACKED, numbers)))
    return _framed(_ENTRY, _framed(_KEY, DENSE.encode()) + vector)[: -len(numbers)]


def _vectors(point: Point) -> bytes:
    dense = _dense_prefix(len(point.vector)) + point.vector.astype("<f4", copy=False).tobytes()
    sparse = _framed(_ENTRY, _SPARSE_KEY + _framed(_VALUE, _framed(_SPARSE, _weights(point.sparse))))
    return _framed(_VECTORS, _framed(_NAMED, dense + sparse))


def _weights(sparse: SparseVector) -> bytes:
    """Values before indices. They were checked: float32 holds each."""
    values = struct.pack(f"<{len(sparse.values)}f", *sparse.values)
    # Their lengths vary, and the message is of C code: nothing to gain by hand.
    indices = bytes(messages.SparseVector(indices=sparse.indices).SerializeToString())
    return _framed(_PACKED, values) + indices if values else indices


@lru_cache(maxsize=1024)
def _key(key: str) -> bytes:
    return _framed(_KEY, key.encode())


def _entry(key: str, value: Any) -> bytes:
    return _key(key) + _framed(_VALUE, _value(value))


def _value(value: Any) -> bytes:
    return _ENCODERS.get(type(value), _foreign)(value)


def _text(value: str) -> bytes:
    return _framed(_TEXT, value.encode())


def _integer(value: int) -> bytes:
    if not -_INT64 <= value < _INT64:
        raise ValueError
    return _INTEGER + (_NUMBERS[value] if 0 <= value < 1 << 14 else _number(value & (1 << 64) - 1))


def _double(value: float) -> bytes:
    if not math.isfinite(value):
        raise ValueError
    return _DOUBLE + _PACKED_DOUBLE(value)


def _list(values: Sequence[Any]) -> bytes:
    return _framed(_LIST, b"".join(_framed(_ENTRY, _value(value)) for value in values))


def _struct(values: Mapping[str, Any]) -> bytes:
    return _framed(_STRUCT, b"".join(_framed(_ENTRY, _entry(key, value)) for key, value in values.items()))


def _foreign(value: Any) -> bytes:
    """A value of a subclass, such as an enum of texts: what the shipped client makes of it."""
    json.dumps(value, allow_nan=False)
    return bytes(json_to_value(value).SerializeToString())


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    str: _text,
    int: _integer,
    float: _double,
    bool: lambda value: _BOOLEAN + (b"\x01" if value else b"\x00"),
    type(None): lambda _value: _NULL,
    list: _list,
    tuple: _list,
    dict: _struct,
}
