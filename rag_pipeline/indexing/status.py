"""What the ledger says of the index, without reading the store's points."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from rag_pipeline.ports import Ledger
from rag_pipeline.schema import BucketState


@dataclass(frozen=True, slots=True)
class DocumentCounts:
    """Documents that the ledger knows, and what became of them in one collection."""

    documents: int
    indexed: int
    quarantined: int
    reasons: dict[str, int]
    """Quarantined contents by reason, most frequent first."""

    @property
    def quarantined_share(self) -> float:
        """Quarantined of all documents; 0 where there are none."""
        return self.quarantined / self.documents if self.documents else 0.0


@dataclass(frozen=True, slots=True)
class DocumentAccount:
    """Where everything is that the newest scan saw (reliability.md, P10)."""

    seen: int
    """What the listings held, left out or not, and what is kept of a source that was not listed or lost too much."""
    indexed: int
    quarantined: int
    excluded: int
    """Left out by a rule of the source or by an erasure."""
    unbuilt: int
    """In buckets that no run has built for this collection yet."""

    @property
    def adds_up(self) -> bool:
        """Whether nothing was skipped in silence."""
        return self.seen == self.indexed + self.quarantined + self.excluded + self.unbuilt


def count_documents(ledger: Ledger, collection: str) -> DocumentCounts:
    """Counts by the last reconcile of each bucket."""
    indexed, quarantined = _sum_states(ledger.bucket_states(collection).values())
    return DocumentCounts(
        documents=ledger.count_documents(),
        indexed=indexed,
        quarantined=quarantined,
        reasons=dict(Counter(entry.reason for entry in ledger.quarantine()).most_common()),
    )


def account_for_documents(ledger: Ledger, collection: str) -> DocumentAccount:
    """What the scan said beside what the buckets say; two counts that were made apart."""
    sources: Mapping[str, Mapping[str, Any]] = (ledger.scan_summary() or {}).get("sources", {})
    built = ledger.bucket_states(collection)
    indexed, quarantined = _sum_states(built.values())
    return DocumentAccount(
        seen=sum(_seen(ledger, name, told) for name, told in sources.items()),
        indexed=indexed,
        quarantined=quarantined,
        excluded=sum(told["excluded"] for told in sources.values()),
        unbuilt=sum(bucket not in built for bucket, *_ in ledger.contents()),
    )


def _sum_states(states: Collection[BucketState]) -> tuple[int, int]:
    """Documents indexed, and in quarantine."""
    quarantined = sum(state.quarantined for state in states)
    return sum(state.seen for state in states) - quarantined, quarantined


def _seen(ledger: Ledger, source: str, told: Mapping[str, Any]) -> int:
    if told["error"]:
        return len(ledger.documents(source=source))
    return int(told["seen"] + told["blocked"])
