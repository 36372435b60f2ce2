"""The composition root: settings to adapters to the stages of one index. Nothing connects before it is used."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

from rag_pipeline.adapters.document_sources import local_root, open_source
from rag_pipeline.adapters.masked_paths import MaskedPathsSource
from rag_pipeline.adapters.masking import masking_fingerprints, open_masker
from rag_pipeline.adapters.models import Models
from rag_pipeline.adapters.parser_pool import ProcessPoolParser
from rag_pipeline.adapters.process_memory import give_back_free_memory
from rag_pipeline.adapters.stores import open_store
from rag_pipeline.adapters.system_clock import SystemClock
from rag_pipeline.collection_parts import CollectionParts, SharedParts
from rag_pipeline.errors import SettingsError
from rag_pipeline.guardrails.injection import INJECTION_VERSION
from rag_pipeline.indexing.build import BuildReport
from rag_pipeline.indexing.changes import DeleteBrake
from rag_pipeline.indexing.chunking.document import CHUNKING_VERSION
from rag_pipeline.indexing.collections import Collections, choose_collections
from rag_pipeline.indexing.identity import bucket_names, spec_fingerprint, spec_from_values
from rag_pipeline.indexing.look import LookMemory, has_changes
from rag_pipeline.indexing.manifest import scan_sources
from rag_pipeline.indexing.points import PAYLOAD_VERSION
from rag_pipeline.indexing.scan_report import ChangeSummary, ScanResult
from rag_pipeline.indexing.specs import SpecPart
from rag_pipeline.ports import ArtifactStore, DocumentSource, Ledger, Masker, Parser, Progress, SparseEncoder, VectorStore
from rag_pipeline.retrieval.ranking import Ranking
from rag_pipeline.retrieval.search import Searcher
from rag_pipeline.schema import CollectionRecord, DocumentType, IndexSpec, ModelFacts, VectorSpace
from rag_pipeline.settings import Settings, check_bucket_count, check_model_fits, load_settings

BUCKETS_KEY = "buckets"
LOOKED_KEY = "looked_ns"
"""When every source was last listed whole."""
DISTANCE = "cosine"
RATE_KEY = "tokens_per_s"
RATE_MIN_TOKENS = 2_000
"""Fewer embedded tokens than this say nothing about the rate."""


class Project:
    """One index as its settings describe it, with every part it needs."""

    def __init__(self, settings: Settings, *, on_wait: Callable[[str], None] | None = None) -> None:
        self.settings = settings
        self._path: str | Path | None = None
        self._is_of_file = False
        self._on_wait = on_wait or (lambda _: None)
        self.clock = SystemClock()
        self._look_memory = LookMemory()

    @classmethod
    def load(cls, path: str | Path | None = None, *, on_wait: Callable[[str], None] | None = None) -> "Project":
        """The project of a settings file. Raises SettingsError, also when the model or the state does not fit it."""
        project = cls(load_settings(path), on_wait=on_wait)
        project._path, project._is_of_file = path, True
        check_model_fits(project.settings, project.facts)
        open_masker(project.settings)
        return project

    def reloaded(self) -> "Project":
        """The project as its settings file and its model's files are now, for processes that live long."""
        return Project.load(self._path, on_wait=self._on_wait)

    def refreshed(self) -> "Project":
        """This very project while its settings stay the same, so that it keeps what it remembers; else the one of now."""
        return self if not self._is_of_file or load_settings(self._path) == self.settings else self.reloaded()

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
        return self.models.facts(self.settings.embedding.model)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, its bucket count checked or set."""
        from rag_pipeline.adapters.sql_ledger import SqlLedger

        url = self.settings.ledger_url
        if url is None:
            _make_folder(self.local_state)
            url = f"sqlite:///{self.local_state / 'ledger.sqlite'}"
        ledger = SqlLedger(url, lock_path=self.local_state / "writer.lock")
        remembered = ledger.meta(BUCKETS_KEY) if ledger.generation() else None  # before a first scan nothing lies in a bucket
        check_bucket_count(self.settings, remembered)
        if remembered is None:
            ledger.set_meta(BUCKETS_KEY, str(self.settings.buckets))
        return ledger

    @cached_property
    def sources(self) -> dict[str, DocumentSource]:
        """Document sources by name."""
        opened = {source.name: open_source(source, base=self.settings.root) for source in self.settings.sources}
        if not self.settings.pii.enabled:
            return opened
        return {name: MaskedPathsSource(source, self.masker) for name, source in opened.items()}

    def shown_names(self, name: str) -> set[str]:
        """What a document that somebody names goes by here: the name itself, and what its masked path is shown as."""
        masked = (source.shown_as(name) for source in self.sources.values() if isinstance(source, MaskedPathsSource))
        return {name}.union(*masked)

    @cached_property
    def masker(self) -> Masker:
        """What takes personal data out of documents and paths. Raises SettingsError where its extra or key is missing."""
        return open_masker(self.settings)

    @cached_property
    def parser(self) -> Parser:
        """The pool of parsing processes; started by its first document."""
        return ProcessPoolParser(self.settings.parsing)

    @cached_property
    def models(self) -> Models:
        """The embedding models: that of the settings and those of older collections."""
        return Models(self.settings, cache_dir=self.local_state / "cache")

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
    def artifacts(self) -> ArtifactStore:
        """Parsed documents, chunks and vectors."""
        from rag_pipeline.adapters.parquet_artifacts import ParquetArtifactStore

        return ParquetArtifactStore(f"{self.state.rstrip('/')}/artifacts")

    @cached_property
    def spec(self) -> IndexSpec:
        """What the settings ask for."""
        settings, facts = self.settings, self.facts
        rules = {kind: settings.chunking.rule_for(kind).model_dump(mode="json") for kind in DocumentType}
        return IndexSpec(
            vector_space=VectorSpace(
                model=facts.model,
                weights_sha256=facts.weights_sha256,
                dimension=settings.embedding.dimension or facts.dimension,
                distance=DISTANCE,
                is_normalized=facts.is_normalized,
                document_prompt=settings.embedding.document_prompt,
                query_prompt=settings.embedding.query_prompt,
                max_tokens=settings.embedding.max_tokens,
            ),
            tokenizer_sha256=facts.tokenizer_sha256,
            parsing={kind: self.parser.fingerprint(kind) for kind in DocumentType},
            chunking={kind: {**rule, "version": CHUNKING_VERSION, "flags": INJECTION_VERSION} for kind, rule in rules.items()},
            sparse_model=self.sparse.name,
            payload_version=PAYLOAD_VERSION,
            masking=masking_fingerprints(self.masker, self.settings),
        )

    def collections(self) -> Collections:
        """The collections as they are now, and what the settings make of them; nothing is written."""
        strategy = {SpecPart(name): way for name, way in self.settings.release.strategy.model_dump().items()}
        return choose_collections(self.ledger, self.store, alias=self.settings.alias, spec=self.spec, strategy=strategy)

    @property
    def target(self) -> CollectionRecord:
        """The collection that an index run fills."""
        return self.collections().target

    def parts(self, record: CollectionRecord, spec: IndexSpec | None = None, ledger: Ledger | None = None) -> CollectionParts:
        """The stages of a collection under a spec, by default the one that it holds."""
        shared = SharedParts(
            ledger=ledger or self.ledger,
            sources=self.sources,
            parser=lambda: self.parser,
            masker=lambda: self.masker,
            artifacts=self.artifacts,
            store=self.store,
            sparse=self.sparse,
            models=self.models,
            buckets=self.buckets,
            batch_tokens=self.settings.embedding.batch_tokens,
            keeps_last_good=self.settings.quarantine.keep_last_good,
        )
        return CollectionParts(shared, record, spec or spec_from_values(record.spec))

    def target_parts(self, ledger: Ledger | None = None) -> CollectionParts:
        """The stages of what an index run fills."""
        chosen = self.collections()
        return self.parts(chosen.target, chosen.target_spec, ledger)

    @cached_property
    def local_roots(self) -> list[Path]:
        """Folders that can be watched for file events."""
        roots = (local_root(source.url, base=self.settings.root) for source in self.settings.sources)
        return [root for root in roots if root is not None]

    def scan(self, *, approve_deletes: bool, progress: Progress, ledger: Any = None) -> ScanResult:
        """What changed in the sources, written to the ledger."""
        ledger = ledger or self.ledger
        looked_ns = self.clock.now_ns()
        scan = scan_sources(
            sources=list(self.sources.values()),
            ledger=ledger,
            clock=self.clock,
            buckets=self.settings.buckets,
            brake=self.brake,
            approve_deletes=approve_deletes,
            progress=progress,
        )
        if not scan.problems and ledger is self.ledger:
            self.ledger.set_meta(LOOKED_KEY, str(looked_ns))
        give_back_free_memory()  # the records of every document were compared
        return scan

    def look_for_changes(self) -> ChangeSummary:
        """Whether a scan would find something; writes nothing."""
        sources, memory = list(self.sources.values()), self._look_memory
        remembered = memory.quiet
        changes = has_changes(sources=sources, ledger=self.ledger, clock=self.clock, brake=self.brake, memory=memory)
        if remembered is None or memory.quiet is not remembered:  # the records of every document were compared
            give_back_free_memory()
        return changes

    def remember_rate(self, report: BuildReport, spec: IndexSpec) -> None:
        """Keeps the embedding rate of the model for ``rag plan``, and the longest chunk for its check."""
        if report.tokens >= RATE_MIN_TOKENS:
            rate = f"{report.tokens / report.seconds['embeddings']:.1f}"
            self.ledger.set_meta(f"{RATE_KEY}:{spec.vector_space.weights_sha256}", rate)
        if report.longest_tokens > self.longest_tokens(spec):
            self.ledger.set_meta(_longest_key(spec), str(report.longest_tokens))

    def longest_tokens(self, spec: IndexSpec) -> int:
        """Tokens of the longest chunk that was ever made under this spec."""
        return int(self.ledger.meta(_longest_key(spec)) or 0)

    def tokens_per_s(self, spec: IndexSpec) -> float | None:
        """The rate of the last run of this model that embedded enough to tell."""
        rate = self.ledger.meta(f"{RATE_KEY}:{spec.vector_space.weights_sha256}")
        return float(rate) if rate else None

    @property
    def brake(self) -> DeleteBrake:
        """The guard against mass deletion."""
        limits = self.settings.delete_brake
        return DeleteBrake(max_share=limits.max_share, max_documents=limits.max_documents)

    def searcher(self) -> Searcher:
        """Answers questions from the live collection."""
        retrieval = self.settings.retrieval
        return Searcher(
            store=self.store,
            alias=self.settings.alias,
            sparse=self.sparse,
            embedder_for=lambda metadata: self.models.embedder(VectorSpace(**metadata["vector_space"])),
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

    def writer_lock(self) -> AbstractContextManager[int]:
        """Held while the index is written; its fencing number."""
        return self.ledger.writer_lock(wait_s=self.settings.writer_wait_s, on_wait=self._wait_for_writer)

    def works_beside_others(self, buckets: Sequence[str]) -> bool:
        """Whether a run of these buckets lets runs of others write meanwhile: over servers, and never a run of all buckets."""
        is_part = len(buckets) < len(self.buckets)
        return is_part and self.settings.store.kind == "server" and self.ledger.has_bucket_locks

    def bucket_locks(self, buckets: Sequence[str]) -> AbstractContextManager[Any]:
        """Held while nothing but these buckets is written."""
        return self.ledger.bucket_locks(list(buckets), wait_s=self.settings.writer_wait_s, on_wait=self._wait_for_writer)

    def _wait_for_writer(self, message: str) -> None:
        """Lets go of the store: who writes the index needs it, and an embedded one has a lock of its own."""
        if "store" in self.__dict__:
            self.store.close()
        self._on_wait(message)

    def close(self) -> None:
        """Ends child processes and frees locks."""
        for name in ("parser", "store"):
            if name in self.__dict__:
                self.__dict__[name].close()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"state: the folder {folder} cannot be made ({error.strerror}); give this user the right, or change 'state'"
        ) from error


def _longest_key(spec: IndexSpec) -> str:
    return f"longest_tokens:{spec_fingerprint(spec)}"
