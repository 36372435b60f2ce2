"""The composition root: settings to adapters to the stages of one index. Nothing connects before it is used."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from rag_pipeline.adapters.document_sources import local_root, open_source
from rag_pipeline.adapters.model_files import inspect_model, tokenizer_file
from rag_pipeline.adapters.parser_pool import ProcessPoolParser
from rag_pipeline.adapters.stores import open_store
from rag_pipeline.adapters.system_clock import SystemClock
from rag_pipeline.indexing.build import Build, BuildReport
from rag_pipeline.indexing.changes import DeleteBrake
from rag_pipeline.indexing.chunking.document import CHUNKING_VERSION
from rag_pipeline.indexing.chunks import ChunkStage
from rag_pipeline.indexing.documents import DocumentStage
from rag_pipeline.indexing.fsck import Fsck
from rag_pipeline.indexing.identity import bucket_names, space_fingerprint, spec_fingerprint, spec_values
from rag_pipeline.indexing.manifest import has_changes, scan_sources
from rag_pipeline.indexing.plan import DryLedger, Plan, Planner
from rag_pipeline.indexing.points import PAYLOAD_VERSION
from rag_pipeline.indexing.reconcile import ReconcileStage
from rag_pipeline.indexing.release import find_target, open_target
from rag_pipeline.indexing.scan_report import ChangeSummary, ScanResult
from rag_pipeline.indexing.status import count_documents
from rag_pipeline.indexing.vectors import VectorStage
from rag_pipeline.ports import (
    DocumentSource,
    Embedder,
    Ledger,
    Parser,
    Progress,
    SparseEncoder,
    StoredDocuments,
    Tokenizer,
    VectorArtifact,
    VectorStore,
)
from rag_pipeline.retrieval.ranking import Ranking
from rag_pipeline.retrieval.search import Searcher
from rag_pipeline.schema import CollectionRecord, DocumentType, IndexSpec, ModelFacts, VectorSpace
from rag_pipeline.settings import Settings, check_bucket_count, check_model_fits, load_settings

BUCKETS_KEY = "buckets"
DISTANCE = "cosine"
RATE_KEY = "tokens_per_s"
RATE_MIN_TOKENS = 2_000
"""Fewer embedded tokens than this say nothing about the rate."""


class Project:
    """One index as its settings describe it, with every part it needs."""

    def __init__(self, settings: Settings, *, on_wait: Callable[[str], None] | None = None) -> None:
        self.settings = settings
        self._on_wait = on_wait or (lambda _: None)
        self.clock = SystemClock()

    @classmethod
    def load(cls, path: str | Path | None = None, *, on_wait: Callable[[str], None] | None = None) -> "Project":
        """The project of a settings file. Raises SettingsError, also when the model or the state does not fit it."""
        project = cls(load_settings(path), on_wait=on_wait)
        check_model_fits(project.settings, project.facts)
        return project

    @cached_property
    def state(self) -> str:
        """Where ledger and artifacts live: a folder or URL."""
        return self.settings.resolve(self.settings.state)

    @property
    def local_state(self) -> Path:
        """A folder on this machine for locks, caches and Dagster's records."""
        return Path(self.state) if "://" not in self.state else self.settings.root / ".rag"

    @cached_property
    def buckets(self) -> list[str]:
        """Names of all buckets."""
        return bucket_names(self.settings.buckets)

    @cached_property
    def facts(self) -> ModelFacts:
        """What the model's files say."""
        return self._inspect(self.settings.embedding.model)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, its bucket count checked or set."""
        from rag_pipeline.adapters.sql_ledger import SqlLedger

        url = self.settings.ledger_url
        if url is None:
            self.local_state.mkdir(parents=True, exist_ok=True)
            url = f"sqlite:///{self.local_state / 'ledger.sqlite'}"
        ledger = SqlLedger(url, lock_path=self.local_state / "writer.lock")
        remembered = ledger.meta(BUCKETS_KEY)
        check_bucket_count(self.settings, remembered)
        if remembered is None:
            ledger.set_meta(BUCKETS_KEY, str(self.settings.buckets))
        return ledger

    @cached_property
    def sources(self) -> dict[str, DocumentSource]:
        """Document sources by name."""
        return {source.name: open_source(source, base=self.settings.root) for source in self.settings.sources}

    @cached_property
    def parser(self) -> Parser:
        """The pool of parsing processes; started by its first document."""
        return ProcessPoolParser(self.settings.parsing)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        from rag_pipeline.adapters.huggingface_tokenizer import HuggingFaceTokenizer

        return HuggingFaceTokenizer(tokenizer_file(Path(self.facts.path)))

    @cached_property
    def embedder(self) -> Embedder:
        """The model; loaded by its first text."""
        return self._embedder_of(self.facts)

    @cached_property
    def sparse(self) -> SparseEncoder:
        """The BM25 encoder."""
        from rag_pipeline.adapters.bm25_encoder import Bm25Encoder

        return Bm25Encoder()

    @cached_property
    def store(self) -> VectorStore:
        """The vector store."""
        return open_store(self.settings, on_wait=self._on_wait)

    @cached_property
    def document_artifact(self) -> StoredDocuments:
        """Parsed documents."""
        from rag_pipeline.adapters.parquet_artifacts import DocumentArtifact

        return DocumentArtifact(self._artifact_url("documents"))

    @cached_property
    def vector_artifact(self) -> VectorArtifact:
        """Vectors of this vector space."""
        from rag_pipeline.adapters.parquet_artifacts import ParquetVectorArtifact

        return ParquetVectorArtifact(self._artifact_url(f"embeddings/{space_fingerprint(self.spec.vector_space)}"))

    @cached_property
    def spec(self) -> IndexSpec:
        """What the settings ask for."""
        settings, facts = self.settings, self.facts
        rules = {kind: settings.chunking.rule_for(kind).model_dump(mode="json") for kind in DocumentType}
        return IndexSpec(
            vector_space=VectorSpace(
                model=facts.model,
                weights_sha256=facts.weights_sha256,
                dimension=facts.dimension,
                distance=DISTANCE,
                is_normalized=facts.is_normalized,
                document_prompt=settings.embedding.document_prompt,
                query_prompt=settings.embedding.query_prompt,
                max_tokens=settings.embedding.max_tokens,
            ),
            tokenizer_sha256=facts.tokenizer_sha256,
            parsing={kind: self.parser.fingerprint(kind) for kind in DocumentType},
            chunking={kind: {**rule, "version": CHUNKING_VERSION} for kind, rule in rules.items()},
            sparse_model=self.sparse.name,
            payload_version=PAYLOAD_VERSION,
        )

    @cached_property
    def target(self) -> CollectionRecord:
        """The collection that this spec fills; nothing is created."""
        return find_target(self.ledger, alias=self.settings.alias, spec=self.spec)

    def open_target(self) -> CollectionRecord:
        """The target, created where it was missing."""
        return open_target(self.ledger, self.store, alias=self.settings.alias, spec=self.spec)

    @cached_property
    def local_roots(self) -> list[Path]:
        """Folders that can be watched for file events."""
        roots = (local_root(source.url, base=self.settings.root) for source in self.settings.sources)
        return [root for root in roots if root is not None]

    def scan(self, *, approve_deletes: bool, progress: Progress) -> ScanResult:
        """Writes what changed in the sources to the ledger."""
        return scan_sources(
            sources=list(self.sources.values()),
            ledger=self.ledger,
            clock=self.clock,
            buckets=self.settings.buckets,
            brake=self._brake,
            approve_deletes=approve_deletes,
            progress=progress,
        )

    def look_for_changes(self) -> ChangeSummary:
        """Whether a scan would find something; writes nothing."""
        return has_changes(sources=list(self.sources.values()), ledger=self.ledger, clock=self.clock, brake=self._brake)

    def remember_rate(self, report: BuildReport) -> None:
        """Keeps the embedding rate for ``rag plan``, and the longest chunk for its check."""
        if report.tokens >= RATE_MIN_TOKENS:
            self.ledger.set_meta(RATE_KEY, f"{report.tokens / report.seconds['embeddings']:.1f}")
        if report.longest_tokens > self.longest_tokens():
            self.ledger.set_meta(self._longest_key, str(report.longest_tokens))

    def longest_tokens(self) -> int:
        """Tokens of the longest chunk that was ever made for the target under this spec."""
        return int(self.ledger.meta(self._longest_key) or 0)

    @property
    def _longest_key(self) -> str:
        return f"longest_tokens:{spec_fingerprint(self.spec)}"

    @property
    def _brake(self) -> DeleteBrake:
        limits = self.settings.delete_brake
        return DeleteBrake(max_share=limits.max_share, max_documents=limits.max_documents)

    def plan(self) -> Plan:
        """What a run would do. Sources are scanned, stored documents cut; nothing is written."""
        ledger: Any = DryLedger(self.ledger)
        scan = scan_sources(
            sources=list(self.sources.values()),
            ledger=ledger,
            clock=self.clock,
            buckets=self.settings.buckets,
            brake=self._brake,
        )
        stale = self.build(ledger).stale_buckets(self.buckets)
        planner = Planner(
            documents=self._document_stage(ledger),
            chunks=self._chunk_stage(),
            vectors=self.vector_artifact,
            reconcile=self._reconcile(),
            store=self.store,
            collection=self.target.name,
        )
        plan = planner.plan(stale)
        plan.scan = scan
        return plan

    def tokens_per_s(self) -> float | None:
        """The embedding rate of the last run that embedded enough to tell."""
        rate = self.ledger.meta(RATE_KEY)
        return float(rate) if rate else None

    def status(self) -> dict[str, Any]:
        """What is live and what it holds, as JSON values."""
        live = self.store.resolve_alias(self.settings.alias)
        info = self.store.describe(live) if live else None
        records = self.ledger.collections(self.settings.alias)
        by_source = Counter(record.source for record in self.ledger.documents().values())
        counts = count_documents(self.ledger, self.target.name)
        return {
            "alias": self.settings.alias,
            "live": live,
            "candidate": next((r.name for r in records if r.state == "building" and r.name != live), None),
            "retired": [r.name for r in records if r.state == "retired"],
            "sources": [{"name": s.name, "url": s.url, "documents": by_source[s.name]} for s in self.settings.sources],
            "documents": counts.seen,
            "points": info.points if info else 0,
            "quarantined": counts.quarantined,
            "settings_match": info is not None and dict(info.metadata) == spec_values(self.spec),
            "generation": self.ledger.generation(),
        }

    def build(self, ledger: Ledger | None = None) -> Build:
        """The stages, with fresh memory of what other buckets hold."""
        ledger = ledger or self.ledger
        return Build(
            ledger=ledger,
            collection=self.target.name,
            spec_fingerprint=spec_fingerprint(self.spec),
            documents=self._document_stage(ledger),
            chunks=self._chunk_stage(),
            vectors=VectorStage(
                artifact=self.vector_artifact,
                embedder=lambda: self.embedder,
                batch_tokens=self.settings.embedding.batch_tokens,
                is_normalized=self.spec.vector_space.is_normalized,
                buckets=self.buckets,
            ),
            reconcile=self._reconcile(),
        )

    def fsck(self) -> Fsck:
        """The check of everything stored."""
        return Fsck(
            ledger=self.ledger,
            store=self.store,
            vectors=self.vector_artifact,
            build=self.build(),
            reconcile=self._reconcile(),
            spec=self.spec,
            collection=self.target,
        )

    def searcher(self) -> Searcher:
        """Answers questions from the live collection."""
        retrieval = self.settings.retrieval
        return Searcher(
            store=self.store,
            alias=self.settings.alias,
            sparse=self.sparse,
            embedder_for=self._embedder_for,
            prefetch=retrieval.prefetch,
            ranking=Ranking(
                fusion=retrieval.fusion,
                dense_weight=retrieval.dense_weight,
                rrf_k=retrieval.rrf_k,
                document_weight=retrieval.document_weight,
                passage_tokens=retrieval.passage_tokens,
                repeat_penalty=retrieval.repeat_penalty,
            ),
        )

    def writer_lock(self) -> Any:
        """Held while the index is written."""
        return self.ledger.writer_lock(wait_s=self.settings.writer_wait_s, on_wait=self._on_wait)

    def close(self) -> None:
        """Ends child processes and frees locks."""
        for name in ("parser", "store"):
            if name in self.__dict__:
                self.__dict__[name].close()

    def _document_stage(self, ledger: Ledger) -> DocumentStage:
        return DocumentStage(
            ledger=ledger,
            sources=self.sources,
            parser=self.parser,
            artifact=self.document_artifact,
            buckets=self.buckets,
        )

    def _chunk_stage(self) -> ChunkStage:
        from rag_pipeline.adapters.parquet_artifacts import ChunkArtifact

        artifact = ChunkArtifact(self._artifact_url(f"chunks/{space_fingerprint(self.spec.vector_space)}"))
        return ChunkStage(artifact=artifact, spec=self.spec, tokenizer=lambda: self.tokenizer)

    def _reconcile(self) -> ReconcileStage:
        return ReconcileStage(
            store=self.store,
            collection=self.target.name,
            spec=self.spec,
            vectors=self.vector_artifact,
            sparse=self.sparse,
        )

    def _artifact_url(self, stage: str) -> str:
        return f"{self.state.rstrip('/')}/artifacts/{stage}"

    def _embedder_for(self, metadata: Mapping[str, Any]) -> Embedder:
        """The embedder of the collection that is searched, which may not be the one of the settings."""
        space = VectorSpace(**metadata["vector_space"])
        if space == self.spec.vector_space:
            return self.embedder
        return self._embedder_of(self._inspect(space.model), space)

    def _inspect(self, model: str) -> ModelFacts:
        """The facts of a model; the weights of a served one need not lie here."""
        is_served = self.settings.embedding.endpoint is not None
        cache = self.local_state / "cache"
        return inspect_model(model, base=self.settings.root, cache_dir=cache, needs_weights=not is_served)

    def _embedder_of(self, facts: ModelFacts, space: VectorSpace | None = None) -> Embedder:
        settings = self.settings.embedding
        if space is not None:
            prompts = {"document_prompt": space.document_prompt, "query_prompt": space.query_prompt}
            settings = settings.model_copy(update={**prompts, "max_tokens": space.max_tokens, "model": space.model})
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        if settings.endpoint:
            from rag_pipeline.adapters.endpoint_embedder import EndpointEmbedder

            return EndpointEmbedder(facts, settings, self.settings.secret("EMBEDDING_API_KEY"))
        from rag_pipeline.adapters.sentence_transformer_embedder import SentenceTransformerEmbedder

        return SentenceTransformerEmbedder(facts, settings)
