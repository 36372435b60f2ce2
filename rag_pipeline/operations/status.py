"""What is live and what stands beside it."""

from collections import Counter
from collections.abc import Collection
from typing import Any

from rag_pipeline.indexing.changes import is_unreadable
from rag_pipeline.indexing.collections import UNDER_WAY, follow_alias
from rag_pipeline.indexing.identity import spec_values
from rag_pipeline.indexing.status import count_documents
from rag_pipeline.operations.gate import find_verdict
from rag_pipeline.operations.reindex import is_reindex_paused
from rag_pipeline.project import Project
from rag_pipeline.schema import CollectionRecord, CollectionState, DocumentRecord


def read_status(project: Project) -> dict[str, Any]:
    """The state of the index as JSON values."""
    chosen = project.collections()
    live = chosen.live.name if chosen.live else None
    info = project.store.describe(live) if live else None
    records = follow_alias(project.ledger.collections(project.settings.alias), live)
    begun = [record for record in records if record.state in UNDER_WAY and record.name != live]
    counts = count_documents(project.ledger, chosen.target.name)
    seen = project.ledger.documents().values()
    by_source = Counter(record.source for record in seen)
    return {
        "alias": project.settings.alias,
        "live": live,
        "candidate": begun[-1].name if begun else None,
        "retired": [record.name for record in records if record.state is CollectionState.RETIRED],
        "sources": [{"name": s.name, "url": s.url, "documents": by_source[s.name]} for s in project.settings.sources],
        "documents": counts.documents,
        "copies": count_copies(seen),
        "points": info.points if info else 0,
        "quarantined": counts.quarantined,
        "settings_match": info is not None and dict(info.metadata) == spec_values(project.spec),
        "generation": project.ledger.generation(),
        "change": chosen.change.describe(),
        "refusal": chosen.refusal,
        "paused": is_reindex_paused(project),
        "collections": [_row(project, record) for record in records],
    }


def count_copies(records: Collection[DocumentRecord]) -> int:
    """How many documents have the same bytes as another one that is counted."""
    readable = [record.content_hash for record in records if not is_unreadable(record)]
    return len(readable) - len(set(readable))


def _row(project: Project, record: CollectionRecord) -> dict[str, Any]:
    states = project.ledger.bucket_states(record.name).values()
    verdict = find_verdict(project, record.name)
    return {
        "name": record.name,
        "state": str(record.state),
        "model": record.spec["vector_space"]["model"],
        "points": sum(state.points for state in states),
        "buckets": len(states),
        "reason": record.reason,
        "gate": {check.name: check.summary for check in verdict.checks} if verdict else {},
    }
