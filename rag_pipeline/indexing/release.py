"""Which collection is being built, and when it goes live."""

from dataclasses import dataclass, replace

from rag_pipeline.errors import ReleaseBlockedError
from rag_pipeline.indexing.identity import collection_name, space_fingerprint, spec_values
from rag_pipeline.ports import Ledger, VectorStore
from rag_pipeline.schema import CollectionLayout, CollectionRecord, IndexSpec


@dataclass(frozen=True, slots=True)
class Release:
    """What ``go_live`` decided."""

    collection: str
    previous: str | None
    is_switched: bool
    reason: str


def find_target(ledger: Ledger, *, alias: str, spec: IndexSpec) -> CollectionRecord:
    """The collection that this spec fills: the one of its vector space, or the next number. Nothing is written."""
    space = space_fingerprint(spec.vector_space)
    records = ledger.collections(alias)
    same = [record for record in records if record.fingerprint == space]
    if same:
        return next((record for record in same if record.state == "live"), same[-1])
    name = collection_name(alias, spec.vector_space, 1)
    return CollectionRecord(name=name, alias=alias, fingerprint=space, state="building", spec=spec_values(spec))


def open_target(ledger: Ledger, store: VectorStore, *, alias: str, spec: IndexSpec) -> CollectionRecord:
    """The target, standing in the store. Bucket states of a collection that the store has lost are forgotten."""
    record = find_target(ledger, alias=alias, spec=spec)
    if store.describe(record.name) is None:
        ledger.forget_bucket_states(record.name)
        space = spec.vector_space
        layout = CollectionLayout(dimension=space.dimension, distance=space.distance, metadata=spec_values(spec))
        store.create_collection(record.name, layout)
    if record not in ledger.collections(alias):
        ledger.put_collection(record)
    return record


def go_live(ledger: Ledger, store: VectorStore, *, record: CollectionRecord, spec: IndexSpec, out_of_step: int) -> Release:
    """Points the alias at a collection that is in step, and says what was decided.

    Raises ReleaseBlockedError, the live collection untouched, when buckets are out of step or points are missing.
    """
    previous = store.resolve_alias(record.alias)
    if out_of_step:
        if previous == record.name:
            return Release(record.name, previous, is_switched=False, reason=f"live; {out_of_step} buckets are not in step yet")
        raise ReleaseBlockedError(
            f"{record.name} has {out_of_step} buckets out of step, 0 allowed; run rag index, or materialise them, then release"
        )
    expected = sum(state.points for state in ledger.bucket_states(record.name).values())
    stored = store.count(record.name)
    if stored != expected:
        raise ReleaseBlockedError(f"{record.name} holds {stored} points, {expected} expected; run rag fsck --repair")
    store.optimize(record.name)
    _record_spec(ledger, store, record, spec)
    if previous == record.name:
        return Release(record.name, previous, is_switched=False, reason="already live")
    store.switch_alias(record.alias, record.name)
    if store.resolve_alias(record.alias) != record.name:
        raise ReleaseBlockedError(f"alias {record.alias} does not point at {record.name} after the switch; run rag index again")
    _record_switch(ledger, record, previous)
    reason = "first release" if previous is None else "the vector space changed and its collection is complete"
    return Release(record.name, previous, is_switched=True, reason=reason)


def _record_spec(ledger: Ledger, store: VectorStore, record: CollectionRecord, spec: IndexSpec) -> None:
    values = spec_values(spec)
    info = store.describe(record.name)
    if info is not None and dict(info.metadata) != values:
        store.set_metadata(record.name, values)
    if dict(record.spec) != values:
        ledger.put_collection(replace(record, spec=values, state=record.state))


def _record_switch(ledger: Ledger, record: CollectionRecord, previous: str | None) -> None:
    for other in ledger.collections(record.alias):
        if other.name == record.name:
            ledger.put_collection(replace(other, state="live"))
        elif other.state == "live":
            ledger.put_collection(replace(other, state="retired"))
    ledger.add_decision("switch", {"alias": record.alias, "from": previous, "to": record.name})
