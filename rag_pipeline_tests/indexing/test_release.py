"""The switch: complete, in one step, read back, written down; and what is left where it may not happen."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_pipeline.errors import ReleaseBlockedError, StaleWriterError
from rag_pipeline.indexing.collections import read_refusals, remember_refusal, settle
from rag_pipeline.indexing.identity import spec_fingerprint, spec_values
from rag_pipeline.indexing.release import FIRST, content_digest, finish, gate_values, go_live, switch, switch_back
from rag_pipeline.schema import BucketState, CollectionRecord, CollectionState, GateCheck, GateReport, Point, SparseVector
from rag_pipeline_tests.specs import SPEC, in_space, record_of
from rag_pipeline_tests.stored import Stored, live, open_ledger, stored_in

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")

OTHER = in_space(model="another")
STATE = CollectionState
POINT = Point(
    "00000000-0000-0000-0000-000000000001", np.eye(8, dtype=np.float32)[0], SparseVector((1,), (1.0,)), {"bucket": "00"}
)


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Stored]:
    with stored_in(tmp_path) as stored:
        yield stored


@pytest.fixture
def new(stored: Stored) -> CollectionRecord:
    """A candidate of one point that passed the gate."""
    record = stored.stand(record_of(OTHER, state=STATE.VALIDATED))
    return fill(stored, record)


def fill(stored: Stored, record: CollectionRecord, *, said: int = 1) -> CollectionRecord:
    stored.store.upsert(record.name, [POINT])
    stored.ledger.put_bucket_state(record.name, "00", BucketState("digest", said, 1, 1, 0))
    return record


def first(stored: Stored, record: CollectionRecord, *, out_of_step: int = 0) -> Any:
    return go_live(stored.ledger, stored.store, record=record, spec=SPEC, out_of_step=out_of_step)


def switch_to(stored: Stored, record: CollectionRecord) -> Any:
    return switch(stored.ledger, stored.store, record=record, kind="switch", content={"reason": "passed", "by": "test"})


def test_the_first_collection_goes_live_once_it_is_in_step(stored: Stored) -> None:
    record = fill(stored, stored.stand(record_of(SPEC, state=STATE.BUILDING)))
    done = first(stored, record)
    assert (done.collection, done.previous, done.is_switched, done.reason) == (record.name, None, True, FIRST)
    assert stored.store.resolve_alias("docs") == record.name
    assert stored.states() == {record.name: STATE.LIVE}
    assert stored.decisions("switch") == [{"alias": "docs", "from": None, "to": record.name, "reason": FIRST}]


@pytest.mark.parametrize(("out_of_step", "said", "why"), [(2, 1, "2 buckets out of step"), (0, 3, "1 points, 3 expected")])
def test_an_incomplete_first_collection_stays_away_from_the_alias(stored: Stored, out_of_step: int, said: int, why: str) -> None:
    record = fill(stored, stored.stand(record_of(SPEC, state=STATE.BUILDING)), said=said)
    with pytest.raises(ReleaseBlockedError, match=why):
        first(stored, record, out_of_step=out_of_step)
    assert stored.store.resolve_alias("docs") is None
    assert stored.states() == {record.name: STATE.BUILDING}
    assert stored.decisions() == []


def test_a_live_collection_is_not_switched_to_again(stored: Stored) -> None:
    record = fill(stored, live(stored))
    assert first(stored, record).reason == "already live"
    behind = first(stored, record, out_of_step=3)
    assert (behind.is_switched, behind.reason) == (False, "live; 3 buckets are not in step yet")
    assert stored.decisions() == []


def test_a_live_collection_that_lost_points_is_said_so(stored: Stored) -> None:
    with pytest.raises(ReleaseBlockedError, match="rag fsck --repair"):
        first(stored, fill(stored, live(stored), said=2))


def test_finishing_notes_the_spec_that_is_held_now(stored: Stored) -> None:
    record = fill(stored, live(stored))
    wanted = replace(SPEC, payload_version=2)
    finish(stored.ledger, stored.store, record=record, spec=wanted, out_of_step=0)
    assert dict(stored.ledger.collections("docs")[0].spec) == spec_values(wanted)


def test_a_switch_retires_what_was_live_and_says_who_and_why(stored: Stored, new: CollectionRecord) -> None:
    former = live(stored)
    done = switch_to(stored, new)
    assert (done.previous, done.is_switched) == (former.name, True)
    assert stored.states() == {former.name: STATE.RETIRED, new.name: STATE.LIVE}
    (decision,) = stored.decisions("switch")
    assert decision == {"alias": "docs", "from": former.name, "to": new.name, "reason": "passed", "by": "test"}


def test_repeating_a_switch_switches_nothing(stored: Stored, new: CollectionRecord) -> None:
    live(stored)
    switch_to(stored, new)
    done = switch_to(stored, new)
    assert (done.is_switched, stored.store.resolve_alias("docs")) == (False, new.name)


def test_a_writer_that_lost_the_lock_switches_nothing(stored: Stored, new: CollectionRecord) -> None:
    former = live(stored)
    with stored.ledger.writer_lock(wait_s=1, on_wait=print):
        with open_ledger(stored.folder, lock="another.lock").writer_lock(wait_s=1, on_wait=print):
            pass
        with pytest.raises(StaleWriterError):
            switch_to(stored, new)
    assert stored.store.resolve_alias("docs") == former.name
    assert stored.states() == {former.name: STATE.LIVE, new.name: STATE.VALIDATED}


def test_a_switch_that_does_not_take_is_noticed(stored: Stored, new: CollectionRecord) -> None:
    former = live(stored)
    stored.store.switch_alias = lambda alias, collection: None  # type: ignore[method-assign]
    with pytest.raises(ReleaseBlockedError, match="does not point at"):
        switch_to(stored, new)
    assert stored.states()[former.name] is STATE.LIVE
    assert stored.decisions() == []


def test_going_back_refuses_what_was_live_and_its_settings(stored: Stored, new: CollectionRecord) -> None:
    former = live(stored)
    switch_to(stored, new)
    behind = next(record for record in stored.ledger.collections("docs") if record.name == new.name)
    done = switch_back(stored.ledger, stored.store, to=former, refused=behind, reason="users complain", by="test")
    assert (done.collection, done.previous) == (former.name, new.name)
    assert stored.store.resolve_alias("docs") == former.name
    assert stored.states() == {former.name: STATE.LIVE, new.name: STATE.REFUSED}
    assert read_refusals(stored.ledger, "docs") == {spec_fingerprint(OTHER): "users complain"}
    (decision,) = stored.decisions("rollback")
    assert (decision["from"], decision["to"], decision["by"]) == (new.name, former.name, "test")


def test_going_back_forgets_an_older_refusal_of_what_is_live_again(stored: Stored, new: CollectionRecord) -> None:
    former = live(stored)
    remember_refusal(stored.ledger, former, "of last year")
    switch_to(stored, new)
    behind = next(record for record in stored.ledger.collections("docs") if record.name == new.name)
    switch_back(stored.ledger, stored.store, to=former, refused=behind, reason="users complain", by="test")
    assert read_refusals(stored.ledger, "docs") == {spec_fingerprint(OTHER): "users complain"}


def test_a_rollback_that_was_cut_off_leaves_no_way_forward_to_what_it_left(stored: Stored, new: CollectionRecord) -> None:
    former = live(stored)
    switch_to(stored, new)
    behind = next(record for record in stored.ledger.collections("docs") if record.name == new.name)
    remember_refusal(stored.ledger, behind, "users complain")
    stored.store.switch_alias("docs", former.name)  # and the run died here
    settle(stored.ledger, stored.store, alias="docs")
    assert stored.states() == {former.name: STATE.LIVE, new.name: STATE.REFUSED}


def test_a_content_digest_follows_every_bucket(stored: Stored, new: CollectionRecord) -> None:
    before = content_digest(stored.ledger, new.name)
    stored.ledger.put_bucket_state(new.name, "01", BucketState("other", 4, 1, 1, 0))
    more = content_digest(stored.ledger, new.name)
    stored.ledger.put_bucket_state(new.name, "01", BucketState("other", 5, 1, 1, 0))
    assert len({before, more, content_digest(stored.ledger, new.name)}) == 3


def test_a_report_of_the_gate_can_be_kept_whole() -> None:
    checks = (GateCheck("fsck", True, "fine", {"points": 3}), GateCheck("retrieval", False, "too little", {"recall": 0.1}))
    report = GateReport("new", "old", "digest", checks)
    values = gate_values(report)
    kept = GateReport(
        values["collection"], values["live"], values["content_digest"], tuple(GateCheck(**c) for c in values["checks"])
    )
    assert (values["passed"], kept, report.reasons) == (False, report, ["retrieval: too little"])
