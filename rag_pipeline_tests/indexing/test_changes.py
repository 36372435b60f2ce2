from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.indexing.changes import (
    COARSE_NS,
    FINE_NS,
    ChangeKind,
    ChangePlan,
    DeleteBrake,
    HashedFile,
    compare_stats,
    is_racy,
    is_unreadable,
    plan_changes,
    unreadable_hash,
)
from rag_pipeline.indexing.identity import bucket_of, document_id
from rag_pipeline.schema import DocumentRecord, FileStat, Listing, SourceFile

START_NS = 1_700_000_000_000_000_000
OLD_NS = START_NS - 10 * COARSE_NS
OPEN = DeleteBrake(max_share=1, max_documents=0)

TREES = st.dictionaries(
    st.sampled_from([f"{folder}{name}" for folder in ("", "a/", "b/") for name in "pqrst"]), st.sampled_from("UVWX")
)


def stat_of(content: str, modified_ns: int = OLD_NS) -> FileStat:
    return FileStat(len(content), modified_ns, f"version of {content}")


def record_of(path: str, content: str, *, racy: bool = False, source: str = "test") -> DocumentRecord:
    document = document_id(source, path)
    return DocumentRecord(document, source, path, f"docs/{path}", bucket_of(document, 16), stat_of(content), content, racy, 1)


def listing_of(tree: Mapping[str, str], *, started_ns: int = START_NS) -> Listing:
    files = tuple(SourceFile(path, stat_of(content)) for path, content in sorted(tree.items()))
    return Listing("test", started_ns, files, ())


def plan(
    before: Mapping[str, str], after: Mapping[str, str], *, brake: DeleteBrake = OPEN, gone: frozenset[str] = frozenset()
) -> ChangePlan:
    """The plan from one tree of contents to another; every content is its own hash."""
    previous = [record_of(path, content) for path, content in before.items()]
    listing = listing_of(after)
    hashes = {
        file.path: None if file.path in gone else HashedFile(file.stat, after[file.path])
        for file in compare_stats(previous, listing).to_hash
    }
    return plan_changes(
        previous=previous, listing=listing, hashes=hashes, uri="docs/{}".format, buckets=16, generation=7, brake=brake
    )


def apply(before: Mapping[str, str], found: ChangePlan) -> dict[str, str]:
    """The contents that the ledger holds afterwards."""
    records = {record_of(path, content).document_id: (path, content) for path, content in before.items()}
    for document in found.deletes:
        del records[document]
    records.update({record.document_id: (record.path, record.content_hash) for record in found.upserts})
    return dict(records.values())


def kinds(found: ChangePlan) -> dict[str, str]:
    return {change.path: change.kind.value for change in found.changes}


# --- properties ---


@given(TREES, TREES)
def test_the_ledger_ends_as_the_source_is(before: dict[str, str], after: dict[str, str]) -> None:
    assert apply(before, plan(before, after)) == after


@given(TREES, TREES)
def test_counts_are_those_of_the_truth(before: dict[str, str], after: dict[str, str]) -> None:
    found = plan(before, after)
    vanished = Counter(before[path] for path in before.keys() - after.keys())
    arrived = Counter(after[path] for path in after.keys() - before.keys())
    renamed = (vanished & arrived).total()
    assert found.count(ChangeKind.RENAMED) == renamed
    assert found.count(ChangeKind.NEW) == arrived.total() - renamed
    assert found.count(ChangeKind.DELETED) == vanished.total() - renamed
    assert found.count(ChangeKind.MODIFIED) == sum(before[path] != after[path] for path in before.keys() & after.keys())
    assert found.unchanged + len(found.changes) - found.count(ChangeKind.DELETED) == len(after)


@given(TREES)
def test_a_quiet_tree_writes_nothing(tree: dict[str, str]) -> None:
    found = plan(tree, tree)
    assert (found.upserts, found.deletes, found.changes, found.has_changes) == ((), (), (), False)
    assert found.unchanged == len(tree)


@given(TREES, TREES)
def test_the_order_of_the_records_does_not_matter(before: dict[str, str], after: dict[str, str]) -> None:
    reordered = dict(reversed(before.items()))
    assert plan(before, after) == plan(reordered, after)


@given(TREES, TREES)
def test_a_vanished_document_is_the_origin_of_one_rename_at_most(before: dict[str, str], after: dict[str, str]) -> None:
    renames = [change for change in plan(before, after).changes if change.kind is ChangeKind.RENAMED]
    origins = [change.old_path for change in renames]
    assert len(origins) == len(set(origins))
    assert all(before[str(change.old_path)] == after[change.path] for change in renames)


@given(TREES, TREES, st.floats(0, 1), st.integers(0, 6))
def test_a_pulled_brake_keeps_the_vanished_and_lets_all_else_pass(
    before: dict[str, str], after: dict[str, str], max_share: float, max_documents: int
) -> None:
    brake = DeleteBrake(max_share, max_documents)
    free, held = plan(before, after), plan(before, after, brake=brake)
    gone = free.count(ChangeKind.DELETED)
    is_over = gone > max_documents and gone > max_share * len(before)
    assert held.count(ChangeKind.BLOCKED) == (gone if is_over else 0)
    assert held.count(ChangeKind.DELETED) == (0 if is_over else gone)
    assert held.upserts == free.upserts
    kept = {change.path: before[change.path] for change in held.changes if change.kind is ChangeKind.BLOCKED}
    assert apply(before, held) == {**after, **kept}


# --- cases ---


def test_each_kind_of_change_is_told() -> None:
    before = {"same": "A", "edited": "B", "gone": "C", "old-name": "D"}
    after = {"same": "A", "edited": "BB", "new-name": "D", "fresh": "E"}
    found = plan(before, after)
    assert kinds(found) == {"edited": "modified", "fresh": "new", "new-name": "renamed", "gone": "deleted"}
    renamed = next(change for change in found.changes if change.kind is ChangeKind.RENAMED)
    assert renamed.old_path == "old-name"
    assert {record.generation for record in found.upserts} == {7}


def test_a_copy_is_new_and_its_origin_unchanged() -> None:
    assert kinds(plan({"a": "A"}, {"a": "A", "b": "A"})) == {"b": "new"}


def test_two_files_that_swap_names_are_modified() -> None:
    assert kinds(plan({"a": "A", "b": "B"}, {"a": "B", "b": "A"})) == {"a": "modified", "b": "modified"}


def test_a_rename_is_no_deletion_for_the_brake() -> None:
    before = {f"old/{number}": f"content {number}" for number in range(100)}
    after = {f"new/{number}": f"content {number}" for number in range(100)}
    found = plan(before, after, brake=DeleteBrake(0.2, 50))
    assert found.count(ChangeKind.RENAMED) == 100
    assert found.brake_message is None


@pytest.mark.parametrize(
    ("known", "gone", "is_stopped"),
    [
        (100, 51, True),
        (100, 50, False),
        (1000, 51, False),
        (1000, 200, False),
        (1000, 201, True),
        (60, 60, True),
        (10, 10, False),
    ],
)
def test_the_brake_needs_both_limits_passed(known: int, gone: int, is_stopped: bool) -> None:
    before = {f"{number:04d}": f"content {number}" for number in range(known)}
    after = dict(list(before.items())[gone:])
    found = plan(before, after, brake=DeleteBrake(0.2, 50))
    assert found.count(ChangeKind.BLOCKED if is_stopped else ChangeKind.DELETED) == gone
    assert (found.brake_message is not None) is is_stopped
    assert found.has_changes is not is_stopped


def test_the_brake_says_how_to_approve() -> None:
    before = {f"{number}": f"content {number}" for number in range(60)}
    message = plan(before, {}, brake=DeleteBrake(0.2, 50)).brake_message
    assert message is not None
    assert "60 of 60" in message
    assert "rag index --approve-deletes" in message
    approved = plan(before, {}, brake=DeleteBrake(0.2, 50, is_approved=True))
    assert approved.count(ChangeKind.DELETED) == 60


def test_a_touch_is_unchanged_with_a_new_stat() -> None:
    listing = Listing("test", START_NS, (SourceFile("a", FileStat(1, OLD_NS + 5, "touched")),), ())
    found = plan_changes(
        previous=[record_of("a", "A")],
        listing=listing,
        hashes={"a": HashedFile(listing.files[0].stat, "A")},
        uri="docs/{}".format,
        buckets=16,
        generation=7,
        brake=OPEN,
    )
    assert (found.unchanged, found.changes) == (1, ())
    (record,) = found.upserts
    assert record.stat == listing.files[0].stat
    assert record.generation == 1


def test_another_url_of_the_source_counts_as_a_rename_and_reads_nothing() -> None:
    found = plan_changes(
        previous=[record_of("a", "A")],
        listing=listing_of({"a": "A"}),
        hashes={},
        uri="s3://bucket/{}".format,
        buckets=16,
        generation=7,
        brake=OPEN,
    )
    assert kinds(found) == {"a": "renamed"}
    assert [record.uri for record in found.upserts] == ["s3://bucket/a"]


def test_a_file_gone_between_listing_and_hashing_is_gone() -> None:
    found = plan({"a": "A", "b": "B"}, {"a": "AA", "b": "B", "c": "C"}, gone=frozenset({"a", "c"}))
    assert kinds(found) == {"a": "deleted"}
    assert found.unchanged == 1


def test_an_unreadable_file_keeps_its_place_and_ends_when_it_can_be_read() -> None:
    document = document_id("test", "a")
    listing = listing_of({"a": "AA"})
    unread = plan_changes(
        previous=[record_of("a", "A")],
        listing=listing,
        hashes={"a": HashedFile(listing.files[0].stat, unreadable_hash(document), detail="Permission denied")},
        uri="docs/{}".format,
        buckets=16,
        generation=7,
        brake=OPEN,
    )
    (record,) = unread.upserts
    assert is_unreadable(record)
    assert record.is_racy
    assert unread.deletes == ()
    assert compare_stats([record], listing).to_hash == listing.files


# --- stats ---


def test_only_doubtful_files_are_hashed() -> None:
    previous = [record_of("same", "A"), record_of("racy", "B", racy=True), record_of("edited", "C")]
    listing = listing_of({"same": "A", "racy": "B", "edited": "CC", "new": "D"})
    comparison = compare_stats(previous, listing)
    assert [file.path for file in comparison.to_hash] == ["edited", "new", "racy"]
    assert [file.path for file in comparison.unchanged] == ["same"]


@pytest.mark.parametrize(
    ("modified_ns", "expected"),
    [
        (START_NS + 1, True),
        (START_NS, True),
        (START_NS + 86_400_000_000_000, True),
        (START_NS - COARSE_NS, True),
        (START_NS - FINE_NS - 1, False),
        (START_NS - FINE_NS + 1, True),
        (START_NS - 2 * COARSE_NS, False),
    ],
)
def test_a_file_as_young_as_the_scan_is_racy(modified_ns: int, expected: bool) -> None:
    assert is_racy(FileStat(1, modified_ns, ""), started_ns=START_NS) is expected
