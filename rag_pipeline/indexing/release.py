"""When a collection goes live, and how: complete, checked, switched in one step, read back, written down.

A crash at any line leaves the alias where it was or where it should be, and the alias alone says who is live.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from rag_pipeline.errors import ReleaseBlockedError
from rag_pipeline.indexing.collections import forget_refusal, record_spec, refuse, remember_refusal
from rag_pipeline.indexing.identity import set_digest, spec_from_values
from rag_pipeline.ports import Ledger, VectorStore
from rag_pipeline.schema import CollectionRecord, CollectionState, GateReport, IndexSpec

FIRST = "first release"


@dataclass(frozen=True, slots=True)
class Release:
    """What was decided about the alias."""

    collection: str
    previous: str | None
    is_switched: bool
    reason: str
    gate: GateReport | None = None


def go_live(ledger: Ledger, store: VectorStore, *, record: CollectionRecord, spec: IndexSpec, out_of_step: int) -> Release:
    """Points the alias at the first collection once it is in step; says of a live one that it is.

    Raises ReleaseBlockedError, the alias untouched, when buckets are out of step or points are missing.
    """
    previous = store.resolve_alias(record.alias)
    if out_of_step and previous == record.name:
        return Release(record.name, previous, is_switched=False, reason=f"live; {out_of_step} buckets are not in step yet")
    finish(ledger, store, record=record, spec=spec, out_of_step=out_of_step)
    if previous == record.name:
        return Release(record.name, previous, is_switched=False, reason="already live")
    return switch(ledger, store, record=record, kind="switch", content={"reason": FIRST})


def finish(ledger: Ledger, store: VectorStore, *, record: CollectionRecord, spec: IndexSpec, out_of_step: int) -> None:
    """Completes a collection: its points counted, its vector index built, its spec written down.

    Raises ReleaseBlockedError when buckets are out of step or points are missing.
    """
    if out_of_step:
        raise ReleaseBlockedError(
            f"{record.name} has {out_of_step} buckets out of step, 0 allowed; run rag index, or materialise them, then release"
        )
    expected = sum(state.points for state in ledger.bucket_states(record.name).values())
    stored = store.count(record.name)
    if stored != expected:
        raise ReleaseBlockedError(
            f"{record.name} holds {stored} points, {expected} expected; run rag fsck --repair if it is live, "
            "else rag reindex --force"
        )
    store.optimize(record.name)
    record_spec(ledger, store, record, spec)


def switch(ledger: Ledger, store: VectorStore, *, record: CollectionRecord, kind: str, content: Mapping[str, Any]) -> Release:
    """Points the alias at the collection in one step, reads it back, and records the decision of this kind.

    Raises StaleWriterError before, and ReleaseBlockedError after, where the alias is not this writer's.
    """
    previous = store.resolve_alias(record.alias)
    ledger.check_writer()
    store.switch_alias(record.alias, record.name)
    if store.resolve_alias(record.alias) != record.name:
        raise ReleaseBlockedError(f"alias {record.alias} does not point at {record.name} after the switch; run it again")
    _record_states(ledger, record)
    ledger.add_decision(kind, {"alias": record.alias, "from": previous, "to": record.name, **content})
    return Release(record.name, previous, is_switched=previous != record.name, reason=str(content.get("reason", kind)))


def switch_back(
    ledger: Ledger, store: VectorStore, *, to: CollectionRecord, refused: CollectionRecord, reason: str, by: str
) -> Release:
    """The switch to the collection that was live before; the one that was behind the alias is refused."""
    remember_refusal(ledger, refused, reason)
    release = switch(ledger, store, record=to, kind="rollback", content={"reason": reason, "by": by})
    refuse(ledger, refused, reason)
    forget_refusal(ledger, to.alias, spec_from_values(to.spec))  # what is live is not refused, whatever was said of it before
    return release


def content_digest(ledger: Ledger, collection: str) -> str:
    """Digest of what the collection holds, by what the ledger last read back of each bucket."""
    states = ledger.bucket_states(collection)
    return set_digest(f"{bucket}\0{state.digest}\0{state.points}" for bucket, state in states.items())


def gate_values(report: GateReport) -> dict[str, Any]:
    """A gate's report as JSON values, for the ledger."""
    return {
        "collection": report.collection,
        "live": report.live,
        "content_digest": report.content_digest,
        "passed": report.passed,
        "checks": [asdict(check) for check in report.checks],
    }


def _record_states(ledger: Ledger, record: CollectionRecord) -> None:
    for other in ledger.collections(record.alias):
        if other.name == record.name:
            ledger.put_collection(replace(other, state=CollectionState.LIVE, reason=""))
        elif other.state is CollectionState.LIVE:
            ledger.put_collection(replace(other, state=CollectionState.RETIRED, reason=f"{record.name} took over"))
