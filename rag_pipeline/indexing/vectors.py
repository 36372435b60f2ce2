"""The ``embeddings`` stage: a vector for every chunk's text, embedded once per vector space wherever the text came from."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from rag_pipeline.indexing.embedding import EmbedReport, embed_texts
from rag_pipeline.indexing.identity import text_digest
from rag_pipeline.indexing.owners import Owners
from rag_pipeline.indexing.slices import BucketWork, Slice
from rag_pipeline.ports import Embedder, Progress, VectorArtifact
from rag_pipeline.schema import Chunk, ChunkedDocument, Matrix, Vector

POOL_BATCHES = 4
"""Batches' worth of text, of whatever buckets, that are sorted by length together: fuller batches, less padding.

More would gain little, and every batch is kept in a file of each bucket that it has texts of."""


class VectorStage:
    """Brings the ``embeddings`` artifacts in step with the chunks that flow by."""

    def __init__(
        self,
        *,
        artifact: VectorArtifact,
        embedder: Callable[[], Embedder],
        batch_tokens: int,
        is_normalized: bool,
        after_batch: Callable[[], None] = lambda: None,
    ) -> None:
        self._after_batch = after_batch
        self._artifact = artifact
        self._embedder = embedder
        self._batch_tokens = batch_tokens
        self._is_normalized = is_normalized
        self._known_owners: Owners | None = None

    def stream(
        self, slices: Iterable[Slice], progress: Progress, *, should_stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Slice]:
        """The slices, in order, once every text of theirs has its vector; each batch is kept before the next begins.

        Told to stop, it marks the buckets that lack a vector as incomplete and embeds no more.
        """
        return self._compacted(self._embedded(slices, progress, should_stop))

    def _embedded(self, slices: Iterable[Slice], progress: Progress, should_stop: Callable[[], bool]) -> Iterator[Slice]:
        pool = _Pool(room_tokens=self._batch_tokens)
        is_stopped = False
        for piece in slices:
            pool.take(piece, self._missing(piece))
            if pool.is_full and not is_stopped:
                is_stopped = not self._embed(pool, progress, should_stop)
            yield from pool.release(all_of_them=is_stopped)
        if not is_stopped:
            self._embed(pool, progress, should_stop)
        yield from pool.release(all_of_them=True)

    def _compacted(self, slices: Iterable[Slice]) -> Iterator[Slice]:
        """The slices; many small files of vectors become one where a bucket ends, or is left."""
        compacted: set[str] = set()
        for piece in slices:
            work = piece.work
            if (piece.is_last or not work.is_complete) and work.vectors.embedded and work.bucket not in compacted:
                self._artifact.retain(work.bucket, self._artifact.digests(work.bucket))
                compacted.add(work.bucket)
            if piece.is_last:
                work.held_digests = None
            yield piece

    def keep_only(self, bucket: str, rows: Iterable[ChunkedDocument]) -> None:
        """Compacts the artifact to the texts of these documents of the bucket."""
        digests = {text_digest(chunk.embedded_text) for row in rows for chunk in row.chunks}
        self._artifact.retain(bucket, digests)

    def _missing(self, piece: Slice) -> dict[bytes, Chunk]:
        """Texts of the slice that no bucket holds a vector of; those of other buckets are copied."""
        work = piece.work
        if work.held_digests is None:
            work.held_digests = self._artifact.digests(work.bucket)
        texts = {text_digest(chunk.embedded_text): chunk for row in piece.chunks for chunk in row.chunks}
        missing = texts.keys() - work.held_digests
        if missing:
            missing -= self._copy_known(work, missing)
        return {digest: texts[digest] for digest in sorted(missing)}

    def _copy_known(self, work: BucketWork, missing: set[bytes]) -> set[bytes]:
        wanted: dict[str, list[bytes]] = defaultdict(list)
        for digest, owner in self._owners().find(missing).items():
            if owner != work.bucket:
                wanted[owner].append(digest)
        copied: set[bytes] = set()
        for owner, digests in sorted(wanted.items()):
            found = self._artifact.read(owner, digests)
            self._keep(work, found)
            copied |= found.keys()
        work.vectors.copied += len(copied)
        return copied

    def _owners(self) -> Owners:
        """The bucket of every vector there is; read once a run, and only when a text is missing."""
        if self._known_owners is None:
            self._known_owners = Owners()
            for bucket in self._artifact.buckets():
                self._known_owners.add(bucket, self._artifact.digests(bucket))
        return self._known_owners

    def _keep(self, work: BucketWork, vectors: dict[bytes, Vector]) -> None:
        if vectors:
            self._artifact.append(work.bucket, list(vectors), np.stack(list(vectors.values())))
            assert work.held_digests is not None  # noqa: S101 - set when the bucket's first slice came
            work.held_digests |= vectors.keys()

    def _embed(self, pool: "_Pool", progress: Progress, should_stop: Callable[[], bool]) -> bool:
        """Embeds the pool; False when it was told to stop before the end."""
        digests = list(pool.texts)
        if not digests:
            return True
        counts = [pool.texts[digest].token_count for digest in digests]
        progress.extend("embeddings", len(digests))

        def keep(positions: list[int], vectors: Matrix) -> None:
            batch = {digests[position]: vector for position, vector in zip(positions, vectors, strict=True)}
            self._keep_batch(pool, batch)
            progress.advance("embeddings", len(batch))
            self._after_batch()

        report = embed_texts(
            [pool.texts[digest].embedded_text for digest in digests],
            counts,
            embedder=self._embedder(),
            batch_tokens=self._batch_tokens,
            on_batch=keep,
            is_normalized=self._is_normalized,
            should_stop=should_stop,
        )
        pool.count(report)
        if report.batching is not None:
            # A device that has several batches under way runs dry at the end of each pool, so a pool lasts for a while.
            pool.room_tokens = POOL_BATCHES * report.batching.at_once * report.batching.tokens
        return report.texts == len(digests)

    def _keep_batch(self, pool: "_Pool", batch: dict[bytes, Vector]) -> None:
        """Keeps a batch in the artifact of every bucket that asked for one of its texts."""
        by_bucket: dict[str, dict[bytes, Vector]] = defaultdict(dict)
        for digest, vector in batch.items():
            for bucket in pool.wanted_by[digest]:
                by_bucket[bucket][digest] = vector
        for bucket, vectors in by_bucket.items():
            self._keep(pool.works[bucket], vectors)
            self._owners().add(bucket, vectors)
            first = sum(pool.wanted_by[digest][0] == bucket for digest in vectors)
            pool.works[bucket].vectors.embedded += first
            pool.works[bucket].vectors.copied += len(vectors) - first
        pool.made.update(batch)


class _Pool:
    """Slices in their order, and the texts that they wait for."""

    def __init__(self, *, room_tokens: int) -> None:
        self.room_tokens = room_tokens
        """Tokens from which on it is worth embedding; little at first, so that the work begins at once."""
        self.texts: dict[bytes, Chunk] = {}
        self.wanted_by: dict[bytes, list[str]] = {}
        """Buckets by text; the first one has it embedded, the others get a copy."""
        self.works: dict[str, BucketWork] = {}
        self.made: dict[bytes, Vector] = {}
        self._tokens = 0
        self._waiting: deque[tuple[Slice, set[bytes]]] = deque()

    @property
    def is_full(self) -> bool:
        return self._tokens >= self.room_tokens

    def take(self, piece: Slice, missing: Mapping[bytes, Chunk]) -> None:
        """Lets the slice wait for these texts."""
        self._waiting.append((piece, set(missing)))
        self.works[piece.work.bucket] = piece.work
        for digest, chunk in missing.items():
            buckets = self.wanted_by.setdefault(digest, [])
            if not buckets:
                self.texts[digest] = chunk
                self._tokens += chunk.token_count
            if piece.work.bucket not in buckets:
                buckets.append(piece.work.bucket)

    def count(self, report: EmbedReport) -> None:
        """Notes the tokens under one of the buckets; only their sum has a meaning."""
        counts = next(iter(self.works.values())).vectors
        counts.tokens += report.tokens
        counts.padded_tokens += report.padded_tokens

    def release(self, *, all_of_them: bool = False) -> Iterator[Slice]:
        """The slices that need wait no more, in order; ``all_of_them``: one that lacks a vector makes its bucket incomplete."""
        while self._waiting and (all_of_them or self._waiting[0][1] <= self.made.keys()):
            piece, missing = self._waiting.popleft()
            piece.work.is_complete &= missing <= self.made.keys()
            piece.vectors = {digest: self.made[digest] for digest in missing if digest in self.made}
            yield piece
        if not self._waiting:
            self._clear()

    def _clear(self) -> None:
        self.texts, self.wanted_by, self.works, self.made, self._tokens = {}, {}, {}, {}, 0
