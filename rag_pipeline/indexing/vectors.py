"""The ``embeddings`` stage: a vector for every chunk's text, embedded once per vector space wherever the text came from."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from rag_pipeline.indexing.chunks import ChunksOutcome
from rag_pipeline.indexing.embedding import embed_texts
from rag_pipeline.indexing.identity import text_digest
from rag_pipeline.ports import Embedder, Progress, VectorArtifact
from rag_pipeline.schema import Chunk, ChunkedDocument, Matrix


@dataclass(slots=True)
class VectorsOutcome:
    """What the stage left for one bucket."""

    chunks: ChunksOutcome
    total: int = 0
    """Different texts of the bucket."""
    embedded: int = 0
    copied: int = 0
    """Vectors taken over from another bucket."""
    tokens: int = 0
    """Tokens embedded now, padding left out."""
    padded_tokens: int = 0
    is_complete: bool = True
    """False when it was told to stop before every text had its vector; the next run goes on."""
    seconds: float = 0.0


class VectorStage:
    """Brings the ``embeddings`` artifact of a bucket in step with its chunks."""

    def __init__(
        self,
        *,
        artifact: VectorArtifact,
        embedder: Callable[[], Embedder],
        batch_tokens: int,
        is_normalized: bool,
        buckets: list[str],
        after_batch: Callable[[], None] = lambda: None,
    ) -> None:
        self._after_batch = after_batch
        self._artifact = artifact
        self._embedder = embedder
        self._batch_tokens = batch_tokens
        self._is_normalized = is_normalized
        self._buckets = buckets
        self._owners: dict[bytes, str] | None = None
        self._lock = threading.Lock()

    def update(
        self, chunks: ChunksOutcome, progress: Progress, *, should_stop: Callable[[], bool] = lambda: False
    ) -> VectorsOutcome:
        """Embeds every text that no bucket holds a vector of; each batch is kept before the next begins."""
        started = time.perf_counter()
        texts = {text_digest(chunk.embedded_text): chunk for row in chunks.rows.values() for chunk in row.chunks}
        outcome = VectorsOutcome(chunks, total=len(texts))
        missing = set(texts) - self._artifact.digests(chunks.bucket)
        if missing:
            missing -= self._copy_known(chunks.bucket, missing, outcome)
            left = {digest: texts[digest] for digest in sorted(missing)}
            self._embed(chunks.bucket, left, outcome, progress, should_stop)
            outcome.is_complete = outcome.embedded == len(left)
        outcome.seconds = time.perf_counter() - started
        return outcome

    def keep_only(self, bucket: str, rows: Iterable[ChunkedDocument]) -> None:
        """Compacts the artifact to the texts of these documents of the bucket."""
        digests = {text_digest(chunk.embedded_text) for row in rows for chunk in row.chunks}
        self._artifact.retain(bucket, digests)

    def _copy_known(self, bucket: str, missing: set[bytes], outcome: VectorsOutcome) -> set[bytes]:
        owners = self._known_owners()
        wanted: dict[str, list[bytes]] = {}
        for digest in missing:
            owner = owners.get(digest)
            if owner is not None and owner != bucket:
                wanted.setdefault(owner, []).append(digest)
        copied: set[bytes] = set()
        for owner, digests in sorted(wanted.items()):
            found = self._artifact.read(owner, digests)
            if found:
                self._artifact.append(bucket, list(found), np.stack(list(found.values())))
                copied |= set(found)
        outcome.copied = len(copied)
        return copied

    def _known_owners(self) -> dict[bytes, str]:
        """The bucket of every vector there is; read once a run, and only when a text is missing."""
        with self._lock:
            if self._owners is None:
                held = ((bucket, self._artifact.digests(bucket)) for bucket in self._artifact.buckets())
                self._owners = {digest: bucket for bucket, digests in held for digest in digests}
            return self._owners

    def _embed(
        self,
        bucket: str,
        texts: dict[bytes, Chunk],
        outcome: VectorsOutcome,
        progress: Progress,
        should_stop: Callable[[], bool],
    ) -> None:
        if not texts:
            return
        digests = list(texts)
        counts = [texts[digest].token_count for digest in digests]
        owners = self._known_owners()
        progress.extend("embeddings", len(digests))

        def keep(positions: list[int], vectors: Matrix) -> None:
            batch = [digests[position] for position in positions]
            self._artifact.append(bucket, batch, vectors)
            owners.update(dict.fromkeys(batch, bucket))
            progress.advance("embeddings", len(batch))
            self._after_batch()

        report = embed_texts(
            [texts[digest].embedded_text for digest in digests],
            counts,
            embedder=self._embedder(),
            batch_tokens=self._batch_tokens,
            on_batch=keep,
            is_normalized=self._is_normalized,
            should_stop=should_stop,
        )
        self._artifact.retain(bucket, self._artifact.digests(bucket))
        outcome.embedded, outcome.tokens, outcome.padded_tokens = report.texts, report.tokens, report.padded_tokens
