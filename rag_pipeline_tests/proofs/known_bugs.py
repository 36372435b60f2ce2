"""Bugs that other pipelines have, or that this one could have: each patched in by a test, nothing of them in the shipped code."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from rag_pipeline.adapters.local_folder import LocalFolderSource
from rag_pipeline.errors import SourceUnavailableError
from rag_pipeline.indexing import collections, release, retention
from rag_pipeline.indexing.build import Build, bucket_digests
from rag_pipeline.indexing.document_slices import DocumentsOutcome
from rag_pipeline.indexing.documents import DocumentStage
from rag_pipeline.indexing.reconcile import BucketPoints, ReconcileStage
from rag_pipeline.indexing.specs import SpecChange, compare_specs
from rag_pipeline.operations import follow, gate
from rag_pipeline.operations import release as releasing
from rag_pipeline.operations import retention as retaining
from rag_pipeline.ports import Progress
from rag_pipeline.retrieval.search import Searcher
from rag_pipeline.schema import BucketState, ChunkedDocument, CollectionRecord, DocumentRecord, GateCheck, IndexSpec, Listing
from rag_pipeline_tests.proofs import scenarios

Patch = pytest.MonkeyPatch
Records = Mapping[str, DocumentRecord]
Rows = Sequence[ChunkedDocument]


@dataclass(frozen=True, slots=True)
class KnownBug:
    """A bug, and the scenario that catches it."""

    name: str
    inject: Callable[[Patch], None]
    caught_by: Callable[[scenarios.Stages], None]


def delete_first(patch: Patch) -> None:
    original = ReconcileStage.add

    def add(self: ReconcileStage, points: BucketPoints, records: Records, rows: Rows, *given: Any) -> None:
        self._store.delete(self._collection, sorted(points.present - self._desired(records, rows).keys()))
        original(self, points, records, rows, *given)

    patch.setattr(ReconcileStage, "add", add)


def hash_before_work(patch: Patch) -> None:
    original = DocumentStage._parse

    def parse(self: DocumentStage, outcome: DocumentsOutcome, pending: list[DocumentRecord], progress: Progress) -> Any:
        known = [(record, outcome.rows[record.document_id]) for record in pending if record.document_id in outcome.rows]
        self._artifact.append(outcome.bucket, [replace(row, content_hash=record.content_hash) for record, row in known])
        return original(self, outcome, pending, progress)

    patch.setattr(DocumentStage, "_parse", parse)


def cursor_first(patch: Patch) -> None:
    original = Build.run

    def run(self: Build, buckets: Sequence[str], **options: Any) -> Any:
        cursor = str(self._ledger.generation())
        if self._ledger.meta("cursor") == cursor:
            return original(self, [], **options)
        self._ledger.set_meta("cursor", cursor)
        return original(self, buckets, **options)

    patch.setattr(Build, "run", run)


def no_read_back(patch: Patch) -> None:
    patch.setattr(ReconcileStage, "_read_back", lambda self, bucket, *, expected: None)


def alias_resolved_twice(patch: Patch) -> None:
    original = Searcher._embedder_of
    patch.setattr(Searcher, "_embedder_of", lambda self, collection: original(self, self._resolve()))


def ledger_leads(patch: Patch) -> None:
    def announce(self: Build, bucket: str) -> None:
        digest = bucket_digests(self._ledger, [bucket], self._spec_fingerprint)[bucket]
        state = BucketState(digest=digest, points=0, generation=self._ledger.generation(), seen=0, quarantined=0)
        self._ledger.put_bucket_state(self._collection, bucket, state)

    patch.setattr(Build, "_distrust", announce)


def gate_without_fsck(patch: Patch) -> None:
    patch.setattr(gate, "_check_everything", lambda *args: GateCheck("fsck", True, "looks fine", {}))


def no_last_catch_up(patch: Patch) -> None:
    patch.setattr(releasing, "_caught_up", lambda project, progress: project.collections())


def retired_forgotten(patch: Patch) -> None:
    original = follow._follow_each_bucket

    def only_live(project: Any, record: CollectionRecord, progress: Progress) -> list[str]:
        return original(project, record, progress) if project.collections().live == record else []

    patch.setattr(follow, "_follow_retired", lambda *args: None)
    patch.setattr(follow, "_follow_each_bucket", only_live)


def retention_by_clock(patch: Patch) -> None:
    def find(records: Any, *, behind: str | None, now_ns: int, grace_ns: int) -> list[CollectionRecord]:
        return [r for r in records if r.state in retention.ENDED and r.changed_ns + grace_ns <= now_ns]

    patch.setattr(retention, "find_expired", find)
    patch.setattr(retaining, "settle", lambda *args, **options: None)


def weights_ignored(patch: Patch) -> None:
    def compare(old: IndexSpec, new: IndexSpec) -> SpecChange:
        weights = old.vector_space.weights_sha256
        return compare_specs(old, replace(new, vector_space=replace(new.vector_space, weights_sha256=weights)))

    patch.setattr(collections, "compare_specs", compare)


def refusal_forgotten(patch: Patch) -> None:
    for module in (collections, release):
        patch.setattr(module, "remember_refusal", lambda *args: None)


def outage_is_deletion(patch: Patch) -> None:
    original = LocalFolderSource.list_files

    def list_files(self: LocalFolderSource) -> Listing:
        try:
            return original(self)
        except SourceUnavailableError:
            return Listing(source=self.name, started_ns=0, files=(), excluded=())

    patch.setattr(LocalFolderSource, "list_files", list_files)


def cleanup_per_batch(patch: Patch) -> None:
    original = ReconcileStage.add

    def add(self: ReconcileStage, points: BucketPoints, records: Records, rows: Rows, *given: Any) -> None:
        for row in rows:
            original(self, points, records, [row], *given)
            present = self._store.point_ids(self._collection, points.bucket)
            self._store.delete(self._collection, sorted(present - self._desired(records, [row]).keys()))

    patch.setattr(ReconcileStage, "_read_back", lambda self, bucket, *, expected: None)
    patch.setattr(ReconcileStage, "add", add)


KNOWN_BUGS: Sequence[KnownBug] = (
    KnownBug("old points deleted before the upsert", delete_first, scenarios.crash_at_an_upsert_keeps_the_old_answer),
    KnownBug("content hash written before the work", hash_before_work, scenarios.crash_while_parsing_is_made_good),
    KnownBug("cursor committed before the work", cursor_first, scenarios.crash_at_an_upsert_is_made_good),
    KnownBug("ledger leads the store", ledger_leads, scenarios.crash_at_an_upsert_is_made_good),
    KnownBug("no read-back after an upsert", no_read_back, scenarios.dropped_point_is_noticed),
    KnownBug("alias resolved twice in one request", alias_resolved_twice, scenarios.switch_within_a_request_mixes_nothing),
    KnownBug("gate without fsck", gate_without_fsck, scenarios.damaged_candidate_never_goes_live),
    KnownBug("no catch-up before the switch", no_last_catch_up, scenarios.late_edit_is_live_after_the_switch),
    KnownBug("retired collection not kept fresh", retired_forgotten, scenarios.rollback_is_not_stale),
    KnownBug("retention looks at the clock alone", retention_by_clock, scenarios.what_is_behind_the_alias_is_never_dropped),
    KnownBug("changed weights under the same name", weights_ignored, scenarios.changed_weights_ask_for_a_candidate),
    KnownBug("refusal not remembered", refusal_forgotten, scenarios.refused_settings_are_not_built_again),
    KnownBug("empty listing taken for a deletion", outage_is_deletion, scenarios.outage_deletes_nothing),
    KnownBug("cleanup after each batch deletes siblings", cleanup_per_batch, scenarios.large_bucket_is_whole),
)
SCENARIOS: Mapping[str, Callable[[scenarios.Stages], None]] = {bug.caught_by.__name__: bug.caught_by for bug in KNOWN_BUGS}
