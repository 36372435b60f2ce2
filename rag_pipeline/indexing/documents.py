"""The ``documents`` stage: what a bucket's files say, parsed once per content and parser, masked before it is kept."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from rag_pipeline.errors import DocumentError, UnstableDocumentError
from rag_pipeline.guardrails.pii.policy import masking_of
from rag_pipeline.indexing.document_slices import DocumentSlice, DocumentsOutcome
from rag_pipeline.indexing.identity import masking_part, parse_key, text_digest
from rag_pipeline.indexing.owners import Owners
from rag_pipeline.indexing.quarantine import READ_FAILURE, suffix_of
from rag_pipeline.ports import DocumentSource, Ledger, Masker, ParseOutcome, Parser, ParseRequest, Progress, StoredDocuments
from rag_pipeline.schema import DocumentRecord, DocumentType, ParsedDocument, QuarantineEntry, StoredDocument

SLICE_DOCUMENTS = 32
"""Documents that go on to the next stage together; as many parses may a crash cost."""
SLICE_CHARACTERS = 250_000
"""Text after which a slice goes on with fewer documents: about 60,000 tokens."""
PREVIEW_ROWS = 10


class DocumentStage:
    """Brings the ``documents`` artifact of a bucket in step with the ledger."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        sources: Mapping[str, DocumentSource],
        parser: Parser,
        masker: Masker,
        artifact: StoredDocuments,
        buckets: list[str],
        parsing: Mapping[DocumentType, str],
        masking: Mapping[str, str],
        others: Sequence[StoredDocuments] = (),
        keeps_last_good: bool = True,
    ) -> None:
        """``parsing``, ``masking``: what the spec says of them; rows of an older parser stay good for a collection of that spec.

        ``others``: artifacts of other parsers, whose rows are taken over where they will do.
        ``keeps_last_good``: a document in quarantine stays served in its last good version; else it has no points.
        """
        self._keeps_last_good = keeps_last_good
        self._ledger = ledger
        self._sources = sources
        self._parser = parser
        self._masker = masker
        self._artifact = artifact
        self._buckets = buckets
        self._parsing = parsing
        self._masking = masking
        self._others = others
        self._owners: Owners | None = None
        self._foreign: tuple[StoredDocuments, str, list[StoredDocument]] | None = None

    def load(self, bucket: str) -> DocumentsOutcome:
        """What stands there now, nothing done."""
        records = self._ledger.documents(bucket=bucket)
        stored = self._artifact.read(bucket)
        rows = {row.document_id: row for row in stored if self._may_hold(row, records)}
        garbage = len(stored) - len(rows)
        taken_over = self._rows_of_others(bucket, records, rows)
        rows.update({row.document_id: row for row in taken_over})
        failed = self._known_failures(bucket, records, rows)
        outcome = DocumentsOutcome(bucket, records, rows, garbage=garbage, taken_over=taken_over, quarantined=failed)
        self._leave_out_refused(outcome)
        return outcome

    def has_nothing_to_do(self, outcome: DocumentsOutcome) -> bool:
        """Whether each of the ledger's documents stands there, or is known to fail."""
        return not self._pending(outcome)

    def _leave_out_refused(self, outcome: DocumentsOutcome) -> None:
        """Where last good versions are not wanted: their rows stay in the artifact, for the day they are, and go no further.

        What merely cannot be read just now stays: an outage is not a deletion.
        """
        if not self._keeps_last_good:
            for key in outcome.quarantined - outcome.unsettled:
                outcome.rows.pop(key, None)

    def _rows_of_others(
        self, bucket: str, records: Mapping[str, DocumentRecord], rows: Mapping[str, StoredDocument]
    ) -> list[StoredDocument]:
        """Rows of documents that this artifact lacks, the last good version of one in quarantine included."""
        found: dict[str, StoredDocument] = {}
        for other in self._others:
            if len(rows) + len(found) == len(records):
                break
            missing = records.keys() - rows.keys() - found.keys()
            found.update(
                {
                    row.document_id: row
                    for row in other.read(bucket)
                    if row.document_id in missing and self._may_hold(row, records)
                }
            )
        return list(found.values())

    def preview(self, bucket: str) -> tuple[DocumentsOutcome, list[DocumentRecord]]:
        """What stands there, and the documents that ``update`` would parse; nothing done."""
        outcome = self.load(bucket)
        return outcome, [record for record in self._pending(outcome) if self._parsed_elsewhere(record) is None]

    def stream(
        self, bucket: str, progress: Progress, *, before_write: Callable[[], None] = lambda: None
    ) -> Iterator[DocumentSlice]:
        """Parses what is new or changed and not known to fail; gives each document once, when its version is in the artifact."""
        outcome = self.load(bucket)
        outcome.before_write = before_write
        pending = self._pending(outcome)
        progress.extend("documents", len(pending))
        self._keep(outcome, outcome.taken_over)
        outcome.taken_over = []
        held = len(outcome.rows) + outcome.garbage
        undecided = {record.document_id for record in pending}
        yield from self._pass_on(outcome, (key for key in outcome.rows if key not in undecided))
        pending = self._reuse_parsed(outcome, pending, progress)
        yield from self._pass_on(outcome, sorted(undecided - {record.document_id for record in pending}))
        yield from self._parse(outcome, pending, progress)
        self._release(outcome)
        self._leave_out_refused(outcome)
        outcome.is_fragmented = outcome.garbage > 0 or (held > 0 and outcome.parsed + outcome.reused > 0)
        if not outcome.is_fragmented:  # then it is written anew anyway
            self._artifact.join(bucket)
        left = {record.document_id for record in pending} & outcome.quarantined & outcome.rows.keys()
        yield from self._pass_on(outcome, sorted(left))
        yield DocumentSlice(outcome, (), is_last=True)

    def stream_stored(self, bucket: str) -> Iterator[DocumentSlice]:
        """What stands there now, nothing done, as one slice."""
        outcome = self.load(bucket)
        yield DocumentSlice(outcome, list(outcome.rows.values()), is_last=True)

    def _pass_on(self, outcome: DocumentsOutcome, keys: Iterable[str]) -> Iterator[DocumentSlice]:
        """The documents of these ids in slices; their text, the largest thing in memory, is forgotten here."""
        rows: list[StoredDocument] = []
        characters = 0
        for key in list(keys):
            row = outcome.rows[key]
            outcome.rows[key] = replace(row, document=replace(row.document, elements=()))
            rows.append(row)
            characters += _count_characters(row.document)
            if len(rows) >= SLICE_DOCUMENTS or characters >= SLICE_CHARACTERS:
                yield DocumentSlice(outcome, rows)
                rows, characters = [], 0
        if rows:
            yield DocumentSlice(outcome, rows)

    def drop_vanished(self, bucket: str) -> int:
        """Compacts the artifact to documents that are still there; how many rows went."""
        records = self._ledger.documents(bucket=bucket)
        rows = self._artifact.read(bucket)
        kept = [row for row in rows if self._may_hold(row, records)]
        self._artifact.replace(bucket, kept)
        return len(rows) - len(kept)

    def _pending(self, outcome: DocumentsOutcome) -> list[DocumentRecord]:
        """Documents whose newest content is neither indexed nor known to fail."""
        records = outcome.records.values()
        return [r for r in records if r.document_id not in outcome.quarantined and not self._is_current(outcome, r)]

    def _parse_key(self, document_type: DocumentType | None, path: str) -> str:
        """Parser and suffix of the name: among plain texts the name tells what the content cannot."""
        return self._parser.fingerprint(document_type) + suffix_of(path)

    def _may_hold(self, row: StoredDocument, records: Mapping[str, DocumentRecord]) -> bool:
        """Whether the row is of a document that is there, and masked as its source is now or as the collection's spec says.

        Text under another rule is not even kept as the last good version: it may hold what must not be stored any more.
        """
        record = records.get(row.document_id)
        if record is None:
            return False
        spec_masking, now = masking_of(self._masking, record.source), self._masker.fingerprint(record.source)
        return masking_part(row.parser_fingerprint) in {masking_part(parse_key("", "", key)) for key in (spec_masking, now)}

    def _row_key(self, row_type: DocumentType, record: DocumentRecord) -> str:
        return parse_key(self._parser.fingerprint(row_type), suffix_of(record.path), self._masker.fingerprint(record.source))

    def _is_current(self, outcome: DocumentsOutcome, record: DocumentRecord) -> bool:
        row = outcome.rows.get(record.document_id)
        return row is not None and row.content_hash == record.content_hash and self._is_parse_of(row, record)

    def _is_parse_of(self, row: StoredDocument, record: DocumentRecord) -> bool:
        masking = masking_of(self._masking, record.source)
        of_the_spec = parse_key(self._parsing.get(row.document.type, ""), suffix_of(record.path), masking)
        return row.parser_fingerprint in (of_the_spec, self._row_key(row.document.type, record))

    def _known_failures(self, bucket: str, records: Mapping[str, DocumentRecord], rows: Mapping[str, StoredDocument]) -> set[str]:
        return {
            entry.document_id
            for entry in self._ledger.quarantine(bucket=bucket)
            if entry.document_id in records
            and self._is_of_this_parser(entry)
            and (entry.document_id not in rows or rows[entry.document_id].content_hash != entry.content_hash)
        }

    def _reuse_parsed(self, outcome: DocumentsOutcome, pending: list[DocumentRecord], progress: Progress) -> list[DocumentRecord]:
        """Takes over the parse of equal content elsewhere (a rename, a copy); returns what is left to parse."""
        left: list[DocumentRecord] = []
        found: list[StoredDocument] = []
        for record in pending:
            row = self._parsed_elsewhere(record)
            if row is None:
                left.append(record)
            else:
                found.append(replace(row, document_id=record.document_id))
        self._keep(outcome, found)
        outcome.reused += len(found)
        progress.advance("documents", len(found))
        return left

    def _parsed_elsewhere(self, record: DocumentRecord) -> StoredDocument | None:
        key = text_digest(record.content_hash)
        place = self._known_owners().find([key]).get(key)
        if place is None:
            return None
        number, bucket = place.split()
        rows = self._rows_of((*self._others, self._artifact)[int(number)], bucket)
        return next((r for r in rows if r.content_hash == record.content_hash and self._is_parse_of(r, record)), None)

    def _known_owners(self) -> Owners:
        """Artifact, by its number, and bucket of every content; read once a run, and only when something is to be parsed."""
        if self._owners is None:
            self._owners = Owners()
            for number, artifact in enumerate((*self._others, self._artifact)):
                for bucket in self._buckets:
                    contents = (text_digest(content_hash) for content_hash, _ in artifact.content_keys(bucket))
                    self._owners.add(f"{number} {bucket}", contents)
        return self._owners

    def _rows_of(self, artifact: StoredDocuments, bucket: str) -> list[StoredDocument]:
        """Rows of another bucket; the last one is remembered, as moves come in flocks."""
        if self._foreign is None or self._foreign[0] is not artifact or self._foreign[1] != bucket:
            self._foreign = (artifact, bucket, artifact.read(bucket))
        return self._foreign[2]

    def _parse(self, outcome: DocumentsOutcome, pending: list[DocumentRecord], progress: Progress) -> Iterator[DocumentSlice]:
        failures: list[QuarantineEntry] = []
        hashes: dict[str, str] = {}
        fresh: list[ParseOutcome] = []
        characters = 0
        for parsed in self._parser.parse_all(self._requests(outcome, pending, hashes, failures)):
            record, result = outcome.records[parsed.document_id], parsed.result
            if isinstance(result, ParsedDocument):
                fresh.append(parsed)
                characters += _count_characters(result)
                if len(outcome.preview) < PREVIEW_ROWS:
                    outcome.preview.append((record.path, str(result.type), len(result.elements)))
            else:
                failures.append(self._entry(record, parsed, hashes.pop(parsed.document_id)))
                outcome.quarantined.add(parsed.document_id)
            outcome.parsed += 1
            progress.advance("documents")
            if len(fresh) >= SLICE_DOCUMENTS or characters >= SLICE_CHARACTERS:
                yield from self._keep_parsed(outcome, fresh, hashes, failures)
                fresh, characters = [], 0
        yield from self._keep_parsed(outcome, fresh, hashes, failures)
        if failures:
            self._ledger.add_quarantine(failures)

    def _keep_parsed(
        self, outcome: DocumentsOutcome, parsed: list[ParseOutcome], hashes: dict[str, str], failures: list[QuarantineEntry]
    ) -> Iterator[DocumentSlice]:
        rows = self._masked(outcome, parsed, hashes, failures)
        self._keep(outcome, rows)
        yield from self._pass_on(outcome, [row.document_id for row in rows])

    def _release(self, outcome: DocumentsOutcome) -> None:
        """Forgets failures of contents that are indexed now, and those of older parsers where the newest one failed too."""
        entries = self._ledger.quarantine(bucket=outcome.bucket)
        over = [entry for entry in entries if self._is_over(outcome, entry, entries)]
        if over:
            self._ledger.remove_quarantine([(entry.content_hash, entry.parser_fingerprint) for entry in over])

    def _is_over(self, outcome: DocumentsOutcome, entry: QuarantineEntry, entries: Sequence[QuarantineEntry]) -> bool:
        key = entry.document_id
        if key not in outcome.quarantined:
            return key in outcome.rows and outcome.rows[key].content_hash == entry.content_hash
        if self._is_of_this_parser(entry):
            return False
        return any(other.document_id == key and self._is_of_this_parser(other) for other in entries)

    def _is_of_this_parser(self, entry: QuarantineEntry) -> bool:
        return entry.parser_fingerprint == self._parse_key(entry.type, entry.path)

    def _requests(
        self,
        outcome: DocumentsOutcome,
        pending: list[DocumentRecord],
        hashes: dict[str, str],
        failures: list[QuarantineEntry],
    ) -> Iterator[ParseRequest]:
        for record in pending:
            try:
                content = self._sources[record.source].read(record.path)
            except (FileNotFoundError, DocumentError) as error:
                failures.append(_read_failure(record, error))
                outcome.unsettled.add(record.document_id)
                outcome.quarantined.add(record.document_id)
                continue
            hashes[record.document_id] = content.content_hash
            outcome.size_bytes += len(content.data)
            yield ParseRequest(record.document_id, record.path, content.data)

    def _masked(
        self,
        outcome: DocumentsOutcome,
        parsed: list[ParseOutcome],
        hashes: dict[str, str],
        failures: list[QuarantineEntry],
    ) -> list[StoredDocument]:
        """Rows of parsed documents, without what is masked in their sources; those that take too long are failures."""
        started = time.perf_counter()
        records = [outcome.records[one.document_id] for one in parsed]
        results = [one.result for one in parsed]
        given = [(r.source, d) for r, d in zip(records, results, strict=True) if isinstance(d, ParsedDocument)]
        rows = []
        for one, record, masked in zip(parsed, records, self._masker.mask_all(given), strict=True):
            if isinstance(masked, DocumentError):
                failures.append(self._entry(record, replace(one, result=masked), hashes.pop(record.document_id)))
                outcome.quarantined.add(record.document_id)
                continue
            key, document = self._row_key(masked.document.type, record), masked.document
            digest = hashes.pop(record.document_id)
            rows.append(StoredDocument(record.document_id, digest, key, document, masked.entities, masked.subjects))
            outcome.entities.update(masked.entities)
        outcome.masking_seconds += time.perf_counter() - started
        return rows

    def _entry(self, record: DocumentRecord, parsed: ParseOutcome, content_hash: str) -> QuarantineEntry:
        error = parsed.result
        assert isinstance(error, DocumentError)  # noqa: S101 - told apart by the caller
        return QuarantineEntry(
            content_hash=content_hash,
            parser_fingerprint=self._parse_key(parsed.type, record.path),
            type=parsed.type,
            document_id=record.document_id,
            source=record.source,
            path=record.path,
            reason=error.reason,
            detail=self._masker.mask_text(record.source, error.detail),
            generation=record.generation,
        )

    def _keep(self, outcome: DocumentsOutcome, rows: list[StoredDocument]) -> None:
        if rows:
            outcome.before_write()
            self._artifact.append(outcome.bucket, rows)
            outcome.rows.update({row.document_id: row for row in rows})


def _read_failure(record: DocumentRecord, error: FileNotFoundError | DocumentError) -> QuarantineEntry:
    return QuarantineEntry(
        content_hash=record.content_hash,
        parser_fingerprint=READ_FAILURE + record.document_id,
        type=None,
        document_id=record.document_id,
        source=record.source,
        path=record.path,
        reason=error.reason if isinstance(error, DocumentError) else UnstableDocumentError.reason,
        detail=error.detail if isinstance(error, DocumentError) else "gone between the scan and the read",
        generation=record.generation,
    )


def _count_characters(document: ParsedDocument) -> int:
    return sum(len(element.text) for element in document.elements)
