"""A reindex on two machines, one of which goes down in the middle: what comes out is what one machine makes alone.

Everything is what a deployment has but for three things: both nodes of Ray are on this machine, S3 is moto's server, and Qdrant
is the tests' own server (fakes/qdrant_server.py), which keeps points in memory behind Qdrant's real messages.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import numpy as np
import pytest
import yaml
from sqlalchemy import create_engine, make_url, text

from rag_pipeline.operations.gate import check_whole
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.project import Project
from rag_pipeline.settings import load_settings
from rag_pipeline_tests.fakes.qdrant_server import LoopbackQdrant
from rag_pipeline_tests.object_store import BUCKET, running_s3
from rag_pipeline_tests.postgres_server import running_postgres
from rag_pipeline_tests.projects import article, fill, index_once, write_settings
from rag_pipeline_tests.ray_cluster import TwoNodes, running_ray

pytestmark = pytest.mark.deep
ROOT = Path(__file__).parents[2]
BUCKETS, PER_RUN, DOCUMENTS = 32, 8, 64
WAIT_S = 900
Found = TypeVar("Found")

EMBEDDING = {"device": "cpu", "dtype": "float32", "batch_tokens": 1024}
WANTED = {**EMBEDDING, "document_prompt": "passage: "}
"""Another vector space: every text is embedded again."""
EASY = {"max_drop": 1, "min_recall": 0, "min_overlap": 0, "latency_factor": 100, "latency_ok_ms": 60_000}
"""Whether the new prompt is better is not the question here."""


def settings(**changes: Any) -> dict[str, Any]:
    return {"buckets": BUCKETS, "buckets_per_run": PER_RUN, "embedding": EMBEDDING, "release": EASY, **changes}


class Servers:
    """What the machines share, and the environment that leads to it."""

    def __init__(self, postgres: str, s3: dict[str, Any], qdrant: LoopbackQdrant) -> None:
        self.url, self.qdrant = make_url(postgres), qdrant
        engine = create_engine(postgres, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for name in ("dagster", "ledger"):
                connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        self.environment = {
            "AWS_ENDPOINT_URL": s3["endpoint_url"],
            "AWS_ACCESS_KEY_ID": s3["key"],
            "AWS_SECRET_ACCESS_KEY": s3["secret"],
            "AWS_DEFAULT_REGION": "us-east-1",
            "RAG__LEDGER_URL": self.url.set(database="ledger").render_as_string(hide_password=False),
            "DAGSTER_POSTGRES_HOST": str(self.url.host),
            "DAGSTER_POSTGRES_USER": str(self.url.username),
            "DAGSTER_POSTGRES_PASSWORD": "trusted",
            "DAGSTER_POSTGRES_DB": "dagster",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def shared(self, **changes: Any) -> dict[str, Any]:
        """Settings of an index that lies on them."""
        return settings(store={"kind": "server", "url": self.qdrant.url}, state=f"s3://{BUCKET}/{time.time_ns()}", **changes)


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    qdrant = LoopbackQdrant()
    with running_postgres() as postgres, running_s3() as s3:
        found = Servers(postgres, s3, qdrant)
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found
    qdrant.stop()


def write_instance(home: Path, servers: Servers) -> None:
    """The settings that are deployed, with this server's port and less patience."""
    values = yaml.safe_load((ROOT / "deploy" / "dagster.ray.yaml").read_text())
    values["storage"]["postgres"]["postgres_db"]["port"] = servers.url.port
    values["run_monitoring"]["poll_interval_seconds"] = 5
    home.mkdir()
    (home / "dagster.yaml").write_text(yaml.safe_dump(values))


@contextmanager
def running_daemon(home: Path) -> Iterator[None]:
    """The sensors, the queue, and what watches over runs."""
    command = [sys.executable, "-m", "dagster._daemon", "run", "-m", "rag_pipeline.definitions"]
    with (home / "daemon.log").open("w") as log:
        daemon = subprocess.Popen(command, cwd=home, stdout=log, stderr=log)
    try:
        yield
    finally:
        daemon.terminate()
        try:
            daemon.wait(60)
        except subprocess.TimeoutExpired:
            daemon.kill()


def wait_for(look: Callable[[], Found | None], what: str, *, every_s: float = 0.5) -> Found:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(every_s)
    raise AssertionError(f"not seen within {WAIT_S} s: {what}")


def points(project: Project) -> dict[str, tuple[dict[str, Any], np.ndarray[Any, Any]]]:
    """Payload and vector by id, of what is live."""
    live = project.store.resolve_alias("docs")
    assert live is not None
    found = list(project.store.scroll(live, with_vectors=True))
    assert len({point.id for point in found}) == len(found) == project.store.count(live)
    return {point.id: (dict(point.payload), np.asarray(point.vector)) for point in found}


def index_alone(folder: Path, docs: Path) -> dict[str, tuple[dict[str, Any], np.ndarray[Any, Any]]]:
    """What one machine makes of the documents under the new settings, in one run, with the embedded store."""
    file = write_settings(folder, docs=docs, **settings(embedding=WANTED, buckets_per_run=None))
    project = Project(load_settings(file, {}))
    try:
        index_once(project)
        return points(project)
    finally:
        project.close()


def runs_of(instance: dg.DagsterInstance, job: str) -> list[dg.DagsterRun]:
    return list(instance.get_runs(dg.RunsFilter(job_name=job)))


def range_of(run: dg.DagsterRun) -> tuple[str, str]:
    return run.tags["dagster/asset_partition_range_start"], run.tags["dagster/asset_partition_range_end"]


def switch_off_in_the_middle(instance: dg.DagsterInstance, nodes: TwoNodes, project: Project) -> dg.DagsterRun:
    """The run that was under way on the second node, some of its buckets built and some not, when that went down."""

    def half_done() -> dg.DagsterRun | None:
        candidate = project.collections().candidate
        built = project.ledger.bucket_states(candidate.name) if candidate else {}
        for run in runs_of(instance, "reindex"):
            first, last = range_of(run)
            own = [bucket for bucket in built if first <= bucket <= last]
            if run.status is dg.DagsterRunStatus.STARTED and 0 < len(own) < PER_RUN and nodes.is_on_the_second(run.run_id):
                return run
        return None

    run = wait_for(half_done, "a run half done on the second node", every_s=0.05)
    nodes.switch_off_the_second()
    return run


def test_a_reindex_on_two_machines_one_of_which_goes_down_is_that_of_one_machine(
    tmp_path: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = tmp_path / "docs"
    fill(docs, {f"topic{i}.md": article(f"topic{i}", paragraphs=5) for i in range(DOCUMENTS)})
    shared = servers.shared()
    file = write_settings(tmp_path / "shared", docs=docs, **shared)
    project = Project(load_settings(file))
    index_once(project)
    first = project.store.resolve_alias("docs")

    write_settings(tmp_path / "shared", docs=docs, **{**shared, "embedding": WANTED})
    home = tmp_path / "home"
    write_instance(home, servers)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("RAG_CONFIG", str(file))
    project = Project(load_settings(file))
    with ExitStack() as running:
        nodes = running.enter_context(running_ray())
        monkeypatch.setenv("DAGSTER_RAY_ADDRESS", nodes.address)
        instance = running.enter_context(dg.DagsterInstance.get())
        running.enter_context(running_daemon(home))
        lost = switch_off_in_the_middle(instance, nodes, project)
        wait_for(lambda: project.store.resolve_alias("docs") != first, "the switch")
        wait_for(lambda: all(run.is_finished for run in runs_of(instance, "release")), "the end of the release")
        runs = runs_of(instance, "reindex")

    again = [run for run in runs if run.parent_run_id == lost.run_id]
    assert [run.status for run in runs if run.run_id == lost.run_id] == [dg.DagsterRunStatus.FAILURE]
    assert [run.status for run in again] == [dg.DagsterRunStatus.SUCCESS]
    names = project.buckets
    wanted = {(names[start], names[start + PER_RUN - 1]) for start in range(0, BUCKETS, PER_RUN)}
    assert {range_of(run) for run in runs if run.status is dg.DagsterRunStatus.SUCCESS} == wanted

    alone, together = index_alone(tmp_path / "alone", docs), points(project)
    assert together.keys() == alone.keys()
    for key, (payload, vector) in alone.items():
        assert together[key][0] == payload
        np.testing.assert_allclose(together[key][1], vector, atol=1e-5)
    record = project.collections().target
    assert check_whole(project, record, project.spec, is_live=True, progress=SILENT).findings == []
    project.close()
