"""The proof that nothing of erased documents is left: by asking every collection, and by looking at the bytes of every file."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rag_pipeline.adapters.byte_search import files_below, find_in_files, written_forms
from rag_pipeline.indexing.blocking import Blocked
from rag_pipeline.indexing.identity import text_digest
from rag_pipeline.project import Project
from rag_pipeline.settings import ServerStoreSettings

SEARCHED_PIECES = 50
OUTSIDE = (
    "the files in the sources themselves, and links or copies of them elsewhere",
    "backups and snapshots of state, store or ledger that somebody made",
    "bytes at a state's URL, Dagster's records in a database server, and a database server's own log",
    "answers, exports and logs that left this machine, and free space of the disk",
)


@dataclass(slots=True)
class Proof:
    """What was looked at, and where something was found. Never what."""

    pieces: int = 0
    """Pieces of the erased texts that were looked for, besides the ids."""
    points: int = 0
    files: int = 0
    findings: list[str] = field(default_factory=list)
    unpurged: list[str] = field(default_factory=list)
    """Collections whose store rewrites its files when it likes."""
    outside: tuple[str, ...] = OUTSIDE
    """What no command here can reach."""


def prove_absence(project: Project, blocked: Blocked, pieces: Sequence[str], folders: Iterable[Path]) -> Proof:
    """Everything looked through once more, as a stranger would."""
    proof = Proof(pieces=len(pieces))
    _look_in_ledger(project, blocked, proof)
    _look_in_collections(project, blocked, pieces, proof)
    _look_in_artifacts(project, blocked, proof)
    _look_in_files(project, blocked, pieces, list(folders), proof)
    return proof


def _look_in_ledger(project: Project, blocked: Blocked, proof: Proof) -> None:
    records = project.ledger.documents().values()
    left = sum(blocked.holds(record.document_id, record.content_hash) for record in records)
    left += sum(blocked.holds(entry.document_id, entry.content_hash) for entry in project.ledger.quarantine())
    if left:
        proof.findings.append(f"ledger: {left} rows of erased documents")


def _look_in_collections(project: Project, blocked: Blocked, pieces: Sequence[str], proof: Proof) -> None:
    for record in project.ledger.collections(project.settings.alias):
        name = record.name
        if project.store.describe(name) is None:
            continue
        left = 0
        for point in project.store.scroll(name):
            proof.points += 1
            left += _is_left(point.payload, blocked, pieces)
        hits = (
            hit
            for piece in pieces[:SEARCHED_PIECES]
            for hit in project.store.search_sparse(name, project.sparse.encode_query(piece), limit=10)
        )
        found = sum(_is_left(hit.payload, blocked, pieces) for hit in hits)
        if left or found:
            proof.findings.append(f"{name}: {left} points by scroll, {found} hits by search")


def _is_left(payload: Any, blocked: Blocked, pieces: Sequence[str]) -> bool:
    text = json.dumps(dict(payload), ensure_ascii=False)
    named = blocked.holds(str(payload.get("document_id")), str(payload.get("content_hash")))
    return named or any(piece in text for piece in pieces)


def _look_in_artifacts(project: Project, blocked: Blocked, proof: Proof) -> None:
    artifacts = project.artifacts
    for bucket in project.buckets:
        keys = [key for name in artifacts.names("documents") for key in artifacts.documents(name).content_keys(bucket)]
        keys += [
            (row.content_hash, row.document_id)
            for name in artifacts.names("chunks")
            for row in artifacts.chunks(name).read(bucket)
        ]
        left = sum(blocked.holds(document, content) for content, document in keys)
        if left:
            proof.findings.append(f"artifacts, bucket {bucket}: {left} rows of erased documents")
    _look_in_vectors(project, proof)


def _look_in_vectors(project: Project, proof: Proof) -> None:
    """Vectors are as good as their text: there must be none that no document's chunk has."""
    artifacts, held, needed = project.artifacts, set[bytes](), set[bytes]()
    for name in artifacts.names("embeddings"):
        for bucket in artifacts.vectors(name).buckets():
            held |= artifacts.vectors(name).digests(bucket)
    for name in artifacts.names("chunks"):
        for bucket in project.buckets:
            rows = artifacts.chunks(name).read(bucket)
            needed |= {text_digest(chunk.embedded_text) for row in rows for chunk in row.chunks}
    if held - needed:
        proof.findings.append(f"artifacts: {len(held - needed)} vectors of no document")


def _look_in_files(project: Project, blocked: Blocked, pieces: Sequence[str], folders: list[Path], proof: Proof) -> None:
    """Pieces of text in every file; ids too where the block list itself does not lie."""
    state, sources = project.local_state, [root.resolve() for root in project.local_roots]
    stores = []
    if not isinstance(project.settings.store, ServerStoreSettings):
        stores.append(Path(project.settings.resolve(project.settings.store.path)))
    files = [path for path in files_below([state, *stores, *folders]) if not any(path.is_relative_to(s) for s in sources)]
    proof.files = len(files)
    for path in find_in_files(files, written_forms(pieces)):
        proof.findings.append(f"file {_shown(path, project)}: pieces of erased text")
    ids = written_forms(blocked.documents)
    for path in find_in_files(files_below([*stores, state / "artifacts"]), ids):
        proof.findings.append(f"file {_shown(path, project)}: ids of erased documents")


def _shown(path: Path, project: Project) -> str:
    root = project.settings.root.resolve()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
