"""The collections of one alias: what each is now, which one a run fills, and which are kept in step.

The alias alone says who is live. The ledger follows: after a crash between the switch and its record, the next writer
puts the states right (``settle``).
"""

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rag_pipeline.indexing.identity import collection_name, space_fingerprint, spec_fingerprint, spec_from_values, spec_values
from rag_pipeline.indexing.specs import SpecChange, Strategy, compare_specs
from rag_pipeline.ports import Ledger, VectorStore
from rag_pipeline.schema import CollectionLayout, CollectionRecord, CollectionState, IndexSpec

REMEMBERED_REFUSALS = 50
CALLED_BACK = "was live before; the settings went back to it"
"""Reason of a candidate that is a retired collection: until it is live again one can still go back to it."""
UNDER_WAY = (CollectionState.BUILDING, CollectionState.CAUGHT_UP, CollectionState.VALIDATED)


@dataclass(frozen=True, slots=True)
class Collections:
    """What the settings and the alias make of the collections; nothing of it is written."""

    live: CollectionRecord | None
    """Behind the alias."""
    target: CollectionRecord
    """What an index run fills: the live collection, or before the first release the one that will be."""
    target_spec: IndexSpec
    """What it is brought to: the settings' spec where that can be done in place, else the spec that it holds."""
    candidate: CollectionRecord | None
    """What a reindex fills; None where the settings ask for nothing that needs one."""
    retired: tuple[CollectionRecord, ...]
    """Kept in step for a rollback, newest first; the candidate among them where the settings go back to it."""
    change: SpecChange
    """From what is live to what the settings ask for."""
    refusal: str | None = None
    """Why what the settings ask for was refused before; remembered even after the collection is dropped."""


def choose_collections(ledger: Ledger, store: VectorStore, *, alias: str, spec: IndexSpec, strategy: Strategy) -> Collections:
    """The collections as they are and as they should become."""
    behind = store.resolve_alias(alias)
    records = follow_alias(_adopted(ledger.collections(alias), store, alias, behind), behind)
    live = next((record for record in records if record.name == behind), None)
    retired = [record for record in records if record.state is CollectionState.RETIRED or record.reason == CALLED_BACK]
    retired.sort(key=lambda record: record.changed_ns, reverse=True)
    if live is None:
        target = _unreleased(ledger, records, alias, spec)
        return Collections(None, target, spec, None, tuple(retired), SpecChange())
    change = compare_specs(spec_from_values(live.spec), spec)
    if not change or not change.wants_candidate(strategy):
        return Collections(live, live, spec, None, tuple(retired), change)
    candidate = _find_candidate(ledger, [record for record in records if record is not live], alias, spec)
    refusal = read_refusals(ledger, alias).get(spec_fingerprint(spec))
    return Collections(live, live, spec_from_values(live.spec), candidate, tuple(retired), change, refusal)


def follow_alias(records: Iterable[CollectionRecord], behind: str | None) -> list[CollectionRecord]:
    """The records with the states that the alias proves; with no alias at all they stay as they are."""
    if behind is None:
        return list(records)
    return [_proven(record, behind) for record in records]


def settle(ledger: Ledger, store: VectorStore, *, alias: str) -> None:
    """Writes down what the alias proves, after a crash between a switch and its record. Under the writer lock."""
    behind = store.resolve_alias(alias)
    known = {record.name: record for record in ledger.collections(alias)}
    refusals = read_refusals(ledger, alias)
    for proven in follow_alias(_adopted(list(known.values()), store, alias, behind), behind):
        record = _left_for_good(proven, refusals)
        if record == known.get(record.name):
            continue
        ledger.put_collection(record)
        if record.state is CollectionState.LIVE:
            ledger.add_decision("switch", {"alias": alias, "to": record.name, "reason": "found after an interrupted run"})


def open_collection(ledger: Ledger, store: VectorStore, record: CollectionRecord, spec: IndexSpec) -> CollectionRecord:
    """The record, its collection standing in the store. Bucket states of one that the store has lost are forgotten."""
    if store.describe(record.name) is None:
        ledger.forget_bucket_states(record.name)
        space = spec.vector_space
        layout = CollectionLayout(dimension=space.dimension, distance=space.distance, metadata=spec_values(spec))
        store.create_collection(record.name, layout)
    if record not in ledger.collections(record.alias):
        ledger.put_collection(record)
    return record


def start_candidate(ledger: Ledger, store: VectorStore, record: CollectionRecord, spec: IndexSpec) -> CollectionRecord:
    """The candidate, on its way under this spec; others that were under way are given up."""
    give_up_superseded(ledger, alias=record.alias, wanted={record.name})
    values = spec_values(spec)
    if record.state not in UNDER_WAY or dict(record.spec) != values:
        reason = CALLED_BACK if record.state is CollectionState.RETIRED else ""
        record = replace(record, state=CollectionState.BUILDING, spec=values, reason=reason)
    held = store.metadata(record.name)
    if held and held != values and held.get("vector_space") == values["vector_space"]:  # begun under other chunking or parsers
        store.set_metadata(record.name, values)
    return open_collection(ledger, store, record, spec)


def give_up_superseded(ledger: Ledger, *, alias: str, wanted: Container[str]) -> None:
    """Refuses collections that were under way and that the settings no longer ask for. Retention drops them."""
    for record in ledger.collections(alias):
        if record.state in UNDER_WAY and record.name not in wanted:
            ledger.put_collection(_ended(record, "superseded: the settings changed"))


def _ended(record: CollectionRecord, reason: str) -> CollectionRecord:
    """A candidate that will not go live: refused, or retired again where it was live before, so that one can still go back."""
    state = CollectionState.RETIRED if record.reason == CALLED_BACK else CollectionState.REFUSED
    return replace(record, state=state, reason=reason)


def read_refusals(ledger: Ledger, alias: str) -> dict[str, str]:
    """Reasons by fingerprint of the spec that was refused."""
    refusals: dict[str, str] = json.loads(ledger.meta(f"refusals:{alias}") or "{}")
    return refusals


def refuse(ledger: Ledger, record: CollectionRecord, reason: str) -> CollectionRecord:
    """The record as refused, its spec remembered. One that had been called back is retired again."""
    remember_refusal(ledger, record, reason)
    ended = _ended(record, reason)
    ledger.put_collection(ended)
    return ended


def remember_refusal(ledger: Ledger, record: CollectionRecord, reason: str) -> None:
    """Keeps every sensor from building this spec again. Comes before what it is about: a crash in between must not undo it."""
    refusals = read_refusals(ledger, record.alias)
    spec = spec_fingerprint(spec_from_values(record.spec))
    refusals.pop(spec, None)  # the newest stands last
    refusals[spec] = reason
    newest = dict(list(refusals.items())[-REMEMBERED_REFUSALS:])
    ledger.set_meta(f"refusals:{record.alias}", json.dumps(newest))


def forget_refusal(ledger: Ledger, alias: str, spec: IndexSpec) -> None:
    """Lets this spec be built again."""
    refusals = read_refusals(ledger, alias)
    if refusals.pop(spec_fingerprint(spec), None) is not None:
        ledger.set_meta(f"refusals:{alias}", json.dumps(refusals))


def record_spec(ledger: Ledger, store: VectorStore, record: CollectionRecord, spec: IndexSpec) -> None:
    """Notes in store and ledger that the collection now holds this spec whole."""
    values = spec_values(spec)
    info = store.describe(record.name)
    if info is not None and dict(info.metadata) != values:
        store.set_metadata(record.name, values)
    known = next((other for other in ledger.collections(record.alias) if other.name == record.name), record)
    if dict(known.spec) != values:
        ledger.put_collection(replace(known, spec=values))


def _proven(record: CollectionRecord, behind: str) -> CollectionRecord:
    if record.name == behind:
        return record if record.state is CollectionState.LIVE else replace(record, state=CollectionState.LIVE, reason="")
    if record.state is CollectionState.LIVE:
        return replace(record, state=CollectionState.RETIRED, reason=f"{behind} took over")
    return record


def _left_for_good(record: CollectionRecord, refusals: Mapping[str, str]) -> CollectionRecord:
    """As refused, where a rollback left it and was cut off: going back once more must not return to it."""
    reason = refusals.get(spec_fingerprint(spec_from_values(record.spec)))
    if record.state is not CollectionState.RETIRED or reason is None or reason == record.reason:
        return record  # with the refusal's own reason it was called back, refused and retired again
    return replace(record, state=CollectionState.REFUSED, reason=reason)


def _adopted(
    records: Sequence[CollectionRecord], store: VectorStore, alias: str, behind: str | None
) -> Sequence[CollectionRecord]:
    """With the collection behind the alias, if a lost ledger does not know it: the store keeps its spec too."""
    if behind is None or any(record.name == behind for record in records):
        return records
    info = store.describe(behind)
    if info is None or not info.metadata:
        return records
    space = space_fingerprint(spec_from_values(info.metadata).vector_space)
    return [*records, CollectionRecord(behind, alias, space, CollectionState.LIVE, dict(info.metadata))]


def _unreleased(ledger: Ledger, records: Sequence[CollectionRecord], alias: str, spec: IndexSpec) -> CollectionRecord:
    """The collection of the first release, or the one that was live before the store was lost."""
    space = space_fingerprint(spec.vector_space)
    usable = [record for record in records if record.fingerprint == space and record.state is not CollectionState.REFUSED]
    if not usable:
        return _new_record(ledger, alias, spec)
    return next((record for record in usable if record.state is CollectionState.LIVE), usable[-1])


def _find_candidate(ledger: Ledger, records: Sequence[CollectionRecord], alias: str, spec: IndexSpec) -> CollectionRecord:
    """One of this vector space that was begun before, a refused one, or a retired one of this very spec; else a new one."""
    space, wanted = space_fingerprint(spec.vector_space), spec_fingerprint(spec)
    same_space = [record for record in records if record.fingerprint == space]
    exact = [record for record in same_space if spec_fingerprint(spec_from_values(record.spec)) == wanted]
    if exact:
        return exact[-1]
    begun = [record for record in same_space if record.state in UNDER_WAY]
    if begun:
        return replace(begun[-1], state=CollectionState.BUILDING)
    return _new_record(ledger, alias, spec)


def _new_record(ledger: Ledger, alias: str, spec: IndexSpec) -> CollectionRecord:
    space = space_fingerprint(spec.vector_space)
    name = collection_name(alias, spec.vector_space, ledger.last_number(alias, space) + 1)
    return CollectionRecord(name, alias, space, CollectionState.BUILDING, spec_values(spec))
