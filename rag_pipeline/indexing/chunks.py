"""The ``chunks`` stage: a bucket's documents, cut by the rule of their type."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from rag_pipeline.guardrails.injection import speaks_to_a_model
from rag_pipeline.indexing.chunking.document import chunk_document
from rag_pipeline.indexing.chunking.rules import ChunkingRule
from rag_pipeline.indexing.document_slices import DocumentsOutcome
from rag_pipeline.indexing.identity import chunking_fingerprint, masking_part
from rag_pipeline.ports import Artifact, Progress, Tokenizer
from rag_pipeline.schema import Chunk, ChunkedDocument, DocumentRecord, DocumentType, Flag, IndexSpec, StoredDocument

HISTOGRAM_STEP_TOKENS = 32
PREVIEW_ROWS = 5
PREVIEW_CHARACTERS = 80
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


@dataclass(slots=True)
class ChunkCounts:
    """What the stage did to one bucket, and what it passed on."""

    chunked: int = 0
    chunks: int = 0
    indexed: set[str] = field(default_factory=set)
    """Documents with at least one chunk."""
    sizes: Counter[int] = field(default_factory=Counter)
    """Chunks by size, rounded down to ``HISTOGRAM_STEP_TOKENS``."""
    longest_tokens: int = 0
    preview: list[tuple[str, str, int]] = field(default_factory=list)
    """Title, start of the first chunk, number of chunks of some documents cut now."""

    def add(self, rows: Iterable[ChunkedDocument]) -> None:
        """Counts these documents of the bucket."""
        for row in rows:
            counts = [chunk.token_count for chunk in row.chunks]
            self.chunks += len(counts)
            self.sizes.update(count // HISTOGRAM_STEP_TOKENS * HISTOGRAM_STEP_TOKENS for count in counts)
            self.longest_tokens = max(self.longest_tokens, *counts, 0)
            if counts:
                self.indexed.add(row.document_id)


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
        return outcome

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

    def open(self, bucket: str, *, before_write: Callable[[], None] = lambda: None) -> "BucketChunks":
        """The bucket's chunks, to be brought in step slice by slice; ``before_write`` comes before rows are added."""
        return BucketChunks(self, bucket, self._artifact, self._others, before_write)

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

    def cut_key(self, row: StoredDocument) -> "CutKey":
        """What the chunks of a document must have been cut from, and by."""
        return row.document_id, row.content_hash, self._fingerprint(row)

    def _fingerprint(self, row: StoredDocument) -> str:
        """What decides the chunks of a row: masking changes its text while its content stays the same."""
        return self._fingerprints[row.document.type] + masking_part(row.parser_fingerprint)

    def _is_cut_of(self, chunked: ChunkedDocument, row: StoredDocument) -> bool:
        return _key_of(chunked) == self.cut_key(row)


CutKey = tuple[str, str, str]
"""Document, content and fingerprint of the rule: equal key, equal chunks."""


class BucketChunks:
    """Brings the ``chunks`` artifact of one bucket in step with its documents, a slice at a time."""

    def __init__(
        self,
        stage: ChunkStage,
        bucket: str,
        artifact: Artifact[ChunkedDocument],
        others: Sequence[Artifact[ChunkedDocument]],
        before_write: Callable[[], None],
    ) -> None:
        self.counts = ChunkCounts()
        self._stage = stage
        self._bucket = bucket
        self._artifact = artifact
        self._others = list(others)
        self._before_write = before_write
        self._held = {_key_of(row): row for row in artifact.read(bucket)}
        self._foreign: dict[CutKey, ChunkedDocument] = {}

    def update(self, rows: Sequence[StoredDocument], progress: Progress) -> list[ChunkedDocument]:
        """The chunks of these documents, cut where content, parser, rule or tokenizer is not that of those held."""
        keys = [self._stage.cut_key(row) for row in rows]
        new = [(key, row) for key, row in zip(keys, rows, strict=True) if key not in self._held]
        progress.extend("chunks", len(new))
        fresh = [self._find_or_cut(key, row, progress) for key, row in new]
        if fresh:
            self._before_write()
            self._artifact.append(self._bucket, fresh)
        made = dict(zip((key for key, _ in new), fresh, strict=True))
        chunked = [made[key] if key in made else self._held.pop(key) for key in keys]
        self.counts.add(chunked)
        return chunked

    def close(self) -> None:
        """Leaves the artifact in few parts; all slices have passed."""
        self._artifact.join(self._bucket)

    def _find_or_cut(self, key: CutKey, row: StoredDocument, progress: Progress) -> ChunkedDocument:
        found = self._find(key)
        if found is None:
            found = self._stage.chunk(row)
            self.counts.chunked += 1
            if len(self.counts.preview) < PREVIEW_ROWS:
                first = found.chunks[0].text[:PREVIEW_CHARACTERS] if found.chunks else ""
                self.counts.preview.append((found.title, first, len(found.chunks)))
        progress.advance("chunks")
        return found

    def _find(self, key: CutKey) -> ChunkedDocument | None:
        """As another collection cut it; their artifacts are read one after another, and only when something is missing."""
        while key not in self._foreign and self._others:
            rows = self._others.pop(0).read(self._bucket)
            self._foreign = {_key_of(row): row for row in rows} | self._foreign
        return self._foreign.pop(key, None)


def _key_of(row: ChunkedDocument) -> CutKey:
    return row.document_id, row.content_hash, row.chunking_fingerprint


def _flagged(chunk: Chunk) -> Chunk:
    return replace(chunk, flags=(Flag.INJECTION,)) if speaks_to_a_model(chunk.embedded_text) else chunk


def _without_version(values: object) -> dict[str, object]:
    assert isinstance(values, dict)  # noqa: S101 - IndexSpec.chunking holds JSON objects
    return {key: value for key, value in values.items() if key not in VERSION_KEYS}
