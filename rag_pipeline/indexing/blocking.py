"""What the block list keeps out of a scan: documents that were erased, and copies of them under another name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from rag_pipeline.indexing.changes import Change, ChangeKind, ChangePlan, HashedFile
from rag_pipeline.indexing.identity import document_id
from rag_pipeline.ports import Ledger
from rag_pipeline.schema import DocumentRecord, Exclusion, Listing, SourceFile

ERASED = "erased"
"""Reason of the exclusion."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """The block list as a scan asks it."""

    documents: frozenset[str] = frozenset()
    contents: frozenset[str] = frozenset()

    def holds(self, document: str, content_hash: str) -> bool:
        """Whether the document stays out."""
        return document in self.documents or content_hash in self.contents

    def without_ids(self, listing: Listing) -> Listing:
        """The listing, erased documents excluded by their ids; nothing of them is read."""
        if not self.documents:
            return listing
        return _excluding(listing, [f for f in listing.files if document_id(listing.source, f.path) in self.documents])

    def without_contents(
        self, listing: Listing, hashes: Mapping[str, HashedFile | None], erased: Iterable[DocumentRecord]
    ) -> Listing:
        """The listing without files whose content was erased, and without unchanged files of ``erased`` records."""
        if not self.contents:
            return listing
        here = {record.path for record in erased}
        return _excluding(listing, [f for f in listing.files if self._is_copy(f, hashes, here)])

    def divide(self, records: Iterable[DocumentRecord]) -> tuple[list[DocumentRecord], list[DocumentRecord]]:
        """The records that have to go, and the others."""
        if not (self.documents or self.contents):
            return [], list(records)
        erased, kept = list[DocumentRecord](), list[DocumentRecord]()
        for record in records:
            (erased if self.holds(record.document_id, record.content_hash) else kept).append(record)
        return erased, kept

    def _is_copy(self, file: SourceFile, hashes: Mapping[str, HashedFile | None], erased: set[str]) -> bool:
        if file.path not in hashes:
            return file.path in erased
        hashed = hashes[file.path]
        return hashed is not None and hashed.content_hash in self.contents


def read_blocked(ledger: Ledger) -> Blocked:
    """The block list of the ledger."""
    blocks = ledger.blocks()
    contents = frozenset(block.content_hash for block in blocks if block.content_hash)
    return Blocked(frozenset(block.document_id for block in blocks if block.document_id), contents)


def with_deleted(plan: ChangePlan, erased: Iterable[DocumentRecord]) -> ChangePlan:
    """The plan with these deletions, for which no delete brake is asked; a record that is written anew stays."""
    written = {record.document_id for record in plan.upserts}
    gone = [record for record in erased if record.document_id not in written]
    if not gone:
        return plan
    changes = (*plan.changes, *(Change(ChangeKind.DELETED, record.document_id, record.path) for record in gone))
    return replace(plan, deletes=tuple(sorted({*plan.deletes, *(r.document_id for r in gone)})), changes=changes)


def _excluding(listing: Listing, files: Iterable[SourceFile]) -> Listing:
    out = {file.path for file in files}
    if not out:
        return listing
    excluded = (*listing.excluded, *(Exclusion(path, ERASED) for path in sorted(out)))
    return replace(listing, files=tuple(file for file in listing.files if file.path not in out), excluded=excluded)
