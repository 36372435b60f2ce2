"""Which collection is live, which one a run fills, which ones are kept, and what a crash leaves."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rag_pipeline.indexing.collections import (
    REMEMBERED_REFUSALS,
    UNDER_WAY,
    follow_alias,
    forget_refusal,
    give_up_superseded,
    open_collection,
    read_refusals,
    record_spec,
    refuse,
    settle,
    start_candidate,
)
from rag_pipeline.indexing.identity import spec_fingerprint, spec_values
from rag_pipeline.schema import BucketState, CollectionState, DocumentType, IndexSpec
from rag_pipeline_tests.specs import SPEC, in_space, record_of
from rag_pipeline_tests.stored import BESIDE, Stored, live, stored_in

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")

OTHER = in_space(model="another")
RECUT = replace(SPEC, chunking={**SPEC.chunking, DocumentType.PDF: {"size": 1024}})
STATE = CollectionState


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Stored]:
    with stored_in(tmp_path) as stored:
        yield stored


def retire(stored: Stored, spec: IndexSpec, number: int = 1) -> str:
    return stored.stand(record_of(spec, number=number, state=STATE.RETIRED)).name


# --- who is live, what a run fills ---


def test_before_the_first_release_a_run_fills_number_one(stored: Stored) -> None:
    chosen = stored.choose()
    assert (chosen.live, chosen.candidate, chosen.retired, bool(chosen.change)) == (None, None, (), False)
    assert (chosen.target.name, chosen.target.state) == (record_of(SPEC).name, STATE.BUILDING)
    assert chosen.target_spec == SPEC
    assert stored.states() == {}


def test_a_first_build_goes_on_in_what_was_begun(stored: Stored) -> None:
    begun = stored.stand(record_of(SPEC, state=STATE.BUILDING))
    assert stored.choose().target.name == begun.name


def test_a_first_build_does_not_go_on_in_another_vector_space(stored: Stored) -> None:
    begun = stored.stand(record_of(SPEC, state=STATE.BUILDING))
    assert stored.choose(OTHER).target.name not in (begun.name, None)


def test_a_refused_collection_is_not_the_first_release(stored: Stored) -> None:
    stored.stand(record_of(SPEC, state=STATE.REFUSED))
    assert stored.choose().target.name == record_of(SPEC, number=2).name


def test_unchanged_settings_fill_the_live_collection(stored: Stored) -> None:
    record = live(stored)
    chosen = stored.choose()
    assert (chosen.live, chosen.target, chosen.candidate) == (chosen.target, chosen.target, None)
    assert chosen.target.name == record.name
    assert not chosen.change


@pytest.mark.parametrize(
    "spec", [RECUT, replace(SPEC, payload_version=2), replace(SPEC, parsing={})], ids=["cut", "write", "parse"]
)
def test_a_change_is_made_in_place_or_beside_as_the_strategy_says(stored: Stored, spec: IndexSpec) -> None:
    record = live(stored)
    inside, beside = stored.choose(spec), stored.choose(spec, BESIDE)
    assert (inside.target.name, inside.target_spec, inside.candidate) == (record.name, spec, None)
    assert (beside.target.name, beside.target_spec) == (record.name, SPEC)
    assert beside.candidate is not None
    assert beside.candidate.name == record_of(SPEC, number=2).name
    assert inside.change == beside.change
    assert inside.change


def test_a_new_vector_space_is_always_built_beside(stored: Stored) -> None:
    live(stored)
    chosen = stored.choose(OTHER)
    assert chosen.candidate is not None
    assert (chosen.candidate.name, chosen.candidate.state) == (record_of(OTHER).name, STATE.BUILDING)
    assert chosen.target_spec == SPEC


def test_choosing_writes_nothing(stored: Stored) -> None:
    live(stored)
    stored.choose(OTHER)
    assert set(stored.states()) == set(stored.store.collections()) == {record_of(SPEC).name}


# --- numbers ---


def test_a_number_is_never_given_twice(stored: Stored) -> None:
    live(stored)
    for number in (1, 2):
        record = stored.stand(record_of(OTHER, number=number, state=STATE.REFUSED))
        stored.store.drop_collection(record.name)
        stored.ledger.put_collection(replace(record, state=STATE.DROPPED))
    chosen = stored.choose(OTHER)
    assert chosen.candidate is not None
    assert chosen.candidate.name == record_of(OTHER, number=3).name


def test_numbers_of_vector_spaces_are_their_own(stored: Stored) -> None:
    live(stored)
    stored.stand(record_of(OTHER, number=4, state=STATE.RETIRED))
    other = stored.choose(in_space(dimension=4)).candidate
    assert other is not None
    assert other.name.endswith("-1")


# --- a candidate that is there already ---


def test_a_candidate_that_was_begun_goes_on(stored: Stored) -> None:
    live(stored)
    begun = stored.stand(record_of(OTHER, state=STATE.CAUGHT_UP))
    chosen = stored.choose(OTHER)
    assert chosen.candidate == replace(begun, changed_ns=chosen.candidate.changed_ns if chosen.candidate else 0)


def test_a_candidate_goes_on_under_other_chunks_of_its_vector_space(stored: Stored) -> None:
    live(stored)
    begun = stored.stand(record_of(OTHER, state=STATE.VALIDATED))
    wanted = replace(OTHER, chunking=RECUT.chunking)
    chosen = stored.choose(wanted)
    assert chosen.candidate is not None
    assert (chosen.candidate.name, chosen.candidate.state) == (begun.name, STATE.BUILDING)
    started = start_candidate(stored.ledger, stored.store, chosen.candidate, wanted)
    assert dict(started.spec) == spec_values(wanted)
    assert stored.states()[begun.name] is STATE.BUILDING


def test_settings_that_go_back_take_the_retired_collection_again(stored: Stored) -> None:
    former = retire(stored, SPEC)
    stored.stand(record_of(OTHER), is_live=True)
    chosen = stored.choose(SPEC)
    assert chosen.candidate is not None
    assert chosen.candidate.name == former
    assert [record.name for record in chosen.retired] == [former]  # a rollback may still come first
    start_candidate(stored.ledger, stored.store, chosen.candidate, SPEC)
    assert stored.states()[former] is STATE.BUILDING
    assert [record.name for record in stored.choose(SPEC).retired] == [former]  # and even now


def test_a_retired_collection_that_was_called_back_and_refused_is_retired_again(stored: Stored) -> None:
    former = retire(stored, SPEC)
    stored.stand(record_of(OTHER), is_live=True)
    candidate = stored.choose(SPEC).candidate
    assert candidate is not None
    begun = start_candidate(stored.ledger, stored.store, candidate, SPEC)
    assert refuse(stored.ledger, begun, "canaries").state is STATE.RETIRED
    assert stored.choose(SPEC).refusal == "canaries"
    assert [record.name for record in stored.choose(SPEC).retired] == [former]


def test_a_retired_collection_that_was_called_back_is_retired_again_when_the_settings_change_once_more(stored: Stored) -> None:
    former = retire(stored, SPEC)
    stored.stand(record_of(OTHER), is_live=True)
    candidate = stored.choose(SPEC).candidate
    assert candidate is not None
    start_candidate(stored.ledger, stored.store, candidate, SPEC)
    give_up_superseded(stored.ledger, alias=candidate.alias, wanted=set())
    assert stored.states()[former] is STATE.RETIRED


def test_a_retired_collection_of_other_chunks_is_left_for_a_rollback(stored: Stored) -> None:
    former = retire(stored, SPEC)
    stored.stand(record_of(OTHER), is_live=True)
    chosen = stored.choose(RECUT)
    assert chosen.candidate is not None
    assert chosen.candidate.name == record_of(SPEC, number=2).name
    assert [record.name for record in chosen.retired] == [former]


def test_retired_collections_stand_newest_first(stored: Stored) -> None:
    old, new = retire(stored, SPEC), retire(stored, SPEC, number=2)
    stored.stand(record_of(OTHER), is_live=True)
    assert [record.name for record in stored.choose(OTHER).retired] == [new, old]


def test_starting_a_candidate_makes_it_and_gives_up_the_others(stored: Stored) -> None:
    live(stored)
    superseded = stored.stand(record_of(in_space(dimension=4), state=STATE.CAUGHT_UP))
    chosen = stored.choose(OTHER)
    assert chosen.candidate is not None
    started = start_candidate(stored.ledger, stored.store, chosen.candidate, OTHER)
    info = stored.store.describe(started.name)
    assert info is not None
    assert dict(info.metadata) == spec_values(OTHER)
    assert stored.states() == {
        record_of(SPEC).name: STATE.LIVE,
        superseded.name: STATE.REFUSED,
        started.name: STATE.BUILDING,
    }


@pytest.mark.parametrize("state", [STATE.BUILDING, STATE.CAUGHT_UP, STATE.VALIDATED])
def test_starting_again_keeps_how_far_it_is(stored: Stored, state: CollectionState) -> None:
    live(stored)
    stored.stand(record_of(OTHER, state=state))
    candidate = stored.choose(OTHER).candidate
    assert candidate is not None
    assert start_candidate(stored.ledger, stored.store, candidate, OTHER).state is state


@pytest.mark.parametrize("state", STATE)
def test_only_what_is_under_way_can_be_superseded(stored: Stored, state: CollectionState) -> None:
    stored.ledger.put_collection(record_of(OTHER, state=state))
    give_up_superseded(stored.ledger, alias="docs", wanted=())
    records = stored.ledger.collections("docs")
    gave_up = [record for record in records if record.reason.startswith("superseded")]
    assert bool(gave_up) == (state in UNDER_WAY)
    assert all(record.state is STATE.REFUSED for record in gave_up)
    assert read_refusals(stored.ledger, "docs") == {}


def test_what_is_wanted_is_not_superseded(stored: Stored) -> None:
    record = record_of(OTHER, state=STATE.BUILDING)
    stored.ledger.put_collection(record)
    give_up_superseded(stored.ledger, alias="docs", wanted={record.name})
    assert stored.states() == {record.name: STATE.BUILDING}


# --- refusals ---


def test_a_refusal_outlives_its_collection(stored: Stored) -> None:
    live(stored)
    refused = refuse(stored.ledger, stored.stand(record_of(OTHER, state=STATE.CAUGHT_UP)), "finds too little")
    assert stored.choose(OTHER).refusal == "finds too little"
    stored.ledger.put_collection(replace(refused, state=STATE.DROPPED))
    chosen = stored.choose(OTHER)
    assert chosen.refusal == "finds too little"
    assert stored.choose(in_space(model="a third")).refusal is None
    forget_refusal(stored.ledger, "docs", OTHER)
    assert stored.choose(OTHER).refusal is None


def test_old_refusals_are_forgotten_in_their_order(stored: Stored) -> None:
    for number in range(REMEMBERED_REFUSALS + 2):
        refuse(stored.ledger, record_of(in_space(max_tokens=100 + number)), f"reason {number}")
    assert next(iter(read_refusals(stored.ledger, "docs").values())) == "reason 2"
    assert len(read_refusals(stored.ledger, "docs")) == REMEMBERED_REFUSALS


def test_a_spec_that_is_refused_again_counts_as_the_newest(stored: Stored) -> None:
    for number in range(REMEMBERED_REFUSALS):
        refuse(stored.ledger, record_of(in_space(max_tokens=100 + number)), f"reason {number}")
    refuse(stored.ledger, record_of(in_space(max_tokens=100)), "again")
    refuse(stored.ledger, record_of(in_space(max_tokens=99)), "one more")
    refusals = read_refusals(stored.ledger, "docs")
    assert refusals[spec_fingerprint(in_space(max_tokens=100))] == "again"


def test_what_is_live_is_not_refused_by_an_old_verdict(stored: Stored) -> None:
    record = live(stored)
    refuse(stored.ledger, record, "was bad once")
    chosen = stored.choose(SPEC)
    assert (chosen.refusal, chosen.live and chosen.live.state) == (None, STATE.LIVE)


# --- the ledger follows the alias ---


def test_the_alias_proves_who_is_live_and_who_was() -> None:
    former, new = record_of(SPEC), record_of(OTHER, state=STATE.VALIDATED)
    followed = {record.name: record for record in follow_alias([former, new], new.name)}
    assert followed[new.name].state is STATE.LIVE
    assert followed[former.name].state is STATE.RETIRED
    assert new.name in followed[former.name].reason


def test_without_an_alias_nothing_is_proven() -> None:
    records = [record_of(SPEC), record_of(OTHER, state=STATE.VALIDATED)]
    assert follow_alias(records, None) == records


def test_a_crash_between_the_switch_and_its_record_is_put_right(stored: Stored) -> None:
    former = live(stored)
    new = stored.stand(record_of(OTHER, state=STATE.VALIDATED))
    stored.store.switch_alias("docs", new.name)
    chosen = stored.choose(OTHER)
    assert chosen.live is not None
    assert chosen.live.name == new.name
    assert stored.states()[former.name] is STATE.LIVE
    settle(stored.ledger, stored.store, alias="docs")
    assert stored.states() == {former.name: STATE.RETIRED, new.name: STATE.LIVE}
    assert [content["to"] for content in stored.decisions("switch")] == [new.name]


def test_settling_twice_decides_once(stored: Stored) -> None:
    live(stored)
    stored.store.switch_alias("docs", stored.stand(record_of(OTHER, state=STATE.VALIDATED)).name)
    settle(stored.ledger, stored.store, alias="docs")
    before = stored.ledger.collections("docs")
    settle(stored.ledger, stored.store, alias="docs")
    assert len(stored.decisions("switch")) == 1
    assert stored.ledger.collections("docs") == before


def test_a_lost_ledger_takes_over_what_is_live(stored: Stored) -> None:
    record = stored.stand(record_of(SPEC, number=7), is_known=False, is_live=True)
    chosen = stored.choose()
    assert chosen.live is not None
    assert (chosen.target.name, bool(chosen.change)) == (record.name, False)
    settle(stored.ledger, stored.store, alias="docs")
    assert stored.states() == {record.name: STATE.LIVE}
    assert stored.ledger.last_number("docs", record.fingerprint) == 7


def test_a_lost_ledger_and_other_settings_want_a_candidate(stored: Stored) -> None:
    record = stored.stand(record_of(SPEC), is_known=False, is_live=True)
    chosen = stored.choose(OTHER)
    assert chosen.candidate is not None
    assert (chosen.target.name, chosen.target_spec) == (record.name, SPEC)


def test_a_lost_store_is_filled_again_under_the_name_that_was_live(stored: Stored) -> None:
    retire(stored, SPEC, number=1)
    stored.ledger.put_collection(record_of(SPEC, number=2))
    stored.ledger.put_collection(record_of(SPEC, number=3, state=STATE.CAUGHT_UP))
    assert stored.choose().target.name == record_of(SPEC, number=2).name


def test_a_collection_that_the_store_lost_is_made_again_and_its_buckets_distrusted(stored: Stored) -> None:
    record = record_of(SPEC)
    stored.ledger.put_collection(record)
    stored.ledger.put_bucket_state(record.name, "00", BucketState("digest", 5, 1, 1, 0))
    open_collection(stored.ledger, stored.store, record, SPEC)
    assert stored.ledger.bucket_states(record.name) == {}
    assert stored.store.describe(record.name) is not None


def test_opening_what_stands_keeps_its_buckets(stored: Stored) -> None:
    record = live(stored)
    stored.ledger.put_bucket_state(record.name, "00", BucketState("digest", 5, 1, 1, 0))
    open_collection(stored.ledger, stored.store, record, SPEC)
    assert set(stored.ledger.bucket_states(record.name)) == {"00"}


def test_the_spec_of_a_change_in_place_is_noted_in_store_and_ledger(stored: Stored) -> None:
    record = live(stored)
    record_spec(stored.ledger, stored.store, record, RECUT)
    info = stored.store.describe(record.name)
    assert info is not None
    assert dict(info.metadata) == spec_values(RECUT)
    assert not stored.choose(RECUT).change
