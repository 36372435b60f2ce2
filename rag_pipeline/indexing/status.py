"""What the ledger says of the index, without reading the store's points."""

from collections import Counter
from dataclasses import dataclass

from rag_pipeline.ports import Ledger


@dataclass(frozen=True, slots=True)
class DocumentCounts:
    """Documents of the newest scan, and what became of them in one collection."""

    seen: int
    indexed: int
    quarantined: int
    reasons: dict[str, int]
    """Quarantined contents by reason, most frequent first."""

    @property
    def quarantined_share(self) -> float:
        """Quarantined of seen; 0 where nothing was seen."""
        return self.quarantined / self.seen if self.seen else 0.0


def count_documents(ledger: Ledger, collection: str) -> DocumentCounts:
    """Counts by the last reconcile of each bucket."""
    states = ledger.bucket_states(collection).values()
    quarantined = sum(state.quarantined for state in states)
    return DocumentCounts(
        seen=ledger.count_documents(),
        indexed=sum(state.seen for state in states) - quarantined,
        quarantined=quarantined,
        reasons=dict(Counter(entry.reason for entry in ledger.quarantine()).most_common()),
    )
