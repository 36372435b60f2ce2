"""What is dropped when the grace time is over, and what never is."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.errors import BackendRejectedError
from rag_pipeline.indexing.identity import parsing_digest, space_fingerprint
from rag_pipeline.indexing.retention import ENDED, NS_PER_HOUR, Retained, drop_expired, find_expired
from rag_pipeline.ports import ArtifactStore, Stage
from rag_pipeline.schema import BucketState, CollectionRecord, CollectionState, DocumentType, IndexSpec
from rag_pipeline_tests.contracts.test_artifacts import chunked_of, document_of
from rag_pipeline_tests.fakes.artifacts import MemoryArtifactStore
from rag_pipeline_tests.specs import SPEC, in_space, record_of
from rag_pipeline_tests.stored import Stored, live, stored_in

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")

OTHER = in_space(model="another")
STATE = CollectionState
NOW_NS = 10**18 * 4


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Stored]:
    with stored_in(tmp_path) as stored:
        yield stored


def aged(record: CollectionRecord, hours: float) -> CollectionRecord:
    return replace(record, changed_ns=NOW_NS - int(hours * NS_PER_HOUR))


def names(expired: list[CollectionRecord]) -> list[str]:
    return [record.name for record in expired]


def expired(*records: CollectionRecord, behind: str | None, grace_hours: float = 24) -> list[str]:
    return names(find_expired(records, behind=behind, now_ns=NOW_NS, grace_ns=int(grace_hours * NS_PER_HOUR)))


def drop(stored: Stored, *, spec: IndexSpec = SPEC, artifacts: ArtifactStore | None = None, hours_later: float = 25) -> Retained:
    records = stored.ledger.collections("docs")
    now_ns = max((record.changed_ns for record in records), default=0) + int(hours_later * NS_PER_HOUR)
    artifacts = artifacts or MemoryArtifactStore()
    return drop_expired(stored.ledger, stored.store, artifacts, alias="docs", spec=spec, now_ns=now_ns, grace_hours=24)


@pytest.mark.parametrize("state", STATE)
@pytest.mark.parametrize(("hours", "is_over"), [(23.9, False), (24, True), (1000, True)])
def test_only_what_ended_long_enough_ago_is_expired(state: CollectionState, hours: float, is_over: bool) -> None:
    record = aged(record_of(OTHER, state=state), hours)
    goes = is_over and state in ENDED
    assert expired(record, behind=record_of(SPEC).name) == ([record.name] if goes else [])


def test_one_that_the_ledger_still_takes_for_live_begins_its_grace_when_that_is_put_right() -> None:
    former, behind = aged(record_of(SPEC), 1000), record_of(OTHER, state=STATE.VALIDATED)
    assert expired(former, behind, behind=behind.name) == []


collections = st.lists(
    st.builds(
        lambda number, state, hours: aged(record_of(OTHER, number=number, state=state), hours),
        st.integers(1, 9),
        st.sampled_from(STATE),
        st.floats(0, 1000),
    ),
    max_size=8,
    unique_by=lambda record: record.name,
)


@given(collections, st.integers(0, 9), st.floats(0, 48))
def test_what_is_behind_the_alias_is_never_expired(records: list[CollectionRecord], number: int, grace_hours: float) -> None:
    behind = record_of(OTHER, number=number).name if number else None
    gone = expired(*records, behind=behind, grace_hours=grace_hours)
    assert behind not in gone
    for record in records:
        if record.name in gone:
            assert record.changed_ns + grace_hours * NS_PER_HOUR <= NOW_NS + 1
            assert record.state in ENDED


def test_a_dropped_collection_leaves_a_decision_and_its_number(stored: Stored) -> None:
    record = live(stored)
    old = stored.stand(replace(record_of(OTHER, number=3, state=STATE.REFUSED), reason="finds too little"))
    stored.ledger.put_bucket_state(old.name, "00", BucketState("digest", 5, 1, 1, 0))
    done = drop(stored)
    assert (done.dropped, done.kept) == ((old.name,), ())
    assert stored.store.collections() == [record.name]
    assert stored.states() == {record.name: STATE.LIVE}
    assert stored.ledger.bucket_states(old.name) == {}
    assert stored.ledger.last_number("docs", old.fingerprint) == 3
    (decision,) = stored.decisions("drop")
    assert decision["collection"] == old.name
    assert "finds too little" in decision["reason"]


def test_in_its_grace_time_a_retired_collection_is_kept(stored: Stored) -> None:
    live(stored)
    old = stored.stand(record_of(OTHER, state=STATE.RETIRED))
    done = drop(stored, hours_later=23)
    assert (done.dropped, done.kept) == ((), (old.name,))
    assert stored.store.describe(old.name) is not None


def test_a_second_look_finds_nothing_more(stored: Stored) -> None:
    live(stored)
    stored.stand(record_of(OTHER, state=STATE.RETIRED))
    drop(stored)
    assert drop(stored) == Retained((), (), ())
    assert len(stored.decisions("drop")) == 1


def test_a_drop_that_was_cut_off_is_finished(stored: Stored) -> None:
    live(stored)
    old = stored.stand(record_of(OTHER, state=STATE.RETIRED))
    stored.store.drop_collection(old.name)
    assert drop(stored).dropped == (old.name,)
    assert old.name not in stored.states()


def test_a_collection_behind_another_alias_is_not_dropped(stored: Stored) -> None:
    live(stored)
    old = stored.stand(record_of(OTHER, state=STATE.RETIRED))
    stored.store.switch_alias("somebody-else", old.name)
    with pytest.raises(BackendRejectedError):
        drop(stored)
    assert stored.store.describe(old.name) is not None
    assert stored.states()[old.name] is STATE.RETIRED


def test_what_was_switched_back_to_is_not_dropped(stored: Stored) -> None:
    """The ledger says retired, the alias says live: the alias is right."""
    old = stored.stand(record_of(OTHER, state=STATE.RETIRED), is_live=True)
    assert drop(stored).dropped == ()
    assert stored.store.describe(old.name) is not None


# --- artifacts ---


def write(artifacts: MemoryArtifactStore, spec: IndexSpec, collection: str) -> None:
    """An artifact of every stage, with as little in it as can be."""
    artifacts.documents(parsing_digest(spec)).append("00", [document_of("a")])
    artifacts.chunks(collection).append("00", [chunked_of("a")])
    artifacts.vectors(space_fingerprint(spec.vector_space)).append("00", [b"0" * 16], np.ones((1, 8), dtype=np.float32))


def all_names(artifacts: ArtifactStore) -> dict[str, list[str]]:
    stages: tuple[Stage, ...] = ("documents", "chunks", "embeddings")
    return {stage: artifacts.names(stage) for stage in stages}


def test_artifacts_go_with_the_last_collection_that_needs_them(stored: Stored) -> None:
    artifacts = MemoryArtifactStore()
    record, old = live(stored), stored.stand(record_of(OTHER, state=STATE.RETIRED))
    write(artifacts, SPEC, record.name)
    write(artifacts, OTHER, old.name)
    assert drop(stored, artifacts=artifacts, hours_later=1).artifacts == ()
    gone = drop(stored, artifacts=artifacts).artifacts
    assert set(gone) == {f"chunks/{old.name}", f"embeddings/{space_fingerprint(OTHER.vector_space)}"}
    assert all_names(artifacts) == {
        "documents": [parsing_digest(SPEC)],
        "chunks": [record.name],
        "embeddings": [space_fingerprint(SPEC.vector_space)],
    }


def test_parsed_documents_of_an_older_parser_go_when_nobody_was_built_from_them(stored: Stored) -> None:
    artifacts = MemoryArtifactStore()
    record = live(stored)
    write(artifacts, SPEC, record.name)
    older = replace(SPEC, parsing={**SPEC.parsing, DocumentType.PDF: "parser 0"})
    write(artifacts, older, record.name)
    assert drop(stored, artifacts=artifacts).artifacts == (f"documents/{parsing_digest(older)}",)


def test_what_the_settings_ask_for_is_kept_before_any_collection_needs_it(stored: Stored) -> None:
    """A reindex parses and embeds before retention knows its collection, or after a refusal that was dropped."""
    artifacts = MemoryArtifactStore()
    record = live(stored)
    write(artifacts, SPEC, record.name)
    write(artifacts, OTHER, record.name)
    assert drop(stored, spec=OTHER, artifacts=artifacts).artifacts == ()


def test_an_empty_ledger_drops_no_artifact_of_the_settings(stored: Stored) -> None:
    artifacts = MemoryArtifactStore()
    write(artifacts, SPEC, "docs-lost-1")
    assert drop(stored, artifacts=artifacts).artifacts == ("chunks/docs-lost-1",)
