"""The scan: load the ledger, list the sources, read what changed, decide, write one generation.

The ledger is read before the sources are listed, so a change during the scan can only be seen late, never lost. A generation is
a scan that found something: a quiet scan writes at most new stats, and the counter stands still.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

from rag_pipeline.errors import DeleteBrakeError, SourceUnavailableError, UnstableDocumentError
from rag_pipeline.indexing.blocking import Blocked, read_blocked, with_deleted
from rag_pipeline.indexing.changes import (
    ChangeKind,
    ChangePlan,
    DeleteBrake,
    HashedFile,
    compare_stats,
    plan_changes,
    unreadable_hash,
)
from rag_pipeline.indexing.identity import document_id
from rag_pipeline.indexing.scan_report import SHOWN_CHANGES, ScanCounts, ScanResult, SourceScan, UnreadableFile
from rag_pipeline.ports import Clock, DocumentSource, Ledger, Progress
from rag_pipeline.schema import DocumentRecord, FileContent, FileStat, Listing, SourceFile

HASHING_THREADS = 4
_HASHED_AT_ONCE = 256
_KEPT_KINDS = (ChangeKind.MODIFIED, ChangeKind.RENAMED)

PROGRESS_STAGE = "scan"
_NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class _Findings:
    """One source as found: its scan, and unless it failed its plan and unreadable files."""

    scan: SourceScan
    plan: ChangePlan | None = None
    unreadable: tuple[UnreadableFile, ...] = ()


class _RemovedSource:
    """Stands for a source that the settings no longer name: it holds nothing now."""

    def __init__(self, name: str, *, clock: Clock) -> None:
        self.name = name
        self._clock = clock

    def list_files(self) -> Listing:
        return Listing(source=self.name, started_ns=self._clock.now_ns(), files=(), excluded=(), stat_digest=_NOTHING)

    def read(self, path: str) -> FileContent:
        raise FileNotFoundError(path)

    def digest(self, path: str) -> tuple[FileStat, str]:
        raise FileNotFoundError(path)

    def stat_digest(self) -> str:
        return _NOTHING

    def uri(self, path: str) -> str:
        return path


def scan_sources(
    *,
    sources: Sequence[DocumentSource],
    ledger: Ledger,
    clock: Clock,
    buckets: int,
    brake: DeleteBrake,
    approve_deletes: bool = False,
    progress: Progress | None = None,
) -> ScanResult:
    """What changed in all sources since the last scan, written to the ledger in one transaction.

    ``sources`` are all that the settings name: documents of other sources count as gone. A source that cannot be listed keeps
    its documents and stands in ``errors``; the others go on. Call it under the writer lock.
    """
    started = time.perf_counter()
    last = ledger.generation()
    records = records_by_source(ledger)
    look = _Scanner(
        blocked=read_blocked(ledger),
        buckets=buckets,
        generation=last + 1,
        brake=replace(brake, is_approved=brake.is_approved or approve_deletes),
        progress=progress,
    )
    findings = [look.scan(source, records.get(source.name, ())) for source in with_removed(sources, records, clock=clock)]
    result = _result(findings, last=last, seconds=time.perf_counter() - started)
    _commit(result, findings, ledger=ledger, clock=clock)
    if approve_deletes and result.counts.deleted:
        ledger.add_decision("approve_deletes", {"generation": result.generation, "deleted": result.counts.deleted})
    return result


class _Scanner:
    """Finds the changes of one source after another."""

    def __init__(self, *, blocked: Blocked, buckets: int, generation: int, brake: DeleteBrake, progress: Progress | None) -> None:
        self._blocked = blocked
        self._buckets = buckets
        self._generation = generation
        self._brake = brake
        self._progress = progress

    def scan(self, source: DocumentSource, records: Sequence[DocumentRecord]) -> _Findings:
        try:
            listing = self._blocked.without_ids(source.list_files())
            to_hash = compare_stats(records, listing).to_hash
            hashes = self._hash(source, to_hash)
        except SourceUnavailableError as error:
            return _Findings(SourceScan(name=source.name, error=error))
        erased, kept = self._blocked.divide(records)
        listing = self._blocked.without_contents(listing, hashes, erased)
        hashes = {file.path: hashes[file.path] for file in listing.files if file.path in hashes}
        plan = plan_changes(
            previous=kept,
            listing=listing,
            hashes=hashes,
            uri=source.uri,
            buckets=self._buckets,
            generation=self._generation,
            brake=self._brake,
        )
        return _findings(listing, with_deleted(plan, erased), hashes)

    def _hash(self, source: DocumentSource, files: Sequence[SourceFile]) -> dict[str, HashedFile | None]:
        """Content hash by path; None for a file gone meanwhile."""
        hashes: dict[str, HashedFile | None] = {}
        if self._progress:
            self._progress.extend(PROGRESS_STAGE, len(files))
        with ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="hash") as threads:
            for batch in _batches(files):
                results = threads.map(lambda file: hash_file(source, file), batch)
                hashes.update(zip((file.path for file in batch), results, strict=True))
                if self._progress:
                    self._progress.advance(PROGRESS_STAGE, len(batch))
        return hashes


def records_by_source(ledger: Ledger) -> dict[str, list[DocumentRecord]]:
    """The records of all documents, by the name of their source."""
    records: dict[str, list[DocumentRecord]] = defaultdict(list)
    for record in ledger.documents().values():
        records[record.source].append(record)
    return dict(records)


def with_removed(
    sources: Sequence[DocumentSource], records: Mapping[str, Sequence[DocumentRecord]], *, clock: Clock
) -> list[DocumentSource]:
    """The sources of the settings, and an empty one for each that they no longer name."""
    removed = sorted(records.keys() - {source.name for source in sources})
    return [*sources, *(_RemovedSource(name, clock=clock) for name in removed)]


def _batches(files: Sequence[SourceFile]) -> Iterator[list[SourceFile]]:
    left = iter(files)
    while batch := list(islice(left, _HASHED_AT_ONCE)):
        yield batch


def hash_file(source: DocumentSource, file: SourceFile) -> HashedFile | None:
    """What one read of the file told; None where it is gone meanwhile. An equal stat is the listing's own: one of each file."""
    try:
        stat, content_hash = source.digest(file.path)
    except FileNotFoundError:
        return None
    except UnstableDocumentError as error:
        return HashedFile(file.stat, unreadable_hash(document_id(source.name, file.path)), detail=error.detail)
    return HashedFile(file.stat if stat == file.stat else stat, content_hash)


def _findings(listing: Listing, plan: ChangePlan, hashes: Mapping[str, HashedFile | None]) -> _Findings:
    unreadable = tuple(
        UnreadableFile(document_id(listing.source, path), listing.source, path, hashed.detail)
        for path, hashed in hashes.items()
        if hashed and hashed.detail
    )
    kinds = Counter(change.kind.value for change in plan.changes)
    counts = ScanCounts(**kinds, unchanged=plan.unchanged, excluded=len(listing.excluded), unreadable=len(unreadable))
    scan = SourceScan(
        name=listing.source,
        counts=counts,
        changes=plan.changes[:SHOWN_CHANGES],
        excluded=dict(Counter(exclusion.reason for exclusion in listing.excluded)),
        brake=DeleteBrakeError(plan.brake_message) if plan.brake_message else None,
    )
    return _Findings(scan, plan, unreadable)


def _result(findings: Sequence[_Findings], *, last: int, seconds: float) -> ScanResult:
    plans = [found.plan for found in findings if found.plan]
    changed = any(plan.has_changes for plan in plans)
    is_first = last == 0 and bool(plans)
    return ScanResult(
        generation=last + 1 if changed or is_first else last,
        has_changes=changed,
        sources=tuple(found.scan for found in findings),
        unreadable=tuple(file for found in findings for file in found.unreadable),
        seconds=seconds,
        kinds={change.document_id: change.kind for plan in plans for change in plan.changes if change.kind in _KEPT_KINDS},
    )


def _commit(result: ScanResult, findings: Iterable[_Findings], *, ledger: Ledger, clock: Clock) -> None:
    plans = [found.plan for found in findings if found.plan]
    ledger.commit_scan(
        generation=result.generation,
        upserts=[record for plan in plans for record in plan.upserts],
        deletes=[document for plan in plans for document in plan.deletes],
        summary={**result.summary(), "finished_ns": clock.now_ns()},
    )
