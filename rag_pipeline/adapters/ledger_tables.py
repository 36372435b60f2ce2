"""The tables of the ledger. Columns may be added; what a column means never changes within one schema version."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, Text

SCHEMA_VERSION = 3

MIGRATIONS = {
    2: (
        "ALTER TABLE rag_collections ADD COLUMN reason TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE rag_collections ADD COLUMN changed_ns BIGINT NOT NULL DEFAULT 0",
    ),
    3: (
        "CREATE TABLE rag_blocks (document_id VARCHAR(32) NOT NULL, content_hash VARCHAR(80) NOT NULL, "
        "erasure VARCHAR(80) NOT NULL, at_ns BIGINT NOT NULL, PRIMARY KEY (document_id, content_hash))",
    ),
}
"""Statements that lead to a schema version from the one before, for SQLite and Postgres alike."""

metadata = MetaData()

meta = Table(
    "rag_meta",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("value", Text, nullable=False),
)

documents = Table(
    "rag_documents",
    metadata,
    Column("document_id", String(32), primary_key=True),
    Column("source", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("uri", Text, nullable=False),
    Column("bucket", String(16), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("modified_ns", BigInteger, nullable=False),
    Column("version", Text, nullable=False),
    Column("content_hash", String(80), nullable=False),
    Column("is_racy", Boolean, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Index("rag_documents_source", "source"),
    Index("rag_documents_bucket", "bucket"),
    Index("rag_documents_content_hash", "content_hash"),
)

scans = Table(
    "rag_scans",
    metadata,
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    Column("summary", Text, nullable=False),
)

quarantine = Table(
    "rag_quarantine",
    metadata,
    Column("content_hash", String(80), primary_key=True),
    Column("parser_fingerprint", String(80), primary_key=True),
    Column("type", String(32)),
    Column("document_id", String(32), nullable=False),
    Column("source", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("reason", String(80), nullable=False),
    Column("detail", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
)

collections = Table(
    "rag_collections",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("alias", String(200), nullable=False),
    Column("fingerprint", String(80), nullable=False),
    Column("state", String(32), nullable=False),
    Column("spec", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("changed_ns", BigInteger, nullable=False, server_default="0"),
)

bucket_states = Table(
    "rag_bucket_states",
    metadata,
    Column("collection", String(200), primary_key=True),
    Column("bucket", String(16), primary_key=True),
    Column("digest", String(80), nullable=False),
    Column("points", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Column("quarantined", BigInteger, nullable=False),
)

reports = Table(
    "rag_reports",
    metadata,
    Column("run_id", String(200), primary_key=True),
    Column("part", String(200), primary_key=True),
    Column("content", Text, nullable=False),
)

decisions = Table(
    "rag_decisions",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("kind", String(80), nullable=False),
    Column("content", Text, nullable=False),
)

blocks = Table(
    "rag_blocks",
    metadata,
    Column("document_id", String(32), primary_key=True),
    Column("content_hash", String(80), primary_key=True),
    Column("erasure", String(80), nullable=False),
    Column("at_ns", BigInteger, nullable=False),
)
