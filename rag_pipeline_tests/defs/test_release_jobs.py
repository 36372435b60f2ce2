"""The jobs around a second collection, in real Dagster runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from rag_pipeline.defs.inventory import make_definitions
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.reindex import pause_reindex, reindex
from rag_pipeline.operations.release import release
from rag_pipeline.project import LOOKED_KEY, Project
from rag_pipeline.schema import CollectionState
from rag_pipeline_tests.indexes import BATCHES, PROMPT, TOTAL, Index, copy, make, points
from rag_pipeline_tests.projects import article, fill, uris

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
CANDIDATE, LIVE = dg.AssetKey("candidate_collection"), dg.AssetKey("live_collection")
WANTED: dict[str, Any] = {"embedding": PROMPT}
APPROVAL: dict[str, Any] = {**WANTED, "release": {"mode": "approval"}}


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made"), embedding=BATCHES)


@pytest.fixture(scope="module")
def made_with_candidate(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A candidate is built, and neither judged nor released."""
    index = Index(copy(made, tmp_path_factory.mktemp("built")), embedding=BATCHES)
    project = index.under(**WANTED)
    assert reindex(project, project.buckets, progress=SILENT).is_complete
    project.close()
    return index.folder


@pytest.fixture
def index(made: Path, tmp_path: Path) -> Iterator[Index]:
    index = Index(copy(made, tmp_path / "index"), embedding=BATCHES)
    yield index
    index.project.close()


@pytest.fixture
def built(made_with_candidate: Path, tmp_path: Path) -> Iterator[Index]:
    index = Index(copy(made_with_candidate, tmp_path / "index"), **WANTED)
    yield index
    index.project.close()


def run(project: Project, instance: dg.DagsterInstance, job: str, **options: Any) -> dg.ExecuteInProcessResult:
    ops = options.pop("ops", {})
    definition = make_definitions(project).resolve_job_def(job)
    return definition.execute_in_process(instance=instance, raise_on_error=False, run_config={**QUIET, "ops": ops}, **options)


def by_hand(project: Project, instance: dg.DagsterInstance, *assets: dg.AssetKey, **options: Any) -> dg.ExecuteInProcessResult:
    """Materialises assets, as the web UI does."""
    job = make_definitions(project).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance, raise_on_error=False, run_config=QUIET, asset_selection=list(assets), **options
    )


def alias(project: Project) -> str | None:
    return project.store.resolve_alias("docs")


def metadata_of(result: dg.ExecuteInProcessResult, asset: dg.AssetKey) -> dict[str, Any]:
    event, *_ = result.asset_materializations_for_node(asset.to_user_string())  # one a partition, all alike
    return {key: value.value for key, value in event.metadata.items()}


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


def cause(result: dg.ExecuteInProcessResult, step: str) -> str:
    data = next(event for event in result.all_events if event.is_step_failure and event.step_key == step).step_failure_data
    assert data.user_failure_data is not None
    return str(data.user_failure_data.description)


def impossible(index: Index) -> dict[str, Any]:
    """Settings whose canary no index can find."""
    file = index.folder / "canaries.jsonl"
    file.write_text(json.dumps({"query": "what is topic1?", "relevant": ["docs/nowhere.md"]}) + "\n")
    return {**WANTED, "release": {"canaries": "canaries.jsonl"}}


# --- reindex ---


def test_the_reindex_job_builds_judges_and_switches(index: Index, instance: dg.DagsterInstance) -> None:
    project = index.under(**WANTED)
    result = run(project, instance, "reindex")
    assert result.success
    assert verdicts(result) == {f"candidate_{name}": True for name in ("fsck", "retrieval", "latency", "canaries", "neighbours")}
    built, now = metadata_of(result, CANDIDATE), metadata_of(result, LIVE)
    assert (built["parsed"], built["embedded"], built["complete"], built["buckets_built"]) == (0, TOTAL, True, "4 of 4")
    assert (now["switched"], now["previous"], now["collection"]) == (True, index.first, alias(project))
    assert len(uris(point.payload for point in project.store.scroll(str(alias(project))))) == TOTAL
    assert {record.state for record in project.ledger.collections("docs")} == {CollectionState.LIVE, CollectionState.RETIRED}
    assert_evidence_is_kept(project, result)
    switch = project.ledger.decisions(kind="switch")[0].content
    assert (switch["from"], switch["to"], switch["by"]) == (index.first, alias(project), "job reindex")
    assert set(switch["evidence"]) == {"fsck", "retrieval", "latency", "canaries", "neighbours"}


def assert_evidence_is_kept(project: Project, result: dg.ExecuteInProcessResult) -> None:
    """In the checks and in the ledger."""
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    (decision,) = project.ledger.decisions(kind="gate")
    assert decision.content["passed"] is True
    kept = {check["name"]: check for check in decision.content["checks"]}
    assert {f"candidate_{name}" for name in kept} == set(checks)
    for name, check in kept.items():
        assert checks[f"candidate_{name}"].metadata["evidence"].value == check["evidence"]
        assert checks[f"candidate_{name}"].description == check["summary"]
    assert kept["fsck"]["evidence"]["points"] == TOTAL
    assert set(kept["retrieval"]["evidence"]) >= {"questions", "required", "candidate", "live"}


def test_a_refusing_check_keeps_live_and_skips_the_switch(index: Index, instance: dg.DagsterInstance) -> None:
    project = index.under(**impossible(index))
    result = run(project, instance, "reindex")
    assert not result.success
    assert verdicts(result)["candidate_canaries"] is False
    assert result.asset_materializations_for_node("live_collection") == []
    steps = {event.step_key: event.event_type_value for event in result.all_events if event.step_key == "live_collection"}
    assert set(steps.values()) <= {"STEP_SKIPPED", "STEP_UP_FOR_SKIP"}
    assert alias(project) == index.first
    states = {record.state: record.reason for record in project.ledger.collections("docs")}
    assert "docs/nowhere.md" not in states[CollectionState.REFUSED]  # the summary names the question
    assert "what is topic1?" in states[CollectionState.REFUSED]
    again = run(project, instance, "reindex")
    assert "refused before: canaries" in cause(again, "candidate_collection")
    assert project.collections().refusal is not None


@pytest.mark.deep
def test_force_builds_and_judges_what_was_refused(index: Index, instance: dg.DagsterInstance) -> None:
    run(index.under(**impossible(index)), instance, "reindex")
    project = index.under(**WANTED)
    result = run(project, instance, "reindex", ops={"candidate_collection": {"config": {"force": True}}})
    assert result.success
    assert metadata_of(result, CANDIDATE)["embedded"] == 0
    assert alias(project) != index.first


@pytest.mark.deep
def test_a_reindex_of_nothing_is_fine_and_switches_nothing(index: Index, instance: dg.DagsterInstance) -> None:
    result = run(index.under(embedding=BATCHES), instance, "reindex")
    assert result.success
    assert metadata_of(result, LIVE)["switched"] is False
    assert all(verdicts(result).values())
    assert alias(index.project) == index.first


@pytest.mark.deep
def test_a_paused_reindex_fails_and_says_how_to_go_on(index: Index, instance: dg.DagsterInstance) -> None:
    project = index.under(**WANTED)
    pause_reindex(project, is_paused=True)
    result = run(project, instance, "reindex", tags={"dagster/sensor_name": "index_spec_changes"})  # asked for before the pause
    assert not result.success
    assert cause(result, "candidate_collection") == "paused; rag reindex goes on from here"
    assert alias(project) == index.first


def test_buckets_can_be_backfilled_by_range(index: Index, instance: dg.DagsterInstance) -> None:
    project = index.under(**WANTED)
    for first, last, count in (("00", "01", 2), ("02", "03", 4)):
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        result = by_hand(project, instance, CANDIDATE, tags=tags)
        assert result.success, result.all_events
        events = result.asset_materializations_for_node("candidate_collection")
        assert {value.value for event in events for key, value in event.metadata.items() if key == "buckets_built"} == {
            f"{count} of 4"
        }
        assert alias(project) == index.first
    candidate = project.collections().candidate
    assert candidate is not None
    assert candidate.state is not CollectionState.BUILDING
    assert run(project, instance, "release").success
    assert alias(project) == candidate.name


# --- release ---


@pytest.mark.deep
def test_the_release_job_switches_to_what_was_built(built: Index, instance: dg.DagsterInstance) -> None:
    fill(built.docs, {"late.md": article("lateness")})
    result = run(built.project, instance, "release")
    assert result.success
    now = metadata_of(result, LIVE)
    assert (now["switched"], now["collection"]) == (True, alias(built.project))
    assert "docs/late.md" in points(built.project, now["collection"])


@pytest.mark.deep
def test_the_release_job_says_why_not(built: Index, instance: dg.DagsterInstance) -> None:
    project = built.under(**impossible(built))
    live = alias(project)
    result = run(project, instance, "release")
    assert not result.success
    assert f"was refused, {live} stays live. canaries: 0 of 1" in cause(result, "live_collection")
    assert alias(project) == live


def test_an_approval_is_waited_for_and_given_by_the_job(built: Index, instance: dg.DagsterInstance) -> None:
    project = built.under(**APPROVAL)
    live = alias(project)
    waits = run(project, instance, "reindex")
    assert waits.success
    assert metadata_of(waits, LIVE)["switched"] is False
    assert "waits for approval; run rag release --approve" in metadata_of(waits, LIVE)["reason"]
    assert metadata_of(run(project, instance, "release"), LIVE)["switched"] is False
    assert alias(project) == live
    given = run(project, instance, "release", ops={"live_collection": {"config": {"approve": True}}})
    assert metadata_of(given, LIVE)["switched"] is True
    assert alias(project) != live
    assert len(project.ledger.decisions(kind="gate")) == 1  # the same content is judged once


def test_materialising_live_collection_by_hand_is_the_approval(built: Index, instance: dg.DagsterInstance) -> None:
    project = built.under(**APPROVAL)
    live = alias(project)
    result = by_hand(project, instance, LIVE)
    assert result.success
    assert metadata_of(result, LIVE)["switched"] is True
    assert alias(project) != live
    assert project.ledger.decisions(kind="switch")[0].content["by"] == "web UI"


def test_materialising_it_along_with_others_is_no_approval(built: Index, instance: dg.DagsterInstance) -> None:
    project = built.under(**APPROVAL)
    live = alias(project)
    tags = {"dagster/asset_partition_range_start": "00", "dagster/asset_partition_range_end": "03"}
    result = by_hand(project, instance, CANDIDATE, LIVE, tags=tags)
    assert result.success
    assert "waits for approval" in metadata_of(result, LIVE)["reason"]
    assert alias(project) == live


@pytest.mark.deep
def test_an_index_run_approves_nothing(built: Index, instance: dg.DagsterInstance) -> None:
    project = built.under(**APPROVAL)
    live = alias(project)
    fill(built.docs, {"late.md": article("lateness")})
    assert run(project, instance, "index").success
    assert alias(project) == live
    assert "docs/late.md" in points(project, str(live))


# --- going back, checks, clearing away ---


def test_the_rollback_job_goes_back_and_remembers_why(built: Index, instance: dg.DagsterInstance) -> None:
    project = built.project
    before = alias(project)
    assert release(project, approve=False, by="test", progress=SILENT).is_switched
    project.close()
    result = run(project, instance, "rollback", ops={"go_back": {"config": {"reason": "users complain"}}})
    assert result.success
    assert alias(project) == before
    assert project.collections().refusal == "users complain"
    assert project.ledger.decisions(kind="rollback")[0].content["by"] == "job rollback"


def test_a_rollback_with_nothing_to_go_back_to_fails_with_the_reason(index: Index, instance: dg.DagsterInstance) -> None:
    result = run(index.project, instance, "rollback")
    assert not result.success
    assert "there is no retired collection to go back to" in cause(result, "go_back")


def test_the_fsck_job_is_clean_or_fails_with_the_findings(index: Index, instance: dg.DagsterInstance) -> None:
    project = index.project
    assert run(project, instance, "fsck").success
    lost = next(iter(project.store.scroll(index.first)))
    project.store.delete(index.first, [lost.id])
    result = run(project, instance, "fsck")
    assert not result.success
    assert "rag fsck --repair reconciles" in cause(result, "check_everything")
    assert lost.id in cause(result, "check_everything")


def test_the_erase_job_takes_ids_and_refuses_others(index: Index, instance: dg.DagsterInstance) -> None:
    project = index.project
    one = next(iter(project.ledger.documents().values()))
    assert not run(project, instance, "erase", ops={"erase_documents": {"config": {"document_ids": ["0" * 32]}}}).success
    assert run(project, instance, "erase", ops={"erase_documents": {"config": {"document_ids": [one.document_id]}}}).success
    assert one.document_id not in project.ledger.documents()
    assert not [point for point in project.store.scroll(index.first) if point.payload["document_id"] == one.document_id]


@pytest.mark.deep
def test_the_retention_job_drops_what_is_past_its_grace_time(built: Index, instance: dg.DagsterInstance) -> None:
    project = built.project
    before = alias(project)
    release(project, approve=False, by="test", progress=SILENT)
    project.close()
    assert run(project, instance, "retention").success
    assert before in project.store.collections()
    project = built.under(**WANTED, release={"grace_hours": 0})
    assert run(project, instance, "retention").success
    assert project.store.collections() == [alias(project)]


@pytest.mark.deep
def test_freshness_fails_when_nobody_looks_or_live_lags_behind(index: Index, instance: dg.DagsterInstance) -> None:
    project = index.project
    assert verdicts(run(project, instance, "freshness")) == {"index_freshness": True}
    project.ledger.set_meta(LOOKED_KEY, str(project.clock.now_ns() - 27 * 3600 * 10**9))
    assert verdicts(run(project, instance, "freshness")) == {"index_freshness": False}
    fill(index.docs, {"late.md": article("lateness")})
    project.scan(approve_deletes=False, progress=SILENT)
    (check,) = run(project, instance, "freshness").get_asset_check_evaluations()
    assert (check.passed, check.metadata["buckets_behind"].value) == (False, 1)
