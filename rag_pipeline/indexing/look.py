"""The look: whether a scan would find something. Writes nothing, and costs a stat for each file where nothing changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rag_pipeline.errors import SourceUnavailableError
from rag_pipeline.indexing.blocking import Blocked, read_blocked
from rag_pipeline.indexing.changes import DeleteBrake, HashedFile, compare_stats
from rag_pipeline.indexing.manifest import hash_file, records_by_source, with_removed
from rag_pipeline.indexing.scan_report import ChangeSummary, count_of
from rag_pipeline.ports import Clock, DocumentSource, Ledger
from rag_pipeline.schema import DocumentRecord, Listing, SourceFile

HASHED_BY_A_LOOK = 500
"""Files that a look reads at most; with more in doubt a scan has to look, which then remembers the new stats."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What an answer rests on beside the sources."""

    generation: int
    told: Mapping[str, Any]
    """The summary of the newest scan, which every scan writes anew."""
    blocked: Blocked


@dataclass(frozen=True, slots=True)
class _Quiet:
    """A look that found nothing and left no doubt."""

    facts: _Facts
    digests: Mapping[str, str]
    """Of the listing of each source, by its name."""
    files: int

    def holds(self, facts: _Facts, sources: Sequence[DocumentSource]) -> bool:
        """Whether all is as it was then, and so the answer."""
        return facts == self.facts and all(source.stat_digest() == self.digests.get(source.name, "") for source in sources)


@dataclass(slots=True)
class LookMemory:
    """The last look, if nothing was to be found; lives as long as its process."""

    quiet: _Quiet | None = None


def has_changes(
    *, sources: Sequence[DocumentSource], ledger: Ledger, clock: Clock, brake: DeleteBrake, memory: LookMemory | None = None
) -> ChangeSummary:
    """Whether ``scan_sources`` would find something that nobody was told of yet. Cheap, and writes nothing.

    Files are read only where stats leave a doubt, and few at that. A failure to list, or a pulled brake, is a reason
    once: after the scan that reported it, it is not. ``memory`` belongs to these sources, this ledger and this brake.
    """
    memory = memory or LookMemory()
    # Read first: a scan or a block that comes in between makes the next look compare everything.
    facts = _Facts(ledger.generation(), ledger.scan_summary() or {}, read_blocked(ledger))
    if memory.quiet and memory.quiet.holds(facts, sources):
        return ChangeSummary((), memory.quiet.files)
    look = _Look(ledger, clock=clock, brake=brake, facts=facts)
    reasons = tuple(filter(None, map(look.reason, look.with_removed(sources))))
    memory.quiet = None if reasons or look.is_in_doubt else _Quiet(facts, look.digests, look.files)
    return ChangeSummary(reasons, look.files)


class _Look:
    """Looks at one source after another."""

    def __init__(self, ledger: Ledger, *, clock: Clock, brake: DeleteBrake, facts: _Facts) -> None:
        self.files = 0
        self.digests: dict[str, str] = {}
        self.is_in_doubt = False
        """Whether the same stats could have another answer: a file was read, or a source was not listed."""
        self._records = records_by_source(ledger)
        self._clock = clock
        self._brake = brake
        self._blocked = facts.blocked
        self._told: Mapping[str, Mapping[str, Any]] = facts.told.get("sources", {})

    def with_removed(self, sources: Sequence[DocumentSource]) -> list[DocumentSource]:
        return with_removed(sources, self._records, clock=self._clock)

    def reason(self, source: DocumentSource) -> str | None:
        """Why a scan of the source is due, or None."""
        told = self._told.get(source.name, {})
        try:
            listing = self._list(source)
            erased, known = self._blocked.divide(self._records.get(source.name, ()))
            here = self._without_blocked(source, self._blocked.without_ids(listing), known)
            reason = self._first_change(source, here, known, told)
        except SourceUnavailableError as error:
            self.is_in_doubt = True
            return None if told.get("error") else str(error)
        return f"source '{source.name}': {_told(len(erased), 'document', 'waits', 'wait')} for erasure" if erased else reason

    def _list(self, source: DocumentSource) -> Listing:
        listing = source.list_files()
        self.files += len(listing.files)
        if listing.stat_digest is None:
            self.is_in_doubt = True
        else:
            self.digests[source.name] = listing.stat_digest
        return listing

    def _without_blocked(self, source: DocumentSource, listing: Listing, records: Sequence[DocumentRecord]) -> Listing:
        """The listing without copies of what was erased; a few new files are read to know, many are left for the scan."""
        if not self._blocked.contents:
            return listing
        known = {record.path for record in records}
        arrived = [file for file in listing.files if file.path not in known]
        if len(arrived) > HASHED_BY_A_LOOK:
            return listing
        return self._blocked.without_contents(listing, {file.path: self._hash(source, file) for file in arrived}, ())

    def _first_change(
        self, source: DocumentSource, listing: Listing, records: Sequence[DocumentRecord], told: Mapping[str, Any]
    ) -> str | None:
        if told.get("error"):
            return f"source '{source.name}' answers again"
        known = {record.path: record for record in records}
        gone = known.keys() - {file.path for file in listing.files}
        missing, blocked = f"source '{source.name}': {_told(len(gone), 'document', 'is', 'are')} gone", told.get("blocked", 0)
        if gone and not self._brake.stops(len(gone), known=len(known)):
            return missing
        if len(gone) > blocked:
            return f"{missing}, too many to delete unasked"
        if len(gone) < blocked:
            back = f"{blocked - len(gone)} of {_told(blocked, 'document', 'that was', 'that were')} gone"
            return f"source '{source.name}': {back} came back"
        return self._first_content_change(source, listing, known)

    def _first_content_change(self, source: DocumentSource, listing: Listing, known: Mapping[str, DocumentRecord]) -> str | None:
        doubtful = compare_stats(known.values(), listing).to_hash
        arrived = sum(file.path not in known for file in doubtful)
        if arrived:
            return f"source '{source.name}': {_told(arrived, 'file', 'is', 'are')} new"
        if len(doubtful) > HASHED_BY_A_LOOK:
            return f"source '{source.name}': {len(doubtful)} files were touched"
        for file in doubtful:
            hashed = self._hash(source, file)
            if hashed is None or hashed.content_hash != known[file.path].content_hash:
                return f"source '{source.name}': '{file.path}' was changed"
        has_moved = any(file.path in known and known[file.path].uri != source.uri(file.path) for file in listing.files)
        return f"source '{source.name}' has another URL" if has_moved else None

    def _hash(self, source: DocumentSource, file: SourceFile) -> HashedFile | None:
        self.is_in_doubt = True
        return hash_file(source, file)


def _told(count: int, noun: str, verb_of_one: str, verb: str) -> str:
    return f"{count_of(count, noun)} {verb_of_one if count == 1 else verb}"
