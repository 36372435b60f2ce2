"""The job, its assets and checks, in real Dagster runs over real files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from rag_pipeline.defs.inventory import make_definitions
from rag_pipeline.indexing.build import STAGES
from rag_pipeline.project import Project
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import article, dump, fill, open_project, uris, write_settings

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    file = write_settings(tmp_path)
    fill(tmp_path / "docs", {f"topic{i}.md": article(f"topic{i}") for i in range(6)})
    project = open_project(file, parser=FakeParser())
    yield project
    project.close()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


def run(project: Project, instance: dg.DagsterInstance, **config: Any) -> dg.ExecuteInProcessResult:
    job = make_definitions(project).resolve_job_def("index")
    return job.execute_in_process(instance=instance, raise_on_error=False, run_config={**QUIET, "ops": config})


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    event = result.asset_materializations_for_node(
        "index_buckets" if asset not in ("source_manifest", "live_collection") else asset
    )
    found = next(e for e in event if e.asset_key == dg.AssetKey(asset))
    return {key: value.value for key, value in found.metadata.items()}


def test_inventory_names_what_the_readme_promises(project: Project) -> None:
    definitions = make_definitions(project)
    graph = definitions.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {
        "source_manifest",
        "documents",
        "chunks",
        "embeddings",
        "collection",
        "candidate_collection",
        "live_collection",
    }
    assert {key.name for key in graph.asset_check_keys} == {
        "no_truncation",
        "counts_add_up",
        "quarantine_share",
        "pii_leaks",
        "index_matches_ledger",
        "index_freshness",
        "candidate_fsck",
        "candidate_retrieval",
        "candidate_latency",
        "candidate_canaries",
        "candidate_neighbours",
    }
    assert graph.get(dg.AssetKey("chunks")).parent_keys == {dg.AssetKey("documents")}
    assert all(graph.get(key).owners and graph.get(key).description for key in graph.get_all_asset_keys())


def test_job_indexes_and_goes_live(project: Project, instance: dg.DagsterInstance) -> None:
    result = run(project, instance)
    assert result.success
    assert len(uris(dump(project).values())) == 6
    assert project.store.resolve_alias("docs") == project.target.name
    assert metadata_of(result, "documents")["parsed"] == 6
    assert metadata_of(result, "chunks")["sizes"].startswith("![chunks by tokens](data:image/png;base64,")
    assert metadata_of(result, "collection")["points"] == len(dump(project))
    assert metadata_of(result, "source_manifest")["new"] == 6
    for asset in STAGES:
        rows = [record.data for record in metadata_of(result, asset)["lanes"].records]
        assert [row["stage"] for row in rows] == list(STAGES)
        assert metadata_of(result, asset)["bottleneck"] in STAGES


def test_checks_pass_after_a_run(project: Project, instance: dg.DagsterInstance) -> None:
    evaluations = run(project, instance).get_asset_check_evaluations()
    assert {e.check_name: e.passed for e in evaluations} == dict.fromkeys(
        ("no_truncation", "counts_add_up", "quarantine_share", "index_matches_ledger", "pii_leaks", "index_freshness"), True
    )


def test_second_run_does_nothing(project: Project, instance: dg.DagsterInstance) -> None:
    run(project, instance)
    result = run(project, instance)
    assert metadata_of(result, "documents")["buckets_in_step"] == 4
    assert metadata_of(result, "embeddings")["embedded"] == 0


def test_missing_source_fails_the_run_and_deletes_nothing(project: Project, instance: dg.DagsterInstance) -> None:
    run(project, instance)
    (project.settings.root / "docs").rename(project.settings.root / "gone")
    result = run(project, instance)
    assert not result.success
    assert len(uris(dump(project).values())) == 6


def test_delete_brake_holds_until_approved(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    file = write_settings(tmp_path, delete_brake={"max_share": 0.2, "max_documents": 2})
    fill(tmp_path / "docs", {f"topic{i}.md": article(f"topic{i}") for i in range(6)})
    project = open_project(file, parser=FakeParser())
    run(project, instance)
    for i in range(4):
        (tmp_path / "docs" / f"topic{i}.md").unlink()
    assert not run(project, instance).success
    assert len(uris(dump(project).values())) == 6
    assert run(project, instance, source_manifest={"config": {"approve_deletes": True}}).success
    assert len(uris(dump(project).values())) == 2
    project.close()


def test_one_asset_of_one_bucket_can_be_rematerialised(project: Project, instance: dg.DagsterInstance) -> None:
    run(project, instance)
    definitions = make_definitions(project)
    bucket = next(iter(project.ledger.documents().values())).bucket
    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=instance, run_config=QUIET, partition_key=bucket, asset_selection=[dg.AssetKey("chunks")]
    )
    assert result.success
    assert {m.asset_key.to_user_string() for m in result.asset_materializations_for_node("index_buckets")} == {"chunks"}


def test_rematerialised_bucket_restores_points_lost_outside(project: Project, instance: dg.DagsterInstance) -> None:
    run(project, instance)
    before = dump(project)
    point = next(iter(before.values()))
    project.store.delete(project.target.name, [key for key, value in before.items() if value["bucket"] == point["bucket"]])
    job = make_definitions(project).resolve_implicit_global_asset_job_def()
    assets = [dg.AssetKey(name) for name in ("documents", "chunks", "embeddings", "collection")]
    assert job.execute_in_process(
        instance=instance, run_config=QUIET, partition_key=point["bucket"], asset_selection=assets
    ).success
    assert dump(project) == before


def test_too_many_quarantined_documents_fail_the_run(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    project = open_project(write_settings(tmp_path))
    fill(tmp_path / "docs", {"good.md": article("good")})
    for i in range(3):
        (tmp_path / "docs" / f"broken{i}.pdf").write_bytes(b"%PDF-1.7\n" + bytes([i]) * 500)
    result = run(project, instance)
    assert not result.success
    assert uris(dump(project).values()) == {"docs/good.md"}
    check = next(e for e in result.get_asset_check_evaluations() if e.check_name == "quarantine_share")
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    project.close()


def test_the_job_is_one_run_of_all_buckets_where_backfills_are_several(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    fill(tmp_path / "docs", {f"topic{i}.md": article(f"topic{i}") for i in range(6)})
    project = open_project(write_settings(tmp_path, buckets_per_run=1), parser=FakeParser())
    result = run(project, instance)
    assert result.success, [event.message for event in result.all_events if "FAIL" in event.event_type_value]
    assert len(uris(dump(project).values())) == 6
    project.close()
