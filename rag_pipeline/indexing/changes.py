"""What changed in a source: the ledger's records of the last scan against a listing of now.

Two steps, both pure. ``compare_stats`` says which files need their content hash; with these hashes ``plan_changes`` sorts every
file into new, modified, renamed and unchanged, every record without a file into renamed and deleted, and pulls the delete brake.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from rag_pipeline.indexing.identity import bucket_of, document_id
from rag_pipeline.schema import DocumentRecord, FileStat, Listing, SourceFile

COARSE_NS = 2_000_000_000
"""Granularity assumed of time stamps in whole seconds (FAT, HFS+, object stores), clocks a little apart included."""
FINE_NS = 100_000_000
"""Granularity assumed of time stamps with a fraction; kernels tick 100 to 1,000 times a second."""
_NS_PER_S = 1_000_000_000

UNREADABLE = "unreadable:"


class ChangeKind(StrEnum):
    """What happened to a document since the last scan."""

    NEW = "new"
    MODIFIED = "modified"
    RENAMED = "renamed"
    DELETED = "deleted"
    BLOCKED = "blocked"
    """Gone, but kept: the delete brake waits for an approval."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a scan's report."""

    kind: ChangeKind
    document_id: str
    path: str
    old_path: str | None = None
    """Where a renamed document was before; equal to ``path`` where only the URL of the source changed."""


@dataclass(frozen=True, slots=True)
class HashedFile:
    """What one read of a file told: the stat and the hash of one real version."""

    stat: FileStat
    content_hash: str
    detail: str = ""
    """Why it could not be read; its hash is then the one that ``unreadable_hash`` gives."""


@dataclass(frozen=True, slots=True)
class DeleteBrake:
    """Above both limits the deletions of a source wait for an approval."""

    max_share: float
    max_documents: int
    is_approved: bool = False

    def stops(self, vanished: int, *, known: int) -> bool:
        """Whether so many of so many known documents may not vanish unasked."""
        return not self.is_approved and vanished > self.max_documents and vanished > self.max_share * known


@dataclass(frozen=True, slots=True)
class StatComparison:
    """What stats alone decide."""

    unchanged: tuple[SourceFile, ...]
    to_hash: tuple[SourceFile, ...]
    """New paths, other stats, and racy records."""


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """What one scan of one source writes and reports."""

    upserts: tuple[DocumentRecord, ...]
    """Records that differ from the ledger's, those included of which only the stat did."""
    deletes: tuple[str, ...]
    changes: tuple[Change, ...]
    unchanged: int
    brake_message: str | None

    def count(self, kind: ChangeKind) -> int:
        """Number of changes of one kind."""
        return sum(change.kind is kind for change in self.changes)

    @property
    def has_changes(self) -> bool:
        """Whether the index has to follow; blocked deletions and new stats alone do not ask for it."""
        return any(change.kind is not ChangeKind.BLOCKED for change in self.changes)


def unreadable_hash(document: str) -> str:
    """Stands for the content of a document that cannot be read.

    It belongs to this one document and equals no real hash, so a quarantine entry under it ends as soon as the file can
    be read again.
    """
    return UNREADABLE + document


def is_unreadable(record: DocumentRecord) -> bool:
    """Whether the newest scan could not read the document; what is indexed of it stays."""
    return record.content_hash.startswith(UNREADABLE)


def is_racy(stat: FileStat, *, started_ns: int) -> bool:
    """Whether the file is so young that a later write could leave its stat as it is: git's racy rule."""
    granularity_ns = FINE_NS if stat.modified_ns % _NS_PER_S else COARSE_NS
    return stat.modified_ns >= started_ns - granularity_ns


def compare_stats(previous: Iterable[DocumentRecord], listing: Listing) -> StatComparison:
    """Files that are surely as the records say, and those that must be hashed to know."""
    known = {record.path: record for record in previous}
    unchanged: list[SourceFile] = []
    to_hash: list[SourceFile] = []
    for file in listing.files:
        record = known.get(file.path)
        is_certain = record is not None and record.stat == file.stat and not record.is_racy
        (unchanged if is_certain else to_hash).append(file)
    return StatComparison(tuple(unchanged), tuple(to_hash))


def plan_changes(
    *,
    previous: Iterable[DocumentRecord],
    listing: Listing,
    hashes: Mapping[str, HashedFile | None],
    uri: Callable[[str], str],
    buckets: int,
    generation: int,
    brake: DeleteBrake,
) -> ChangePlan:
    """The difference between the records of one source and its listing.

    ``hashes`` has an entry for each path of ``compare_stats(...).to_hash``; None says that the file was gone when it was
    to be read. ``generation`` is the one that changed records get.
    """
    known = {record.path: record for record in previous}
    now = [
        _record(file, listing=listing, old=known.get(file.path), hashed=hashes.get(file.path), uri=uri, buckets=buckets)
        for file in listing.files
        if file.path not in hashes or hashes[file.path] is not None
    ]
    here = {record.path for record in now}
    vanished = [known[path] for path in sorted(known.keys() - here)]
    olds = _find_renames((record for record in now if record.path not in known), vanished)
    sorter = _Sorter(known=known, renamed_from=olds, generation=generation)
    for record in now:
        sorter.add(record)
    taken = {old.document_id for old in olds.values()}
    gone = [record for record in vanished if record.document_id not in taken]
    is_braked = brake.stops(len(gone), known=len(known))
    kind = ChangeKind.BLOCKED if is_braked else ChangeKind.DELETED
    sorter.changes += [Change(kind, record.document_id, record.path) for record in gone]
    return ChangePlan(
        upserts=tuple(sorter.upserts),
        deletes=tuple(sorted(taken) + ([] if is_braked else [record.document_id for record in gone])),
        changes=tuple(sorter.changes),
        unchanged=sorter.unchanged,
        brake_message=_brake_message(listing.source, gone=len(gone), known=len(known), brake=brake) if is_braked else None,
    )


class _Sorter:
    """Sorts the records of now, in the order of the listing."""

    def __init__(
        self, *, known: Mapping[str, DocumentRecord], renamed_from: Mapping[str, DocumentRecord], generation: int
    ) -> None:
        self.upserts: list[DocumentRecord] = []
        self.changes: list[Change] = []
        self.unchanged = 0
        self._known = known
        self._renamed_from = renamed_from
        self._generation = generation

    def add(self, record: DocumentRecord) -> None:
        old = self._known.get(record.path)
        if old is None:
            source = self._renamed_from.get(record.path)
            self._change(record, ChangeKind.RENAMED if source else ChangeKind.NEW, source.path if source else None)
        elif old.content_hash != record.content_hash:
            self._change(record, ChangeKind.MODIFIED)
        elif old.uri != record.uri:
            self._change(record, ChangeKind.RENAMED, old.path)
        else:
            self.unchanged += 1
            if old != record:
                self.upserts.append(record)

    def _change(self, record: DocumentRecord, kind: ChangeKind, old_path: str | None = None) -> None:
        self.upserts.append(replace(record, generation=self._generation))
        self.changes.append(Change(kind, record.document_id, record.path, old_path))


def _record(
    file: SourceFile,
    *,
    listing: Listing,
    old: DocumentRecord | None,
    hashed: HashedFile | None,
    uri: Callable[[str], str],
    buckets: int,
) -> DocumentRecord:
    """The record of a file as it is now. A file without a hash has its old record's content, its stat being equal."""
    if hashed is None:
        if old is None:
            raise ValueError(f"'{file.path}' is new and has no hash")
        address = uri(file.path)
        return old if old.uri == address else replace(old, uri=address)
    document = document_id(listing.source, file.path)
    return DocumentRecord(
        document_id=document,
        source=listing.source,
        path=file.path,
        uri=uri(file.path),
        bucket=bucket_of(document, buckets),
        stat=hashed.stat,
        content_hash=hashed.content_hash,
        is_racy=hashed.content_hash.startswith(UNREADABLE) or is_racy(hashed.stat, started_ns=listing.started_ns),
        generation=old.generation if old else 0,
    )


def _find_renames(arrived: Iterable[DocumentRecord], vanished: Iterable[DocumentRecord]) -> dict[str, DocumentRecord]:
    """The vanished record that each arrived path was before: equal content, each used once, both in the order of paths."""
    by_content: dict[str, deque[DocumentRecord]] = defaultdict(deque)
    for record in vanished:
        by_content[record.content_hash].append(record)
    ordered = sorted(arrived, key=lambda record: record.path)
    return {record.path: by_content[record.content_hash].popleft() for record in ordered if by_content.get(record.content_hash)}


def _brake_message(source: str, *, gone: int, known: int, brake: DeleteBrake) -> str:
    return (
        f"source '{source}': {gone} of {known} documents are gone, more than {brake.max_documents} and more than "
        f"{brake.max_share:.0%}; none was deleted. Check that the source is whole; if the documents are really gone, "
        "run 'rag index --approve-deletes'"
    )
