"""Erases documents for good: blocked first, then out of records, collections, artifacts and ledger, then proven gone.

Every step may be repeated. What a run was cut off from is known by the block list, and the next erasure or index run completes
it before anything else. Records are cleared first, while the artifacts still tell which pieces of text to look for.
"""

import os
import uuid
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rag_pipeline.adapters.byte_search import delete_logs_below, delete_rows_below, written_forms
from rag_pipeline.adapters.masking import KEY_NAME
from rag_pipeline.errors import RagPipelineError
from rag_pipeline.guardrails.pii.subjects import subject_digest
from rag_pipeline.indexing.blocking import Blocked, read_blocked
from rag_pipeline.indexing.erased_text import Subject, all_text, names_of, pieces_of, strings_in, without_common
from rag_pipeline.indexing.identity import content_digest, document_id, text_digest
from rag_pipeline.indexing.scan_report import with_erased
from rag_pipeline.operations.erasure_proof import Proof, prove_absence
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.project import Project
from rag_pipeline.schema import Block, CollectionRecord, StoredDocument

REPORT_PART = "erasure"
_LOGS = (".out", ".err")
_EMPTY = content_digest(b"")


@dataclass(slots=True)
class Erasure:
    """What one erasure did and proved. Holds ids and counts, nothing of what was erased."""

    documents: list[str] = field(default_factory=list)
    points: int = 0
    collections: list[str] = field(default_factory=list)
    records: int = 0
    """Reports, decisions and Dagster's events that named a document."""
    notes: list[str] = field(default_factory=list)
    """What could not be brought in step right away; the next index run does."""
    proof: Proof = field(default_factory=Proof)

    @property
    def is_proven(self) -> bool:
        """Whether nothing was found anywhere that could be looked at."""
        return not self.proof.findings


@dataclass(frozen=True, slots=True)
class Chosen:
    """Documents that an erasure would take."""

    ids: frozenset[str]
    contents: frozenset[str]
    copies: int
    """How many of them are only equal copies of what was named."""
    unknown: tuple[str, ...] = ()
    """Names that no document has."""


def choose_documents(project: Project, names: Collection[str]) -> Chosen:
    """Documents by address, path or id, with every equal copy. A name that was erased before stands for itself."""
    blocked = {block.document_id for block in project.ledger.blocks()}
    records = project.ledger.documents().values()
    found, unknown = set[str](), list[str]()
    for name in names:
        shown = project.shown_names(name)
        ids = {r.document_id for r in records if shown & {r.document_id, r.uri, r.path, f"{r.source}/{r.path}"}}
        ids |= {key for key in (name, *(document_id(source, name) for source in project.sources)) if key in blocked}
        found |= ids
        unknown += [] if ids else [name]
    return _with_copies(project, found, tuple(unknown))


def choose_by_subject(project: Project, subject: str) -> Chosen | None:
    """Documents whose stored text, title, metadata, path or address holds the value, or that had it masked; None if too short.

    A masked value is known by its keyed digest alone. The value itself is neither stored nor logged.
    """
    wanted = Subject(subject)
    if not wanted.is_usable:
        return None
    digest = subject_digest(subject, (project.settings.secret(KEY_NAME) or "").encode())
    found = {
        row.document_id for row in _stored(project) if wanted.stands_in(all_text(row)) or (digest and digest in row.subjects)
    }
    records = project.ledger.documents().values()
    found |= {record.document_id for record in records if wanted.stands_in(f"{record.path}\n{record.uri}")}
    return _with_copies(project, found, ())


def is_masked_unsearchable(project: Project) -> bool:
    """Whether values were masked without a key, so that nobody can tell any more which documents held one."""
    return project.settings.pii.enabled and not project.settings.secret(KEY_NAME)


def unfinished(project: Project) -> list[str]:
    """Erasures that were begun and not carried out, or that left something which is in our hands."""
    names = dict.fromkeys(block.erasure for block in project.ledger.blocks())
    return [name for name in names if not project.ledger.report(name).get(REPORT_PART, {}).get("settled")]


def erase(project: Project, chosen: Chosen) -> Erasure:
    """What was erased and what the proof found; erasures that were cut off before are completed with it."""
    with project.writer_lock():
        name = f"erasure-{uuid.uuid4().hex[:12]}"
        now_ns = project.clock.now_ns()
        contents = sorted(chosen.contents)
        blocks = [Block(key, "", name, now_ns) for key in sorted(chosen.ids)]
        blocks += [Block("", content, name, now_ns) for content in contents]
        if blocks:
            project.ledger.add_blocks(blocks)
            project.ledger.put_report(name, REPORT_PART, {"proven": False})
        return _complete(project, {*unfinished(project), *([name] if blocks else [])})


def complete_unfinished(project: Project) -> Erasure | None:
    """The erasures that were cut off, completed; None where there is none, which costs one look at the ledger."""
    if not unfinished(project):
        return None
    with project.writer_lock():
        return _complete(project, set(unfinished(project)))


def _complete(project: Project, names: Collection[str]) -> Erasure:
    blocked = read_blocked(project.ledger)
    pieces = _pieces(project, blocked)
    erasure = Erasure(documents=sorted(blocked.documents & _documents_of(project, names)))
    erasure.records = _clear_records(project, pieces)
    _forget_documents(project, blocked)
    _clear_collections(project, blocked, erasure)
    _clear_artifacts(project, blocked)
    _bring_in_step(project, erasure)
    project.ledger.compact()
    erasure.proof = prove_absence(project, blocked, pieces, records_folders(project))
    is_settled = erasure.is_proven  # what a server keeps in its files is no reason to begin again at every index run
    erasure.proof.findings += [f"{name}: the store does not say when deleted bytes are gone" for name in erasure.proof.unpurged]
    for name in names:
        values = {
            "settled": is_settled,
            "proven": erasure.is_proven,
            "at_ns": project.clock.now_ns(),
            "documents": len(erasure.documents),
        }
        project.ledger.put_report(name, REPORT_PART, values)
    return erasure


def records_folders(project: Project) -> list[Path]:
    """Where Dagster keeps its records, and its captured logs where these have a folder of their own (deploy/)."""
    home, storage = os.environ.get("DAGSTER_HOME"), os.environ.get("DAGSTER_STORAGE")
    return [Path(home) if home else project.local_state / "dagster", *([Path(storage)] if storage else [])]


def _documents_of(project: Project, names: Collection[str]) -> set[str]:
    return {block.document_id for block in project.ledger.blocks() if block.erasure in names and block.document_id}


def _stored(project: Project) -> Iterator[StoredDocument]:
    for name in project.artifacts.names("documents"):
        for bucket in project.buckets:
            yield from project.artifacts.documents(name).read(bucket)


def _with_copies(project: Project, found: set[str], unknown: tuple[str, ...]) -> Chosen:
    """All that share a content with what was found, of whatever version; empty files are no copies of each other."""
    held = {(record.document_id, record.content_hash) for record in project.ledger.documents().values()}
    for name in project.artifacts.names("documents"):
        for bucket in project.buckets:
            keys = project.artifacts.documents(name).content_keys(bucket)
            held |= {(key, content) for content, key in keys}
    held = {(key, content) for key, content in held if content != _EMPTY}
    ids, before = set(found), -1
    contents = set[str]()
    while len(ids) != before:
        before = len(ids)
        contents |= {content for key, content in held if key in ids}
        ids |= {key for key, content in held if content in contents}
    return Chosen(frozenset(ids), frozenset(contents), len(ids) - len(found), unknown)


def _pieces(project: Project, blocked: Blocked) -> list[str]:
    """What to look for: parts of erased texts that no other document has."""
    records = project.ledger.documents().values()
    erased = [row for row in _stored(project) if blocked.holds(row.document_id, row.content_hash)]
    pieces = [piece for row in erased for piece in (*pieces_of(row), *strings_in(dict(row.document.metadata)))]
    pieces += [name for r in records if blocked.holds(r.document_id, r.content_hash) for name in names_of(r)]
    pieces = [piece for piece in pieces if len(piece) >= 6 and piece.isprintable() and not set(piece) & {'"', "\\"}]
    others = (all_text(row) for row in _stored(project) if not blocked.holds(row.document_id, row.content_hash))
    kept = (f"{r.path}\n{r.uri}" for r in records if not blocked.holds(r.document_id, r.content_hash))
    return without_common(without_common(pieces, others), kept) if pieces else []


def _clear_records(project: Project, pieces: list[str]) -> int:
    """Reports, decisions, events and captured logs that name a document. They are diagnostics: a row goes whole."""
    forms, gone = written_forms(pieces), project.ledger.forget_mentions(pieces)
    for folder in records_folders(project):
        gone += delete_rows_below(folder, forms) + delete_logs_below(folder, forms, suffixes=_LOGS)
    return gone


def _forget_documents(project: Project, blocked: Blocked) -> None:
    """Out of the ledger, its quarantine included, whatever the sources say now."""
    records = project.ledger.documents()
    gone = [key for key, record in records.items() if blocked.holds(key, record.content_hash)]
    if gone:
        summary = with_erased(project.ledger.scan_summary() or {}, Counter(records[key].source for key in gone))
        project.ledger.commit_scan(generation=project.ledger.generation(), upserts=[], deletes=gone, summary=summary)


def _clear_collections(project: Project, blocked: Blocked, erasure: Erasure) -> None:
    """Live, candidate, retired and refused: the points deleted, then the files written anew without them."""
    for record in project.ledger.collections(project.settings.alias):
        if project.store.describe(record.name) is None:
            continue
        held = project.store.scroll(record.name)
        ids = [p.id for p in held if blocked.holds(str(p.payload.get("document_id")), str(p.payload.get("content_hash")))]
        project.ledger.check_writer()
        if ids:
            project.store.delete(record.name, ids)
        erasure.points += len(ids)
        erasure.collections.append(record.name)
        if not project.store.purge(record.name):
            erasure.proof.unpurged.append(record.name)


def _clear_artifacts(project: Project, blocked: Blocked) -> None:
    """Every bucket written anew: parts that a later one replaced may still hold a version of an erased document."""
    artifacts, needed = project.artifacts, set[bytes]()
    for name in artifacts.names("documents"):
        for bucket in project.buckets:
            rows = artifacts.documents(name).read(bucket)
            kept = [row for row in rows if not blocked.holds(row.document_id, row.content_hash)]
            artifacts.documents(name).replace(bucket, kept)
    for name in artifacts.names("chunks"):
        for bucket in project.buckets:
            cut = [row for row in artifacts.chunks(name).read(bucket) if not blocked.holds(row.document_id, row.content_hash)]
            artifacts.chunks(name).replace(bucket, cut)
            needed |= {text_digest(chunk.embedded_text) for row in cut for chunk in row.chunks}
    for name in artifacts.names("embeddings"):
        vectors = artifacts.vectors(name)
        for bucket in vectors.buckets():
            vectors.retain(bucket, needed)


def _bring_in_step(project: Project, erasure: Erasure) -> None:
    """Bucket states of what was in step before; the work is done, they only have to say so."""
    for record in project.ledger.collections(project.settings.alias):
        try:
            _settle_buckets(project, record)
        except RagPipelineError as error:
            erasure.notes.append(f"{record.name} is brought in step by the next index run: {error}")


def _settle_buckets(project: Project, record: CollectionRecord) -> None:
    if project.store.describe(record.name) is None:
        return
    build = project.parts(record).build()
    known = project.ledger.bucket_states(record.name)
    build.run([bucket for bucket in build.stale_buckets(project.buckets) if bucket in known], progress=SILENT)
