"""What is past its grace time, and how it goes: points first, then artifacts nobody else needs, then the record."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from rag_pipeline.indexing.identity import parsing_digest, space_fingerprint, spec_from_values
from rag_pipeline.ports import ArtifactStore, Ledger, Stage, VectorStore
from rag_pipeline.schema import CollectionRecord, CollectionState, IndexSpec

ENDED = (CollectionState.RETIRED, CollectionState.REFUSED)
NS_PER_HOUR = 3600 * 10**9


@dataclass(frozen=True, slots=True)
class Retained:
    """What one look did."""

    dropped: tuple[str, ...]
    """Collections."""
    artifacts: tuple[str, ...]
    """``stage/name`` of artifacts that went."""
    kept: tuple[str, ...]
    """Ended collections that are still in their grace time."""


def find_expired(
    records: Iterable[CollectionRecord], *, behind: str | None, now_ns: int, grace_ns: int
) -> list[CollectionRecord]:
    """Retired and refused collections that ended longer ago than the grace time; never the one behind the alias.

    One that lost the alias in a run that was cut off still says live: its grace time begins when that is put right.
    """
    return [r for r in records if r.state in ENDED and r.name != behind and r.changed_ns + grace_ns <= now_ns]


def drop_expired(
    ledger: Ledger,
    store: VectorStore,
    artifacts: ArtifactStore,
    *,
    alias: str,
    spec: IndexSpec,
    now_ns: int,
    grace_hours: float,
) -> Retained:
    """Drops what is past its grace time. Repeating it after a crash finishes what was begun."""
    behind = store.resolve_alias(alias)
    grace_ns = int(grace_hours * NS_PER_HOUR)
    expired = find_expired(ledger.collections(alias), behind=behind, now_ns=now_ns, grace_ns=grace_ns)
    for record in expired:
        _drop(ledger, store, record)
    left = ledger.collections(alias)
    gone = _drop_artifacts(artifacts, left, spec)
    kept = tuple(record.name for record in left if record.state in ENDED and record.name != behind)
    return Retained(tuple(record.name for record in expired), tuple(gone), kept)


def _drop(ledger: Ledger, store: VectorStore, record: CollectionRecord) -> None:
    ledger.check_writer()
    store.drop_collection(record.name)  # refuses a collection behind any alias
    ledger.forget_bucket_states(record.name)
    reason = f"the grace time is over ({record.state}: {record.reason})"
    ledger.put_collection(replace(record, state=CollectionState.DROPPED, reason=reason))
    ledger.add_decision("drop", {"alias": record.alias, "collection": record.name, "reason": reason})


def _drop_artifacts(artifacts: ArtifactStore, records: Sequence[CollectionRecord], spec: IndexSpec) -> list[str]:
    """Artifacts that no collection and not the settings need."""
    specs = [spec, *(spec_from_values(record.spec) for record in records)]
    needed = {
        "documents": {parsing_digest(one) for one in specs},
        "chunks": {record.name for record in records},
        "embeddings": {space_fingerprint(one.vector_space) for one in specs},
    }
    gone = []
    for stage, names in needed.items():
        for name in artifacts.names(cast(Stage, stage)):
            if name not in names:
                artifacts.drop(cast(Stage, stage), name)
                gone.append(f"{stage}/{name}")
    return gone
