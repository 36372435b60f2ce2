"""The ledger's block list, and how what was erased leaves the database."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, select
from sqlalchemy.schema import Table

from rag_pipeline.adapters import ledger_tables as tables
from rag_pipeline.schema import Block


def insert_blocks(connection: Connection, blocks: Sequence[Block]) -> None:
    """Adds what is not blocked yet."""
    known = {(row.document_id, row.content_hash) for row in connection.execute(select(tables.blocks))}
    fresh = {(block.document_id, block.content_hash): block for block in blocks}
    rows = [_row(block) for key, block in fresh.items() if key not in known]
    if rows:
        connection.execute(tables.blocks.insert(), rows)


def read_blocks(connection: Connection) -> list[Block]:
    """All of them, oldest first."""
    row = tables.blocks.c
    query = select(row.document_id, row.content_hash, row.erasure, row.at_ns)
    return [Block(*found) for found in connection.execute(query.order_by(row.at_ns, row.document_id, row.content_hash))]


def delete_mentions(connection: Connection, pieces: Sequence[str]) -> int:
    """How many reports and decisions went because one of the pieces stands in them, as it is or as JSON writes it."""
    written = {form for piece in pieces if piece for form in (piece, json.dumps(piece)[1:-1])}
    return sum(_delete_rows(connection, table, written) for table in (tables.reports, tables.decisions))


def _delete_rows(connection: Connection, table: Table, written: set[str]) -> int:
    keys = list(table.primary_key.columns)
    found = [
        key for *key, content in connection.execute(select(*keys, table.c.content)) if any(form in content for form in written)
    ]
    for values in found:
        connection.execute(delete(table).where(*(column == value for column, value in zip(keys, values, strict=True))))
    return len(found)


def _row(block: Block) -> dict[str, Any]:
    return {
        "document_id": block.document_id,
        "content_hash": block.content_hash,
        "erasure": block.erasure,
        "at_ns": block.at_ns,
    }
