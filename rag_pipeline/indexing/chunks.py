"""The ``chunks`` stage: a bucket's documents, cut by the rule of their type."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from rag_pipeline.guardrails.injection import speaks_to_a_model
from rag_pipeline.indexing.chunking.document import chunk_document
from rag_pipeline.indexing.chunking.rules import ChunkingRule
from rag_pipeline.indexing.documents import DocumentsOutcome
from rag_pipeline.indexing.identity import chunking_fingerprint, masking_part
from rag_pipeline.ports import Artifact, Progress, Tokenizer
from rag_pipeline.schema import Chunk, ChunkedDocument, DocumentRecord, DocumentType, Flag, IndexSpec, StoredDocument

HISTOGRAM_STEP_TOKENS = 32
VERSION_KEYS = ("version", "flags")
"""What a chunking rule of a spec holds beside the settings: versions of the code that cuts, and of the one that flags."""


@dataclass(slots=True)
class ChunksOutcome:
    """What the stage left for one bucket."""

    bucket: str
    records: dict[str, DocumentRecord]
    rows: dict[str, ChunkedDocument]
    taken_over: list[ChunkedDocument] = field(default_factory=list)
    """Rows that only another artifact holds so far."""
    chunked: int = 0
    seconds: float = 0.0
    sizes: Counter[int] = field(default_factory=Counter)
    """Chunks by size, rounded down to ``HISTOGRAM_STEP_TOKENS``; of every document of the bucket."""
    longest_tokens: int = 0
    preview: list[tuple[str, str, int]] = field(default_factory=list)
    """Title, start of the first chunk, number of chunks of some documents cut now."""


class ChunkStage:
    """Brings the ``chunks`` artifact of a bucket in step with its documents."""

    def __init__(
        self,
        *,
        artifact: Artifact[ChunkedDocument],
        spec: IndexSpec,
        tokenizer: Callable[[], Tokenizer],
        others: Sequence[Artifact[ChunkedDocument]] = (),
    ) -> None:
        """``others``: artifacts of other collections, whose chunks are taken over where the same settings cut them."""
        self._artifact = artifact
        self._others = others
        self._spec = spec
        self._tokenizer = tokenizer
        self._fingerprints = {kind: chunking_fingerprint(spec, kind) for kind in DocumentType}
        self._rules = {kind: ChunkingRule.model_validate(_without_version(values)) for kind, values in spec.chunking.items()}

    def load(self, documents: DocumentsOutcome) -> ChunksOutcome:
        """What stands there now, nothing done."""
        wanted = documents.records.keys() - (documents.quarantined - documents.rows.keys())
        rows = {row.document_id: row for row in self._artifact.read(documents.bucket) if row.document_id in wanted}
        outcome = ChunksOutcome(documents.bucket, documents.records, rows)
        outcome.taken_over = self._rows_of_others(outcome, documents)
        outcome.rows.update({row.document_id: row for row in outcome.taken_over})
        return _measured(outcome)

    def _rows_of_others(self, outcome: ChunksOutcome, documents: DocumentsOutcome) -> list[ChunkedDocument]:
        """Chunks of documents that this artifact has not cut, as another collection cut them by the same settings."""
        missing = {key for key, row in documents.rows.items() if self.current(outcome, row) is None}
        found: dict[str, ChunkedDocument] = {}
        for other in self._others:
            if missing <= found.keys():
                break
            rows = (row for row in other.read(documents.bucket) if row.document_id in missing)
            found.update({row.document_id: row for row in rows if self._is_cut_of(row, documents.rows[row.document_id])})
        return list(found.values())

    def update(self, documents: DocumentsOutcome, progress: Progress) -> ChunksOutcome:
        """Cuts every document whose content, parser, rule or tokenizer is not that of its chunks."""
        started = time.perf_counter()
        outcome = self.load(documents)
        stale = [row for row in documents.rows.values() if self.current(outcome, row) is None]
        progress.extend("chunks", len(stale))
        fresh = []
        for row in stale:
            fresh.append(self.chunk(row))
            progress.advance("chunks")
        if fresh or outcome.taken_over:
            self._artifact.append(documents.bucket, [*outcome.taken_over, *fresh])
            outcome.rows.update({row.document_id: row for row in fresh})
        outcome.rows = {key: row for key, row in outcome.rows.items() if key in documents.rows}
        outcome.chunked = len(fresh)
        outcome.preview = [(row.title, row.chunks[0].text[:80] if row.chunks else "", len(row.chunks)) for row in fresh[:5]]
        outcome.seconds = time.perf_counter() - started
        return _measured(outcome)

    def chunk(self, row: StoredDocument) -> ChunkedDocument:
        """The chunks of one document under this spec."""
        document = row.document
        tokenizer = self._tokenizer()
        chunks = chunk_document(
            document,
            rule=self._rules[document.type],
            tokenizer=tokenizer,
            prompt_tokens=tokenizer.count(self._spec.vector_space.document_prompt),
        )
        chunks = tuple(_flagged(chunk) for chunk in chunks)
        return ChunkedDocument(
            document_id=row.document_id,
            content_hash=row.content_hash,
            chunking_fingerprint=self._fingerprint(row),
            type=document.type,
            format=document.format,
            title=document.title,
            metadata=document.metadata,
            chunks=chunks,
            flags=document.flags,
        )

    def drop_vanished(self, documents: DocumentsOutcome) -> int:
        """Compacts the artifact to documents that are still there; how many rows went."""
        rows = self._artifact.read(documents.bucket)
        kept = [row for row in rows if row.document_id in documents.rows]
        self._artifact.replace(documents.bucket, kept)
        return len(rows) - len(kept)

    def current(self, outcome: ChunksOutcome, row: StoredDocument) -> ChunkedDocument | None:
        """The stored chunks of a document, if they were cut from this content by these settings."""
        held = outcome.rows.get(row.document_id)
        return held if held is not None and self._is_cut_of(held, row) else None

    def _fingerprint(self, row: StoredDocument) -> str:
        """What decides the chunks of a row: masking changes its text while its content stays the same."""
        return self._fingerprints[row.document.type] + masking_part(row.parser_fingerprint)

    def _is_cut_of(self, chunked: ChunkedDocument, row: StoredDocument) -> bool:
        is_same_content = chunked.content_hash == row.content_hash
        return is_same_content and chunked.chunking_fingerprint == self._fingerprint(row)


def _flagged(chunk: Chunk) -> Chunk:
    return replace(chunk, flags=(Flag.INJECTION,)) if speaks_to_a_model(chunk.embedded_text) else chunk


def _without_version(values: object) -> dict[str, object]:
    assert isinstance(values, dict)  # noqa: S101 - IndexSpec.chunking holds JSON objects
    return {key: value for key, value in values.items() if key not in VERSION_KEYS}


def _measured(outcome: ChunksOutcome) -> ChunksOutcome:
    outcome.sizes = Counter(
        chunk.token_count // HISTOGRAM_STEP_TOKENS * HISTOGRAM_STEP_TOKENS
        for row in outcome.rows.values()
        for chunk in row.chunks
    )
    outcome.longest_tokens = max((chunk.token_count for row in outcome.rows.values() for chunk in row.chunks), default=0)
    return outcome
