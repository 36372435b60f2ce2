"""Every outside system, as a Protocol. Adapters implement them; contract suites hold each to its word."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from rag_pipeline.errors import DocumentError
from rag_pipeline.schema import (
    Block,
    BucketState,
    ChunkedDocument,
    CollectionInfo,
    CollectionLayout,
    CollectionRecord,
    Decision,
    DocumentRecord,
    DocumentType,
    FileContent,
    FileStat,
    Hit,
    Listing,
    Matrix,
    ParsedDocument,
    Point,
    QuarantineEntry,
    SparseVector,
    StoredDocument,
    StoredPoint,
    Vector,
)

Row = TypeVar("Row")


class Clock(Protocol):
    """The time, so that tests can set it."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""


class DocumentSource(Protocol):
    """A configured root of documents."""

    name: str

    def list_files(self) -> Listing:
        """Every file below the root. Raises SourceUnavailableError unless the listing is whole."""

    def read(self, path: str) -> FileContent:
        """One real version of the file. Raises UnstableDocumentError when it cannot be had, FileNotFoundError when gone."""

    def digest(self, path: str) -> tuple[FileStat, str]:
        """Stat and content hash of one real version, without holding its bytes. Raises as ``read`` does."""

    def uri(self, path: str) -> str:
        """The address that a reader of a hit gets: the configured URL joined with the path."""


@dataclass(frozen=True, slots=True)
class ParseRequest:
    """A file to parse. ``path`` serves only where content cannot decide: Markdown or plain text, which language."""

    document_id: str
    path: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ParseOutcome:
    """What became of one request: a document, or the error that quarantines it."""

    document_id: str
    type: DocumentType | None
    """None when not even the type could be told."""
    result: ParsedDocument | DocumentError


class Progress(Protocol):
    """Told how far a long work is; shows it, or not."""

    def extend(self, stage: str, amount: int) -> None:
        """So much more work of this stage has become known."""

    def advance(self, stage: str, amount: int = 1) -> None:
        """So much of it is done."""


class Parser(Protocol):
    """Bytes to elements, in processes that may die without harm."""

    def fingerprint(self, document_type: DocumentType | None) -> str:
        """Digest of all that decides how this type is parsed; for None, how a type is told."""

    def parse_all(self, requests: Iterable[ParseRequest]) -> Iterator[ParseOutcome]:
        """One outcome per request, in their order; a bounded number of requests is drawn ahead."""

    def close(self) -> None:
        """Ends the child processes."""


@dataclass(frozen=True, slots=True)
class MaskedDocument:
    """A document as it may be stored; how many values of each kind were masked, and their keyed digests, where there is a key."""

    document: ParsedDocument
    entities: Mapping[str, int] = field(default_factory=dict)
    subjects: tuple[str, ...] = ()


class Masker(Protocol):
    """Personal data out of documents, before anything of them is stored, embedded or logged."""

    def fingerprint(self, source: str) -> str:
        """Digest of all that decides what is masked in a source, and how; empty where nothing is."""

    def mask_all(self, documents: Sequence[tuple[str, ParsedDocument]]) -> Sequence[MaskedDocument | DocumentError]:
        """Each document, given with the name of its source, as it may be stored, or why it may not; in order."""

    def mask_text(self, source: str, text: str) -> str:
        """A short text, such as a message, without patterned personal data."""

    def mask_path(self, source: str, path: str) -> str:
        """A path with the kind of each patterned value in its place, the same whatever the operator."""

    def distinguish(self, path: str) -> str:
        """Letters that tell two paths apart whose masked forms are equal; empty without a key."""

    def count_leaks(self, source: str, texts: Iterable[str]) -> Mapping[str, int]:
        """Patterned values by kind that stand in texts in which nothing should be left."""


class Tokenizer(Protocol):
    """The embedding model's own tokenizer."""

    special_tokens: int
    """Tokens that the model adds to every input."""

    def spans(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        """For each text its tokens as character offsets: int32 of shape ``(tokens, 2)``, special tokens left out."""

    def count(self, text: str) -> int:
        """Tokens of the text, special tokens left out."""


class Embedder(Protocol):
    """Texts to vectors of one vector space."""

    dimension: int

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        """float32 ``(len(texts), dimension)``, in order, prompt added, one batch. Raises BatchTooLargeError, TruncationError."""

    def embed_query(self, text: str) -> Vector:
        """float32 ``(dimension,)``, embedded after the query prompt."""

    def describe(self) -> Mapping[str, Any]:
        """Device, arithmetic and how they were chosen; for metadata, not for fingerprints."""


class SparseEncoder(Protocol):
    """Texts to BM25 weights."""

    name: str
    """Model and its settings; part of the spec."""

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """One sparse vector a text, in order."""

    def encode_query(self, text: str) -> SparseVector:
        """The sparse vector of a question."""


class VectorStore(Protocol):
    """Collections of points behind aliases. Every write waits until it is applied and every item result is checked."""

    def create_collection(self, name: str, layout: CollectionLayout) -> None:
        """Makes the collection with its payload indexes; nothing happens where it stands with this dimension."""

    def collections(self) -> list[str]:
        """Names of all collections, sorted."""

    def describe(self, name: str) -> CollectionInfo | None:
        """Facts of a collection, or None where there is none."""

    def metadata(self, name: str) -> Mapping[str, Any] | None:
        """The spec that the collection says it holds, or None where there is none; needs no turn at the store."""

    def set_metadata(self, name: str, metadata: Mapping[str, Any]) -> None:
        """Replaces the spec that the collection says it holds."""

    def drop_collection(self, name: str) -> None:
        """Deletes it. Raises BackendRejectedError while an alias points at it."""

    def resolve_alias(self, alias: str) -> str | None:
        """The collection behind the alias, or None."""

    def switch_alias(self, alias: str, collection: str) -> None:
        """Points the alias at an existing collection, in one atomic step."""

    def upsert(self, name: str, points: Sequence[Point]) -> None:
        """Stores the points, whatever their number and size, and waits."""

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """Removes the points and waits; unknown ids are fine."""

    def point_ids(self, name: str, bucket: str) -> set[str]:
        """Ids of every point whose payload names the bucket."""

    def scroll(self, name: str, *, bucket: str | None = None, with_vectors: bool = False) -> Iterator[StoredPoint]:
        """Every point, of one bucket or all."""

    def count(self, name: str) -> int:
        """The exact number of points."""

    def optimize(self, name: str) -> None:
        """Builds the vector index over what is stored, which loading leaves for later, and makes it durable."""

    def free_bytes(self) -> int | None:
        """Free space where the points are kept; None where the store does not tell."""

    def purge(self, name: str) -> bool:
        """Leaves nothing of deleted points in the store's files; readers see no gap. False where that is not in our hands."""

    def let_others_in(self) -> None:
        """Gives a waiting process its turn where only one can use the store; costs next to nothing when none waits."""

    def search_dense(self, name: str, vector: Vector, *, limit: int, filters: Mapping[str, Any] | None = None) -> list[Hit]:
        """Nearest points by vector. ``filters``: payload key to a value, or to a list of which one must match."""

    def search_sparse(
        self, name: str, vector: SparseVector, *, limit: int, filters: Mapping[str, Any] | None = None
    ) -> list[Hit]:
        """Best points by BM25."""

    def close(self) -> None:
        """Frees locks and connections; the object may be used again and then opens anew."""


class Artifact(Protocol[Row]):
    """Rows of one stage, kept per bucket."""

    def read(self, bucket: str) -> list[Row]:
        """All rows of the bucket, later ones of a key winning; empty where nothing was written."""

    def append(self, bucket: str, rows: Sequence[Row]) -> None:
        """Adds rows so that a crash right after keeps them; cheap, and compacted by the next replace."""

    def replace(self, bucket: str, rows: Sequence[Row]) -> None:
        """Makes these the rows of the bucket, atomically: a reader sees the old ones or the new ones."""


class StoredDocuments(Artifact[StoredDocument], Protocol):
    """The ``documents`` artifact, found by content too, so that a renamed or copied file is not parsed again."""

    def content_keys(self, bucket: str) -> list[tuple[str, str]]:
        """(content hash, document id) of every row of the bucket, without reading any text."""


class VectorArtifact(Protocol):
    """Vectors by the digest of their text, kept per bucket of the document that first needed them."""

    def digests(self, bucket: str) -> set[bytes]:
        """Digests that the bucket holds, without reading a vector."""

    def read(self, bucket: str, digests: Iterable[bytes]) -> dict[bytes, Vector]:
        """The vectors of those digests that the bucket holds."""

    def append(self, bucket: str, digests: Sequence[bytes], vectors: Matrix) -> None:
        """Adds vectors so that a crash right after keeps them."""

    def retain(self, bucket: str, digests: set[bytes]) -> None:
        """Compacts the bucket to these digests; those not held are ignored."""

    def buckets(self) -> list[str]:
        """Buckets that hold anything, sorted."""


Stage = Literal["documents", "chunks", "embeddings"]


class ArtifactStore(Protocol):
    """The artifacts of all collections. An artifact is named by what made it, so that collections share what they can."""

    def documents(self, name: str) -> StoredDocuments:
        """Parsed documents; made by its first write."""

    def chunks(self, name: str) -> Artifact[ChunkedDocument]:
        """Documents cut into chunks."""

    def vectors(self, name: str) -> VectorArtifact:
        """Vectors of one vector space."""

    def names(self, stage: Stage) -> list[str]:
        """Artifacts of the stage that hold anything, sorted."""

    def drop(self, stage: Stage, name: str) -> None:
        """Deletes an artifact whole; nothing happens where there is none."""


class Ledger(Protocol):
    """What was seen and decided. It may lag behind the store, never lead it."""

    def writer_lock(self, *, wait_s: float, on_wait: Callable[[str], None]) -> AbstractContextManager[int]:
        """Held while the index is written; its fencing number, larger than all before. Raises StoreLockedError.

        Writes meanwhile raise StaleWriterError where a later holder has come. ``on_wait`` is told once who is waited for.
        """

    has_bucket_locks: bool

    def bucket_locks(self, buckets: list[str], *, wait_s: float, on_wait: Callable[[str], None]) -> AbstractContextManager[Any]:
        """Held while only these buckets are written, beside others of other buckets; else the writer lock itself."""

    def check_writer(self) -> None:
        """Raises StaleWriterError when this object holds a lock and a later holder has come. Before a store write."""

    def generation(self) -> int:
        """The newest finished scan; 0 before the first."""

    def meta(self, key: str) -> str | None:
        """A remembered setting of this state, such as its bucket count."""

    def set_meta(self, key: str, value: str) -> None:
        """Remembers it."""

    def add_to_meta(self, key: str, item: str) -> None:
        """Adds to a remembered JSON list, in one step: runs of different buckets add to one list."""

    def documents(self, *, source: str | None = None, bucket: str | None = None) -> dict[str, DocumentRecord]:
        """Records by document id."""

    def contents(self) -> Sequence[tuple[str, str, str, str]]:
        """Bucket, document id, content hash and address of every document: all of it that decides what a bucket holds."""

    def count_documents(self) -> int:
        """How many documents the newest scan saw."""

    def commit_scan(
        self, *, generation: int, upserts: Sequence[DocumentRecord], deletes: Sequence[str], summary: Mapping[str, Any]
    ) -> None:
        """Writes one scan in one transaction."""

    def scan_summary(self) -> Mapping[str, Any] | None:
        """The summary of the newest scan."""

    def quarantine(self, *, bucket: str | None = None) -> list[QuarantineEntry]:
        """An entry for each document that still has a content that failed; equal bad documents are each named."""

    def add_quarantine(self, entries: Sequence[QuarantineEntry]) -> None:
        """Adds or counts up entries."""

    def remove_quarantine(self, keys: Sequence[tuple[str, str]]) -> None:
        """Forgets entries by (content hash, parser fingerprint)."""

    def add_blocks(self, blocks: Sequence[Block]) -> None:
        """Keeps these documents out for good; one that is blocked already stays so."""

    def blocks(self) -> list[Block]:
        """Every document that stays out, oldest first."""

    def collections(self, alias: str) -> list[CollectionRecord]:
        """Collections of the alias that are not dropped, oldest first."""

    def put_collection(self, record: CollectionRecord) -> None:
        """Adds or replaces the row of a collection; ``changed_ns`` is set to now when the state is another one."""

    def last_number(self, alias: str, fingerprint: str) -> int:
        """The highest number that a collection of this alias and vector space ever had, dropped ones included; 0 for none."""

    def bucket_states(self, collection: str) -> dict[str, BucketState]:
        """Last finished reconcile by bucket."""

    def put_bucket_state(self, collection: str, bucket: str, state: BucketState) -> None:
        """Written last, after the store was read back."""

    def forget_bucket_states(self, collection: str) -> None:
        """Makes the next run compare every bucket with the store."""

    def put_report(self, run_id: str, part: str, content: Mapping[str, Any]) -> None:
        """Keeps one part of a run's report."""

    def report(self, run_id: str) -> dict[str, Mapping[str, Any]]:
        """The parts of a run's report by name."""

    def add_decision(self, kind: str, content: Mapping[str, Any]) -> None:
        """Appends to the list of decisions (gates, switches, rollbacks, drops, repairs)."""

    def decisions(self, *, kind: str | None = None, limit: int | None = None) -> list[Decision]:
        """Decisions of one kind or all, newest first."""

    def forget_mentions(self, pieces: Sequence[str]) -> int:
        """Deletes reports and decisions in which one of the pieces stands; how many."""

    def compact(self) -> None:
        """Rewrites the ledger's files, so that nothing deleted is left in them."""
