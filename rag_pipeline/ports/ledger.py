"""What the pipeline knows: what was seen, what was done, what was decided."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from rag_pipeline.schema import (
    Block,
    BucketState,
    CollectionRecord,
    Decision,
    DocumentRecord,
    QuarantineEntry,
)


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

    def contents(self) -> Iterator[tuple[str, str, str, str]]:
        """Bucket, document id, content hash and address of every document: all of it that decides what a bucket holds.

        Bucket by bucket, so that whoever reads them needs to hold one bucket only. To be read to its end before the ledger is
        used again.
        """

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
