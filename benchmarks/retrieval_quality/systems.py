"""A chunking made searchable by the pipeline's own parts: encoder, BM25, embedded store, searcher."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from rag_pipeline.indexing.collections import open_collection
from rag_pipeline.indexing.embedding import embed_texts
from rag_pipeline.indexing.points import desired_points
from rag_pipeline.ports import Embedder
from rag_pipeline.project import Project
from rag_pipeline.retrieval.search import SearchMode
from rag_pipeline.schema import ChunkedDocument, DocumentRecord, DocumentType, FileStat, Hit, Matrix, Point, Vector
from rag_pipeline.settings import Settings
from retrieval_quality.chunkings import ChunkedPage, Chunking, Piece

MODES = ("dense", "sparse", "rrf", "hybrid")
"""``hybrid`` is the pipeline's search as it ships; ``rrf`` the plain fusion that every vector database offers."""
RRF_K, RRF_PREFETCH = 60, 50
SLICE_POINTS = 2_000
KEEP_EVERY = 2_048


def open_project(folder: Path, *, alias: str) -> Project:
    """A project with default settings whose state lives in the folder."""
    values = {"alias": alias, "sources": [{"name": "pages", "url": str(folder)}], "state": str(folder / "state")}
    return Project(Settings.model_validate({**values, "store": {"kind": "edge", "path": str(folder / "store")}}))


def embedder_of(project: Project) -> Embedder:
    """The model of the settings."""
    return project.models.embedder(project.spec.vector_space)


class VectorCache:
    """Vectors by the digest of weights and text, kept in a folder, so that a second run embeds only what is new."""

    def __init__(self, folder: Path, project: Project) -> None:
        self._folder = folder / project.facts.weights_sha256[:16]
        self._folder.mkdir(parents=True, exist_ok=True)
        self._project = project
        self._vectors: dict[bytes, Vector] = {}
        for file in sorted(self._folder.glob("*.npz")):
            with np.load(file) as kept:
                self._vectors.update(zip((key.tobytes() for key in kept["keys"]), kept["vectors"], strict=True))

    @property
    def project(self) -> Project:
        """Whose encoder it is."""
        return self._project

    def vectors(self, pieces: Sequence[Piece]) -> Mapping[str, Vector]:
        """The vector of every text that the pieces show the encoder."""
        texts = {piece.embedded_text: piece.tokens for piece in pieces}
        missing = [text for text in texts if _digest(text) not in self._vectors]
        for start in range(0, len(missing), KEEP_EVERY):
            self._embed(missing[start : start + KEEP_EVERY], texts)
        return {text: self._vectors[_digest(text)] for text in texts}

    def _embed(self, texts: Sequence[str], counts: Mapping[str, int]) -> None:
        started = time.perf_counter()
        rows = np.zeros((len(texts), self._project.facts.dimension), dtype=np.float32)

        def keep(positions: list[int], vectors: Matrix) -> None:
            rows[positions] = vectors

        tokens = [counts[text] for text in texts]
        batch_tokens = self._project.settings.embedding.batch_tokens
        embed_texts(texts, tokens, embedder=embedder_of(self._project), batch_tokens=batch_tokens, on_batch=keep)
        keys = [_digest(text) for text in texts]
        self._vectors.update(zip(keys, rows, strict=True))
        name = blake2b(b"".join(keys), digest_size=16).hexdigest()
        np.savez(self._folder / f"{name}.npz", keys=np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1), vectors=rows)
        rate = sum(tokens) / (time.perf_counter() - started)
        print(f"embedded {len(texts)} texts, {rate:,.0f} tokens/s", file=sys.stderr, flush=True)


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Index:
    """One chunking in a store of its own."""

    project: Project
    collection: str

    def search(self, question: str, *, mode: str, limit: int) -> list[tuple[str, str]]:
        """(page, text) of the hits, best first."""
        hits = self._plain_fusion(question, limit) if mode == "rrf" else self._search(question, mode, limit)
        return [(str(hit.payload["path"]), str(hit.payload["text"])) for hit in hits]

    def _search(self, question: str, mode: str, limit: int) -> list[Hit]:
        modes: dict[str, SearchMode] = {"dense": "dense", "sparse": "sparse", "hybrid": "hybrid"}
        return self.project.searcher().search(question, mode=modes[mode], limit=limit)

    def _plain_fusion(self, question: str, limit: int) -> list[Hit]:
        store, project = self.project.store, self.project
        rankings = [
            store.search_dense(self.collection, embedder_of(project).embed_query(question), limit=RRF_PREFETCH),
            store.search_sparse(self.collection, project.sparse.encode_query(question), limit=RRF_PREFETCH),
        ]
        scores: dict[str, float] = {}
        hits = {hit.id: hit for ranking in rankings for hit in ranking}
        for ranking in rankings:
            for rank, hit in enumerate(ranking, start=1):
                scores[hit.id] = scores.get(hit.id, 0.0) + 1 / (RRF_K + rank)
        return [hits[key] for key in sorted(scores, key=lambda key: (-scores[key], key))[:limit]]

    def close(self) -> None:
        """Frees the store."""
        self.project.close()


def build_index(chunking: Chunking, folder: Path, *, cache: VectorCache) -> Index:
    """Every chunk as a point, with the payload that the pipeline writes."""
    project = open_project(folder, alias="docs")
    project.models = cache.project.models
    vectors = cache.vectors([piece for document in chunking.documents for piece in document.pieces])
    chosen = project.collections()
    collection = open_collection(project.ledger, project.store, chosen.target, chosen.target_spec).name
    points: list[Point] = []
    for document in chunking.documents:
        points += _points(project, document, vectors)
        if len(points) >= SLICE_POINTS:
            project.store.upsert(collection, points)
            points = []
    project.store.upsert(collection, points)
    project.store.optimize(collection)
    project.store.switch_alias("docs", collection)
    return Index(project, collection)


def _points(project: Project, page: ChunkedPage, vectors: Mapping[str, Vector]) -> list[Point]:
    chunked = ChunkedDocument(
        document_id=page.name,
        content_hash="",
        chunking_fingerprint="",
        type=DocumentType.HTML,
        format="html",
        title=page.title,
        metadata={},
        chunks=tuple(piece.chunk for piece in page.pieces),
    )
    record = DocumentRecord(
        document_id=page.name,
        source="pages",
        path=page.name,
        uri=page.name,
        bucket="00",
        stat=FileStat(0, 0, ""),
        content_hash="",
        is_racy=False,
        generation=1,
    )
    desired = list(desired_points(record, chunked, points_fingerprint=""))
    sparse = project.sparse.encode_documents([point.embedded_text for point in desired])
    return [
        Point(point.id, vectors[piece.embedded_text], weights, point.payload)
        for point, piece, weights in zip(desired, page.pieces, sparse, strict=True)
    ]
