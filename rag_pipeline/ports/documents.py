"""Where documents come from and what reads them: time, sources, parsers, masking, progress."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rag_pipeline.errors import DocumentError
from rag_pipeline.schema import (
    DocumentType,
    FileContent,
    FileStat,
    Listing,
    ParsedDocument,
)


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

    def stat_digest(self) -> str | None:
        """A digest of all names and stats that a listing of now would rest on, for a fraction of its cost.

        Two listings with equal digests are equal. None where it cannot be had, or where a listing costs no more.
        """

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
