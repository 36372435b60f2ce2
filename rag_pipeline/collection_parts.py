"""The stages of one collection under one spec: what a run builds with, checks with and plans with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from rag_pipeline.adapters.models import Models
from rag_pipeline.indexing.build import Build, find_fragmented, find_out_of_step, find_stale
from rag_pipeline.indexing.chunks import ChunkStage
from rag_pipeline.indexing.documents import DocumentStage
from rag_pipeline.indexing.fsck import Fsck
from rag_pipeline.indexing.identity import parsing_digest, space_fingerprint, spec_fingerprint
from rag_pipeline.indexing.plan import Planner
from rag_pipeline.indexing.reconcile import ReconcileStage
from rag_pipeline.indexing.vectors import VectorStage
from rag_pipeline.ports import (
    ArtifactStore,
    DocumentSource,
    Embedder,
    Ledger,
    Masker,
    Parser,
    SparseEncoder,
    Stage,
    StoredDocuments,
    Tokenizer,
    VectorArtifact,
    VectorStore,
)
from rag_pipeline.schema import CollectionRecord, IndexSpec


@dataclass(frozen=True, slots=True)
class SharedParts:
    """What all collections of an index share."""

    ledger: Ledger
    sources: dict[str, DocumentSource]
    parser: Callable[[], Parser]
    masker: Callable[[], Masker]
    artifacts: ArtifactStore
    store: VectorStore
    sparse: SparseEncoder
    models: Models
    buckets: list[str]
    batch_tokens: int
    keeps_last_good: bool = True


class CollectionParts:
    """One collection as a run sees it. Fresh for every run: the stages remember what other buckets hold."""

    def __init__(self, shared: SharedParts, record: CollectionRecord, spec: IndexSpec) -> None:
        self._shared = shared
        self.record = record
        self.spec = spec

    @property
    def tokenizer(self) -> Tokenizer:
        """Of the collection's own model."""
        return self._shared.models.tokenizer(self.spec.vector_space)

    @property
    def embedder(self) -> Embedder:
        """Of the collection's own model."""
        return self._shared.models.embedder(self.spec.vector_space)

    @property
    def documents(self) -> StoredDocuments:
        """Shared by all collections whose parsers are the same."""
        return self._shared.artifacts.documents(parsing_digest(self.spec))

    @property
    def vectors(self) -> VectorArtifact:
        """Shared by all collections of the vector space."""
        return self._shared.artifacts.vectors(space_fingerprint(self.spec.vector_space))

    @property
    def _fingerprint(self) -> str:
        return spec_fingerprint(self.spec) + ("" if self._shared.keeps_last_good else " without last good versions")

    def stale_buckets(self) -> list[str]:
        """Those that a build would work on; read from the ledger alone, and no stage is made."""
        return find_stale(self._shared.ledger, self.record.name, self._shared.buckets, self._fingerprint)

    def out_of_step(self) -> list[str]:
        """Those that lack something that is to be had; read from the ledger alone as well."""
        return find_out_of_step(self._shared.ledger, self.record.name, self._shared.buckets, self._fingerprint)

    def is_settled(self) -> bool:
        """Whether a build of all buckets, and its compaction, would find nothing to do."""
        return not find_fragmented(self._shared.ledger, self.record.name) and not self.stale_buckets()

    def build(self) -> Build:
        """The stages that bring it in step."""
        shared = self._shared
        return Build(
            ledger=shared.ledger,
            collection=self.record.name,
            spec_fingerprint=self._fingerprint,
            documents=self._document_stage(),
            chunks=self._chunk_stage(),
            vectors=self._vector_stage(),
            reconcile=self.reconcile(),
            sharing=[shared.artifacts.chunks(name) for name in self._names_in_this_space()],
            after_bucket=shared.store.let_others_in,
        )

    def reconcile(self) -> ReconcileStage:
        """The stage that writes its points."""
        shared = self._shared
        return ReconcileStage(
            store=shared.store,
            collection=self.record.name,
            spec=self.spec,
            vectors=self.vectors,
            sparse=shared.sparse,
            guard=shared.ledger.check_writer,
        )

    def fsck(self, *, is_live: bool = True) -> Fsck:
        """The check of everything stored of it."""
        return Fsck(
            ledger=self._shared.ledger,
            store=self._shared.store,
            vectors=self.vectors,
            build=self.build(),
            reconcile=self.reconcile(),
            spec=self.spec,
            collection=self.record,
            is_live=is_live,
            after_bucket=self._shared.store.let_others_in,
        )

    def planner(self) -> Planner:
        """Counts what a build would do."""
        return Planner(
            documents=self._document_stage(),
            chunks=self._chunk_stage(),
            vectors=self.vectors,
            reconcile=self.reconcile(),
            store=self._shared.store,
            collection=self.record.name,
        )

    def _document_stage(self) -> DocumentStage:
        shared = self._shared
        return DocumentStage(
            ledger=shared.ledger,
            sources=shared.sources,
            parser=shared.parser(),
            masker=shared.masker(),
            artifact=self.documents,
            buckets=shared.buckets,
            parsing=self.spec.parsing,
            masking=self.spec.masking,
            others=[shared.artifacts.documents(name) for name in self._others("documents", parsing_digest(self.spec))],
            keeps_last_good=shared.keeps_last_good,
        )

    def _chunk_stage(self) -> ChunkStage:
        shared = self._shared
        return ChunkStage(
            artifact=shared.artifacts.chunks(self.record.name),
            spec=self.spec,
            tokenizer=lambda: self.tokenizer,
            others=[shared.artifacts.chunks(name) for name in self._others("chunks", self.record.name)],
        )

    def _vector_stage(self) -> VectorStage:
        shared = self._shared
        return VectorStage(
            artifact=self.vectors,
            embedder=lambda: self.embedder,
            batch_tokens=shared.batch_tokens,
            is_normalized=self.spec.vector_space.is_normalized,
            after_batch=shared.store.let_others_in,
        )

    def _others(self, stage: str, own: str) -> Sequence[str]:
        return [name for name in self._shared.artifacts.names(cast(Stage, stage)) if name != own]

    def _names_in_this_space(self) -> list[str]:
        records = self._shared.ledger.collections(self.record.alias)
        return [r.name for r in records if r.fingerprint == self.record.fingerprint and r.name != self.record.name]
