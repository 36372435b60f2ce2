"""Rows of the artifacts as Arrow tables and back, exactly.

Nested lists are built from flat columns, one Python list a field, which is many times as fast as from dictionaries.
Free-form metadata is JSON text; all else has columns that any Parquet reader shows.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any

import pyarrow as pa

from rag_pipeline.schema import Chunk, ChunkedDocument, DocumentType, Element, ElementKind, ParsedDocument, StoredDocument

_TEXT = pa.large_string()
_STRINGS = pa.list_(_TEXT)
_KINDS = {str(kind): kind for kind in ElementKind}
_TYPES = {str(kind): kind for kind in DocumentType}

ELEMENT = pa.struct([("kind", _TEXT), ("text", _TEXT), ("heading_path", _STRINGS), ("page", pa.int32())])
CHUNK = pa.struct(
    [
        ("ordinal", pa.int32()),
        ("text", _TEXT),
        ("context", _TEXT),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("kind", _TEXT),
        ("heading_path", _STRINGS),
        ("page", pa.int32()),
        ("token_count", pa.int32()),
        ("flags", _STRINGS),
    ]
)
DOCUMENTS = pa.schema(
    [
        *((name, _TEXT) for name in ("document_id", "content_hash", "parser_fingerprint")),
        *((name, _TEXT) for name in ("type", "format", "title", "metadata")),
        ("elements", pa.list_(ELEMENT)),
        ("flags", _STRINGS),
        ("entities", _TEXT),
        ("subjects", _STRINGS),
    ]
)
CHUNKS = pa.schema(
    [
        *((name, _TEXT) for name in ("document_id", "content_hash", "chunking_fingerprint")),
        *((name, _TEXT) for name in ("type", "format", "title", "metadata")),
        ("chunks", pa.list_(CHUNK)),
        ("flags", _STRINGS),
    ]
)
DOCUMENTS_DICTIONARY = ("parser_fingerprint", "type", "format", "elements.list.element.kind")
"""Columns of few different values."""
CHUNKS_DICTIONARY = ("chunking_fingerprint", "type", "format", "chunks.list.element.kind")


def encode_documents(rows: Sequence[StoredDocument]) -> pa.Table:
    """A table of schema ``DOCUMENTS``."""
    parsed = [row.document for row in rows]
    heads = [
        _strings(row.document_id for row in rows),
        _strings(row.content_hash for row in rows),
        _strings(row.parser_fingerprint for row in rows),
        *_facts(parsed),
    ]
    elements = _nested([document.elements for document in parsed], ELEMENT)
    flags = _field([document.flags for document in parsed], _STRINGS)
    entities = pa.array([json.dumps(dict(row.entities)) for row in rows], _TEXT)
    subjects = _field([row.subjects for row in rows], _STRINGS)
    return pa.Table.from_arrays([*heads, elements, flags, entities, subjects], schema=DOCUMENTS)


def decode_documents(table: pa.Table) -> list[StoredDocument]:
    """The rows of a table that ``encode_documents`` made."""
    *heads, elements, flags, entities, subjects = _columns(table, DOCUMENTS)
    rows = zip(
        *map(_values, heads),
        _lists(elements, _element),
        _tuples(flags),
        map(json.loads, _values(entities)),
        _tuples(subjects),
        strict=True,
    )
    return [_stored_document(*row) for row in rows]


def encode_chunks(rows: Sequence[ChunkedDocument]) -> pa.Table:
    """A table of schema ``CHUNKS``."""
    heads = [
        _strings(row.document_id for row in rows),
        _strings(row.content_hash for row in rows),
        _strings(row.chunking_fingerprint for row in rows),
        *_facts(rows),
    ]
    chunks, flags = _nested([row.chunks for row in rows], CHUNK), _field([row.flags for row in rows], _STRINGS)
    return pa.Table.from_arrays([*heads, chunks, flags], schema=CHUNKS)


def decode_chunks(table: pa.Table) -> list[ChunkedDocument]:
    """The rows of a table that ``encode_chunks`` made."""
    *heads, chunks, flags = _columns(table, CHUNKS)
    rows = zip(*map(_values, heads), _lists(chunks, _chunk), _tuples(flags), strict=True)
    return [
        ChunkedDocument(document, content, fingerprint, _TYPES[kind], suffix, title, json.loads(facts), parts, noted)
        for document, content, fingerprint, kind, suffix, title, facts, parts, noted in rows
    ]


def _facts(rows: Sequence[ParsedDocument] | Sequence[ChunkedDocument]) -> list[pa.Array]:
    return [
        _strings(str(row.type) for row in rows),
        _strings(row.format for row in rows),
        _strings(row.title for row in rows),
        pa.array([json.dumps(dict(row.metadata)) for row in rows], _TEXT),
    ]


def _stored_document(
    document: str,
    content: str,
    parser: str,
    kind: str,
    suffix: str,
    title: str,
    facts: str,
    elements: tuple[Element, ...],
    flags: tuple[str, ...],
    entities: dict[str, int],
    subjects: tuple[str, ...],
) -> StoredDocument:
    parsed = ParsedDocument(_TYPES[kind], suffix, title, elements, json.loads(facts), flags)
    return StoredDocument(document, content, parser, parsed, entities, subjects)


def _element(kind: str, text: str, heading_path: tuple[str, ...], page: int | None) -> Element:
    return Element(_KINDS[kind], text, heading_path, page)


def _chunk(
    ordinal: int,
    text: str,
    context: str,
    start: int,
    end: int,
    kind: str,
    heading_path: tuple[str, ...],
    page: int | None,
    token_count: int,
    flags: tuple[str, ...] = (),
) -> Chunk:
    return Chunk(ordinal, text, context, start, end, _KINDS[kind], heading_path, page, token_count, flags)


def _nested(rows: Sequence[Sequence[Any]], struct: pa.StructType) -> pa.ListArray:
    """One list of structs a row; a field of the struct is the attribute of its name."""
    items = list(chain.from_iterable(rows))
    fields = [_field([getattr(item, field.name) for item in items], field.type) for field in struct]
    values = pa.StructArray.from_arrays(fields, fields=list(struct))
    return pa.ListArray.from_arrays(_offsets(rows), values)


def _field(values: list[Any], kind: pa.DataType) -> pa.Array:
    if kind == _STRINGS:
        return pa.ListArray.from_arrays(_offsets(values), _strings(chain.from_iterable(values)))
    if kind == _TEXT:
        return _strings(values)
    return pa.array(values, kind)


def _offsets(rows: Iterable[Sequence[Any]]) -> pa.Array:
    return pa.array([0, *accumulate(map(len, rows))], pa.int32())


def _strings(values: Iterable[Any]) -> pa.Array:
    """Halves of surrogate pairs are no text in any encoding; a stray one becomes U+FFFD."""
    texts = list(values)
    try:
        return pa.array(texts, _TEXT)
    except UnicodeEncodeError:
        return pa.array([text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts], _TEXT)


def _columns(table: pa.Table, schema: pa.Schema) -> list[pa.Array]:
    """The columns of a schema; one that an older version did not write is empty in every row."""
    written = set(table.column_names)
    return [
        table.column(field.name).combine_chunks() if field.name in written else _nothing(field.type, table.num_rows)
        for field in schema
    ]


def _nothing(kind: pa.DataType, rows: int) -> pa.Array:
    return _field([()] * rows, kind) if kind == _STRINGS else pa.array(["{}"] * rows, kind)


def _values(column: pa.Array) -> list[Any]:
    values: list[Any] = column.to_pylist()
    return values


def _tuples(column: pa.ListArray) -> list[tuple[str, ...]]:
    return _cut(_values(column.flatten()), column)


def _lists(column: pa.ListArray, make: Callable[..., Any]) -> list[tuple[Any, ...]]:
    """The lists of structs of ``_nested``: ``make`` gets the fields of one struct in their order."""
    items = column.flatten()
    fields = [_field_values(field) for field in items.flatten()]
    return _cut([make(*values) for values in zip(*fields, strict=True)], column)


def _field_values(column: pa.Array) -> list[Any]:
    return _cut(_values(column.flatten()), column) if column.type == _STRINGS else _values(column)


def _cut(values: list[Any], column: pa.ListArray) -> list[tuple[Any, ...]]:
    """Flat values as one tuple a row of the list column."""
    offsets = column.offsets.to_numpy()
    ends = (offsets - offsets[:1]).tolist()
    return [tuple(values[start:end]) for start, end in pairwise(ends)]
