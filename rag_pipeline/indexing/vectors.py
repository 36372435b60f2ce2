"""The ``embeddings`` stage: a vector for every chunk's text, embedded once per vector space wherever the text came from."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from rag_pipeline.indexing.embedding import EmbedRun
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
        """The slices, in order, once every text of theirs has its vector and is kept.

        While the last batches of a pool are computed, the next pool is filled. Told to stop, it marks the buckets that lack a
        vector as incomplete and embeds no more.
        """
        return self._compacted(self._embedded(slices, progress, should_stop))

    def _embedded(self, slices: Iterable[Slice], progress: Progress, should_stop: Callable[[], bool]) -> Iterator[Slice]:
        pool = _Pool(room_tokens=self._batch_tokens)
        run = EmbedRun(
            embedder=self._embedder,
            batch_tokens=self._batch_tokens,
            is_normalized=self._is_normalized,
            should_stop=should_stop,
        )
        for piece in slices:
            pool.take(piece, self._missing(piece))
            if pool.is_full and not run.is_stopped:
                self._add(pool, run, progress)
                run.work(is_more_to_come=True)
            yield from pool.release(all_of_them=run.is_stopped)
        self._add(pool, run, progress)
        run.work()
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

    def _add(self, pool: "_Pool", run: EmbedRun, progress: Progress) -> None:
        """Hands the pool's texts to the run."""
        if run.is_stopped or not pool.texts:
            return
        chunks = pool.hand_over()
        digests, counts = list(chunks), [chunk.token_count for chunk in chunks.values()]
        progress.extend("embeddings", len(digests))

        def keep(positions: list[int], vectors: Matrix) -> None:
            padded = run.batching.padded_tokens([counts[position] for position in positions])
            work = pool.works_of(digests[positions[0]])[0]  # it waits for this text, so it is not reported yet
            work.vectors.tokens += sum(counts[position] for position in positions)
            work.vectors.padded_tokens += padded
            self._keep_batch(pool, {digests[position]: vector for position, vector in zip(positions, vectors, strict=True)})
            progress.advance("embeddings", len(positions))
            self._after_batch()

        run.add([chunk.embedded_text for chunk in chunks.values()], counts, on_batch=keep)
        # A device that has several batches under way needs as many ready when the pool before is begun.
        pool.room_tokens = POOL_BATCHES * run.batching.at_once * run.batching.tokens

    def _keep_batch(self, pool: "_Pool", batch: dict[bytes, Vector]) -> None:
        """Keeps a batch in the artifact of every bucket that asked for one of its texts."""
        wanted: dict[str, tuple[BucketWork, dict[bytes, Vector]]] = {}
        for digest, vector in batch.items():
            first, *others = pool.works_of(digest)
            first.vectors.embedded += 1
            for work in (first, *others):
                wanted.setdefault(work.bucket, (work, {}))[1][digest] = vector
            for work in others:
                work.vectors.copied += 1
        for bucket, (work, vectors) in wanted.items():
            self._keep(work, vectors)
            self._owners().add(bucket, vectors)
        pool.give(batch)


class _Pool:
    """Slices in their order, and the texts that they wait for."""

    def __init__(self, *, room_tokens: int) -> None:
        self.room_tokens = room_tokens
        """Tokens from which on it is worth embedding; little at first, so that the work begins at once."""
        self.texts: dict[bytes, Chunk] = {}
        """Of no run yet."""
        self._tokens = 0
        self._wanted_by: dict[bytes, dict[str, BucketWork]] = {}
        """The first of a text's buckets has it embedded, the others get a copy; until its vector is there."""
        self._made: dict[bytes, Vector] = {}
        self._users: Counter[bytes] = Counter()
        """Waiting slices of a text."""
        self._waiting: deque[tuple[Slice, set[bytes]]] = deque()

    @property
    def is_full(self) -> bool:
        return self._tokens >= self.room_tokens

    def take(self, piece: Slice, missing: Mapping[bytes, Chunk]) -> None:
        """Lets the slice wait for these texts."""
        self._waiting.append((piece, set(missing)))
        self._users.update(missing.keys())
        for digest, chunk in missing.items():
            if digest not in self._wanted_by:
                self._wanted_by[digest] = {}
                self.texts[digest] = chunk
                self._tokens += chunk.token_count
            self._wanted_by[digest].setdefault(piece.work.bucket, piece.work)

    def hand_over(self) -> dict[bytes, Chunk]:
        """The texts, which are now somebody else's to embed."""
        texts, self.texts, self._tokens = self.texts, {}, 0
        return texts

    def works_of(self, digest: bytes) -> list[BucketWork]:
        """The buckets that want the text's vector, the one that it is embedded for first."""
        return list(self._wanted_by[digest].values())

    def give(self, vectors: Mapping[bytes, Vector]) -> None:
        """What was embedded and kept; from now on the artifact has it for everybody else."""
        self._made.update(vectors)
        for digest in vectors:
            del self._wanted_by[digest]

    def release(self, *, all_of_them: bool = False) -> Iterator[Slice]:
        """The slices that need wait no more, in order; ``all_of_them``: one that lacks a vector makes its bucket incomplete."""
        while self._waiting and (all_of_them or self._waiting[0][1] <= self._made.keys()):
            piece, missing = self._waiting.popleft()
            piece.work.is_complete &= missing <= self._made.keys()
            piece.vectors = {digest: self._made[digest] for digest in missing if digest in self._made}
            self._let_go(missing)
            yield piece

    def _let_go(self, digests: set[bytes]) -> None:
        for digest in digests:
            self._users[digest] -= 1
            if not self._users[digest]:
                del self._users[digest]
                self._made.pop(digest, None)
