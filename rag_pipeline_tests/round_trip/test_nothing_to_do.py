"""``rag index`` where there is nothing to do: what it runs, what it leaves alone, and when it does not believe so."""

import json
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from rag_pipeline.cli import dagster_run
from rag_pipeline.indexing.build import COMPACT_KEY
from rag_pipeline.operations.look import is_in_step, report_in_step
from rag_pipeline.project import Project
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.indexes import copy
from rag_pipeline_tests.projects import article, fill, index_once, open_project, write_settings
from rag_pipeline_tests.round_trip.test_release_commands import Here


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nothing")
    write_settings(folder)
    fill(folder / "docs", {f"topic{i}.md": article(f"topic{i}") for i in range(4)})
    (folder / "docs" / "broken.pdf").write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 20)
    done = Here(folder)("index")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def rag(made: Path, tmp_path: Path) -> Here:
    return Here(copy(made, tmp_path / "index"))


@pytest.fixture
def project(rag: Here) -> Project:
    return open_project(rag.folder / "rag_pipeline.yaml", parser=FakeParser())


def runs(rag: Here) -> list[dg.DagsterRun]:
    """All runs, the newest first."""
    with dg.DagsterInstance.from_ref(dg.DagsterInstance.local_temp(str(rag.folder / ".rag" / "dagster")).get_ref()) as instance:
        return list(instance.get_runs())


def files(folder: Path) -> dict[str, int]:
    """When each artifact was written."""
    found = (folder / ".rag" / "artifacts").rglob("*.parquet")
    return {str(file): file.stat().st_mtime_ns for file in found}


def test_a_second_index_looks_and_writes_no_bucket(rag: Here) -> None:
    before = files(rag.folder)
    values = rag.json("index")
    newest = runs(rag)[0]
    assert (newest.run_id, newest.job_name, newest.status) == (values["run_id"], "look", dg.DagsterRunStatus.SUCCESS)
    assert files(rag.folder) == before
    assert values["documents"] == {**dict.fromkeys(values["documents"], 0), "unchanged": 4, "quarantined": 1}
    assert values["chunks"] == {"total": values["points"]["total"], "embedded": 0, "reused": values["points"]["total"]}
    assert values["points"]["total"] > 0
    assert values["collection"].startswith("docs-")


def test_both_ways_answer_alike(rag: Here) -> None:
    looked, compared = rag.json("index"), rag.json("index", "--compare-all")
    assert [run.job_name for run in runs(rag)[:2]] == ["index", "look"]
    for name in ("seconds", "run_id", "lanes"):
        looked.pop(name)
        compared.pop(name)
    assert looked == compared


def test_a_change_is_indexed(rag: Here) -> None:
    fill(rag.folder / "docs", {"topic1.md": article("another")})
    assert rag.json("index")["documents"]["modified"] == 1
    assert runs(rag)[0].job_name == "index"


def test_a_change_between_the_two_looks_is_indexed(rag: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(project: Project) -> bool:
        answer = is_in_step(project)
        fill(rag.folder / "docs", {"late.md": article("late")})
        return answer

    monkeypatch.setattr(dagster_run, "is_in_step", late)
    values = rag.json("index")
    assert values["points"]["upserted"] > 0
    assert [run.job_name for run in runs(rag)[:2]] == ["index", "look"]


def test_lost_points_still_fail_the_run(rag: Here, project: Project) -> None:
    lost = next(iter(project.store.scroll(project.target.name)))
    project.store.delete(project.target.name, [lost.id])
    project.close()
    done = rag("index", "--json")
    assert done.returncode == 1
    assert "points, " in json.loads(done.stdout)["failed"]


def test_a_source_that_cannot_be_listed_still_fails_the_run(rag: Here) -> None:
    shutil.rmtree(rag.folder / "docs")
    assert (rag("index").returncode, rag("index").returncode) == (1, 1)


def test_what_is_in_step_reports_like_a_build(project: Project) -> None:
    assert is_in_step(project)
    told = report_in_step(project)
    _, built = index_once(project)
    assert (told.points, told.chunks, told.quarantined) == (built.points, built.chunks, built.quarantined)
    assert (told.buckets, told.in_step) == (built.buckets, built.in_step)


@pytest.mark.parametrize("damage", ["store", "alias", "bucket", "compaction", "chunking"])
def test_anything_else_to_do_is_noticed(project: Project, damage: str) -> None:
    assert is_in_step(project)
    name = project.target.name
    project.close()
    if damage == "store":
        shutil.rmtree(project.settings.root / ".rag" / "qdrant" / "collections" / name)
    elif damage == "alias":
        (project.settings.root / ".rag" / "qdrant" / "aliases.json").unlink()
    elif damage == "bucket":
        project.ledger.forget_bucket_states(name)
    elif damage == "compaction":
        project.ledger.set_meta(f"{COMPACT_KEY}:{name}", '["00"]')
    else:
        project = _chunked_otherwise(project)
    assert not is_in_step(project)
    project.close()


def _chunked_otherwise(project: Project) -> Project:
    chunking: dict[str, Any] = {"default": {"size": 256}, "allow_unusual_sizes": True}
    return open_project(write_settings(project.settings.root, chunking=chunking), parser=FakeParser())
