"""Ticks of the sensors over a real folder and a real Dagster instance."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from rag_pipeline.defs.inventory import make_definitions
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.project import Project
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import article, fill, index_once, open_project, write_settings


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    file = write_settings(tmp_path)
    fill(tmp_path / "docs", {"one.md": article("one"), "two.md": article("two")})
    project = open_project(file, parser=FakeParser())
    yield project
    project.close()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


def tick(project: Project, instance: dg.DagsterInstance, cursor: str | None = None) -> tuple[int, str, str | None]:
    """Runs asked for, the reason when none was, the new cursor."""
    definitions = make_definitions(project)
    sensor = definitions.resolve_sensor_def("source_changes")
    context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=definitions)
    data = sensor.evaluate_tick(context)
    return len(data.run_requests or []), data.skip_message or "", data.cursor


def test_new_documents_start_a_run(project: Project, instance: dg.DagsterInstance) -> None:
    runs, _, _ = tick(project, instance)
    assert runs == 1


def test_quiet_folder_starts_no_run_and_says_so(project: Project, instance: dg.DagsterInstance) -> None:
    index_once(project)
    runs, reason, cursor = tick(project, instance)
    assert runs == 0
    assert "2 files, nothing changed" in reason
    runs, reason, _ = tick(project, instance, cursor)
    assert runs == 0


def test_edit_is_found_even_when_its_event_was_lost(project: Project, instance: dg.DagsterInstance) -> None:
    index_once(project)
    _, _, cursor = tick(project, instance)
    fill(project.settings.root / "docs", {"one.md": article("one, edited")})
    old = json.dumps({**json.loads(cursor or "{}"), "looked_s": 0})
    assert tick(project, instance, old)[0] == 1


def test_same_failed_changes_back_off(project: Project, instance: dg.DagsterInstance) -> None:
    runs, _, cursor = tick(project, instance)
    assert runs == 1
    runs, reason, _ = tick(project, instance, cursor)
    assert runs == 0
    assert "did not help" in reason


def test_what_a_failed_run_left_behind_starts_another(project: Project, instance: dg.DagsterInstance) -> None:
    index_once(project)
    fill(project.settings.root / "docs", {"three.md": article("three")})
    project.scan(approve_deletes=False, progress=SILENT)  # and then the model's server is down
    runs, _, cursor = tick(project, instance)
    assert runs == 1
    runs, reason, cursor = tick(project, instance, cursor)
    assert (runs, "did not help" in reason) == (0, True)
    index_once(project)
    assert tick(project, instance, cursor)[0] == 0


def test_buckets_that_somebody_materialises_are_left_to_them(project: Project, instance: dg.DagsterInstance) -> None:
    index_once(project)
    fill(project.settings.root / "docs", {"three.md": article("three")})
    project.scan(approve_deletes=False, progress=SILENT)
    instance.add_run(dg.DagsterRun(job_name="__ASSET_JOB", status=dg.DagsterRunStatus.STARTED))
    assert tick(project, instance)[0] == 0


def test_a_clock_that_was_set_back_holds_up_no_look(project: Project, instance: dg.DagsterInstance) -> None:
    index_once(project)
    ahead = json.dumps({"looked_s": time.time() + 7 * 86_400})
    sensor = make_definitions(project).resolve_sensor_def("source_changes")

    def skipped(cursor: str | None) -> str:
        return sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=cursor)).skip_message or ""

    skipped(None)
    assert "nothing changed" in skipped(ahead)
    assert "no file event" in skipped(json.dumps({"looked_s": time.time()}))


def test_a_source_that_was_added_to_the_file_is_looked_at(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    file = write_settings(tmp_path, pii={"enabled": False})
    fill(tmp_path / "docs", {})
    project = Project.load(file)
    sensor = make_definitions(project).resolve_sensor_def("source_changes")
    assert not sensor.evaluate_tick(dg.build_sensor_context(instance=instance)).run_requests
    fill(tmp_path / "more", {"two.md": article("two")})
    sources = [{"name": "docs", "url": "./docs"}, {"name": "more", "url": "./more"}]
    write_settings(tmp_path, pii={"enabled": False}, sources=sources)
    (request,) = sensor.evaluate_tick(dg.build_sensor_context(instance=instance)).run_requests or []
    assert "1 file is new" in request.tags["rag_pipeline/reason"]
    assert "more" in request.tags["rag_pipeline/reason"]


def test_unlistable_source_is_no_crash(project: Project, instance: dg.DagsterInstance) -> None:
    index_once(project)
    (project.settings.root / "docs").rename(project.settings.root / "gone")
    runs, _, _ = tick(project, instance)
    assert runs == 1
